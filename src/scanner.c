/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The scanner runs in the thread that wants to know. It reads up to a chunk of
 * unknown granules and tells the map what it saw; the map refuses what is out
 * of date. Chunks are read one after another, under the object's scan_lock:
 * two seeks that want the same granules read them once.
 */
#include "scanner.h"

#include <errno.h>

#include "range.h"
#include "zero.h"

/*
 * The device says how far it holds zeros from the granule on: learns the
 * granules that lie in there. Sets *ret_done if there were any.
 */
static int learn_zeros(struct bsp_sparse *sp, uint64_t generation,
		       uint64_t granule, uint64_t size, bool *ret_done)
{
	uint64_t off = granule << sp->shift;
	uint64_t end = off;

	if (sp->dev->ops->zeros)
		end = bsp_min(sp->dev->ops->zeros(sp->dev, off), size);
	*ret_done = end == size || end >> sp->shift > granule;
	if (!*ret_done)
		return 0;
	return bsp_sparse_learn_run(sp, generation, off, end - off, true);
}

/*
 * [off, off + len) could not be read in one go. Learns its first granule from
 * a read of its own, or as data if that fails as well, and sets *ret_len to
 * what was settled. Done again and again this isolates what is unreadable.
 */
static int learn_one(struct bsp_sparse *sp, uint64_t generation, uint64_t len,
		     uint64_t off, uint64_t *ret_len)
{
	uint64_t want = bsp_min(len, UINT64_C(1) << sp->shift);
	uint64_t granule = off >> sp->shift;
	uint64_t done = 0;
	ssize_t n = 1;

	while (done < want && n > 0) {
		n = sp->dev->ops->read(sp->dev, (char *)sp->scan_buffer + done,
				       want - done, off + done);
		done += n > 0 ? (uint64_t)n : 0;
	}
	*ret_len = want;
	if (done == want)
		return bsp_sparse_learn(sp, generation, sp->scan_buffer, want,
					off);
	return bsp_map_learned(sp->map, generation, granule, granule + 1,
			       false);
}

/* Reads and learns [off, off + len), which is at most a chunk. */
static int learn_range(struct bsp_sparse *sp, uint64_t generation, uint64_t len,
		       uint64_t off)
{
	uint64_t granule_mask = (UINT64_C(1) << sp->shift) - 1;
	bool failing = false;

	while (len) {
		ssize_t n =
			failing ? -EIO
				: sp->dev->ops->read(sp->dev, sp->scan_buffer,
						     len, off);
		uint64_t got = n > 0 ? (uint64_t)n : 0;
		int r;

		/* A short read counts up to the last whole granule. */
		if (got < len)
			got &= ~granule_mask;
		if (got) {
			r = bsp_sparse_learn(sp, generation, sp->scan_buffer,
					     got, off);
		} else {
			failing = true;
			r = learn_one(sp, generation, len, off, &got);
		}
		if (r)
			return r;
		off += got;
		len -= got;
	}
	return 0;
}

static int scan_locked(struct bsp_sparse *sp, uint64_t granule)
{
	uint64_t generation = bsp_map_generation(sp->map);
	uint64_t size = atomic_load(&sp->size);
	uint64_t granules = bsp_granules(size, sp->shift);
	uint64_t end =
		bsp_min(granule + (BSP_SCAN_CHUNK >> sp->shift), granules);
	uint64_t off;
	bool done;
	int r;

	/* Somebody else may have settled it, or cut it off, meanwhile. */
	if (granule >= granules || bsp_map_get(sp->map, granule) != BSP_UNKNOWN)
		return 0;
	r = learn_zeros(sp, generation, granule, size, &done);
	if (r || done)
		return r;
	end = bsp_map_next(sp->map, BSP_IN_ALL & ~BSP_IN_UNKNOWN, granule, end);
	off = granule << sp->shift;
	return learn_range(sp, generation,
			   bsp_granule_start(end, sp->shift, size) - off, off);
}

int bsp_scan_chunk(struct bsp_sparse *sp, uint64_t granule)
{
	int r;

	pthread_mutex_lock(&sp->scan_lock);
	r = scan_locked(sp, granule);
	pthread_mutex_unlock(&sp->scan_lock);
	return r;
}

int bsp_sparse_scan(struct bsp_sparse *sp, uint64_t off, uint64_t len,
		    bsp_interrupted_fn interrupted, bsp_progress_fn progress,
		    void *data)
{
	uint64_t size, end, granule;

	(void)bsp_sparse_refresh(sp);
	size = atomic_load(&sp->size);
	len = bsp_range_clamp(off, len, size);
	end = bsp_granules(off + len, sp->shift);
	for (granule = off >> sp->shift;; granule++) {
		uint64_t at;
		int r;

		granule = bsp_map_next(sp->map, BSP_IN_UNKNOWN, granule, end);
		at = bsp_granule_start(granule, sp->shift, off + len);
		if (progress)
			progress(data, at > off ? at - off : 0, len);
		if (granule == end || len == 0)
			return 0;
		if (interrupted && interrupted(data))
			return -ECANCELED;
		r = bsp_scan_chunk(sp, granule);
		if (r)
			return r;
	}
}
