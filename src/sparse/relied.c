/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Holes that a punch relies on.
 *
 * A punched hole stays a hole: the device is zero there already. If a layer
 * below told that, and is found to err later (spot-check.c), the map forgets
 * its holes, and readers get the bytes of the device. That is right for a hole
 * that no writer touched. But where the file was punched, or zeros were
 * written, no old byte may appear. So such holes are recorded, and become
 * markers when a layer is found to err.
 *
 * A granule that is recorded, and is a hole, is zeros by a writer's will: to
 * become anything else it has to be written, and is data then, or forgotten,
 * and that ends the record. Zeros that were written to a part of a granule are
 * not recorded.
 *
 * The record is a map in which the recorded granules are the markers: a map
 * never loses markers for want of memory.
 */
#include "sparse/sparse.h"

#include "base/range.h"

void bsp_sparse_rely_on_holes(struct bsp_sparse *sp, uint64_t from, uint64_t to)
{
	uint64_t end;

	if (!atomic_load(&sp->knows_holes))
		return;
	to = bsp_min(to, bsp_granules(atomic_load(&sp->capacity), sp->shift));
	while ((from = bsp_map_next(sp->map, BSP_IN_HOLE, from, to)) < to) {
		end = bsp_map_next(sp->map, BSP_IN_ALL & ~BSP_IN_HOLE, from,
				   to);
		/* Without memory, the device is zeroed. */
		if (bsp_map_event(sp->relied, BSP_PUNCHED, from, end))
			(void)bsp_map_event(sp->map, BSP_ZEROS_LOST, from, end);
		from = end;
	}
}

/* A map forgets, and marks what is recorded, under size_lock held exclusively:
 * zeros that are found under the lock are recorded in time. */
static uint64_t rely_on_zeros(struct bsp_sparse *sp, uint64_t off, uint64_t end)
{
	uint64_t from = off >> sp->shift, stop;
	struct bsp_range_hold hold;

	pthread_rwlock_rdlock(&sp->size_lock);
	stop = bsp_sparse_run_end(sp, BSP_IN_UNKNOWN | BSP_IN_DATA, off, end);
	if (stop > off && atomic_load(&sp->knows_holes)) {
		bsp_range_lock(&sp->ranges, &hold, from,
			       bsp_granules(stop, sp->shift), true);
		stop = bsp_sparse_run_end(sp, BSP_IN_UNKNOWN | BSP_IN_DATA, off,
					  end);
		bsp_sparse_rely_on_holes(sp, from,
					 bsp_granules(stop, sp->shift));
		bsp_range_unlock(&sp->ranges, &hold);
	}
	pthread_rwlock_unlock(&sp->size_lock);
	return stop;
}

uint64_t bsp_sparse_rely_on_zeros(struct bsp_sparse *sp, uint64_t off,
				  uint64_t end)
{
	uint64_t stop = off;

	bsp_device_begin_change(sp->dev);
	/* The zeros that the map knows must be of this connection. */
	if (bsp_sparse_is_connected(sp))
		stop = rely_on_zeros(sp, off, end);
	bsp_device_end_change(sp->dev, stop > off);
	return stop;
}

void bsp_sparse_mark_relied(struct bsp_sparse *sp)
{
	uint64_t to = bsp_granules(atomic_load(&sp->capacity), sp->shift);
	uint64_t from = 0, end;

	while ((from = bsp_map_next(sp->relied, BSP_IN_MARKER, from, to)) <
	       to) {
		struct bsp_range_hold hold;

		end = bsp_map_next(sp->relied, BSP_IN_ALL & ~BSP_IN_MARKER,
				   from, to);
		bsp_range_lock(&sp->ranges, &hold, from, end, true);
		/* It cannot fail (map.h). */
		(void)bsp_map_event(sp->map, BSP_ZEROS_LOST, from, end);
		bsp_range_unlock(&sp->ranges, &hold);
		from = end;
	}
}

void bsp_sparse_end_reliance(struct bsp_sparse *sp, uint64_t from, uint64_t to)
{
	(void)bsp_map_event(sp->relied, BSP_WRITTEN, from, to);
}
