/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Leaving out writes that would change nothing.
 *
 * A granule that is neither a hole nor a marker is read from the device, past
 * the page cache, while its lock keeps other writers and flushes away. If it
 * holds the bytes of the write already, the device is not written. All else is
 * done as for a write: the map learns the same event, and the record of zeros
 * that are not durable (undurable.h) gets the same entries. So a write that is
 * left out differs from one that was made in nothing but the device call, and
 * three questions remain.
 *
 * Does a reader get the bytes? It reads through the page cache. A clean page
 * there holds what the device holds, unless its writeback failed: then it has
 * bytes that never reached the device, and the kernel keeps it. The device
 * would equal the write, and the reader would get the page. So a block device
 * notes each failed writeback at the latest in the read that compares
 * (device/block.c), and after that no write is left out. A page that is dirty
 * when that read begins is written back first, so that it is compared, too.
 * For an image file the page itself is compared.
 *
 * Does fsync make the bytes durable? The device may hold them in its volatile
 * cache, or an image file in a dirty page, because of an earlier write that was
 * not flushed. Each flush covers that: it flushes the device even if nothing
 * was written since the last one. (A server on a network may lose the bytes
 * before that: begin_change() in device.h.) If it fails, the caller has to
 * write the bytes again, as after any write. Even if the flush had begun before
 * the write that was left out: the mount reports each failed flush to all files
 * that were open then. And the write that comes after must be made: the device,
 * or a layer below it, may still return bytes that it has lost, and a second
 * flush would succeed. So after any failed flush, writeback or zeroing no write
 * of this object is left out any more. (Without an object that has seen the
 * failure, as in another process later, this cannot be known. blksparse-copy(1)
 * and blksparsefs(8) say so.)
 *
 * Do old bytes appear where the file was zeroed? Zeros that the device holds
 * become a hole that is recorded as one that was zeroed just now. A flush that
 * fails makes it a marker again, and it is zeroed then. A part of a granule
 * becomes a piece in the same way.
 *
 * A marker is not compared: the device holds old bytes there, which the file
 * does not have. Data that is written to it, and data that is written to a
 * hole, goes to the device. Holes and markers are not read.
 *
 * Truncation and fallocate are not compared. They make markers, which are
 * zeroed as zero_mode says.
 */
#include "sparse/same.h"

#include <stdlib.h>
#include <string.h>

#include "base/range.h"
#include "base/zero.h"
#include "device/zero-range.h"
#include "sparse/granules.h"

enum {
	STEP = 1 << 20, /* compared at once */
	/* A gap between two parts that are compared is read along with them if
	 * it is shorter. */
	GAP_MAX = 64 << 10,
	COMPARED = BSP_IN_UNKNOWN | BSP_IN_DATA,
};

_Static_assert(STEP % BSP_GRANULE_MAX == 0, "a step has whole granules");

/* The ways to treat a granule. */
enum action {
	KEEP,	   /* the device holds these bytes */
	KEEP_ZERO, /* the device holds these zeros */
	PUNCH,	   /* zeros; a hole stays one */
	WRITE,
};

/* One step of a write. */
struct step {
	struct bsp_sparse *sp;
	uint64_t off; /* where buf and old begin */
	uint64_t end;
	const char *buf;
	char *old;	 /* the bytes of the device, where they were read */
	bool compares;	 /* old is right, where the map has no zeros */
	unsigned failed; /* flushes, before old was read */
};

/* --- Buffers ---
 *
 * Buffers of STEP bytes are kept: memory that is fresh from the kernel has to
 * be zeroed by it, which takes as long as the comparison. They are one
 * allocation, so that it gets large pages. */

static char *shared_memory(struct bsp_same *same)
{
	char *memory = atomic_load(&same->memory), *none = NULL;

	if (memory)
		return memory;
	memory = bsp_buffer_new((size_t)BSP_SAME_BUFFERS * STEP);
	if (!memory ||
	    atomic_compare_exchange_strong(&same->memory, &none, memory))
		return memory;
	free(memory);
	return none; /* another thread's */
}

static void *take_buffer(struct bsp_same *same)
{
	unsigned taken = atomic_load(&same->taken), i;
	char *memory = shared_memory(same);

	do {
		i = (unsigned)__builtin_ctz(~taken);
		if (!memory || i >= BSP_SAME_BUFFERS)
			return bsp_buffer_new(STEP);
	} while (!atomic_compare_exchange_weak(&same->taken, &taken,
					       taken | 1U << i));
	return memory + (size_t)i * STEP;
}

/* NULL is fine. */
static void give_buffer(struct bsp_same *same, void *buf)
{
	char *memory = atomic_load(&same->memory);
	uintptr_t off = (uintptr_t)buf - (uintptr_t)memory;

	if (memory && off < (size_t)BSP_SAME_BUFFERS * STEP)
		(void)atomic_fetch_and(&same->taken, ~(1U << off / STEP));
	else
		free(buf);
}

/* --- Reading --- */

/*
 * Reads all of [off, off + len) from the device itself. Returns false if the
 * bytes must not be relied upon. The order matters: the device may fail during
 * the read.
 */
static bool read_device(struct bsp_sparse *sp, uint64_t off, char *buf,
			uint64_t len)
{
	struct bsp_device *dev = sp->dev;
	uint64_t done = 0;

	while (done < len) {
		ssize_t n = bsp_device_read_through(dev, off + done, buf + done,
						    (size_t)(len - done));

		if (n <= 0)
			return false;
		done += (uint64_t)n;
	}
	bsp_count(&sp->same.compared, len);
	return !bsp_device_has_failed(dev);
}

/* Returns the end of the part to read from off on: data and unknown granules,
 * and short gaps between them. */
static uint64_t part_end(struct bsp_sparse *sp, uint64_t off, uint64_t end)
{
	uint64_t stop, next = off;

	do {
		stop = bsp_sparse_run_end(sp, BSP_IN_ZERO, next, end);
		next = bsp_sparse_run_end(sp, COMPARED, stop, end);
	} while (next < end && next - stop < GAP_MAX);
	return stop;
}

/* Reads the parts of a step that are compared. The granules are locked, so that
 * none becomes data or unknown meanwhile. */
static void read_old(struct step *step)
{
	struct bsp_sparse *sp = step->sp;
	uint64_t at = bsp_sparse_run_end(sp, COMPARED, step->off, step->end);

	step->compares = false;
	if (at == step->end || bsp_device_has_failed(sp->dev))
		return;
	step->old = take_buffer(&sp->same);
	if (!step->old)
		return;
	step->failed = bsp_undurable_failed_flushes(&sp->undurable);
	step->compares = true;
	while (at < step->end && step->compares) {
		uint64_t stop = part_end(sp, at, step->end);

		step->compares = read_device(
			sp, at, step->old + (at - step->off), stop - at);
		at = bsp_sparse_run_end(sp, COMPARED, stop, step->end);
	}
}

/* --- Whole granules --- */

/* Chooses what to do with the granule at off, and counts it. */
static enum action choose(const struct step *step, uint64_t off, size_t len)
{
	struct bsp_same *same = &step->sp->same;
	const char *buf = step->buf + (off - step->off);
	bool zero = bsp_is_zero(buf, len);
	enum bsp_state state =
		bsp_map_get(step->sp->map, off >> step->sp->shift);
	bool compared = 1U << state & COMPARED;

	if (compared && step->compares &&
	    memcmp(step->old + (off - step->off), buf, len) == 0)
		return zero ? KEEP_ZERO : KEEP;
	if (compared || !zero)
		bsp_count(zero ? &same->zeroed : &same->written, len);
	return zero ? PUNCH : WRITE;
}

/* Finds the run of granules at off that are treated alike, and sets *ret_len to
 * its length. *next is the action of the granule at off, and becomes that of
 * the one after the run. */
static enum action next_run(const struct step *step, uint64_t off,
			    enum action *next, size_t *ret_len)
{
	uint64_t granule = UINT64_C(1) << step->sp->shift;
	enum action action = *next;
	uint64_t at = off;

	do {
		at += bsp_min(granule, step->end - at);
		if (at < step->end)
			*next = choose(
				step, at,
				(size_t)bsp_min(granule, step->end - at));
	} while (at < step->end && *next == action);
	*ret_len = (size_t)(at - off);
	return action;
}

/* The device holds zeros in granules [from, to): they become holes, as if they
 * had been zeroed just now. Those for which that fails stay markers. */
static int keep_zeros(const struct step *step, uint64_t from, uint64_t to)
{
	struct bsp_sparse *sp = step->sp;
	int r = bsp_write_punch(sp, from, to);

	if (!r && !bsp_undurable_add(&sp->undurable, from, to, step->failed))
		(void)bsp_map_event(sp->map, BSP_ZEROED, from, to);
	return r;
}

/* Returns as bsp_write_run(). */
static ssize_t do_run(const struct step *step, enum action action, uint64_t off,
		      size_t len)
{
	struct bsp_sparse *sp = step->sp;
	uint64_t from = off >> sp->shift;
	uint64_t to = bsp_granules(off + len, sp->shift);
	int r;

	switch (action) {
	case KEEP:
		r = bsp_write_record(sp, off, off + len);
		break;
	case KEEP_ZERO:
		r = keep_zeros(step, from, to);
		break;
	case PUNCH:
		r = bsp_write_punch(sp, from, to);
		break;
	default:
		return bsp_write_run(sp, off, step->buf + (off - step->off),
				     len);
	}
	if (r)
		return r;
	bsp_count(action == PUNCH ? &sp->counts.zeros : &sp->counts.same, len);
	return (ssize_t)len;
}

/* Does the runs of a step. The granules are locked exclusively. */
static ssize_t do_runs(const struct step *step)
{
	uint64_t granule = UINT64_C(1) << step->sp->shift;
	uint64_t at = step->off;
	enum action next =
		choose(step, at, (size_t)bsp_min(granule, step->end - at));

	while (at < step->end) {
		size_t len;
		enum action action = next_run(step, at, &next, &len);
		ssize_t n = do_run(step, action, at, len);

		if (n < 0)
			return at > step->off ? (ssize_t)(at - step->off) : n;
		at += (uint64_t)n;
		if (n < (ssize_t)len)
			break;
	}
	return (ssize_t)(at - step->off);
}

static ssize_t write_step(struct bsp_sparse *sp, uint64_t off, const char *buf,
			  size_t len)
{
	struct step step = {
		.sp = sp, .off = off, .end = off + len, .buf = buf
	};
	struct bsp_range_hold hold;
	ssize_t n;

	bsp_range_lock(&sp->ranges, &hold, off >> sp->shift,
		       bsp_granules(off + len, sp->shift), true);
	read_old(&step);
	n = do_runs(&step);
	bsp_range_unlock(&sp->ranges, &hold);
	give_buffer(&sp->same, step.old);
	return n;
}

ssize_t bsp_same_write(struct bsp_sparse *sp, uint64_t off, const char *buf,
		       size_t len)
{
	size_t done = 0;

	while (done < len) {
		size_t most = bsp_min(len - done, STEP);
		ssize_t n = write_step(sp, off + done, buf + done, most);

		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
		if ((size_t)n < most)
			break;
	}
	return (ssize_t)done;
}

/* --- A part of a granule --- */

bool bsp_same_part(struct bsp_sparse *sp, uint64_t off, const char *buf,
		   size_t len, bool zero)
{
	bool same = false;
	void *old =
		bsp_device_has_failed(sp->dev) ? NULL : take_buffer(&sp->same);

	if (old)
		same = read_device(sp, off, old, len) &&
		       memcmp(old, buf, len) == 0;
	give_buffer(&sp->same, old);
	if (same)
		bsp_count(&sp->counts.same, len);
	else
		bsp_count(zero ? &sp->same.zeroed : &sp->same.written, len);
	return same;
}
