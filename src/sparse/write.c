/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes, punches, truncation and fallocate: all that changes the content.
 *
 * A write is cut at granules into parts: those that cover a granule in part,
 * and between them runs of whole granules that are all zero or all not zero.
 * Runs of zeros change the map only. All else is written to the device first
 * and then recorded in the map, so that a reader finds the old granule or the
 * new one.
 *
 * When a write to the device fails, the content of these granules is not known.
 * Granules that were markers stay markers: they read as the zeros that they
 * were, never as the stale bytes below. So do holes whose zeros are not durable
 * yet, which become markers again. The others become data.
 *
 * Zeros that share a granule with data are recorded until they are durable, as
 * pieces (undurable.h): those that fill the rest of a marker's granule, or of a
 * hole that was flushed since the device was last flushed; those that are
 * written to a part of a granule; and those between the file's old end and the
 * end of its granule. They are recorded while the granule is locked
 * exclusively.
 */
#include "sparse/sparse.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/range.h"
#include "base/trace.h"
#include "base/zero.h"
#include "device/zero-range.h"
#include "sparse/granules.h"
#include "sparse/same.h"

_Static_assert(BSP_GRANULE_MAX <= (int)BSP_ZEROS, "a granule of zeros");

static uint64_t granule_size(const struct bsp_sparse *sp)
{
	return UINT64_C(1) << sp->shift;
}

/* --- Runs of whole granules --- */

/* Makes granules [from, to) zero, without device I/O. */
static int punch_granules(struct bsp_sparse *sp, uint64_t from, uint64_t to)
{
	struct bsp_range_hold hold;
	int r;

	if (from >= to)
		return 0;
	bsp_range_lock(&sp->ranges, &hold, from, to, true);
	r = bsp_write_punch(sp, from, to);
	bsp_range_unlock(&sp->ranges, &hold);
	return r;
}

/*
 * Writes a run, as bsp_write_run(). The lock is exclusive: if two threads wrote
 * the same marker side by side and one of them failed, its bytes could appear
 * together with the other's, even after zeros that were written in between.
 */
static ssize_t write_run(struct bsp_sparse *sp, uint64_t off, const char *buf,
			 size_t len)
{
	struct bsp_range_hold hold;
	ssize_t n;

	bsp_range_lock(&sp->ranges, &hold, off >> sp->shift,
		       bsp_granules(off + len, sp->shift), true);
	n = bsp_write_run(sp, off, buf, len);
	bsp_range_unlock(&sp->ranges, &hold);
	return n;
}

/* Writes the zero and nonzero runs of [off, off + len). Returns as
 * bsp_write_run(). */
static ssize_t write_granules(struct bsp_sparse *sp, uint64_t off,
			      const char *buf, size_t len)
{
	size_t done = 0;

	if (bsp_same_is_skipped(sp))
		return bsp_same_write(sp, off, buf, len);
	while (done < len) {
		bool zero;
		size_t run = bsp_zero_run(buf + done, len - done,
					  (size_t)granule_size(sp), &zero);
		uint64_t at = off + done;
		ssize_t n = (ssize_t)run;

		if (!zero)
			n = write_run(sp, at, buf + done, run);
		else
			n = punch_granules(sp, at >> sp->shift,
					   bsp_granules(at + run, sp->shift));
		if (n < 0)
			return done ? (ssize_t)done : n;
		if (zero)
			bsp_count(&sp->counts.zeros, run);
		done += zero ? run : (size_t)n;
		if (!zero && n < (ssize_t)run)
			break;
	}
	return (ssize_t)done;
}

/* --- A part of one granule --- */

/* As bsp_device_write_all(), but all bytes or -errno. */
static int write_whole(struct bsp_sparse *sp, uint64_t off, const char *buf,
		       size_t len)
{
	ssize_t n = bsp_device_write_all(sp->dev, off, buf, len);

	if (n < 0)
		return (int)n;
	return n == (ssize_t)len ? 0 : -EIO;
}

/* Writes [start, stop) as zeros around the part [off, off + len). */
static int write_with_zeros_around(struct bsp_sparse *sp, uint64_t off,
				   const char *buf, size_t len, uint64_t start,
				   uint64_t stop)
{
	size_t whole = (size_t)(stop - start);
	void *filled;
	int r;

	if (posix_memalign(&filled, BSP_BUFFER_ALIGN, whole))
		return -ENOMEM;
	memset(filled, 0, whole);
	memcpy((char *)filled + (off - start), buf, len);
	r = bsp_device_write_through(sp->dev, start, filled, whole);
	free(filled);
	return r;
}

/* Records that [start, stop) of a granule is zero but for [from, to). When the
 * write began, that many flushes had failed. */
static void record_zeros_around(struct bsp_sparse *sp, uint64_t from,
				uint64_t to, uint64_t start, uint64_t stop,
				unsigned failed)
{
	bsp_undurable_written(&sp->undurable, from, to);
	bsp_undurable_zeroed(&sp->undurable, start, from, failed);
	bsp_undurable_zeroed(&sp->undurable, to, stop, failed);
}

/*
 * Writes the part [off, off + len) of a marker's granule, together with zeros
 * in the rest of the granule, up to end, in one write. If there are zeros, the
 * write goes through to the device: if it failed later, the stale bytes around
 * the part would appear. The granule is locked exclusively.
 */
static int fill_marker(struct bsp_sparse *sp, uint64_t off, const char *buf,
		       size_t len, uint64_t end)
{
	uint64_t granule = off >> sp->shift;
	uint64_t start = granule << sp->shift;
	uint64_t stop = bsp_min(start + granule_size(sp), end);
	unsigned failed = bsp_undurable_failed_flushes(&sp->undurable);
	int r = len == stop - start ? write_whole(sp, off, buf, len)
				    : write_with_zeros_around(sp, off, buf, len,
							      start, stop);

	if (r)
		return r;
	record_zeros_around(sp, off, off + len, start, stop, failed);
	return bsp_map_event(sp->map, BSP_WRITTEN, granule, granule + 1);
}

/*
 * Writes the part [off, off + len) of a granule whose rest the device holds, as
 * far as it is durable. Pieces are recorded before the map changes: a reader
 * that finds no hole there looks for them.
 */
static ssize_t write_into_granule(struct bsp_sparse *sp, uint64_t off,
				  const char *buf, size_t len, uint64_t end,
				  bool zero, bool compare)
{
	uint64_t granule = off >> sp->shift;
	uint64_t start = granule << sp->shift;
	unsigned failed = bsp_undurable_failed_flushes(&sp->undurable);
	bool zeros_undurable = bsp_map_get(sp->map, granule) == BSP_HOLE &&
			       bsp_undurable_has(&sp->undurable, granule);
	ssize_t n = compare && bsp_same_part(sp, off, buf, len, zero)
			    ? (ssize_t)len
			    : bsp_device_write_all(sp->dev, off, buf, len);
	uint64_t written = off + (uint64_t)(n > 0 ? n : 0);
	int r;

	if (zeros_undurable)
		record_zeros_around(sp, off, written, start,
				    bsp_min(start + granule_size(sp), end),
				    failed);
	else if (zero)
		bsp_undurable_zeroed(&sp->undurable, off, written, failed);
	else
		bsp_undurable_written(&sp->undurable, off, written);
	r = bsp_map_event(sp->map, BSP_WRITTEN, granule, granule + 1);
	return n > 0 && r ? r : n;
}

/* Must the part be the only write to its granule now? */
static bool needs_exclusive_lock(struct bsp_sparse *sp, uint64_t granule,
				 enum bsp_state state, bool zero, bool compare)
{
	switch (state) {
	case BSP_MARKER:
		return !zero; /* to fill the rest with zeros */
	case BSP_HOLE:
		return !zero && bsp_undurable_has(&sp->undurable, granule);
	default:
		return compare || zero; /* zeros are recorded as a piece */
	}
}

/*
 * Writes the part [off, off + len), which lies in one granule. The file is at
 * least end bytes long; bytes of the granule past end belong to the tail.
 */
static ssize_t write_part(struct bsp_sparse *sp, uint64_t off, const char *buf,
			  size_t len, uint64_t end)
{
	uint64_t granule = off >> sp->shift;
	bool zero = bsp_is_zero(buf, len);
	bool compare = bsp_same_is_skipped(sp);
	struct bsp_range_hold hold;
	enum bsp_state state;
	ssize_t n = (ssize_t)len;
	int r = 0;

	bsp_range_lock(&sp->ranges, &hold, granule, granule + 1, false);
	state = bsp_map_get(sp->map, granule);
	if (needs_exclusive_lock(sp, granule, state, zero, compare)) {
		bsp_range_unlock(&sp->ranges, &hold);
		bsp_range_lock(&sp->ranges, &hold, granule, granule + 1, true);
		state = bsp_map_get(sp->map, granule);
	}
	if ((state == BSP_HOLE || state == BSP_MARKER) && zero)
		bsp_count(&sp->counts.zeros, len); /* they are zeros already */
	else if (state == BSP_MARKER)
		r = fill_marker(sp, off, buf, len, end);
	else
		n = write_into_granule(sp, off, buf, len, end, zero,
				       compare && state != BSP_HOLE);
	bsp_range_unlock(&sp->ranges, &hold);
	return r ? r : n;
}

/* --- A write --- */

/*
 * The length of the next part of [at, end): up to the granule's end if at lies
 * inside of one, otherwise all whole granules, and the rest of the last one at
 * the end. The device's last granule is whole if it is covered to its end.
 */
static size_t next_part(const struct bsp_sparse *sp, uint64_t at, uint64_t end,
			bool *ret_whole)
{
	uint64_t stop = end == atomic_load(&sp->capacity)
				? end
				: bsp_align_down(end, sp->shift);

	*ret_whole = at % granule_size(sp) == 0 && at < stop;
	if (*ret_whole)
		return (size_t)(stop - at);
	return (size_t)(bsp_min(bsp_align_up(at + 1, sp->shift), end) - at);
}

/* Writes [off, end) of a file that is at least file_end bytes long. */
static ssize_t write_parts(struct bsp_sparse *sp, const char *buf, uint64_t off,
			   uint64_t end, uint64_t file_end)
{
	uint64_t at = off;

	while (at < end) {
		bool whole;
		size_t len = next_part(sp, at, end, &whole);
		const char *from = buf + (at - off);
		ssize_t n = whole ? write_granules(sp, at, from, len)
				  : write_part(sp, at, from, len, file_end);

		if (n < 0)
			return at > off ? (ssize_t)(at - off) : n;
		at += (uint64_t)n;
		if ((size_t)n < len)
			break;
	}
	return (ssize_t)(at - off);
}

/*
 * Before the file grows to size, zeroes the rest of the granule in which it
 * ends now, as far as that becomes the file's and lies before written, the
 * start of the coming write. The bytes that the device holds there are not the
 * file's, and must not appear if a write fails later. So the zeros are written
 * through; only if data follows in the granule, they are written like this
 * data, and may be lost with it. size_lock is held exclusively.
 */
static int zero_rest_of_last(struct bsp_sparse *sp, uint64_t size,
			     uint64_t written)
{
	uint64_t end = atomic_load(&sp->size);
	uint64_t granule = end >> sp->shift;
	uint64_t stop =
		bsp_min(bsp_min(bsp_align_up(end, sp->shift), size), written);
	unsigned failed = bsp_undurable_failed_flushes(&sp->undurable);
	enum bsp_state state = bsp_map_get(sp->map, granule);
	int r;

	if (end % granule_size(sp) == 0 || state == BSP_MARKER)
		return 0;
	if (state == BSP_HOLE) /* this cannot fail */
		return bsp_map_event(sp->map, BSP_ZEROS_LOST, granule,
				     granule + 1);
	/* A reader that saw zeros up to the old end must not call it a hole. */
	r = bsp_map_event(sp->map, BSP_WRITTEN, granule, granule + 1);
	if (r || stop <= end)
		return r;
	if (stop == written && written < size)
		r = write_whole(sp, end, bsp_zeros, (size_t)(stop - end));
	else
		r = bsp_device_write_through(sp->dev, end, bsp_zeros,
					     (size_t)(stop - end));
	if (!r)
		bsp_undurable_zeroed(&sp->undurable, end, stop, failed);
	return r;
}

int bsp_sparse_punch_past(struct bsp_sparse *sp, uint64_t size)
{
	int r = punch_granules(sp, bsp_granules(size, sp->shift),
			       UINT64_MAX >> sp->shift);

	sp->unpunched_end = r != 0;
	return r;
}

/* Makes the file ready to grow to size, as zero_rest_of_last(). */
static int prepare_to_grow(struct bsp_sparse *sp, uint64_t size,
			   uint64_t written)
{
	int r = 0;

	if (sp->unpunched_end)
		r = bsp_sparse_punch_past(sp, atomic_load(&sp->size));
	return r ? r : zero_rest_of_last(sp, size, written);
}

/* The end of a write of [off, off + len); off, if the device ends before.
 * size_lock is held: the device shrinks, and grows, under it. */
static uint64_t write_end(const struct bsp_sparse *sp, uint64_t off, size_t len)
{
	return off + bsp_range_clamp(off, len, atomic_load(&sp->capacity));
}

/* Does a write that ends past the file's end. size_lock is held exclusively. */
static ssize_t write_growing(struct bsp_sparse *sp, const char *buf,
			     uint64_t off, uint64_t end)
{
	uint64_t size = atomic_load(&sp->size);
	uint64_t new_size = size;
	ssize_t n =
		end > size ? prepare_to_grow(sp, end, bsp_max(off, size)) : 0;

	if (n == 0)
		n = write_parts(sp, buf, off, end, bsp_max(size, end));
	if (n > 0)
		new_size = bsp_max(size, off + (uint64_t)n);
	if (new_size < end) {
		(void)bsp_sparse_punch_past(sp, new_size);
		bsp_undurable_written(&sp->undurable, new_size, UINT64_MAX);
	}
	atomic_store(&sp->size, new_size);
	return n;
}

/* Writes [off, off + len), as far as the device goes, if that is inside the
 * file. Otherwise returns false. Sets *ret_end to the end of the write. */
static bool write_inside(struct bsp_sparse *sp, uint64_t off, const char *buf,
			 size_t len, uint64_t *ret_end, ssize_t *ret_n)
{
	uint64_t size;

	pthread_rwlock_rdlock(&sp->size_lock);
	*ret_end = write_end(sp, off, len);
	size = atomic_load(&sp->size);
	if (*ret_end > off && *ret_end <= size)
		*ret_n = write_parts(sp, buf, off, *ret_end, size);
	pthread_rwlock_unlock(&sp->size_lock);
	return *ret_end <= size;
}

static ssize_t write_past_end(struct bsp_sparse *sp, uint64_t off,
			      const char *buf, size_t len, uint64_t *ret_end)
{
	ssize_t n = 0;

	pthread_rwlock_wrlock(&sp->size_lock);
	*ret_end = write_end(sp, off, len);
	if (*ret_end > off)
		n = write_growing(sp, buf, off, *ret_end);
	pthread_rwlock_unlock(&sp->size_lock);
	return n;
}

/* Whether bsp_sparse_write() would make a marker of an unknown granule. */
static bool zeroes_a_granule(const struct bsp_sparse *sp, uint64_t off,
			     const char *buf, size_t len)
{
	size_t granule = (size_t)granule_size(sp);
	size_t at = (size_t)(bsp_align_up(off, sp->shift) - off);

	for (; at < len; at += granule)
		if (bsp_is_zero(buf + at, bsp_min(len - at, granule)))
			return true;
	return false;
}

/* Learns the zeros that the device knows, if the write has zeros. */
static void learn_before_write(struct bsp_sparse *sp, uint64_t off,
			       const void *buf, size_t len)
{
	uint64_t end = off + bsp_range_clamp(off, len, atomic_load(&sp->size));
	uint64_t from = off >> sp->shift, to = bsp_granules(end, sp->shift);

	if (bsp_sparse_learns_zeros(sp) && from < to &&
	    bsp_map_next(sp->map, BSP_IN_UNKNOWN, from, to) < to &&
	    zeroes_a_granule(sp, off, buf, len))
		bsp_sparse_learn_before_zeroing(sp, off, end);
}

static ssize_t write_range(struct bsp_sparse *sp, uint64_t off, const void *buf,
			   size_t len)
{
	/* A write of whole granules leaves no zeros beside data. */
	bool reserved = (off | len) & (granule_size(sp) - 1);
	uint64_t end = off;
	ssize_t n = 0;

	if (!sp->dev->info.writable)
		return -EROFS;
	if (bsp_sparse_is_gone(sp))
		return -ENODEV;
	if (len == 0)
		return 0;
	learn_before_write(sp, off, buf, len);
	if (reserved)
		n = bsp_sparse_reserve_pieces(sp);
	if (n < 0)
		return n;
	if (!write_inside(sp, off, buf, len, &end, &n)) {
		if (!reserved)
			n = bsp_sparse_reserve_pieces(sp);
		if (n < 0)
			return n;
		reserved = true;
		n = write_past_end(sp, off, buf, len, &end);
	}
	if (reserved)
		bsp_undurable_release(&sp->undurable);
	if (end == off)
		return -ENOSPC;
	if (n > 0)
		bsp_writeback_wrote(&sp->writeback, off, (uint64_t)n);
	return n;
}

/* Returns 0 or -errno, without a bsp_device_end_change() then. */
static int begin_change(struct bsp_sparse *sp)
{
	int r;

	if (!sp->dev->info.writable)
		return -EROFS;
	r = bsp_sparse_connect(sp);
	if (r)
		return r;
	bsp_device_begin_change(sp->dev);
	/* The holes that the map knows must be of this connection. */
	if (bsp_sparse_is_connected(sp) || bsp_sparse_is_gone(sp))
		return 0;
	bsp_device_end_change(sp->dev, false);
	return -EIO;
}

ssize_t bsp_sparse_write(struct bsp_sparse *sp, uint64_t off, const void *buf,
			 size_t len)
{
	uint64_t started = bsp_trace_start();
	ssize_t n = begin_change(sp);

	if (!n) {
		n = write_range(sp, off, buf, len);
		bsp_device_end_change(sp->dev, n > 0);
	}
	bsp_trace_end(started, "sparse.write", bsp_device_path(sp->dev), off,
		      len, n);
	return n;
}

/* The pages of data that have no zero byte need no flush. */
static int flush_before_pages(struct bsp_sparse *sp, uint64_t off,
			      const void *buf, size_t len)
{
	if (!sp->dev->info.writable || !memchr(buf, 0, len))
		return 0;
	return bsp_sparse_flush_zeros(sp, off, off + len);
}

ssize_t bsp_sparse_write_pages(struct bsp_sparse *sp, uint64_t off,
			       const void *buf, size_t len)
{
	uint64_t started = bsp_trace_start();
	ssize_t n = begin_change(sp);

	if (!n) {
		n = flush_before_pages(sp, off, buf, len);
		if (!n)
			n = write_range(sp, off, buf, len);
		bsp_device_end_change(sp->dev, n > 0);
	}
	bsp_trace_end(started, "sparse.write-pages", bsp_device_path(sp->dev),
		      off, len, n);
	return n;
}

/* --- Sizes --- */

/* Makes the file longer. size_lock is held exclusively. */
static int grow_to(struct bsp_sparse *sp, uint64_t size)
{
	int r;

	if (size > atomic_load(&sp->capacity))
		return -EFBIG;
	r = prepare_to_grow(sp, size, size);
	if (!r)
		atomic_store(&sp->size, size);
	return r;
}

/*
 * Makes the file shorter: granules past the end are zero if they come back. The
 * granule in which the file ended must become a marker for that: if it is a
 * hole, only its part up to the old end is zero on the device.
 */
static int shrink_to(struct bsp_sparse *sp, uint64_t size)
{
	uint64_t from = bsp_granules(size, sp->shift);
	uint64_t old = atomic_load(&sp->size);
	uint64_t last = old >> sp->shift;
	int r = 0;

	if (old % granule_size(sp) && last >= from)
		r = bsp_map_event(sp->map, BSP_ZEROS_LOST, last, last + 1);
	if (!r)
		r = bsp_sparse_punch_past(sp, size);
	if (r)
		return r;
	bsp_undurable_written(&sp->undurable, size, UINT64_MAX);
	atomic_store(&sp->size, size);
	return 0;
}

static int truncate_to(struct bsp_sparse *sp, uint64_t size)
{
	uint64_t old;
	int r;

	if (!sp->dev->info.writable)
		return -EROFS;
	if (bsp_sparse_is_gone(sp))
		return -ENODEV;
	bsp_sparse_learn_before_zeroing(sp, size, UINT64_MAX);
	r = bsp_sparse_reserve_pieces(sp);
	if (r)
		return r;
	pthread_rwlock_wrlock(&sp->size_lock);
	old = atomic_load(&sp->size);
	if (size > old)
		r = grow_to(sp, size);
	else if (size < old)
		r = shrink_to(sp, size);
	pthread_rwlock_unlock(&sp->size_lock);
	bsp_undurable_release(&sp->undurable);
	return r;
}

int bsp_sparse_truncate(struct bsp_sparse *sp, uint64_t size)
{
	uint64_t started = bsp_trace_start(), old;
	int r = begin_change(sp);

	if (!r) {
		old = atomic_load(&sp->size);
		r = truncate_to(sp, size);
		bsp_device_end_change(sp->dev, !r && size != old);
	}
	bsp_trace_end(started, "sparse.truncate", bsp_device_path(sp->dev),
		      size, 0, r);
	return r;
}

/* --- fallocate --- */

/* Zeroes [off, off + len), which lies in one granule, unless it is zero. */
static int zero_part(struct bsp_sparse *sp, uint64_t off, uint64_t len,
		     uint64_t file_end)
{
	ssize_t n = write_part(sp, off, bsp_zeros, (size_t)len, file_end);

	if (n < 0)
		return (int)n;
	return n == (ssize_t)len ? 0 : -EIO;
}

/* Makes [off, end), inside the file, zero. size_lock is held. */
static int zero_range(struct bsp_sparse *sp, uint64_t off, uint64_t end)
{
	uint64_t size = atomic_load(&sp->size);
	uint64_t from = bsp_granules(off, sp->shift);
	/* Bytes of the file's last granule past its end belong to the tail, so
	 * that the granule is whole if it is covered up to the end. */
	uint64_t to =
		end == size ? bsp_granules(end, sp->shift) : end >> sp->shift;
	uint64_t head_end = bsp_min(bsp_align_up(off, sp->shift), end);
	uint64_t tail = bsp_max(to << sp->shift, head_end);
	int r = 0;

	if (off < head_end)
		r = zero_part(sp, off, head_end - off, size);
	if (!r)
		r = punch_granules(sp, from, to);
	if (!r && tail < end)
		r = zero_part(sp, tail, end - tail, size);
	return r;
}

/* Modes that make a range zero. */
enum { ZEROES = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE };

/* size_lock is held exclusively. */
static int allocate(struct bsp_sparse *sp, int mode, uint64_t off, uint64_t len)
{
	bool zero = mode & ZEROES;
	uint64_t end = bsp_add_sat(off, len);
	uint64_t size = atomic_load(&sp->size);
	int r = 0;

	if (!(mode & FALLOC_FL_PUNCH_HOLE) && end > atomic_load(&sp->capacity))
		return -ENOSPC;
	if (!(mode & FALLOC_FL_KEEP_SIZE) && end > size)
		r = grow_to(sp, end);
	end = bsp_min(end, atomic_load(&sp->size));
	if (!r && zero && off < end)
		r = zero_range(sp, off, end);
	return r;
}

static int allocate_range(struct bsp_sparse *sp, int mode, uint64_t off,
			  uint64_t len)
{
	int r;

	switch (mode) {
	case 0:
	case FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_ZERO_RANGE:
	case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
		break;
	default:
		return -EOPNOTSUPP;
	}
	if (!sp->dev->info.writable)
		return -EROFS;
	if (bsp_sparse_is_gone(sp))
		return -ENODEV;
	if (len == 0)
		return -EINVAL;
	if (mode & ZEROES)
		bsp_sparse_learn_before_zeroing(sp, off, bsp_add_sat(off, len));
	r = bsp_sparse_reserve_pieces(sp);
	if (r)
		return r;
	pthread_rwlock_wrlock(&sp->size_lock);
	r = allocate(sp, mode, off, len);
	pthread_rwlock_unlock(&sp->size_lock);
	bsp_undurable_release(&sp->undurable);
	return r;
}

int bsp_sparse_fallocate(struct bsp_sparse *sp, int mode, uint64_t off,
			 uint64_t len)
{
	uint64_t started = bsp_trace_start(), old;
	int r = begin_change(sp);

	if (!r) {
		old = atomic_load(&sp->size);
		r = allocate_range(sp, mode, off, len);
		bsp_device_end_change(sp->dev,
				      !r && (mode & ZEROES || off + len > old));
	}
	bsp_trace_end(started, "sparse.fallocate", bsp_device_path(sp->dev),
		      off, len, r);
	return r;
}
