/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Zeroing a range, by the cheapest way that the device has. The ways are tried
 * in this order:
 *
 *	punch	  unmaps the blocks, and the device promises zeros
 *	unmap	  unmaps the blocks and promises nothing: the range is read
 *		  back, and zeros are written where it has other bytes. Used
 *		  where unmapped blocks always read as zeros (thin volumes): it
 *		  keeps a volume thin that punch would not
 *	zero-out  one command zeroes, and the blocks stay mapped
 *	write	  reads first, and writes zeros only where there are other
 *		  bytes: a read is cheaper than a write, on thin storage by far,
 *		  and zeros that are there already cause no wear and allocate no
 *		  block
 *
 * BSP_ZERO_KEEP leaves out the first two. BSP_ZERO_WRITE writes, without
 * reading first.
 *
 * A way that the device refuses is not tried again, until the device fails: a
 * broken device, such as a volume of which a disk is missing, refuses commands
 * that it takes otherwise.
 *
 * A way that fails with another error does not end the attempt: if zeros can be
 * written, the range must not stay a marker, or every flush would fail. The
 * next way is tried for this range, and the failure is not remembered. A long
 * range is split first, so that one bad sector costs few writes. Only a device
 * that is gone is not asked again.
 *
 * An interrupt of this thread (interrupt.h) ends the attempt, and is no failure
 * of the device.
 *
 * Writing does not read first in two cases: after the device has failed,
 * because a read may then return bytes that are in a cache alone, of this
 * kernel or of a layer below, and were never written; and if another way has
 * just failed for this range, unless space or memory was short.
 */
#include "device/zero-range.h"

#include <errno.h>
#include <stdlib.h>

#include "base/range.h"
#include "base/zero.h"

enum {
	/* Ways that the device refused: */
	PUNCH = 1 << 0,
	UNMAP = 1 << 1,
	ZERO_OUT = 1 << 2,
	READ_FIRST = 1 << 3, /* reading before writing; see above */

	FAST = 1 << 4, /* not a refusal: a command did a long range at once */

	PIECE = 1 << 20, /* read at once */
	GRAIN = 4096,	 /* the unit in which zeros are looked for */
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

static bool ends_attempt(int r)
{
	return !r || r == -EINTR || is_device_gone(r);
}

/* The outcome of the ways that were tried for a range. */
struct attempt {
	int r;	     /* result of the last way that was not refused */
	bool failed; /* a way failed, and not because space or memory was short
		      */
};

/*
 * Tries a way. Returns true if no other way is to be tried: it succeeded, was
 * interrupted, or the device is gone (attempt->r). A device may have a way and
 * refuse it for this range, or no longer have it (a loop device finds out from
 * its file system).
 */
static bool try_way(struct bsp_device *dev, unsigned way,
		    int (*call)(struct bsp_device *, uint64_t, uint64_t),
		    uint64_t off, uint64_t len, struct attempt *attempt)
{
	int r;

	if (!call || !may_try(dev, way))
		return false;
	r = call(dev, off, len);
	if (r && r != -EINTR) {
		atomic_fetch_and(&dev->zero_ways, ~(unsigned)FAST);
		if (is_refusal(r)) {
			atomic_fetch_or(&dev->zero_ways, way);
			return false;
		}
		attempt->failed |= r != -ENOSPC && r != -ENOMEM;
		bsp_device_count_failure(dev, BSP_FAILING_ZERO, off, r);
	} else if (!r) {
		bsp_count(&dev->counts.zeroed, len);
		if (way != UNMAP)
			atomic_fetch_or(&dev->zero_ways, FAST);
	}
	attempt->r = r;
	return ends_attempt(r);
}

void bsp_device_note_failure(struct bsp_device *dev)
{
	atomic_fetch_or(&dev->zero_ways, READ_FIRST);
	atomic_fetch_and(&dev->zero_ways, READ_FIRST);
}

bool bsp_device_has_failed(struct bsp_device *dev)
{
	return !may_try(dev, READ_FIRST);
}

static void note_result(struct bsp_device *dev, int r)
{
	if (r && r != -EINTR)
		bsp_device_note_failure(dev);
}

/* Lock: through_lock. */
static int write_all_through(struct bsp_device *dev, uint64_t off,
			     const char *buf, size_t len)
{
	while (len) {
		ssize_t n = dev->ops->write_through(dev, off, buf, len);

		bsp_device_count_write(dev, off, n);
		if (n <= 0)
			return n ? (int)n : -EIO;
		buf += n;
		len -= (size_t)n;
		off += (uint64_t)n;
	}
	return 0;
}

/* Waits for the writeback of a range, even if a write of it failed with r, and
 * unlocks through_lock. Returns the first error. */
static int finish_write_through(struct bsp_device *dev, uint64_t off,
				uint64_t len, int r)
{
	int waited = dev->ops->wait_written
			     ? dev->ops->wait_written(dev, off, len)
			     : 0;

	pthread_mutex_unlock(&dev->through_lock);
	bsp_device_count_failure(dev, BSP_FAILING_WRITE, off, waited);
	r = r ? r : waited;
	note_result(dev, r);
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

/* Writes up to STEP_WRITE zeros. */
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

/* Writes zeros over those parts of [off, off + len) that have other bytes in
 * buf. */
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

/*
 * read_through() of a range that was just unmapped. It returns once the error
 * of a writeback that failed earlier, so it is tried again: unmapping has
 * dropped the pages of the range, and only the device's own bytes are left.
 */
static ssize_t read_unmapped(struct bsp_device *dev, uint64_t off, void *buf,
			     size_t len)
{
	ssize_t n = bsp_device_read_through(dev, off, buf, len);

	return n < 0 ? bsp_device_read_through(dev, off, buf, len) : n;
}

/* Reads by read_some, and writes zeros where there are other bytes or where it
 * cannot read, unless that is for an interrupt. Without memory for a buffer,
 * writes them all. */
static int read_and_zero(struct bsp_device *dev, uint64_t off, uint64_t len,
			 ssize_t (*read_some)(struct bsp_device *dev,
					      uint64_t off, void *buf,
					      size_t len))
{
	void *buf;
	int r = 0;

	if (posix_memalign(&buf, BSP_BUFFER_ALIGN, PIECE))
		return write_zeros(dev, off, len);
	while (len && !r) {
		uint64_t piece = bsp_min(len, PIECE);
		ssize_t n = read_some(dev, off, buf, (size_t)piece);

		if (n == (ssize_t)piece)
			r = zero_data_runs(dev, off, buf, piece);
		else if (n == -EINTR)
			r = (int)n;
		else
			r = write_zeros(dev, off, piece);
		len -= piece;
		off += piece;
	}
	free(buf);
	return r;
}

/* Tries the ways that are commands. Returns true if no other way is to be
 * tried. */
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
				attempt->r = read_and_zero(dev, off, len,
							   read_unmapped);
			return true;
		}
	}
	return try_way(dev, ZERO_OUT, ops->zero_out, off, len, attempt);
}

/* Zeroes whole logical blocks, at most STEP_WRITE bytes: no more has to be
 * written if a command fails. */
static int zero_step(struct bsp_device *dev, enum bsp_zero_mode mode,
		     uint64_t off, uint64_t len)
{
	struct attempt attempt = { 0 };

	if (try_commands(dev, mode, off, len, &attempt))
		return attempt.r;
	if (mode == BSP_ZERO_WRITE || attempt.failed ||
	    !may_try(dev, READ_FIRST))
		return write_zeros(dev, off, len);
	return read_and_zero(dev, off, len, bsp_device_read_through);
}

/* Zeroes any number of logical blocks. */
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
	/* Whether a command is fast is known only after one was tried. */
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

	/* Nothing is written where zeros are read. */
	bsp_device_begin_change(dev);
	/* Parts of a block at either end are written. */
	if (head)
		r = write_zeros(dev, off, head);
	if (!r && whole)
		r = zero_blocks(dev, mode, off + head, whole);
	if (!r && tail)
		r = write_zeros(dev, off + head + whole, tail);
	bsp_device_end_change(dev, !r);
	note_result(dev, r);
	return r;
}
