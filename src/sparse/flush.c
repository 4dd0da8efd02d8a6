/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Flushing markers, and flushing the device.
 *
 * A marker reads as zeros, but the device still has other bytes there. Flushing
 * markers zeroes the device, one run of the map after another; a long run in
 * steps of as much as the device zeroes at once. Each step locks only its own
 * granules exclusively, so that writers elsewhere go on.
 *
 * A device may hold these zeros in a cache of its own until it is flushed.
 * After a flush that failed it is not known which of them it still has
 * (undurable.h records which may be lost). Each granule of them that is still a
 * hole becomes a marker again, at once, and the next flush zeroes it again.
 * Smaller pieces of zeros are written again by the next flush of markers. Lost
 * data is different: the caller is told once, and has to write it again, as on
 * any file system.
 *
 * Lost pieces are zeroed again before other markers are flushed, and both
 * before the device is flushed. An error does not end the work: the other runs
 * are still tried, and the first error is returned.
 */
#include "sparse/sparse.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/range.h"
#include "base/trace.h"
#include "base/zero.h"
#include "device/zero-range.h"

#define DISCARD_STEP (UINT64_C(1) << 30)

_Static_assert(BSP_GRANULE_MAX <= (int)BSP_ZEROS, "a piece of zeros");

/* --- Zeros that are not durable yet --- */

unsigned bsp_sparse_failed_flushes(struct bsp_sparse *sp)
{
	return bsp_undurable_failed_flushes(&sp->undurable);
}

int bsp_sparse_zero_markers(struct bsp_sparse *sp, uint64_t from, uint64_t to,
			    uint64_t size)
{
	uint64_t start = from << sp->shift;
	uint64_t end = bsp_granule_start(to, sp->shift, size);
	unsigned failed = bsp_undurable_failed_flushes(&sp->undurable);
	int r = bsp_device_zero(sp->dev, sp->zero_mode, start, end - start);

	/* Record them before they become holes: a flush that fails must find
	 * them. */
	if (!r)
		r = bsp_undurable_add(&sp->undurable, from, to, failed);
	return r ? r : bsp_map_event(sp->map, BSP_ZEROED, from, to);
}

void bsp_sparse_mark_undurable(struct bsp_sparse *sp)
{
	uint64_t from = 0, to = UINT64_MAX;

	while (bsp_undurable_next(&sp->undurable, &from, &to)) {
		struct bsp_range_hold hold;

		bsp_range_lock(&sp->ranges, &hold, from, to, true);
		/* It cannot fail (map.h). */
		(void)bsp_map_event(sp->map, BSP_ZEROS_LOST, from, to);
		bsp_undurable_remove(&sp->undurable, from, to);
		bsp_range_unlock(&sp->ranges, &hold);
		from = to;
		to = UINT64_MAX;
	}
}

/* Zeroes again those pieces in [from, to), which lies in one granule, that are
 * still lost. */
static int zero_lost_piece_in_granule(struct bsp_sparse *sp, uint64_t from,
				      uint64_t to)
{
	unsigned failed = bsp_undurable_failed_flushes(&sp->undurable);
	uint64_t granule = from >> sp->shift, end;
	struct bsp_range_hold hold;
	int r = 0;

	pthread_rwlock_rdlock(&sp->size_lock);
	bsp_range_lock(&sp->ranges, &hold, granule, granule + 1, true);
	while (!r &&
	       bsp_undurable_lost_piece(&sp->undurable, from, &from, &end) &&
	       from < to) {
		r = bsp_device_write_through(sp->dev, from, bsp_zeros,
					     (size_t)(end - from));
		if (!r)
			bsp_undurable_zeroed(&sp->undurable, from, end, failed);
		from = end;
	}
	bsp_range_unlock(&sp->ranges, &hold);
	pthread_rwlock_unlock(&sp->size_lock);
	return r;
}

static bool is_gone_error(int r)
{
	return r == -ENODEV || r == -ENXIO;
}

/* Zeroes again the pieces that a failed flush may have lost. flush_lock is
 * held. Returns 0, the first error, or -EINTR. */
static int zero_lost_pieces(struct bsp_sparse *sp,
			    bsp_interrupted_fn interrupted, void *data)
{
	uint64_t at = 0, from, to;
	int first = 0;

	if (!bsp_undurable_lost(&sp->undurable))
		return 0;
	while (bsp_undurable_lost_piece(&sp->undurable, at, &from, &to)) {
		int r = bsp_sparse_is_gone(sp)
				? -ENODEV
				: zero_lost_piece_in_granule(sp, from, to);

		if (r && !first)
			first = r;
		if (is_gone_error(r))
			return first;
		if (interrupted && interrupted(data))
			return first ? first : -EINTR;
		at = to;
	}
	bsp_undurable_recheck_lost(&sp->undurable);
	return first;
}

/* Makes the device's writes durable. flush_lock is held. */
static int flush_device(struct bsp_sparse *sp)
{
	int r;

	if (bsp_sparse_is_gone(sp))
		return -ENODEV;
	bsp_undurable_begin_flush(&sp->undurable);
	r = sp->dev->ops->flush(sp->dev);
	/* Nothing is lost: the next flush is for all of it. */
	if (r == -EINTR)
		return r;
	if (r)
		bsp_device_note_failure(sp->dev);
	bsp_device_count_failure(sp->dev, BSP_FAILING_FLUSH, 0, r);
	/* Zeroing that is still in progress finds that a flush failed. */
	bsp_undurable_end_flush(&sp->undurable, r != 0);
	if (r) {
		pthread_rwlock_rdlock(&sp->size_lock);
		bsp_sparse_mark_undurable(sp);
		pthread_rwlock_unlock(&sp->size_lock);
		bsp_undurable_markers_made(&sp->undurable);
	}
	return r;
}

int bsp_sparse_reserve_pieces(struct bsp_sparse *sp)
{
	while (!bsp_undurable_reserve(&sp->undurable)) {
		int r;

		pthread_mutex_lock(&sp->flush_lock);
		r = zero_lost_pieces(sp, NULL, NULL);
		if (!r)
			r = flush_device(sp);
		pthread_mutex_unlock(&sp->flush_lock);
		if (r)
			return r;
	}
	return 0;
}

/* --- Flushing markers --- */

/*
 * Zeroes the first run of markers in [from, to), up to the file's end, and sets
 * *ret_next to where to go on. size_lock is held, and this function releases it
 * before it asks the device, so that a writer that makes the file longer need
 * not wait. But it releases it at its end if the run includes the granule in
 * which the file ends: if the file grew meanwhile, this granule would become a
 * hole with stale bytes at its end.
 */
static int flush_run(struct bsp_sparse *sp, uint64_t from, uint64_t to,
		     uint64_t *ret_next)
{
	uint64_t size = atomic_load(&sp->size);
	bool at_end = to > size >> sp->shift;
	struct bsp_range_hold hold;
	int r = 0;

	bsp_range_lock(&sp->ranges, &hold, from, to, true);
	/* Another thread may have changed it before the lock was taken. */
	from = bsp_map_next(sp->map, BSP_IN_MARKER, from, to);
	to = bsp_map_next(sp->map, BSP_IN_ALL & ~BSP_IN_MARKER, from, to);
	if (!at_end)
		pthread_rwlock_unlock(&sp->size_lock);
	if (from < to)
		r = bsp_sparse_zero_markers(sp, from, to, size);
	bsp_range_unlock(&sp->ranges, &hold);
	if (at_end)
		pthread_rwlock_unlock(&sp->size_lock);
	*ret_next = to;
	return r;
}

/* Flushes the next step of the runs that end before granule limit, or with the
 * file. False if there is none. */
static bool flush_next_run(struct bsp_sparse *sp, uint64_t *granule,
			   uint64_t limit, int *ret_result)
{
	uint64_t step =
		bsp_device_zero_step(sp->dev, sp->zero_mode) >> sp->shift;
	uint64_t end, from, to = 0;
	bool more;

	pthread_rwlock_rdlock(&sp->size_lock);
	end = bsp_granules(atomic_load(&sp->size), sp->shift);
	limit = bsp_min(limit, end);
	from = bsp_map_next(sp->map, BSP_IN_MARKER, *granule, limit);
	more = from < limit;
	if (more) {
		to = bsp_min(end, from + step);
		to = bsp_map_next(sp->map, BSP_IN_ALL & ~BSP_IN_MARKER, from,
				  to);
		more = to < limit || limit == end;
	}
	if (more && to > from) {
		*ret_result = flush_run(sp, from, to, granule);
		return true;
	}
	*ret_result = 0;
	if (!more)
		*granule = from;
	pthread_rwlock_unlock(&sp->size_lock);
	return more;
}

static bool has_markers(struct bsp_sparse *sp, uint64_t from, uint64_t limit)
{
	uint64_t end = bsp_granules(atomic_load(&sp->size), sp->shift);

	limit = bsp_min(limit, end);
	return bsp_map_next(sp->map, BSP_IN_MARKER, from, limit) < limit;
}

int bsp_sparse_flush_markers_before(struct bsp_sparse *sp, uint64_t *off,
				    uint64_t limit,
				    bsp_interrupted_fn interrupted, void *data)
{
	uint64_t granule = *off >> sp->shift;
	int first = 0, r = 0;

	if (!sp->dev->info.writable)
		return -EROFS;
	/* A step takes as long as the device needs. A program that was
	 * killed, and whose files are closed now, must not wait even for the
	 * first one. */
	if (interrupted && has_markers(sp, granule, limit >> sp->shift) &&
	    interrupted(data))
		return -EINTR;
	while (!bsp_sparse_is_gone(sp) &&
	       flush_next_run(sp, &granule, limit >> sp->shift, &r)) {
		if (r && !first)
			first = r;
		if (is_gone_error(r))
			break; /* the device is gone: all others would fail, too
				*/
		if (interrupted && interrupted(data)) {
			first = first ? first : -EINTR;
			break;
		}
	}
	*off = granule << sp->shift;
	return atomic_load(&sp->gone) ? -ENODEV : first;
}

static int flush_all_markers(struct bsp_sparse *sp,
			     bsp_interrupted_fn interrupted, void *data)
{
	uint64_t off = 0;

	return bsp_sparse_flush_markers_before(sp, &off, UINT64_MAX,
					       interrupted, data);
}

static int flush_markers(struct bsp_sparse *sp, bsp_interrupted_fn interrupted,
			 void *data)
{
	int r = 0, flushed;

	if (bsp_undurable_lost(&sp->undurable)) {
		pthread_mutex_lock(&sp->flush_lock);
		r = zero_lost_pieces(sp, interrupted, data);
		pthread_mutex_unlock(&sp->flush_lock);
	}
	flushed = flush_all_markers(sp, interrupted, data);
	return r ? r : flushed;
}

int bsp_sparse_flush_markers(struct bsp_sparse *sp,
			     bsp_interrupted_fn interrupted, void *data)
{
	uint64_t started = bsp_trace_start();
	int r = bsp_sparse_connect(sp);

	if (r != -EINTR) {
		bsp_sparse_forget_if_due(sp);
		r = flush_markers(sp, interrupted, data);
	}
	bsp_trace_end(started, "sparse.flush-markers", bsp_device_path(sp->dev),
		      0, 0, r);
	return r;
}

/* flush_lock is held. */
static int flush_pieces_and_markers(struct bsp_sparse *sp,
				    bsp_interrupted_fn interrupted, void *data)
{
	int r = zero_lost_pieces(sp, interrupted, data);
	int flushed = flush_all_markers(sp, interrupted, data);

	return r ? r : flushed;
}

static int flush_all(struct bsp_sparse *sp, bsp_interrupted_fn interrupted,
		     void *data)
{
	int r, flushed = 0;

	if (!sp->dev->info.writable)
		return -EROFS;
	pthread_mutex_lock(&sp->flush_lock);
	r = flush_pieces_and_markers(sp, interrupted, data);
	if (r != -EINTR)
		flushed = flush_device(sp);
	pthread_mutex_unlock(&sp->flush_lock);
	return r ? r : flushed;
}

int bsp_sparse_flush(struct bsp_sparse *sp, bsp_interrupted_fn interrupted,
		     void *data)
{
	uint64_t started = bsp_trace_start();
	int r = bsp_sparse_connect(sp);

	if (r != -EINTR) {
		bsp_sparse_forget_if_due(sp);
		r = flush_all(sp, interrupted, data);
	}
	bsp_trace_end(started, "sparse.flush", bsp_device_path(sp->dev), 0, 0,
		      r);
	return r;
}

/* --- Zeros of a range --- */

/* The lock keeps a flush that fails from making a marker of an undurable hole
 * between the two looks. */
static bool has_undurable_zeros(struct bsp_sparse *sp, uint64_t off,
				uint64_t end)
{
	uint64_t from = off >> sp->shift;
	uint64_t to = bsp_granules(end, sp->shift);
	uint64_t at = from, stop = to;
	struct bsp_range_hold hold;
	bool has;

	bsp_range_lock(&sp->ranges, &hold, from, to, false);
	has = bsp_map_next(sp->map, BSP_IN_MARKER, from, to) < to ||
	      bsp_undurable_next(&sp->undurable, &at, &stop) ||
	      (bsp_undurable_piece(&sp->undurable, off, &at, &stop) &&
	       at < end);
	bsp_range_unlock(&sp->ranges, &hold);
	return has;
}

/* Flushes the markers among granules [from, to). */
static int flush_markers_of(struct bsp_sparse *sp, uint64_t from, uint64_t to)
{
	int r = 0;

	while (!r) {
		uint64_t end;

		pthread_rwlock_rdlock(&sp->size_lock);
		end = bsp_granules(atomic_load(&sp->size), sp->shift);
		end = bsp_min(end, to);
		from = bsp_map_next(sp->map, BSP_IN_MARKER, from, end);
		if (from >= end) {
			pthread_rwlock_unlock(&sp->size_lock);
			break;
		}
		r = flush_run(sp, from, end, &from);
	}
	return r;
}

int bsp_sparse_flush_zeros(struct bsp_sparse *sp, uint64_t off, uint64_t end)
{
	int r;

	if (!has_undurable_zeros(sp, off, end))
		return 0;
	pthread_mutex_lock(&sp->flush_lock);
	r = zero_lost_pieces(sp, NULL, NULL);
	if (!r)
		r = flush_markers_of(sp, off >> sp->shift,
				     bsp_granules(end, sp->shift));
	if (!r)
		r = flush_device(sp);
	pthread_mutex_unlock(&sp->flush_lock);
	return r;
}

/* --- The tail --- */

bool bsp_tail_from_name(const char *name, enum bsp_tail *ret_tail,
			GError **error)
{
	static const char *const names[] = {
		[BSP_TAIL_KEEP] = "keep",
		[BSP_TAIL_ZERO] = "zero",
		[BSP_TAIL_DISCARD] = "discard",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		if (strcmp(name, names[i]) == 0) {
			*ret_tail = (enum bsp_tail)i;
			return true;
		}
	}
	return bsp_error_set(error, BSP_ERROR_USAGE,
			     "'%s' is not keep, zero or discard", name);
}

/* Keeps, zeroes or discards the device past the file's end, which is not in use
 * any more. */
static int apply_tail(struct bsp_sparse *sp, enum bsp_tail tail)
{
	uint64_t block = sp->dev->info.logical_block_size;
	uint64_t off = atomic_load(&sp->size);
	uint64_t end = atomic_load(&sp->capacity);
	int r = 0;

	if (tail == BSP_TAIL_DISCARD)
		off = bsp_add_sat(off, block - 1) / block * block;
	while (off < end && tail != BSP_TAIL_KEEP && !r) {
		uint64_t step =
			tail == BSP_TAIL_DISCARD
				? DISCARD_STEP
				: bsp_device_zero_step(sp->dev, sp->zero_mode);
		uint64_t len = bsp_min(end - off, step);

		r = tail == BSP_TAIL_ZERO
			    ? bsp_device_zero(sp->dev, sp->zero_mode, off, len)
			    : sp->dev->ops->discard(sp->dev, off, len);
		off += len;
	}
	return r;
}

static int finish(struct bsp_sparse *sp, enum bsp_tail tail)
{
	int r, tail_r, settled = 0, flushed;

	if (!sp->dev->info.writable)
		return -EROFS;
	pthread_mutex_lock(&sp->flush_lock);
	r = flush_pieces_and_markers(sp, NULL, NULL);
	tail_r = bsp_sparse_is_gone(sp) ? -ENODEV : apply_tail(sp, tail);
	/* No older write may come after those of the next program. */
	if (sp->dev->ops->settle)
		settled = sp->dev->ops->settle(sp->dev);
	flushed = flush_device(sp);
	pthread_mutex_unlock(&sp->flush_lock);
	return r ? r : tail_r ? tail_r : settled ? settled : flushed;
}

int bsp_sparse_finish(struct bsp_sparse *sp, enum bsp_tail tail)
{
	uint64_t started = bsp_trace_start();
	int r;

	(void)bsp_sparse_connect(sp);
	bsp_sparse_forget_if_due(sp);
	r = finish(sp, tail);

	bsp_trace_end(started, "sparse.finish", bsp_device_path(sp->dev), 0, 0,
		      r);
	return r;
}
