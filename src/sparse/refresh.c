/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The check for outside changes: another program wrote to the device, its size
 * changed, or another medium is in it (identity.h).
 *
 * Why a remembered hole is right. The map learns a granule in a generation; the
 * sample of the device's identity that belongs to it was taken before the
 * granule was read. A later write by another program moves the counters away
 * from that sample before the write is acknowledged (or leaves dirty pages;
 * taking a sample pushes these out, and they count then). So
 * bsp_sparse_refresh() takes a sample before a hole is answered. If the sample
 * differs, all is forgotten and the generation ends, so that reads in progress
 * are not learned. Checks exclude each other: no seek passes a check that has
 * seen a change and is still forgetting.
 *
 * A sample that is not settled proves nothing about later reads. Each check
 * then forgets all, so that the map answers the present question only. That
 * alone is no change. When the sample settles, data that the caller has cached
 * meanwhile is out of date, and this counts as one change.
 *
 * A block device counts its writes, and only a program that writes to the file
 * below it may not have ended a write. So the map is kept while that file's
 * change time is young, and forgotten once when it settles.
 *
 * The content of a writable object is its own, and its counters move with its
 * own writes, so that only the medium and the size are checked.
 *
 * The check also forgets all after a layer below was found to err about zeros
 * (spot-check.c). The device did not change then, but the caller may have
 * cached zeros that are none.
 */
#include "sparse/sparse.h"

#include <errno.h>
#include <time.h>

#include "base/interrupt.h"
#include "base/range.h"
#include "sparse/scan-ahead.h"

/* Forgets the granule at size, which covers more or fewer bytes now. */
static void forget_granule_at(struct bsp_sparse *sp, uint64_t size)
{
	uint64_t last = size >> sp->shift;

	if (size != last << sp->shift)
		bsp_map_forget(sp->map, last, last + 1);
}

/*
 * Follows the size of a read-only device: the file's size is the same. The map
 * stays right for the part that stays, but a granule that was short, or becomes
 * short, is a different one now. A lookup must find neither the new size with
 * the old granule, nor a size that the map does not cover. watch_lock held.
 */
static bool resize_read_only(struct bsp_sparse *sp, uint64_t old, uint64_t size)
{
	uint64_t granules = bsp_granules(size, sp->shift);

	if (size > old) {
		if (bsp_device_drop_pages(sp->dev, old))
			return false; /* at the next check */
		forget_granule_at(sp, old);
		if (bsp_map_resize(sp->map, granules))
			return false; /* no memory; at the next check */
		atomic_store(&sp->capacity, size);
		atomic_store(&sp->size, size);
	} else {
		atomic_store(&sp->size, size);
		atomic_store(&sp->capacity, size);
		forget_granule_at(sp, size);
		(void)bsp_map_resize(sp->map, granules); /* cannot fail */
	}
	return true;
}

/* Makes markers of a new part. Waits for threads that still zero there, from
 * before the device shrank. */
static int punch_new_part(struct bsp_sparse *sp, uint64_t from, uint64_t to)
{
	struct bsp_range_hold hold;
	int r;

	bsp_range_lock(&sp->ranges, &hold, from, to, true);
	r = bsp_map_event(sp->map, BSP_PUNCHED, from, to);
	bsp_range_unlock(&sp->ranges, &hold);
	return r;
}

/*
 * Forgets the device's last granule, short up to now, which goes on into the
 * new part: its content comes from the device. Zeros of it that are not durable
 * yet become a piece (undurable.h), because a flush that fails will not find a
 * hole there. size_lock is held exclusively.
 */
static bool forget_old_last(struct bsp_sparse *sp, uint64_t old)
{
	unsigned failed = bsp_undurable_failed_flushes(&sp->undurable);
	uint64_t last = old >> sp->shift;
	uint64_t start = last << sp->shift;

	if (old == start)
		return true;
	if (bsp_map_get(sp->map, last) == BSP_MARKER &&
	    bsp_sparse_zero_markers(sp, last, last + 1, old))
		return false;
	if (bsp_map_get(sp->map, last) == BSP_HOLE &&
	    bsp_undurable_has(&sp->undurable, last))
		bsp_undurable_zeroed(&sp->undurable, start, old, failed);
	bsp_sparse_end_reliance(sp, last, last + 1);
	return bsp_map_forget_one(sp->map, last) == 0;
}

/* The object's own map comes last, so that the others always cover its
 * granules. */
static int resize_maps(struct bsp_sparse *sp, uint64_t granules)
{
	int r = bsp_undurable_resize(&sp->undurable, granules);

	if (!r)
		r = bsp_map_resize(sp->relied, granules);
	return r ? r : bsp_map_resize(sp->map, granules);
}

/*
 * Follows a writable device that grew. If the file ended where the device did,
 * it goes on into the new part, which is unknown; a marker in the short granule
 * between them is zeroed first. If the file ended before, the new part is
 * beyond its end and is to be zeros. Both locks held.
 */
static bool grow_writable(struct bsp_sparse *sp, uint64_t old, uint64_t size)
{
	uint64_t from = bsp_granules(old, sp->shift);
	uint64_t to = bsp_granules(size, sp->shift);
	uint64_t last = old >> sp->shift;
	bool extends_file = atomic_load(&sp->size) == old;

	/*
	 * First of all: a write to a part of a cached page that reaches past
	 * the old end would keep, and write, the bytes that the page holds
	 * there.
	 */
	if (bsp_device_drop_pages(sp->dev, old))
		return false; /* at the next check */
	/* This may fail, so it comes before there are granules past the end. */
	if (extends_file && !forget_old_last(sp, old))
		return false;
	if (resize_maps(sp, to))
		return false;
	if (!extends_file &&
	    (punch_new_part(sp, from, to) ||
	     (old > last << sp->shift &&
	      bsp_map_event(sp->map, BSP_ZEROS_LOST, last, last + 1))))
		return false;
	atomic_store(&sp->capacity, size);
	if (extends_file)
		atomic_store(&sp->size, size);
	return true;
}

/* Follows a writable device that shrank, which needs no memory. Both locks
 * held. */
static void shrink_writable(struct bsp_sparse *sp, uint64_t size)
{
	atomic_store(&sp->capacity, size);
	if (size < atomic_load(&sp->size))
		atomic_store(&sp->size, size);
	bsp_undurable_written(&sp->undurable, size, UINT64_MAX);
	(void)resize_maps(sp, bsp_granules(size, sp->shift));
}

static bool resize_writable(struct bsp_sparse *sp, uint64_t old, uint64_t size)
{
	bool grows = size > old, done = true;

	if (grows && bsp_sparse_reserve_pieces(sp))
		return false; /* at the next check */
	pthread_rwlock_wrlock(&sp->size_lock);
	if (grows)
		done = grow_writable(sp, old, size);
	else
		shrink_writable(sp, size);
	pthread_rwlock_unlock(&sp->size_lock);
	if (grows)
		bsp_undurable_release(&sp->undurable);
	return done;
}

/* watch_lock held. */
static bool check_size(struct bsp_sparse *sp)
{
	uint64_t old = atomic_load(&sp->capacity), size;

	/* A device that is gone keeps its size: its reads fail, and no reader
	 * takes the rest for the whole. */
	if (sp->dev->ops->size(sp->dev, &size) || size == old)
		return false;
	return (sp->dev->info.writable ? resize_writable
				       : resize_read_only)(sp, old, size);
}

/*
 * Forgets all of a writable device. Markers stay; holes whose zeros are not
 * durable yet become markers again; past the file's end all granules become
 * markers. All others are unknown again. Both locks held.
 */
static void forget_writable(struct bsp_sparse *sp)
{
	struct bsp_range_hold all;

	/* Wait until zeroing in progress ends. None begins meanwhile, because
	 * that takes size_lock. */
	bsp_range_lock(&sp->ranges, &all, 0, UINT64_MAX, true);
	bsp_range_unlock(&sp->ranges, &all);
	bsp_sparse_mark_undurable(sp);
	bsp_sparse_forget_all(sp);
	bsp_sparse_end_reliance(sp, 0, UINT64_MAX >> sp->shift);
	(void)bsp_sparse_punch_past(sp, atomic_load(&sp->size));
}

/*
 * Follows another table of the device mapper on a writable device: LVM has
 * moved, reduced or extended a volume, or a test has loaded a table. The
 * kernel's pages of the device node are dropped: they may belong to an extent
 * that was given back and allocated again for other data. watch_lock held.
 */
static void handle_new_table(struct bsp_sparse *sp)
{
	pthread_rwlock_wrlock(&sp->size_lock);
	(void)bsp_device_drop_pages(sp->dev, UINT64_MAX);
	forget_writable(sp);
	pthread_rwlock_unlock(&sp->size_lock);
}

/* Follows another medium on a read-only device. watch_lock held. */
static void handle_new_medium(struct bsp_sparse *sp)
{
	(void)bsp_device_drop_pages(sp->dev, UINT64_MAX);
	bsp_sparse_forget_all(sp);
}

static bool has_markers(struct bsp_sparse *sp)
{
	uint64_t granules = bsp_granules(atomic_load(&sp->capacity), sp->shift);

	return bsp_map_next(sp->map, BSP_IN_MARKER, 0, granules) < granules;
}

/*
 * Is a writable object lost? Its markers, and all it knows, belong to a medium
 * that is gone. After a connection was lost there may be another medium, which
 * must not get the markers. Nor must it get those that a writer made before it
 * noticed. watch_lock held.
 */
static bool is_lost(struct bsp_sparse *sp, enum bsp_medium_change change,
		    const struct bsp_medium *now)
{
	bool lost_connection =
		change == BSP_MEDIUM_CONNECTION || now->disconnected;

	return sp->dev->info.writable && (change == BSP_MEDIUM_OTHER ||
					  (lost_connection && has_markers(sp)));
}

/* Follows another medium. watch_lock held. */
static void handle_medium(struct bsp_sparse *sp)
{
	(sp->dev->info.writable ? handle_new_table : handle_new_medium)(sp);
}

/*
 * Connects anew to the server of a device whose connection was lost. Since then
 * all reads failed, and the map may have learned unreadable granules as data,
 * so it forgets again. A transfer does not follow changes, and fails instead.
 * Returns whether it connected. watch_lock held.
 */
static bool reconnect(struct bsp_sparse *sp, const struct bsp_medium *now)
{
	const struct bsp_device_ops *ops = sp->dev->ops;

	if (!now->disconnected || !sp->changed)
		return false;
	ops->reconnect(sp->dev, now->connection);
	if (!ops->is_connected(sp->dev))
		return false;
	handle_medium(sp);
	return true;
}

/* Changes of the medium, as bits 1 << BSP_CHANGE_... */
typedef unsigned changes_t;

#define CHANGE(name) (1U << BSP_CHANGE_##name)

/* Checks for another medium. Returns the changes. watch_lock held. */
static changes_t check_medium(struct bsp_sparse *sp, enum bsp_depth depth)
{
	enum bsp_medium_change change;
	struct bsp_medium now = { 0 };
	changes_t changes = 0;

	if (!sp->dev->ops->medium)
		return 0;
	if (!atomic_load(&sp->gone))
		sp->dev->ops->medium(sp->dev, depth, &now);
	change = bsp_medium_compare(&sp->medium, &now);
	if (is_lost(sp, change, &now))
		atomic_store(&sp->gone, true);
	if (atomic_load(&sp->gone)) {
		bool reported = sp->gone_reported;

		sp->gone_reported = true;
		return reported ? 0 : CHANGE(GONE);
	}
	bsp_medium_update(&sp->medium, &now);
	if (change != BSP_MEDIUM_SAME) {
		handle_medium(sp);
		changes = change == BSP_MEDIUM_CONNECTION ? CHANGE(DISCONNECTED)
							  : CHANGE(MEDIUM);
	}
	return reconnect(sp, &now) ? changes | CHANGE(CONNECTED) : changes;
}

bool bsp_sparse_is_connected(struct bsp_sparse *sp)
{
	return !sp->dev->ops->is_connected ||
	       sp->dev->ops->is_connected(sp->dev);
}

bool bsp_sparse_has_other_medium(struct bsp_sparse *sp)
{
	struct bsp_medium now = { 0 };
	bool other;

	if (!sp->dev->ops->medium)
		return false;
	pthread_mutex_lock(&sp->watch_lock);
	sp->dev->ops->medium(sp->dev, BSP_DEPTH_ALL, &now);
	other = bsp_medium_compare(&sp->medium, &now) != BSP_MEDIUM_SAME;
	pthread_mutex_unlock(&sp->watch_lock);
	return other;
}

bool bsp_sparse_is_gone(struct bsp_sparse *sp)
{
	struct bsp_medium now = { 0 };

	if (atomic_load(&sp->gone))
		return true;
	if (!sp->sequence || !sp->dev->info.writable)
		return false;
	sp->dev->ops->medium(sp->dev, BSP_DEPTH_SEQUENCE, &now);
	if (now.sequence && now.sequence != sp->sequence)
		atomic_store(&sp->gone, true);
	return atomic_load(&sp->gone);
}

/*
 * Forgets all if another program wrote, or may have written. Sets *ret_change
 * to the change to report, and returns whether it counts as a change.
 * watch_lock held.
 */
static bool check_content(struct bsp_sparse *sp, int *ret_change)
{
	const struct bsp_content was = sp->content;
	struct bsp_content now;
	bool equal, settles;

	if (sp->dev->info.writable)
		return false;
	sp->dev->ops->content(sp->dev, &now);
	equal = bsp_content_equal(&now, &was);
	settles = was.young && !now.young;
	sp->content = now;
	if (equal && was.settled && now.settled && !settles)
		return false;
	atomic_store(&sp->counted, now.counted && now.settled);
	bsp_sparse_forget_all(sp);
	if (!equal)
		*ret_change = now.counted ? BSP_CHANGE_CONTENT
					  : BSP_CHANGE_UNWATCHABLE;
	return !equal || now.settled;
}

/* Forgets all if a layer below was found to err. Returns whether it was.
 * watch_lock held. */
static bool check_layers(struct bsp_sparse *sp)
{
	if (!atomic_load(&sp->forget_due))
		return false;
	atomic_store(&sp->forget_due, false);
	if (!sp->dev->info.writable) {
		bsp_sparse_forget_all(sp);
		return true;
	}
	pthread_rwlock_wrlock(&sp->size_lock);
	bsp_sparse_mark_relied(sp);
	forget_writable(sp);
	pthread_rwlock_unlock(&sp->size_lock);
	return true;
}

static int64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * BSP_SECOND_NS + now.tv_nsec;
}

static struct timespec realtime_in(unsigned ms)
{
	int64_t ns = now_ns() + ms * (BSP_SECOND_NS / 1000);

	return (struct timespec){ .tv_sec = ns / BSP_SECOND_NS,
				  .tv_nsec = ns % BSP_SECOND_NS };
}

void bsp_sparse_assume_written(struct bsp_sparse *sp)
{
	int64_t now = now_ns(), moved = atomic_load(&sp->mtime_ns);

	/* If the clock was set back, the time moves, too. */
	if (now - moved >= BSP_SECOND_NS || now < moved)
		atomic_store(&sp->mtime_ns, now);
}

enum { NO_CHANGE = -1 };

/* watch_lock held; let go of. */
static uint64_t check_all(struct bsp_sparse *sp, enum bsp_depth depth,
			  bool times)
{
	int content = NO_CHANGE;
	bool resized, moved, false_zeros;
	changes_t medium;
	uint64_t changes;

	medium = check_medium(sp, depth);
	resized = !atomic_load(&sp->gone) && check_size(sp);
	if (resized)
		atomic_fetch_add(&sp->resizes, 1);
	moved = check_content(sp, &content);
	false_zeros = check_layers(sp);
	/* Until a sample is settled, an opening must not use anything cached
	 * before it. */
	if (medium || resized || moved || false_zeros ||
	    (times && !sp->content.settled))
		sp->changes++;
	/* A backup that was made between a write's beginning and its end is out
	 * of date, so the time moves at both. */
	if (medium || resized || false_zeros || content == BSP_CHANGE_CONTENT ||
	    (moved && sp->mtime_provisional))
		atomic_store(&sp->mtime_ns, now_ns());
	if (content == BSP_CHANGE_CONTENT)
		bsp_count(&sp->counts.other_writers, 1);
	if (moved)
		sp->mtime_provisional =
			content == BSP_CHANGE_CONTENT &&
			(!sp->content.settled || sp->content.young);
	/*
	 * Every check of a device that does not count writes is a change. Its
	 * time moves only for an opening or a stat: a program that compares it
	 * before and after it reads, as GNU tar does, would see every check in
	 * between.
	 */
	if (times && !sp->content.counted)
		bsp_sparse_assume_written(sp);
	changes = sp->changes;
	pthread_mutex_unlock(&sp->watch_lock);

	if ((medium || resized) && sp->scan_ahead)
		bsp_scan_ahead_learn_zeros(sp->scan_ahead);
	if (!sp->changed)
		return changes;
	for (int i = 0; medium >> i; i++) {
		if (medium >> i & 1)
			sp->changed(sp->changed_data, (enum bsp_change)i);
	}
	if (resized)
		sp->changed(sp->changed_data, BSP_CHANGE_SIZE);
	if (content != NO_CHANGE && !medium)
		sp->changed(sp->changed_data, (enum bsp_change)content);
	if (false_zeros)
		sp->changed(sp->changed_data, BSP_CHANGE_FALSE_ZEROS);
	return changes;
}

static uint64_t refresh(struct bsp_sparse *sp, enum bsp_depth depth, bool times)
{
	pthread_mutex_lock(&sp->watch_lock);
	return check_all(sp, depth, times);
}

/*
 * Another thread holds watch_lock for seconds while it tries to connect.
 * Returns false if this thread was interrupted meanwhile. The limits are of
 * CLOCK_REALTIME: ThreadSanitizer of gcc 12 does not know the function for the
 * other clock. If the clock is set back, the interrupt ends the wait only when
 * the other thread has tried.
 */
static bool lock_unless_interrupted(pthread_mutex_t *lock)
{
	struct timespec limit = realtime_in(BSP_INTERRUPT_MS);

	while (pthread_mutex_timedlock(lock, &limit)) {
		if (bsp_interrupted())
			return false;
		limit = realtime_in(BSP_INTERRUPT_MS);
	}
	return true;
}

int bsp_sparse_connect(struct bsp_sparse *sp)
{
	if (!sp->changed || bsp_sparse_is_connected(sp))
		return 0;
	if (!lock_unless_interrupted(&sp->watch_lock))
		return -EINTR;
	(void)check_all(sp, BSP_DEPTH_CHEAP, false);
	return atomic_load(&sp->gone) || bsp_sparse_is_connected(sp) ? 0 : -EIO;
}

uint64_t bsp_sparse_refresh(struct bsp_sparse *sp)
{
	return refresh(sp, BSP_DEPTH_CHEAP, false);
}

void bsp_sparse_forget_if_due(struct bsp_sparse *sp)
{
	if (atomic_load(&sp->forget_due))
		(void)bsp_sparse_refresh(sp);
}

uint64_t bsp_sparse_refresh_all(struct bsp_sparse *sp)
{
	return refresh(sp, BSP_DEPTH_ALL, false);
}

uint64_t bsp_sparse_refresh_mtime(struct bsp_sparse *sp)
{
	return refresh(sp, BSP_DEPTH_ALL, true);
}
