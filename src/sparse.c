/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The sparse object: a device, a map of what is known of it, and what follows
 * from the two for reads, seeks and stat.
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

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "range.h"
#include "scanner.h"
#include "zero.h"

enum { BUDGET_DEFAULT_MS = 1000 };

/* --- Life ------------------------------------------------------------------ */

static bool is_power_of_two(uint64_t n)
{
	return n && (n & (n - 1)) == 0;
}

static bool check_granule(const struct bsp_device *dev, uint64_t granule,
			  GError **error)
{
	uint64_t block = dev->info.logical_block_size;

	if (!is_power_of_two(granule) || granule < BSP_GRANULE_MIN ||
	    granule > BSP_GRANULE_MAX)
		return bsp_error_set(
			error, BSP_ERROR_USAGE,
			"a granule of %" G_GUINT64_FORMAT
			" bytes is not possible; it must be a power of two from 4K to 1M",
			granule);
	if (granule < block)
		return bsp_error_set(error, BSP_ERROR_USAGE,
				     "a granule of %" G_GUINT64_FORMAT
				     " bytes is less than a block of %s (%" G_GUINT64_FORMAT
				     " bytes)",
				     granule, dev->path, block);
	return true;
}

/* Options with their defaults filled in. */
static struct bsp_sparse_options
fill_options(const struct bsp_device *dev,
	     const struct bsp_sparse_options *options)
{
	struct bsp_sparse_options full = { 0 };

	if (options)
		full = *options;
	if (!full.granule)
		full.granule = bsp_max(BSP_GRANULE_DEFAULT,
				       dev->info.logical_block_size);
	if (!full.lookahead)
		full.lookahead = bsp_max(BSP_LOOKAHEAD_DEFAULT, full.granule);
	if (!full.budget_ms)
		full.budget_ms = BUDGET_DEFAULT_MS;
	return full;
}

struct bsp_sparse *bsp_sparse_new(struct bsp_device *dev,
				  const struct bsp_sparse_options *options,
				  GError **error)
{
	struct bsp_sparse_options full = fill_options(dev, options);
	struct bsp_sparse *sp;
	void *buffer = NULL;

	if (!check_granule(dev, full.granule, error))
		return NULL;
	if (full.lookahead < full.granule) {
		bsp_error_set(error, BSP_ERROR_USAGE,
			      "a look-ahead of %" G_GUINT64_FORMAT
			      " bytes is less than a granule (%" G_GUINT64_FORMAT
			      " bytes)",
			      full.lookahead, full.granule);
		return NULL;
	}
	sp = calloc(1, sizeof(*sp));
	if (sp) {
		sp->shift = (unsigned)__builtin_ctzll(full.granule);
		sp->map = bsp_map_new(bsp_granules(dev->info.size, sp->shift));
	}
	if (!sp || !sp->map ||
	    posix_memalign(&buffer, BSP_BUFFER_ALIGN, BSP_SCAN_CHUNK)) {
		bsp_error_set_errno(error, ENOMEM, "make a map of %s",
				    dev->path);
		bsp_map_free(sp ? sp->map : NULL);
		free(sp);
		return NULL;
	}
	sp->dev = dev;
	sp->lookahead = full.lookahead;
	sp->budget_ns = (uint64_t)full.budget_ms * 1000000;
	sp->scan_buffer = buffer;
	sp->mtime = dev->info.mtime;
	atomic_init(&sp->size, dev->info.size);
	pthread_mutex_init(&sp->scan_lock, NULL);
	pthread_mutex_init(&sp->watch_lock, NULL);
	dev->ops->stamp(dev, &sp->stamp);
	return sp;
}

void bsp_sparse_free(struct bsp_sparse *sp)
{
	if (!sp)
		return;
	pthread_mutex_destroy(&sp->watch_lock);
	pthread_mutex_destroy(&sp->scan_lock);
	free(sp->scan_buffer);
	bsp_map_free(sp->map);
	bsp_device_close(sp->dev);
	free(sp);
}

void bsp_sparse_set_changed(struct bsp_sparse *sp, bsp_changed_fn changed,
			    void *data)
{
	sp->changed = changed;
	sp->changed_data = data;
}

uint64_t bsp_sparse_size(struct bsp_sparse *sp)
{
	return atomic_load(&sp->size);
}

uint32_t bsp_sparse_granule(const struct bsp_sparse *sp)
{
	return UINT32_C(1) << sp->shift;
}

void bsp_sparse_get_info(const struct bsp_sparse *sp,
			 struct bsp_device_info *ret_info)
{
	bsp_device_get_info(sp->dev, ret_info);
}

/* --- Changes from outside --------------------------------------------------- */

/* The granule at size covers more or fewer bytes now: nothing is known of it. */
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
		sp->changed(sp->changed_data, counted
						      ? BSP_CHANGE_CONTENT
						      : BSP_CHANGE_UNWATCHABLE);
	return changes;
}

/* --- Learning ---------------------------------------------------------------- */

/*
 * The last granule, short because the device ends in it, is learned while the
 * size cannot change: were it to grow in between, a hole that is known for the
 * short granule would be taken for one of the whole granule.
 */
static int learn_last(struct bsp_sparse *sp, uint64_t generation,
		      uint64_t granule, uint64_t size, bool zero)
{
	int r = 0;

	pthread_mutex_lock(&sp->watch_lock);
	if (size == atomic_load(&sp->size))
		r = bsp_map_learned(sp->map, generation, granule, granule + 1,
				    zero);
	pthread_mutex_unlock(&sp->watch_lock);
	return r;
}

int bsp_sparse_learn_run(struct bsp_sparse *sp, uint64_t generation,
			 uint64_t off, uint64_t len, bool zero)
{
	uint64_t size = atomic_load(&sp->size);
	uint64_t end = off + len;
	uint64_t from = bsp_granules(off, sp->shift);
	uint64_t to = end >> sp->shift;
	int r = 0;

	if (from < to)
		r = bsp_map_learned(sp->map, generation, from, to, zero);
	if (!r && end == size && from <= to && to << sp->shift != end)
		r = learn_last(sp, generation, to, size, zero);
	return r;
}

int bsp_sparse_learn(struct bsp_sparse *sp, uint64_t generation,
		     const void *buf, uint64_t len, uint64_t off)
{
	uint64_t end = off + len;
	uint64_t at = bsp_align_up(off, sp->shift);

	while (at < end) {
		bool zero;
		size_t run = bsp_zero_run((const char *)buf + (at - off),
					  (size_t)(end - at),
					  (size_t)1 << sp->shift, &zero);
		int r = bsp_sparse_learn_run(sp, generation, at, run, zero);

		if (r)
			return r;
		at += run;
	}
	return 0;
}

/* --- Reading ------------------------------------------------------------------ */

/* Reads all of [off, off + len) from the device; short only at its end. */
static ssize_t read_device(struct bsp_sparse *sp, char *buf, size_t len,
			   uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = sp->dev->ops->read(sp->dev, buf + done, len - done,
					       off + done);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* The same, and learns from what it saw if there is something to learn. */
static ssize_t read_and_learn(struct bsp_sparse *sp, char *buf, size_t len,
			      uint64_t off)
{
	uint64_t generation = bsp_map_generation(sp->map);
	uint64_t from = off >> sp->shift;
	uint64_t to = bsp_granules(off + len, sp->shift);
	ssize_t n = read_device(sp, buf, len, off);

	/* No memory to learn: the bytes are right all the same. */
	if (n > 0 && bsp_map_next(sp->map, BSP_IN_UNKNOWN, from, to) < to)
		(void)bsp_sparse_learn(sp, generation, buf, (uint64_t)n, off);
	return n;
}

/* How far, up to end, all granules from off on are in the set, or none is. */
static uint64_t run_end(struct bsp_sparse *sp, unsigned set, uint64_t off,
			uint64_t end)
{
	uint64_t next = bsp_map_next(sp->map, set, off >> sp->shift,
				     bsp_granules(end, sp->shift));

	return bsp_granule_start(next, sp->shift, end);
}

ssize_t bsp_sparse_read(struct bsp_sparse *sp, void *buf, size_t len,
			uint64_t off)
{
	uint64_t end = off + bsp_range_clamp(off, len, atomic_load(&sp->size));
	uint64_t at = off;
	bool fresh = false;

	while (at < end) {
		char *to = (char *)buf + (at - off);
		uint64_t zeros = run_end(sp, BSP_IN_UNKNOWN | BSP_IN_DATA, at,
					 end);
		ssize_t n;

		if (zeros > at && !fresh) {
			/* Is it still a hole? Look anew, and at the size. */
			(void)bsp_sparse_refresh(sp);
			fresh = true;
			end = off + bsp_range_clamp(off, end - off,
						    atomic_load(&sp->size));
			continue;
		}
		if (zeros > at) {
			memset(to, 0, zeros - at);
			at = zeros;
			continue;
		}
		n = read_and_learn(sp, to,
				   run_end(sp, BSP_IN_ZERO, at, end) - at, at);
		if (n < 0)
			return n;
		if (n == 0) {
			/* It ended early: it shrank, or does not say so. */
			(void)bsp_sparse_refresh(sp);
			if (at < atomic_load(&sp->size))
				return -EIO;
			break;
		}
		at += (uint64_t)n;
	}
	return (ssize_t)(at - off);
}

/* --- Seeking -------------------------------------------------------------------- */

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

/* --- What is known --------------------------------------------------------------- */

/* Bytes of so many granules, of which the last of the device may be short. */
static uint64_t bytes_in(struct bsp_sparse *sp, uint64_t granules,
			 uint64_t size, bool with_last)
{
	uint64_t full = bsp_granules(size, sp->shift) << sp->shift;

	return (granules << sp->shift) - (with_last ? full - size : 0);
}

static uint64_t blocks_of(const struct bsp_stat *st)
{
	uint64_t full = st->size / 512;
	uint64_t blocks = bsp_granules(st->data + st->unknown, 9);

	if (!st->unknown)
		return blocks;
	/* Tools look for holes only if blocks are missing, and GNU tar takes a
	 * file without any for one hole. */
	return bsp_max(bsp_min(blocks, full ? full - 1 : 0), 1);
}

static void known(struct bsp_sparse *sp, struct bsp_stat *st)
{
	uint64_t totals[BSP_STATES];
	enum bsp_state last;

	st->size = atomic_load(&sp->size);
	bsp_map_totals(sp->map, totals, &last);
	st->unknown = bytes_in(sp, totals[BSP_UNKNOWN], st->size,
			       last == BSP_UNKNOWN);
	st->data = bytes_in(sp, totals[BSP_DATA], st->size, last == BSP_DATA);
	st->hole = bytes_in(sp, totals[BSP_HOLE] + totals[BSP_MARKER], st->size,
			    last == BSP_HOLE || last == BSP_MARKER);
	st->blocks = blocks_of(st);
}

void bsp_sparse_stat(struct bsp_sparse *sp, struct bsp_stat *ret_stat)
{
	uint64_t size;

	known(sp, ret_stat);
	/* "No blocks" is what a hole is to those who do not ask further. */
	if (ret_stat->blocks == 0 || (sp->dev->ops->size(sp->dev, &size) == 0 &&
				      size != ret_stat->size)) {
		(void)bsp_sparse_refresh(sp);
		known(sp, ret_stat);
	}
	pthread_mutex_lock(&sp->watch_lock);
	ret_stat->mtime = sp->mtime;
	pthread_mutex_unlock(&sp->watch_lock);
}

int bsp_sparse_extent(void *sparse, uint64_t off, struct bsp_extent *ret_extent)
{
	static const unsigned sets[] = { BSP_IN_DATA, BSP_IN_ZERO,
					 BSP_IN_UNKNOWN };
	static const enum bsp_extent_type types[] = {
		[BSP_UNKNOWN] = BSP_EXTENT_UNKNOWN,
		[BSP_DATA] = BSP_EXTENT_DATA,
		[BSP_HOLE] = BSP_EXTENT_HOLE,
		[BSP_MARKER] = BSP_EXTENT_HOLE,
	};
	struct bsp_sparse *sp = sparse;
	uint64_t size = atomic_load(&sp->size);
	enum bsp_extent_type type;

	if (off >= size)
		return 0;
	type = types[bsp_map_get(sp->map, off >> sp->shift)];
	ret_extent->off = off;
	ret_extent->len =
		run_end(sp, BSP_IN_ALL & ~sets[type], off, size) - off;
	ret_extent->type = type;
	return 1;
}
