/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Learning the zeros that the device knows, before a writer zeroes them.
 *
 * A truncation, a punch and a write of zeros make markers of all granules that
 * are not holes, and a flush zeroes the device there. On a new thin volume, or
 * a loop device over a sparse file, most of that is zero already, and the
 * device knows it. So the map learns these zeros first: they are holes then,
 * and stay holes.
 *
 * Only unknown granules are asked about. The device may hold other bytes than
 * the layers below know where this object wrote: in dirty pages, or in blocks
 * that a pool mapped after its last commit. A granule that was written is
 * unknown again only after its pages were written back and the map forgot all.
 * The next answers come from layers that are built after that.
 *
 * Such a hole need not be zeroed again after a flush that failed (undurable.h).
 * It is no write of this object that could be lost: it is a hole in the
 * metadata of a file system, which a flush of the device makes durable, or in
 * the last commit of a pool. Each flush flushes the device, even if no marker
 * was left to zero.
 *
 * On a mount the scan thread goes over the whole device once, when it starts
 * and after each new size or table. Handlers do not ask: they wait for the
 * thread, and not for long. Granules that are unknown by then become markers. A
 * writer of an object without a scan thread asks for itself.
 */
#include "sparse/sparse.h"

#include <limits.h>

#include "base/range.h"
#include "sparse/scan-ahead.h"

bool bsp_sparse_learns_zeros(const struct bsp_sparse *sp)
{
	/* The other modes promise to keep the blocks, or to write them. */
	return sp->dev->info.writable && sp->dev->ops->known &&
	       sp->zero_mode == BSP_ZERO_UNMAP;
}

/*
 * Asks about an unknown granule. Returns where to go on: at the next granule,
 * if zeros were learned from here on; otherwise past the range of which nothing
 * is known. Returns the granule itself if no layer was asked.
 */
static uint64_t learn_at(struct bsp_sparse *sp, uint64_t granule,
			 bool may_build)
{
	/* Another thread may ask at another place just before the end of the
	 * range is looked up. */
	enum { TRIES = 3 };
	uint64_t off = granule << sp->shift;

	for (int i = 0; i < TRIES; i++) {
		uint64_t end;

		if (bsp_sparse_learn_known(sp, off, may_build))
			break; /* no memory */
		if (bsp_map_get(sp->map, granule) != BSP_UNKNOWN)
			return granule + 1;
		end = bsp_sparse_asked_end(sp, off);
		if (end > off)
			return bsp_granules(end, sp->shift);
	}
	return granule;
}

uint64_t bsp_sparse_learn_zeros(struct bsp_sparse *sp, uint64_t from,
				uint64_t to, unsigned questions, bool may_build)
{
	uint64_t granule = bsp_map_next(sp->map, BSP_IN_UNKNOWN, from, to);

	for (unsigned i = 0; i < questions && granule < to; i++) {
		uint64_t next = learn_at(sp, granule, may_build);

		if (next == granule)
			return to;
		granule = bsp_map_next(sp->map, BSP_IN_UNKNOWN,
				       bsp_min(next, to), to);
	}
	return granule;
}

void bsp_sparse_learn_before_zeroing(struct bsp_sparse *sp, uint64_t off,
				     uint64_t end)
{
	uint64_t from = off >> sp->shift;
	uint64_t to =
		bsp_granules(bsp_min(end, atomic_load(&sp->size)), sp->shift);

	if (!bsp_sparse_learns_zeros(sp) || from >= to ||
	    bsp_map_next(sp->map, BSP_IN_UNKNOWN, from, to) == to)
		return;
	if (sp->scan_ahead)
		bsp_scan_ahead_wait_zeros(sp->scan_ahead, to);
	else
		(void)bsp_sparse_learn_zeros(sp, from, to, UINT_MAX, true);
	/* A layer was found to err: what it said must not be relied upon. */
	bsp_sparse_forget_if_due(sp);
}
