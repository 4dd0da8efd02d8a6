/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes, punches, truncation: what changes the content.
 *
 * A write is taken apart at the granules it touches: pieces that cover a
 * granule in part, and between them runs of whole granules that are all zero or
 * all not. Runs of zeros only change the map. All else is written to the device
 * first and told to the map then, so that a reader finds the old granule or the
 * new one.
 *
 * When the device fails, nobody knows what it holds in that place. Granules
 * that were markers stay markers: reading them gives the zeros that they were,
 * never the stale bytes below. So do, again, holes whose zeros are not durable
 * yet. The others are data.
 *
 * Zeros that share a granule with data are taken note of until they are durable
 * (undurable.h): those that fill the rest of a marker's granule, or of a hole's
 * that was carried out since the last flush, those that are written to a part
 * of a granule, and those from where the file ended to the end of its granule.
 * The note is made while the granule is locked exclusively.
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

_Static_assert(BSP_GRANULE_MAX <= (int)BSP_ZEROS, "a granule of zeros");

static uint64_t granule_size(const struct bsp_sparse *sp)
{
	return UINT64_C(1) << sp->shift;
}

/* --- Runs of whole granules --- */

/*
 * Ends the pieces in granules [from, to), which are zero and locked
 * exclusively. A hole that has one was found to be zero before these zeros were
 * durable: it becomes a marker.
 */
static void drop_pieces(struct bsp_sparse *sp, uint64_t from, uint64_t to)
{
	uint64_t start = from << sp->shift;
	uint64_t end = bsp_granule_start(to, sp->shift, UINT64_MAX);
	uint64_t piece, piece_end;

	while (bsp_undurable_piece(&sp->undurable, start, &piece, &piece_end) &&
	       piece < end) {
		uint64_t granule = piece >> sp->shift;

		(void)bsp_map_event(sp->map, BSP_ZEROS_LOST, granule,
				    granule + 1);
		bsp_undurable_written(&sp->undurable, piece, piece_end);
		start = piece_end;
	}
}

/* Granules [from, to) are zero from now on; no device I/O. */
static int punch_granules(struct bsp_sparse *sp, uint64_t from, uint64_t to)
{
	struct bsp_range_hold hold;
	int r;

	if (from >= to)
		return 0;
	bsp_range_lock(&sp->ranges, &hold, from, to, true);
	r = bsp_map_event(sp->map, BSP_PUNCHED, from, to);
	if (!r)
		drop_pieces(sp, from, to);
	bsp_range_unlock(&sp->ranges, &hold);
	return r;
}

/* A write failed, so the content of granules [from, to) is open; they are
 * locked exclusively. */
static void mark_write_failed(struct bsp_sparse *sp, uint64_t from, uint64_t to)
{
	uint64_t at = from, end = to;

	for (; bsp_undurable_next(&sp->undurable, &at, &end);
	     at = end, end = to)
		(void)bsp_map_event(sp->map, BSP_ZEROS_LOST, at, end);
	(void)bsp_map_event(sp->map, BSP_WRITE_FAILED, from, to);
}

/*
 * Writes [off, off + len), which starts at a granule and covers all that it
 * touches. Returns the bytes written, up to the last granule that is all
 * there, or -errno. The lock is exclusive: were two to write the same marker
 * side by side and one of them to fail, its bytes could come up with the
 * other's, even after zeros that were written in between.
 */
static ssize_t write_run(struct bsp_sparse *sp, uint64_t off, const char *buf,
			 size_t len)
{
	uint64_t from = off >> sp->shift;
	uint64_t to = bsp_granules(off + len, sp->shift);
	struct bsp_range_hold hold;
	uint64_t done;
	ssize_t n;
	int r;

	bsp_range_lock(&sp->ranges, &hold, from, to, true);
	n = bsp_device_write_all(sp->dev, off, buf, len);
	done = n == (ssize_t)len
		       ? to
		       : from + ((uint64_t)(n > 0 ? n : 0) >> sp->shift);
	r = bsp_map_event(sp->map, BSP_WRITTEN, from, done);
	if (!r)
		bsp_undurable_written(
			&sp->undurable, off,
			bsp_granule_start(done, sp->shift, off + len));
	if (done < to)
		mark_write_failed(sp, done, to);
	bsp_range_unlock(&sp->ranges, &hold);
	if (r)
		return r;
	if (n == (ssize_t)len)
		return n;
	if (done > from)
		return (ssize_t)((done - from) << sp->shift);
	return n < 0 ? n : -EIO;
}

/* The runs of zeros and not zeros of [off, off + len), as write_run(). */
static ssize_t write_granules(struct bsp_sparse *sp, uint64_t off,
			      const char *buf, size_t len)
{
	size_t done = 0;

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
		done += zero ? run : (size_t)n;
		if (!zero && n < (ssize_t)run)
			break;
	}
	return (ssize_t)done;
}

/* --- A part of one granule --- */

/* As bsp_device_write_all(), but all or -errno. */
static int write_whole(struct bsp_sparse *sp, uint64_t off, const char *buf,
		       size_t len)
{
	ssize_t n = bsp_device_write_all(sp->dev, off, buf, len);

	if (n < 0)
		return (int)n;
	return n == (ssize_t)len ? 0 : -EIO;
}

/* The piece [off, off + len) in [start, stop), which is zero otherwise. */
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

/* [start, stop) of a granule is zero but for [from, to), since so many flushes
 * had failed. */
static void record_zeros_around(struct bsp_sparse *sp, uint64_t from,
				uint64_t to, uint64_t start, uint64_t stop,
				unsigned failed)
{
	bsp_undurable_written(&sp->undurable, from, to);
	bsp_undurable_zeroed(&sp->undurable, start, from, failed);
	bsp_undurable_zeroed(&sp->undurable, to, stop, failed);
}

/*
 * The piece [off, off + len) of a marker's granule, together with the zeros
 * that the rest of it reads as, up to end: one write. If there are any it goes
 * through: were it to fail later, the stale bytes around the piece would show.
 * The granule is locked exclusively.
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
 * The piece [off, off + len) where the device holds the rest of the granule, as
 * far as it is durable. The note comes before the map is told: a reader that
 * finds no hole there asks for it.
 */
static ssize_t write_into_granule(struct bsp_sparse *sp, uint64_t off,
				  const char *buf, size_t len, uint64_t end,
				  bool zero)
{
	uint64_t granule = off >> sp->shift;
	uint64_t start = granule << sp->shift;
	unsigned failed = bsp_undurable_failed_flushes(&sp->undurable);
	bool zeros_undurable = bsp_map_get(sp->map, granule) == BSP_HOLE &&
			       bsp_undurable_has(&sp->undurable, granule);
	ssize_t n = bsp_device_write_all(sp->dev, off, buf, len);
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

/* Must a piece be the only one that is written to its granule now? */
static bool needs_exclusive_lock(struct bsp_sparse *sp, uint64_t granule,
				 enum bsp_state state, bool zero)
{
	switch (state) {
	case BSP_MARKER:
		return !zero; /* to fill it */
	case BSP_HOLE:
		return !zero && bsp_undurable_has(&sp->undurable, granule);
	default:
		return zero; /* they are taken note of */
	}
}

/*
 * Writes the piece [off, off + len), which lies in one granule. The file ends
 * at end, at least: what the granule holds past it is the tail's.
 */
static ssize_t write_part(struct bsp_sparse *sp, uint64_t off, const char *buf,
			  size_t len, uint64_t end)
{
	uint64_t granule = off >> sp->shift;
	bool zero = bsp_is_zero(buf, len);
	struct bsp_range_hold hold;
	enum bsp_state state;
	ssize_t n = (ssize_t)len;
	int r = 0;

	bsp_range_lock(&sp->ranges, &hold, granule, granule + 1, false);
	state = bsp_map_get(sp->map, granule);
	if (needs_exclusive_lock(sp, granule, state, zero)) {
		bsp_range_unlock(&sp->ranges, &hold);
		bsp_range_lock(&sp->ranges, &hold, granule, granule + 1, true);
		state = bsp_map_get(sp->map, granule);
	}
	if ((state == BSP_HOLE || state == BSP_MARKER) && zero)
		n = (ssize_t)len; /* it reads as zeros already */
	else if (state == BSP_MARKER)
		r = fill_marker(sp, off, buf, len, end);
	else
		n = write_into_granule(sp, off, buf, len, end, zero);
	bsp_range_unlock(&sp->ranges, &hold);
	return r ? r : n;
}

/* --- A write --- */

/*
 * How much of [at, end) is the next piece: up to the granule's end if at lies
 * inside one, all whole granules otherwise, and what is left of the last one
 * at the end. The device's last granule is whole if it is covered to its end.
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

/* Writes [off, end) of a file that is file_end bytes long at least. */
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
 * The file is about to reach to size, beyond where it ends now: the rest of the
 * granule in which it ends now must read as zeros, as far as it becomes the
 * file's and is not written before (which begins at written). What the device
 * holds there is not the file's and must not show if a write fails later; but
 * where data follows in the granule, the gap shares its fate. size_lock is held
 * exclusively.
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
	if (state == BSP_HOLE) /* which cannot fail */
		return bsp_map_event(sp->map, BSP_ZEROS_LOST, granule,
				     granule + 1);
	/* Nor may a reader that saw zeros up to the old end call it a hole. */
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

/* Makes the file ready to reach to size, as open_end(). */
static int prepare_to_grow(struct bsp_sparse *sp, uint64_t size,
			   uint64_t written)
{
	int r = 0;

	if (sp->unpunched_end)
		r = bsp_sparse_punch_past(sp, atomic_load(&sp->size));
	return r ? r : zero_rest_of_last(sp, size, written);
}

/* Where a write of [off, off + len) ends; off, if the device does before. It
 * shrinks, and grows, under size_lock, which is held. */
static uint64_t write_end(const struct bsp_sparse *sp, uint64_t off, size_t len)
{
	return off + bsp_range_clamp(off, len, atomic_load(&sp->capacity));
}

/* A write that ends past the file's end. size_lock is held exclusively. */
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
 * file; false otherwise. *ret_end is where it ends. */
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

static ssize_t write_range(struct bsp_sparse *sp, uint64_t off, const void *buf,
			   size_t len)
{
	/* Whole granules leave no zeros beside them. */
	bool reserved = (off | len) & (granule_size(sp) - 1);
	uint64_t end = off;
	ssize_t n = 0;

	if (!sp->dev->info.writable)
		return -EROFS;
	if (bsp_sparse_is_gone(sp))
		return -ENODEV;
	if (len == 0)
		return 0;
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

ssize_t bsp_sparse_write(struct bsp_sparse *sp, uint64_t off, const void *buf,
			 size_t len)
{
	uint64_t started = bsp_trace_start();
	ssize_t n = write_range(sp, off, buf, len);

	bsp_trace_end(started, "sparse.write", bsp_device_path(sp->dev), off,
		      len, n);
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
 * Makes it shorter: granules past the end are zero if they come back. That goes
 * for the one in which the file ended as well, all of it: if it is a hole, then
 * only up to there.
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
	uint64_t started = bsp_trace_start();
	int r = truncate_to(sp, size);

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
	/* What the file's last granule holds past its end is the tail's, so
	 * that it is whole if it is covered up to there. */
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

/* size_lock is held exclusively. */
static int allocate(struct bsp_sparse *sp, int mode, uint64_t off, uint64_t len)
{
	bool zero = mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);
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
	uint64_t started = bsp_trace_start();
	int r = allocate_range(sp, mode, off, len);

	bsp_trace_end(started, "sparse.fallocate", bsp_device_path(sp->dev),
		      off, len, r);
	return r;
}
