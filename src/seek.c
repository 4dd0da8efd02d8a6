/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lseek(SEEK_DATA) and lseek(SEEK_HOLE): bounded, aligned, always moving on.
 */
#include "sparse.h"

#include <errno.h>

#include "range.h"
#include "scanner.h"

/* What ends a seek early: the caller, or its time. */
struct patience {
	bsp_interrupted_fn interrupted;
	void *data;
	uint64_t deadline; /* CLOCK_MONOTONIC, nanoseconds */
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static bool is_over(const struct patience *patience)
{
	return (patience->interrupted &&
		patience->interrupted(patience->data)) ||
	       now_ns() >= patience->deadline;
}

/*
 * A boundary in data: the granule is called data from now on, so that asking
 * for a hole from it moves on. The map decides; the caller looks again.
 */
static int call_data(struct bsp_sparse *sp, uint64_t granule)
{
	return bsp_map_learned(sp->map, bsp_map_generation(sp->map), granule,
			       granule + 1, false);
}

int bsp_sparse_seek_data(struct bsp_sparse *sp, uint64_t off,
			 bsp_interrupted_fn interrupted, void *data,
			 uint64_t *ret_off)
{
	struct patience patience = { interrupted, data,
				     now_ns() + sp->budget_ns };
	uint64_t granule = off >> sp->shift;

	(void)bsp_sparse_refresh(sp);
	for (;;) {
		uint64_t size = atomic_load(&sp->size);
		uint64_t end = bsp_granules(size, sp->shift);
		uint64_t start;
		int r;

		if (off >= size)
			return -ENXIO;
		granule = bsp_map_next(sp->map, BSP_IN_UNKNOWN | BSP_IN_DATA,
				       granule, end);
		if (granule == end)
			return -ENXIO;
		start = granule << sp->shift;
		if (bsp_map_get(sp->map, granule) == BSP_DATA) {
			*ret_off = bsp_max(off, start);
			return 0;
		}
		if (start > off && is_over(&patience))
			r = call_data(sp, granule);
		else
			r = bsp_scan_chunk(sp, granule);
		if (r)
			return r;
	}
}

int bsp_sparse_seek_hole(struct bsp_sparse *sp, uint64_t off,
			 bsp_interrupted_fn interrupted, void *data,
			 uint64_t *ret_off)
{
	struct patience patience = { interrupted, data,
				     now_ns() + sp->budget_ns };
	uint64_t limit = bsp_add_sat(off, sp->lookahead);
	uint64_t granule = off >> sp->shift;

	(void)bsp_sparse_refresh(sp);
	for (;;) {
		uint64_t size = atomic_load(&sp->size);
		uint64_t end = bsp_granules(size, sp->shift);
		enum bsp_state state;
		uint64_t start;
		int r;

		if (off >= size)
			return -ENXIO;
		granule = bsp_map_next(sp->map, BSP_IN_UNKNOWN | BSP_IN_ZERO,
				       granule, end);
		if (granule == end) {
			*ret_off = size;
			return 0;
		}
		start = granule << sp->shift;
		state = bsp_map_get(sp->map, granule);
		if (state == BSP_HOLE || state == BSP_MARKER ||
		    (state == BSP_UNKNOWN && start > off &&
		     (start >= limit || is_over(&patience)))) {
			*ret_off = bsp_max(off, start);
			return 0;
		}
		r = bsp_scan_chunk(sp, granule);
		if (r)
			return r;
	}
}
