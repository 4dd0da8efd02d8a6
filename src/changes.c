/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changes from outside: another program writes to the device, or its size
 * changes.
 *
 * Why a remembered hole is right. A granule is learned in a generation of the
 * map whose stamp was taken before the granule was read. Whoever writes to the
 * device later moves its counters away from that stamp before the write is
 * acknowledged (or leaves dirty pages, which taking a stamp pushes out, and
 * which count then). So: before a hole is answered, bsp_sparse_refresh() takes
 * a stamp, and if it differs all is forgotten, the generation ends, and what is
 * being read just then is not learned. Looks for changes exclude each other, so
 * that nobody slips past one that has seen a change and is not done forgetting.
 */
#include "sparse.h"

#include "range.h"

/* The granule at size covers more or fewer bytes now: nothing is known of it.
 */
static void forget_last(struct bsp_sparse *sp, uint64_t size)
{
	uint64_t last = size >> sp->shift;

	if (size != last << sp->shift)
		bsp_map_forget(sp->map, last, last + 1);
}

/*
 * The size follows the device's. What is known of the part that stays is
 * right; but a granule that was short, or becomes so, is another one now. A
 * lookup must not find the new size with the old granule, nor a size the map
 * does not cover. watch_lock held.
 */
static bool follow_size(struct bsp_sparse *sp)
{
	uint64_t old = atomic_load(&sp->size), size;

	/* A device that is gone keeps its size: reads say that it is gone, and
	 * nobody takes what is left for the whole. */
	if (sp->dev->ops->size(sp->dev, &size) || size == old)
		return false;
	if (size > old) {
		forget_last(sp, old);
		if (bsp_map_resize(sp->map, bsp_granules(size, sp->shift)))
			return false; /* no memory: at the next look */
		atomic_store(&sp->size, size);
	} else {
		atomic_store(&sp->size, size);
		forget_last(sp, size);
		(void)bsp_map_resize(sp->map, bsp_granules(size, sp->shift));
	}
	return true;
}

/* Forgets all if the counters moved. watch_lock held. */
static bool follow_content(struct bsp_sparse *sp)
{
	struct bsp_stamp stamp;

	sp->dev->ops->stamp(sp->dev, &stamp);
	if (bsp_stamp_equal(&stamp, &sp->stamp))
		return false;
	sp->stamp = stamp;
	bsp_map_forget(sp->map, 0, UINT64_MAX);
	return true;
}

uint64_t bsp_sparse_refresh(struct bsp_sparse *sp)
{
	bool resized, rewritten, counted;
	uint64_t changes;

	pthread_mutex_lock(&sp->watch_lock);
	resized = follow_size(sp);
	rewritten = follow_content(sp);
	counted = sp->stamp.counted;
	if (resized || rewritten) {
		sp->changes++;
		clock_gettime(CLOCK_REALTIME, &sp->mtime);
	}
	changes = sp->changes;
	pthread_mutex_unlock(&sp->watch_lock);

	if (resized && sp->changed)
		sp->changed(sp->changed_data, BSP_CHANGE_SIZE);
	if (rewritten && sp->changed)
		sp->changed(sp->changed_data, counted ? BSP_CHANGE_CONTENT
						      : BSP_CHANGE_UNWATCHABLE);
	return changes;
}
