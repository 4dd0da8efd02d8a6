/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Carrying out markers: zeroing the device where the file was written,
 * punched or cut as zeros. It goes by runs of markers, as long as the map has
 * them and a device takes at once, each under an exclusive lock of its own, so
 * that writers elsewhere go on.
 */
#include "sparse.h"

#include <errno.h>

#include "range.h"
#include "zeroing.h"

/*
 * Zeroes the first run of markers in [from, to), up to the file's end, and sets
 * *ret_next to where to go on. size_lock is held: were the file to grow now,
 * the granule in which it ends would become a hole with a stale end.
 */
static int carry_run(struct bsp_sparse *sp, uint64_t from, uint64_t to,
		     uint64_t *ret_next)
{
	uint64_t size = atomic_load(&sp->size);
	struct bsp_range_hold hold;
	uint64_t start, end;
	int r = 0;

	bsp_range_lock(&sp->ranges, &hold, from, to, true);
	/* It may have changed until the lock was ours. */
	from = bsp_map_next(sp->map, BSP_IN_MARKER, from, to);
	to = bsp_map_next(sp->map, BSP_IN_ALL & ~BSP_IN_MARKER, from, to);
	if (from < to) {
		start = from << sp->shift;
		end = bsp_granule_start(to, sp->shift, size);
		r = bsp_device_zero(sp->dev, sp->zeroing, end - start, start);
		if (!r)
			r = bsp_map_event(sp->map, BSP_CARRIED, from, to);
	}
	bsp_range_unlock(&sp->ranges, &hold);
	*ret_next = to;
	return r;
}

/* The next step; false if there is none. */
static bool carry_next(struct bsp_sparse *sp, uint64_t *granule,
		       int *ret_result)
{
	uint64_t step = bsp_device_zero_step(sp->dev, sp->zeroing) >> sp->shift;
	uint64_t end, from, to;
	bool more;

	pthread_rwlock_rdlock(&sp->size_lock);
	end = bsp_granules(atomic_load(&sp->size), sp->shift);
	from = bsp_map_next(sp->map, BSP_IN_MARKER, *granule, end);
	more = from < end;
	if (more) {
		to = bsp_min(end, from + step);
		to = bsp_map_next(sp->map, BSP_IN_ALL & ~BSP_IN_MARKER, from,
				  to);
		*ret_result = to > from ? carry_run(sp, from, to, granule) : 0;
	}
	pthread_rwlock_unlock(&sp->size_lock);
	return more;
}

int bsp_sparse_carry_out(struct bsp_sparse *sp, bsp_interrupted_fn interrupted,
			 void *data)
{
	uint64_t granule = 0;
	int first = 0, r = 0;

	if (!sp->dev->info.writable)
		return -EROFS;
	while (carry_next(sp, &granule, &r)) {
		if (r && !first)
			first = r;
		if (r == -ENODEV || r == -ENXIO)
			break; /* it is gone: so it will say everywhere */
		if (interrupted && interrupted(data))
			return first ? first : -EINTR;
	}
	return first;
}

int bsp_sparse_flush(struct bsp_sparse *sp, bsp_interrupted_fn interrupted,
		     void *data)
{
	int r = bsp_sparse_carry_out(sp, interrupted, data);
	int flushed;

	if (r == -EINTR || r == -EROFS)
		return r;
	flushed = sp->dev->ops->flush(sp->dev);
	return r ? r : flushed;
}

/* The device past the file's end, which nobody uses any more. */
static int treat_tail(struct bsp_sparse *sp, enum bsp_tail tail)
{
	uint64_t block = sp->dev->info.logical_block_size;
	uint64_t off = atomic_load(&sp->size);
	uint64_t end = atomic_load(&sp->capacity);
	int r = 0;

	if (tail == BSP_TAIL_DISCARD)
		off = bsp_add_sat(off, block - 1) / block * block;
	while (off < end && tail != BSP_TAIL_KEEP && !r) {
		uint64_t len = bsp_min(
			end - off, bsp_device_zero_step(sp->dev, sp->zeroing));

		r = tail == BSP_TAIL_ZERO
			    ? bsp_device_zero(sp->dev, sp->zeroing, len, off)
			    : sp->dev->ops->discard(sp->dev, len, off);
		off += len;
	}
	return r;
}

int bsp_sparse_finish(struct bsp_sparse *sp, enum bsp_tail tail)
{
	int r = bsp_sparse_carry_out(sp, NULL, NULL);
	int tail_r, flushed;

	if (r == -EROFS)
		return r;
	tail_r = treat_tail(sp, tail);
	flushed = sp->dev->ops->flush(sp->dev);
	return r ? r : tail_r ? tail_r : flushed;
}
