/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The figures of an object, for people.
 *
 * They are asked for while a device hangs, to see just that. So nothing here
 * takes a lock but leaf locks, and nothing asks the device. The counts are not
 * of one instant.
 */
#include "sparse/sparse.h"

#include "base/range.h"

/* The bytes of markers below the logical size. Granules past it are markers,
 * too, but a flush leaves them out. */
static uint64_t pending_bytes(struct bsp_sparse *sp)
{
	uint64_t size = atomic_load(&sp->size);
	uint64_t end = bsp_granules(size, sp->shift);
	uint64_t past_end = bsp_granules(atomic_load(&sp->capacity), sp->shift);
	uint64_t totals[BSP_STATES], markers, from = end;
	enum bsp_state last;

	if (end == 0 || atomic_load(&sp->gone))
		return 0;
	bsp_map_totals(sp->map, end - 1, totals, &last);
	markers = totals[BSP_MARKER];
	while (markers && from < past_end) {
		uint64_t to;

		from = bsp_map_next(sp->map, BSP_IN_MARKER, from, past_end);
		to = bsp_map_next(sp->map, BSP_IN_ALL & ~BSP_IN_MARKER, from,
				  past_end);
		markers -= bsp_min(markers, to - from);
		from = to;
	}
	/* The two looks into the map are not of one instant. */
	if (!markers)
		return 0;
	return bsp_sparse_bytes_in(sp, markers, size, last == BSP_MARKER);
}

void bsp_sparse_figures(struct bsp_sparse *sp, struct bsp_figures *ret)
{
	struct bsp_device_counts *device = &sp->dev->counts;
	struct bsp_sparse_counts *counts = &sp->counts;

	*ret = (struct bsp_figures){
		.pending = pending_bytes(sp),
		.read = bsp_counted(&device->read) +
			bsp_counted(&device->read_through),
		.written = bsp_counted(&device->written),
		.zeroed = bsp_counted(&device->zeroed),
		.saved_seeks = bsp_counted(&counts->seeks),
		.saved_holes = bsp_counted(&counts->holes),
		.saved_zeros = bsp_counted(&counts->zeros),
		.saved_same = bsp_counted(&counts->same),
		.read_errors = bsp_counted(&device->failed[BSP_FAILING_READ].n),
		.write_errors =
			bsp_counted(&device->failed[BSP_FAILING_WRITE].n) +
			bsp_counted(&device->failed[BSP_FAILING_ZERO].n),
		.failed_flushes = bsp_sparse_failed_flushes(sp),
		.other_writers = bsp_counted(&counts->other_writers),
		.gone = atomic_load(&sp->gone),
		.distrusted = atomic_load(&sp->distrusted),
		.device_number = sp->dev->stat.st_rdev,
		.file_system = sp->dev->stat.st_dev,
		.inode = sp->dev->stat.st_ino,
	};
}

void bsp_sparse_failures(struct bsp_sparse *sp, enum bsp_failing operation,
			 struct bsp_failures *ret)
{
	struct bsp_device_counts *device = &sp->dev->counts;

	ret->n = atomic_load(&device->failed[operation].n);
	ret->off = atomic_load(&device->failed[operation].off);
	ret->error = atomic_load(&device->failed[operation].error);
}
