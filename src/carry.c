/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Carrying out markers: zeroing the device where the file was written,
 * punched or cut as zeros. It goes by runs of markers, as long as the map has
 * them and a device takes at once, each under an exclusive lock of its own, so
 * that writers elsewhere go on.
 *
 * A device may have these zeros in a cache of its own until it is flushed, and
 * when that fails nobody knows what it still has. So what was carried out since
 * the last flush that did not fail becomes markers again: the next flush
 * carries it out anew. Of data that was written the caller is told, once, and
 * has to write it again, as on any file system.
 */
#include "sparse.h"

#include <errno.h>

#include "range.h"
#include "zeroing.h"

#define DISCARD_STEP (UINT64_C(1) << 30)

/* --- What is not durable yet --- */

static bool is_empty(struct bsp_span span)
{
	return span.from == span.to;
}

static struct bsp_span join(struct bsp_span a, struct bsp_span b)
{
	if (is_empty(a) || is_empty(b))
		return is_empty(a) ? b : a;
	return (struct bsp_span){ bsp_min(a.from, b.from),
				  bsp_max(a.to, b.to) };
}

unsigned bsp_sparse_losses(struct bsp_sparse *sp)
{
	unsigned losses;

	pthread_mutex_lock(&sp->carried_lock);
	losses = sp->losses;
	pthread_mutex_unlock(&sp->carried_lock);
	return losses;
}

/* Takes note of what is zeroed, since there were so many losses; false if a
 * flush failed since. */
static bool note_carried(struct bsp_sparse *sp, struct bsp_span span,
			 unsigned losses)
{
	bool kept;

	pthread_mutex_lock(&sp->carried_lock);
	kept = losses == sp->losses;
	if (kept)
		sp->carried = join(sp->carried, span);
	pthread_mutex_unlock(&sp->carried_lock);
	return kept;
}

int bsp_sparse_zero_markers(struct bsp_sparse *sp, uint64_t from, uint64_t to,
			    uint64_t size)
{
	uint64_t start = from << sp->shift;
	uint64_t end = bsp_granule_start(to, sp->shift, size);
	unsigned losses = bsp_sparse_losses(sp);
	int r = bsp_device_zero(sp->dev, sp->zeroing, end - start, start);

	if (!r && !note_carried(sp, (struct bsp_span){ from, to }, losses))
		r = -EIO;
	return r ? r : bsp_map_event(sp->map, BSP_CARRIED, from, to);
}

/* Makes markers again of the holes in what was lost. flush_lock is held.
 * Returns 0 or -ENOMEM. */
static int mark_lost(struct bsp_sparse *sp)
{
	const struct bsp_span lost = sp->lost;
	struct bsp_range_hold hold;
	int r;

	if (is_empty(lost))
		return 0;
	pthread_rwlock_rdlock(&sp->size_lock);
	bsp_range_lock(&sp->ranges, &hold, lost.from, lost.to, true);
	r = bsp_map_event(sp->map, BSP_STALE, lost.from, lost.to);
	bsp_range_unlock(&sp->ranges, &hold);
	pthread_rwlock_unlock(&sp->size_lock);
	if (!r)
		sp->lost = (struct bsp_span){ 0 };
	return r;
}

/* Has the device make durable what it was given. flush_lock is held. */
static int flush_device(struct bsp_sparse *sp)
{
	struct bsp_span carried;
	int r;

	if (bsp_sparse_is_gone(sp))
		return -ENODEV;
	pthread_mutex_lock(&sp->carried_lock);
	carried = sp->carried;
	sp->carried = (struct bsp_span){ 0 };
	pthread_mutex_unlock(&sp->carried_lock);
	r = sp->dev->ops->flush(sp->dev);
	if (!r)
		return 0;
	bsp_device_failed(sp->dev);
	/* Also what was carried out meanwhile. What still is under way finds
	 * that there was a loss. */
	pthread_mutex_lock(&sp->carried_lock);
	carried = join(carried, sp->carried);
	sp->carried = (struct bsp_span){ 0 };
	sp->losses++;
	pthread_mutex_unlock(&sp->carried_lock);
	sp->lost = join(sp->lost, carried);
	(void)mark_lost(sp); /* or the next one does */
	return r;
}

/* --- Carrying out --- */

/*
 * Zeroes the first run of markers in [from, to), up to the file's end, and sets
 * *ret_next to where to go on. size_lock is held, and given back: for the
 * granule in which the file ends when all is done, for if the file grew
 * meanwhile it would become a hole with a stale end; and before the device is
 * asked otherwise, so that who makes the file longer need not wait for it.
 */
static int carry_run(struct bsp_sparse *sp, uint64_t from, uint64_t to,
		     uint64_t *ret_next)
{
	uint64_t size = atomic_load(&sp->size);
	bool at_end = to > size >> sp->shift;
	struct bsp_range_hold hold;
	int r = 0;

	bsp_range_lock(&sp->ranges, &hold, from, to, true);
	/* It may have changed until the lock was ours. */
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

/* The next step of the runs that end before granule limit, or with the file;
 * false if there is none. */
static bool carry_next(struct bsp_sparse *sp, uint64_t *granule, uint64_t limit,
		       int *ret_result)
{
	uint64_t step = bsp_device_zero_step(sp->dev, sp->zeroing) >> sp->shift;
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
		*ret_result = carry_run(sp, from, to, granule);
		return true;
	}
	*ret_result = 0;
	if (!more)
		*granule = from;
	pthread_rwlock_unlock(&sp->size_lock);
	return more;
}

int bsp_sparse_carry_behind(struct bsp_sparse *sp, uint64_t *off,
			    uint64_t limit, bsp_interrupted_fn interrupted,
			    void *data)
{
	uint64_t granule = *off >> sp->shift;
	int first = 0, r = 0;

	if (!sp->dev->info.writable)
		return -EROFS;
	while (!bsp_sparse_is_gone(sp) &&
	       carry_next(sp, &granule, limit >> sp->shift, &r)) {
		if (r && !first)
			first = r;
		if (r == -ENODEV || r == -ENXIO)
			break; /* it is gone: so it will say everywhere */
		if (interrupted && interrupted(data)) {
			first = first ? first : -EINTR;
			break;
		}
	}
	*off = granule << sp->shift;
	return atomic_load(&sp->gone) ? -ENODEV : first;
}

int bsp_sparse_carry_out(struct bsp_sparse *sp, bsp_interrupted_fn interrupted,
			 void *data)
{
	uint64_t off = 0;

	return bsp_sparse_carry_behind(sp, &off, UINT64_MAX, interrupted, data);
}

int bsp_sparse_flush(struct bsp_sparse *sp, bsp_interrupted_fn interrupted,
		     void *data)
{
	int r, flushed = 0;

	pthread_mutex_lock(&sp->flush_lock);
	r = mark_lost(sp);
	if (!r)
		r = bsp_sparse_carry_out(sp, interrupted, data);
	if (r != -EINTR && r != -EROFS)
		flushed = flush_device(sp);
	pthread_mutex_unlock(&sp->flush_lock);
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
		uint64_t step =
			tail == BSP_TAIL_DISCARD
				? DISCARD_STEP
				: bsp_device_zero_step(sp->dev, sp->zeroing);
		uint64_t len = bsp_min(end - off, step);

		r = tail == BSP_TAIL_ZERO
			    ? bsp_device_zero(sp->dev, sp->zeroing, len, off)
			    : sp->dev->ops->discard(sp->dev, len, off);
		off += len;
	}
	return r;
}

int bsp_sparse_finish(struct bsp_sparse *sp, enum bsp_tail tail)
{
	int r, tail_r, flushed;

	if (!sp->dev->info.writable)
		return -EROFS;
	pthread_mutex_lock(&sp->flush_lock);
	r = mark_lost(sp);
	if (!r)
		r = bsp_sparse_carry_out(sp, NULL, NULL);
	tail_r = bsp_sparse_is_gone(sp) ? -ENODEV : treat_tail(sp, tail);
	flushed = flush_device(sp);
	pthread_mutex_unlock(&sp->flush_lock);
	return r ? r : tail_r ? tail_r : flushed;
}
