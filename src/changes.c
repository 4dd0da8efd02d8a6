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
 * A device that only is read: the file's size is its size. What is known of
 * the part that stays is right; but a granule that was short, or becomes so,
 * is another one now. A lookup must not find the new size with the old granule,
 * nor a size that the map does not cover. watch_lock held.
 */
static bool follow_reading(struct bsp_sparse *sp, uint64_t old, uint64_t size)
{
	uint64_t granules = bsp_granules(size, sp->shift);

	if (size > old) {
		forget_last(sp, old);
		if (bsp_map_resize(sp->map, granules))
			return false; /* no memory: at the next look */
		atomic_store(&sp->capacity, size);
		atomic_store(&sp->size, size);
	} else {
		atomic_store(&sp->size, size);
		atomic_store(&sp->capacity, size);
		forget_last(sp, size);
		(void)bsp_map_resize(sp->map, granules);
	}
	return true;
}

/* Whoever still zeroes there, from before the device shrank, is to be done. */
static int punch_new(struct bsp_sparse *sp, uint64_t from, uint64_t to)
{
	struct bsp_range_hold hold;
	int r;

	bsp_range_lock(&sp->ranges, &hold, from, to, true);
	r = bsp_map_event(sp->map, BSP_PUNCHED, from, to);
	bsp_range_unlock(&sp->ranges, &hold);
	return r;
}

/*
 * A writable device grew. If the file ends where the device did, it goes on
 * into the new part, which is unknown; a marker in the short granule between
 * them is carried out first. If it ends before, the new part is beyond its end
 * and will be zeros. Both locks held.
 */
static bool grow_writable(struct bsp_sparse *sp, uint64_t old, uint64_t size)
{
	uint64_t from = bsp_granules(old, sp->shift);
	uint64_t to = bsp_granules(size, sp->shift);
	uint64_t last = old >> sp->shift;
	uint64_t start = last << sp->shift;
	bool follows = atomic_load(&sp->size) == old;

	if (follows && old > start &&
	    bsp_map_get(sp->map, last) == BSP_MARKER &&
	    bsp_sparse_zero_markers(sp, last, last + 1, old))
		return false; /* at the next look */
	if (bsp_map_resize(sp->map, to))
		return false;
	if (follows)
		forget_last(sp, old);
	else if (punch_new(sp, from, to) ||
		 (old > start &&
		  bsp_map_event(sp->map, BSP_STALE, last, last + 1)))
		return false;
	atomic_store(&sp->capacity, size);
	if (follows)
		atomic_store(&sp->size, size);
	return true;
}

static bool follow_writing(struct bsp_sparse *sp, uint64_t old, uint64_t size)
{
	bool followed = true;

	pthread_rwlock_wrlock(&sp->size_lock);
	if (size > old) {
		followed = grow_writable(sp, old, size);
	} else {
		atomic_store(&sp->capacity, size);
		if (size < atomic_load(&sp->size))
			atomic_store(&sp->size, size);
		(void)bsp_map_resize(sp->map, bsp_granules(size, sp->shift));
	}
	pthread_rwlock_unlock(&sp->size_lock);
	return followed;
}

/* watch_lock held. */
static bool follow_size(struct bsp_sparse *sp)
{
	uint64_t old = atomic_load(&sp->capacity), size;

	/* A device that is gone keeps its size: reads say that it is gone, and
	 * nobody takes what is left for the whole. */
	if (sp->dev->ops->size(sp->dev, &size) || size == old)
		return false;
	return (sp->dev->info.writable ? follow_writing
				       : follow_reading)(sp, old, size);
}

/*
 * Forgets all if the counters moved. A writable device is this object's alone,
 * and the counters move with its own writes. watch_lock held.
 */
static bool follow_content(struct bsp_sparse *sp)
{
	struct bsp_stamp stamp;

	if (sp->dev->info.writable)
		return false;
	sp->dev->ops->stamp(sp->dev, &stamp);
	if (bsp_stamp_equal(&stamp, &sp->stamp))
		return false;
	sp->stamp = stamp;
	atomic_store(&sp->counted, stamp.counted);
	bsp_map_forget(sp->map, 0, UINT64_MAX);
	return true;
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * BSP_SECOND_NS + now.tv_nsec;
}

void bsp_sparse_suspect(struct bsp_sparse *sp)
{
	int64_t now = now_ns(), moved = atomic_load(&sp->mtime_ns);

	/* A clock that was set back moves it, too. */
	if (now - moved >= BSP_SECOND_NS || now < moved)
		atomic_store(&sp->mtime_ns, now);
}

static uint64_t refresh(struct bsp_sparse *sp, bool times)
{
	bool resized, rewritten, counted;
	uint64_t changes;

	pthread_mutex_lock(&sp->watch_lock);
	resized = follow_size(sp);
	if (resized)
		atomic_fetch_add(&sp->resizes, 1);
	rewritten = follow_content(sp);
	counted = sp->stamp.counted;
	if (resized || rewritten)
		sp->changes++;
	if (resized || (rewritten && counted))
		atomic_store(&sp->mtime_ns, now_ns());
	/* Every look at a device that is not counted is a change. Its time
	 * moves only for an opening or a stat: a reader that compares it before
	 * and after it reads, as GNU tar does, would see every look in between.
	 */
	if (times && !counted && !sp->dev->info.writable)
		bsp_sparse_suspect(sp);
	changes = sp->changes;
	pthread_mutex_unlock(&sp->watch_lock);

	if (resized && sp->changed)
		sp->changed(sp->changed_data, BSP_CHANGE_SIZE);
	if (rewritten && sp->changed)
		sp->changed(sp->changed_data, counted ? BSP_CHANGE_CONTENT
						      : BSP_CHANGE_UNWATCHABLE);
	return changes;
}

uint64_t bsp_sparse_refresh(struct bsp_sparse *sp)
{
	return refresh(sp, false);
}

uint64_t bsp_sparse_refresh_times(struct bsp_sparse *sp)
{
	return refresh(sp, true);
}
