/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ladder, from the cheapest to the dearest, and what the device refused is
 * not asked of it again, unless it failed since: what is broken refuses much
 * that it takes when it is well (a volume, part of which is away).
 *
 *	punch	 unmaps, and the device promises zeros
 *	unmap	 unmaps, promises nothing; read back, and zeros written where
 *		 there are none. Where unmapped means zero for good (thin
 *		 volumes), this keeps a volume thin that punch would not
 *	zero-out one command zeroes, the space stays
 *	write	 reads first, and writes zeros only where there are none: a
 *		 read is cheaper than a write, on thin storage by far, and what
 *		 already is zero is not worn out or allocated
 *
 * A way that fails is no reason to give up: where zeros can be written, the
 * range must not stay a marker for ever, and every flush fail. The next way is
 * tried for this range, and the failure is not remembered. A long range is
 * taken apart first, so that little is written for one bad sector. Only a
 * device that is gone is not asked again.
 *
 * "Keep" leaves out the first two. "Write" writes, without reading first. So
 * does the last way once the device has failed: what is read may be in a cache
 * alone, of this kernel or of what lies below, from where it was not written.
 * And so it does where a way has just failed, unless only room or memory was
 * short.
 */
#include "device/zero-range.h"

#include <errno.h>
#include <stdlib.h>

#include "base/range.h"
#include "base/zero.h"

enum {
	/* What is refused: */
	PUNCH = 1 << 0,
	UNMAP = 1 << 1,
	ZERO_OUT = 1 << 2,
	READ_FIRST = 1 << 3, /* to read before writing */

	FAST = 1 << 4, /* one command for a long range worked */

	PIECE = 1 << 20, /* read or written at once */
	GRAIN = 4096,	 /* zero or not is asked of so much */
	STEP_WRITE = 16 << 20,
};

#define STEP_COMMAND (UINT64_C(1) << 30)

static bool may_try(struct bsp_device *dev, unsigned way)
{
	return !(atomic_load(&dev->zero_ways) & way);
}

static bool is_refusal(int r)
{
	return r == -EOPNOTSUPP || r == -EINVAL || r == -ENOTTY || r == -ENOSYS;
}

static bool is_device_gone(int r)
{
	return r == -ENODEV || r == -ENXIO || r == -ENOMEDIUM;
}

/* What a range has met on its way down the ladder. */
struct attempt {
	int r;	     /* of the last way that was tried and not refused */
	bool failed; /* a way, and not for want of room or memory */
};

/*
 * Tries a way; true if that was the end of it, well or badly (attempt->r). A
 * device may have a way and refuse it for this range, or no longer have it (a
 * loop device finds out from its file system).
 */
static bool try_way(struct bsp_device *dev, unsigned way,
		    int (*call)(struct bsp_device *, uint64_t, uint64_t),
		    uint64_t off, uint64_t len, struct attempt *attempt)
{
	int r;

	if (!call || !may_try(dev, way))
		return false;
	r = call(dev, off, len);
	if (r) {
		atomic_fetch_and(&dev->zero_ways, ~(unsigned)FAST);
		if (is_refusal(r)) {
			atomic_fetch_or(&dev->zero_ways, way);
			return false;
		}
		attempt->failed |= r != -ENOSPC && r != -ENOMEM;
	} else if (way != UNMAP) {
		atomic_fetch_or(&dev->zero_ways, FAST);
	}
	attempt->r = r;
	return !r || is_device_gone(r);
}

void bsp_device_note_failure(struct bsp_device *dev)
{
	atomic_fetch_or(&dev->zero_ways, READ_FIRST);
	atomic_fetch_and(&dev->zero_ways, READ_FIRST);
}

/* through_lock held. */
static int write_all_through(struct bsp_device *dev, uint64_t off,
			     const char *buf, size_t len)
{
	while (len) {
		ssize_t n = dev->ops->write_through(dev, off, buf, len);

		if (n <= 0)
			return n ? (int)n : -EIO;
		buf += n;
		len -= (size_t)n;
		off += (uint64_t)n;
	}
	return 0;
}

/* Also what failed is waited for. through_lock held, and given back. */
static int finish_write_through(struct bsp_device *dev, uint64_t off,
				uint64_t len, int r)
{
	int waited = dev->ops->wait_written
			     ? dev->ops->wait_written(dev, off, len)
			     : 0;

	pthread_mutex_unlock(&dev->through_lock);
	r = r ? r : waited;
	if (r)
		bsp_device_note_failure(dev);
	return r;
}

int bsp_device_write_through(struct bsp_device *dev, uint64_t off,
			     const void *buf, size_t len)
{
	int r;

	pthread_mutex_lock(&dev->through_lock);
	r = write_all_through(dev, off, buf, len);
	return finish_write_through(dev, off, len, r);
}

/* Up to STEP_WRITE. */
static int write_zeros_step(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	int r = 0;

	pthread_mutex_lock(&dev->through_lock);
	for (uint64_t at = 0; at < len && !r; at += BSP_ZEROS)
		r = write_all_through(dev, off + at, bsp_zeros,
				      (size_t)bsp_min(len - at, BSP_ZEROS));
	return finish_write_through(dev, off, len, r);
}

static int write_zeros(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	int r = 0;

	while (len && !r) {
		uint64_t piece = bsp_min(len, STEP_WRITE);

		r = write_zeros_step(dev, off, piece);
		len -= piece;
		off += piece;
	}
	return r;
}

/* Writes zeros over the runs of [off, off + len) in buf that are not zero. */
static int zero_data_runs(struct bsp_device *dev, uint64_t off, const char *buf,
			  uint64_t len)
{
	size_t grain = bsp_max(GRAIN, dev->info.logical_block_size);

	while (len) {
		bool zero;
		uint64_t run = bsp_zero_run(buf, (size_t)len, grain, &zero);
		int r = zero ? 0 : write_zeros(dev, off, run);

		if (r)
			return r;
		buf += run;
		len -= run;
		off += run;
	}
	return 0;
}

/* Reads, and writes zeros where there are none, or where it cannot read; all of
 * them if there is no memory to read to. */
static int read_and_zero(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	void *buf;
	int r = 0;

	if (posix_memalign(&buf, BSP_BUFFER_ALIGN, PIECE))
		return write_zeros(dev, off, len);
	while (len && !r) {
		uint64_t piece = bsp_min(len, PIECE);
		ssize_t n =
			dev->ops->read_through(dev, off, buf, (size_t)piece);

		if (n == (ssize_t)piece)
			r = zero_data_runs(dev, off, buf, piece);
		else
			r = write_zeros(dev, off, piece);
		len -= piece;
		off += piece;
	}
	free(buf);
	return r;
}

/* The ways that are commands; true if that was the end of it. */
static bool try_commands(struct bsp_device *dev, enum bsp_zero_mode mode,
			 uint64_t off, uint64_t len, struct attempt *attempt)
{
	const struct bsp_device_ops *ops = dev->ops;

	if (mode == BSP_ZERO_WRITE)
		return false;
	if (mode == BSP_ZERO_UNMAP) {
		if (try_way(dev, PUNCH, ops->punch, off, len, attempt))
			return true;
		if (try_way(dev, UNMAP, ops->unmap, off, len, attempt)) {
			if (!attempt->r)
				attempt->r = read_and_zero(dev, off, len);
			return true;
		}
	}
	return try_way(dev, ZERO_OUT, ops->zero_out, off, len, attempt);
}

/* The ladder, for whole logical blocks, up to STEP_WRITE of them if a command
 * may fail. */
static int zero_step(struct bsp_device *dev, enum bsp_zero_mode mode,
		     uint64_t off, uint64_t len)
{
	struct attempt attempt = { 0 };

	if (try_commands(dev, mode, off, len, &attempt))
		return attempt.r;
	if (mode == BSP_ZERO_WRITE || attempt.failed ||
	    !may_try(dev, READ_FIRST))
		return write_zeros(dev, off, len);
	return read_and_zero(dev, off, len);
}

/* The same for any number of them. */
static int zero_blocks(struct bsp_device *dev, enum bsp_zero_mode mode,
		       uint64_t off, uint64_t len)
{
	struct attempt attempt = { 0 };
	int r = 0;

	if (len <= STEP_WRITE)
		return zero_step(dev, mode, off, len);
	if (try_commands(dev, mode, off, len, &attempt))
		return attempt.r;
	while (len && !r) {
		uint64_t piece = bsp_min(len, STEP_WRITE);

		r = zero_step(dev, mode, off, piece);
		len -= piece;
		off += piece;
	}
	return r;
}

uint64_t bsp_device_zero_step(struct bsp_device *dev, enum bsp_zero_mode mode)
{
	/* That it takes long is only known when it was tried. */
	bool fast = atomic_load(&dev->zero_ways) & FAST;

	return fast && mode != BSP_ZERO_WRITE ? STEP_COMMAND : STEP_WRITE;
}

int bsp_device_zero(struct bsp_device *dev, enum bsp_zero_mode mode,
		    uint64_t off, uint64_t len)
{
	uint64_t block = dev->info.logical_block_size;
	uint64_t head = bsp_min(len, (block - off % block) % block);
	uint64_t tail = (len - head) % block;
	uint64_t whole = len - head - tail;
	int r = 0;

	/* Ragged ends are smaller than a block: they are written. */
	if (head)
		r = write_zeros(dev, off, head);
	if (!r && whole)
		r = zero_blocks(dev, mode, off + head, whole);
	if (!r && tail)
		r = write_zeros(dev, off + head + whole, tail);
	if (r)
		bsp_device_note_failure(dev);
	return r;
}
