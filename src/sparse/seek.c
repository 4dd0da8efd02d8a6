/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lseek(SEEK_DATA) and lseek(SEEK_HOLE), in bounded time and at granule
 * boundaries.
 *
 * A seek walks the map. Where granules are unknown it scans, or waits for the
 * scan ahead. On a large device that may take long, so a seek ends early when
 * its time is up, or when a signal interrupts it, and answers with the next
 * unknown granule. A seek for data calls this granule data, which is correct
 * because data may be all zeros; a seek for a hole answers with its offset,
 * where the next seek for data goes on. Each answer moves the caller on by at
 * least a granule. Seeks for a hole also scan no further than the look-ahead.
 *
 * If a device changes its size during a seek, the seek starts over: the last
 * granule may be longer now. Holes shorter than minhole are skipped as if they
 * were data.
 */
#include "sparse/sparse.h"

#include <errno.h>

#include "sparse/scan-ahead.h"
#include "base/range.h"
#include "base/trace.h"
#include "sparse/scan.h"

/* The two reasons for a seek to end early: the caller interrupts it, or its
 * time is up. */
struct seek_stop {
	bsp_interrupted_fn interrupted;
	void *data;
	uint64_t deadline; /* CLOCK_MONOTONIC, nanoseconds */
	bool at_start;	   /* its first granule is still unknown: time does not
			      count */
};

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* A bsp_interrupted_fn. */
static bool must_stop(void *data)
{
	const struct seek_stop *stop = data;

	return (stop->interrupted && stop->interrupted(stop->data)) ||
	       (!stop->at_start && now_ns() >= stop->deadline);
}

static struct seek_stop stop_new(const struct bsp_sparse *sp,
				 bsp_interrupted_fn interrupted, void *data)
{
	return (struct seek_stop){ interrupted, data, now_ns() + sp->budget_ns,
				   true };
}

/*
 * Treats the unknown granule as data from now on, so that a seek for a hole
 * from it moves on. The map decides; the caller looks again.
 */
static int treat_as_data(struct bsp_sparse *sp, uint64_t granule)
{
	return bsp_map_learned(sp->map, bsp_map_generation(sp->map), granule,
			       granule + 1, false);
}

/*
 * Learns the unknown granule; with a scan ahead also those that follow it, up
 * to the first in [granule, end) that is in the set. Returns 0, -EINTR if the
 * seek must stop before that, or -ENOMEM.
 */
static int learn_granule(struct bsp_sparse *sp, unsigned set, uint64_t granule,
			 uint64_t end, struct seek_stop *stop)
{
	if (!sp->scan_ahead || !bsp_scan_ahead_running(sp->scan_ahead))
		return bsp_scan_chunk(sp, granule);
	/* The time counts from the second granule on. */
	return bsp_scan_ahead_wait(sp->scan_ahead, set, granule,
				   stop->at_start ? granule + 1 : end,
				   must_stop, stop);
}

/*
 * Like find_hole(), starts over when the size has changed: a granule that was
 * short, and a hole, may be longer now, and hold data.
 */
static int find_data(struct bsp_sparse *sp, uint64_t off,
		     struct seek_stop *stop, uint64_t *ret_off)
{
	uint64_t granule = off >> sp->shift;
	unsigned resizes = atomic_load(&sp->resizes);

	for (;;) {
		unsigned now = atomic_load(&sp->resizes);
		uint64_t size = atomic_load(&sp->size);
		uint64_t end = bsp_granules(size, sp->shift);
		uint64_t start;
		int r = -EINTR;

		if (off >= size)
			return -ENXIO;
		if (now != resizes)
			granule = off >> sp->shift;
		resizes = now;
		granule = bsp_map_next(sp->map, BSP_IN_UNKNOWN | BSP_IN_DATA,
				       granule, end);
		if (granule == end ||
		    bsp_map_get(sp->map, granule) == BSP_DATA) {
			if (resizes != atomic_load(&sp->resizes))
				continue;
			if (granule == end)
				return -ENXIO;
			*ret_off = bsp_max(off, granule << sp->shift);
			return 0;
		}
		start = granule << sp->shift;
		stop->at_start &= start <= off;
		if (stop->at_start || !must_stop(stop))
			r = learn_granule(sp, BSP_IN_DATA, granule, end, stop);
		if (r == -EINTR)
			r = treat_as_data(sp, granule);
		if (r)
			return r;
	}
}

/* Finds the next hole, of any length. Scans unknown granules before limit. */
static int find_hole(struct bsp_sparse *sp, uint64_t off, uint64_t limit,
		     struct seek_stop *stop, uint64_t *ret_off)
{
	uint64_t granule = off >> sp->shift;
	unsigned resizes = atomic_load(&sp->resizes);

	for (;;) {
		unsigned now = atomic_load(&sp->resizes);
		uint64_t size = atomic_load(&sp->size);
		uint64_t end = bsp_granules(size, sp->shift);
		enum bsp_state state = BSP_HOLE;
		uint64_t start;
		int r;

		if (off >= size)
			return -ENXIO;
		if (now != resizes)
			granule = off >> sp->shift;
		resizes = now;
		granule = bsp_map_next(sp->map, BSP_IN_UNKNOWN | BSP_IN_ZERO,
				       granule, end);
		start = bsp_granule_start(granule, sp->shift, size);
		if (granule < end)
			state = bsp_map_get(sp->map, granule);
		stop->at_start &= start <= off;
		if (state == BSP_HOLE || state == BSP_MARKER ||
		    (state == BSP_UNKNOWN && start > off &&
		     (granule >= limit || must_stop(stop)))) {
			if (resizes != atomic_load(&sp->resizes))
				continue;
			*ret_off = bsp_max(off, start);
			return 0;
		}
		r = learn_granule(sp, BSP_IN_ZERO, granule,
				  bsp_max(limit, granule + 1), stop);
		if (r == -EINTR && start <= off)
			r = treat_as_data(sp, granule);
		if (r && r != -EINTR)
			return r;
	}
}

/* --- Short holes --- */

static bool is_zero_at(struct bsp_sparse *sp, uint64_t granule)
{
	enum bsp_state state = bsp_map_get(sp->map, granule);

	return state == BSP_HOLE || state == BSP_MARKER;
}

/*
 * Is the hole that off lies in, as far as it is known, shorter than minhole?
 * Sets *ret_end to its end. Scans unknown granules that follow the hole until
 * it is long enough.
 */
static int is_short_hole(struct bsp_sparse *sp, uint64_t off,
			 struct seek_stop *stop, bool *ret_short,
			 uint64_t *ret_end)
{
	uint64_t min_granules = sp->minhole >> sp->shift;
	uint64_t from = off >> sp->shift, to = from, size, end;

	stop->at_start = false; /* the granule at off is known */
	while (from > 0 && to - from < min_granules && is_zero_at(sp, from - 1))
		from--;
	for (;;) {
		int r;

		size = atomic_load(&sp->size);
		end = bsp_min(bsp_granules(size, sp->shift),
			      from + min_granules);
		to = bsp_map_next(sp->map, BSP_IN_UNKNOWN | BSP_IN_DATA, to,
				  bsp_max(end, to));
		if (to >= end || bsp_map_get(sp->map, to) != BSP_UNKNOWN ||
		    must_stop(stop))
			break;
		r = learn_granule(sp, BSP_IN_DATA, to, end, stop);
		if (r && r != -EINTR)
			return r;
	}
	*ret_short = to - from < min_granules;
	*ret_end = bsp_granule_start(to, sp->shift, size);
	return 0;
}

/* Moves *off over short holes, and the data between them, to a hole that is
 * long enough, a boundary, or the end. */
static int skip_short_holes(struct bsp_sparse *sp, uint64_t limit,
			    struct seek_stop *stop, uint64_t *off)
{
	uint64_t from = *off, end;
	bool is_short = true;

	for (;;) {
		int r;

		if (*off >= atomic_load(&sp->size) ||
		    !is_zero_at(sp, *off >> sp->shift))
			return 0;
		r = is_short_hole(sp, *off, stop, &is_short, &end);
		if (r || !is_short)
			return r;
		*off = end;
		if (end >= atomic_load(&sp->size))
			return 0;
		if (end > from &&
		    (end >> sp->shift >= limit || must_stop(stop)))
			return 0;
		r = find_hole(sp, end, limit, stop, off);
		if (r)
			return r == -ENXIO ? 0 : r;
	}
}

/* --- The two seeks --- */

static int seek_data(struct bsp_sparse *sp, uint64_t off,
		     bsp_interrupted_fn interrupted, void *data,
		     uint64_t *ret_off)
{
	struct seek_stop stop = stop_new(sp, interrupted, data);
	uint64_t end;
	bool is_short = false;
	int r;

	(void)bsp_sparse_refresh(sp);
	if (atomic_load(&sp->gone))
		return -ENODEV;
	r = find_data(sp, off, &stop, ret_off);
	if (sp->minhole && (r == -ENXIO || (!r && *ret_off > off)) &&
	    off < atomic_load(&sp->size) && is_zero_at(sp, off >> sp->shift)) {
		int r2 = is_short_hole(sp, off, &stop, &is_short, &end);

		if (r2)
			return r2;
		if (is_short) {
			*ret_off = off;
			r = 0;
		}
	}
	if (sp->scan_ahead)
		bsp_scan_ahead_hint(sp->scan_ahead, r ? off : *ret_off, !r);
	return r;
}

static int seek_hole(struct bsp_sparse *sp, uint64_t off,
		     bsp_interrupted_fn interrupted, void *data,
		     uint64_t *ret_off)
{
	struct seek_stop stop = stop_new(sp, interrupted, data);
	uint64_t limit =
		bsp_granules(bsp_add_sat(off, sp->lookahead), sp->shift);
	int r;

	(void)bsp_sparse_refresh(sp);
	if (atomic_load(&sp->gone))
		return -ENODEV;
	r = find_hole(sp, off, limit, &stop, ret_off);
	if (!r && sp->minhole)
		r = skip_short_holes(sp, limit, &stop, ret_off);
	if (!r && sp->scan_ahead) {
		stop.at_start = false;
		bsp_scan_ahead_wait_delivered(sp->scan_ahead, off >> sp->shift,
					      bsp_granules(*ret_off, sp->shift),
					      must_stop, &stop);
		bsp_scan_ahead_hint(sp->scan_ahead, *ret_off, false);
	}
	return r;
}

/* --- Tracing the two seeks --- */

/* Counts what a seek for data passed as zeros. */
static void count_seek(struct bsp_sparse *sp, uint64_t off, int r,
		       uint64_t found)
{
	uint64_t size = atomic_load(&sp->size);

	if (r == -ENXIO)
		found = size;
	if ((!r || r == -ENXIO) && found > off)
		bsp_count(&sp->counts.seeks, found - off);
}

int bsp_sparse_seek_data(struct bsp_sparse *sp, uint64_t off,
			 bsp_interrupted_fn interrupted, void *data,
			 uint64_t *ret_off)
{
	uint64_t started = bsp_trace_start();
	bool distrusted = atomic_load(&sp->distrusted);
	int r = seek_data(sp, off, interrupted, data, ret_off);

	/* Data may lie in a hole that was passed, and forgotten later. */
	if (atomic_load(&sp->distrusted) != distrusted)
		r = seek_data(sp, off, interrupted, data, ret_off);
	count_seek(sp, off, r, r ? off : *ret_off);
	bsp_trace_end(started, "sparse.seek-data", bsp_device_path(sp->dev),
		      off, 0, r ? r : (int64_t)*ret_off);
	return r;
}

int bsp_sparse_seek_hole(struct bsp_sparse *sp, uint64_t off,
			 bsp_interrupted_fn interrupted, void *data,
			 uint64_t *ret_off)
{
	uint64_t started = bsp_trace_start();
	bool distrusted = atomic_load(&sp->distrusted);
	int r = seek_hole(sp, off, interrupted, data, ret_off);

	if (atomic_load(&sp->distrusted) != distrusted)
		r = seek_hole(sp, off, interrupted, data, ret_off);
	bsp_trace_end(started, "sparse.seek-hole", bsp_device_path(sp->dev),
		      off, 0, r ? r : (int64_t)*ret_off);
	return r;
}
