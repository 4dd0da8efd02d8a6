/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The sparse object's life, its options, and the answers to stat and extents.
 *
 * An object owns its device and all knowledge of the device's content. Other
 * files of this folder do the work: read, seek, write, refresh, flush, scan.
 * The functions here only look: they do no I/O on content, so that stat and map
 * reports answer at once, even while the device is slow.
 *
 * stat has a trap: programs such as tar and cp look for holes only in files
 * with fewer blocks than their size needs, and GNU tar takes a file without
 * blocks for one hole. So while granules are unknown, stat reports at least one
 * block, and fewer than the size needs.
 */
#include "sparse/sparse.h"

#include <errno.h>
#include <stdlib.h>

#include "sparse/scan-ahead.h"
#include "base/error.h"
#include "base/range.h"
#include "sparse/scan.h"

enum { BUDGET_DEFAULT_MS = 1000, MINHOLE_MAX = 16 << 20 };

/* --- Life --- */

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
		return bsp_error_set(
			error, BSP_ERROR_USAGE,
			"a granule of %" G_GUINT64_FORMAT
			" bytes is less than a block of %s (%" G_GUINT64_FORMAT
			" bytes)",
			granule, dev->path, block);
	return true;
}

/* Returns the options with their defaults filled in. */
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

static void take_first_samples(struct bsp_sparse *sp)
{
	struct bsp_device *dev = sp->dev;

	if (dev->ops->medium)
		dev->ops->medium(dev, BSP_DEPTH_ALL, &sp->medium);
	sp->sequence = sp->medium.sequence;
	if (dev->info.writable)
		sp->content.counted = sp->content.settled = true;
	else
		dev->ops->content(dev, &sp->content);
	atomic_init(&sp->counted, sp->content.counted && sp->content.settled);
	atomic_init(&sp->gone, false);
}

/*
 * By default, a thread that wants an rwlock exclusively waits as long as other
 * threads keep coming to share it (pthread_rwlockattr_setkind_np(3)): writers
 * to one file would delay a truncation, and a check of the device's size, for
 * ever. With this kind no thread may share the lock twice.
 */
static void init_size_lock(pthread_rwlock_t *lock)
{
	pthread_rwlockattr_t attr;

	pthread_rwlockattr_init(&attr);
	(void)pthread_rwlockattr_setkind_np(
		&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(lock, &attr);
	pthread_rwlockattr_destroy(&attr);
}

/* Leaves dev to the caller if it fails. */
static struct bsp_sparse *make(struct bsp_device *dev,
			       const struct bsp_sparse_options *options,
			       GError **error)
{
	struct bsp_sparse_options full = fill_options(dev, options);
	struct bsp_sparse *sp;
	uint64_t granules;
	void *buffer = NULL;
	bool prepared = false;

	if (!bsp_error_check_reserved(full.reserved,
				      G_N_ELEMENTS(full.reserved), error) ||
	    !check_granule(dev, full.granule, error))
		return NULL;
	if (full.lookahead < full.granule) {
		bsp_error_set(
			error, BSP_ERROR_USAGE,
			"a look-ahead of %" G_GUINT64_FORMAT
			" bytes is less than a granule (%" G_GUINT64_FORMAT
			" bytes)",
			full.lookahead, full.granule);
		return NULL;
	}
	if (full.minhole > MINHOLE_MAX) {
		bsp_error_set(error, BSP_ERROR_USAGE,
			      "holes of %" G_GUINT64_FORMAT
			      " bytes must be reported; give at most 16M",
			      full.minhole);
		return NULL;
	}
	sp = calloc(1, sizeof(*sp));
	if (sp) {
		sp->shift = (unsigned)__builtin_ctzll(full.granule);
		granules = bsp_granules(dev->info.size, sp->shift);
		sp->map = bsp_map_new(granules);
		prepared = bsp_undurable_init(&sp->undurable,
					      dev->info.writable ? granules : 0,
					      sp->shift);
		sp->relied = bsp_map_new(dev->info.writable ? granules : 0);
	}
	if (!sp || !sp->map || !sp->relied || !prepared ||
	    posix_memalign(&buffer, BSP_BUFFER_ALIGN, BSP_SCAN_CHUNK)) {
		bsp_error_set_errno(
			error, ENOMEM,
			full.granule < BSP_GRANULE_MAX
				? "make a map of %s (a larger granule needs less)"
				: "make a map of %s",
			dev->path);
		if (sp) {
			bsp_undurable_done(&sp->undurable);
			bsp_map_free(sp->relied);
			bsp_map_free(sp->map);
		}
		free(sp);
		return NULL;
	}
	sp->dev = dev;
	if (dev->ops->set_trust)
		dev->ops->set_trust(dev, full.known);
	if (full.unshared && dev->ops->set_unshared)
		dev->ops->set_unshared(dev);
	sp->lookahead = full.lookahead;
	sp->budget_ns = (uint64_t)full.budget_ms * 1000000;
	sp->scan_buffer = buffer;
	sp->zero_mode = full.zero_mode;
	sp->minhole = full.minhole > full.granule ? full.minhole : 0;
	atomic_init(&sp->size, dev->info.size);
	atomic_init(&sp->capacity, dev->info.size);
	atomic_init(&sp->mtime_ns, dev->info.mtime.tv_sec * BSP_SECOND_NS +
					   dev->info.mtime.tv_nsec);
	pthread_mutex_init(&sp->scan_lock, NULL);
	pthread_mutex_init(&sp->watch_lock, NULL);
	pthread_mutex_init(&sp->asked_lock, NULL);
	pthread_mutex_init(&sp->flush_lock, NULL);
	init_size_lock(&sp->size_lock);
	bsp_spot_checks_init(&sp->spot_checks, dev);
	atomic_init(&sp->distrusted, false);
	atomic_init(&sp->forget_due, false);
	atomic_init(&sp->knows_holes, false);
	atomic_init(&sp->same.skipped, full.skip_same);
	bsp_writeback_init(&sp->writeback);
	bsp_range_lock_init(&sp->ranges);
	take_first_samples(sp);
	return sp;
}

struct bsp_sparse *bsp_sparse_new(struct bsp_device *dev,
				  const struct bsp_sparse_options *options,
				  GError **error)
{
	struct bsp_sparse *sp = dev ? make(dev, options, error) : NULL;

	if (!sp)
		bsp_device_close(dev);
	return sp;
}

struct bsp_sparse *
bsp_sparse_new_borrowing(struct bsp_device *dev,
			 const struct bsp_sparse_options *options,
			 GError **error)
{
	struct bsp_sparse *sp = make(dev, options, error);

	if (sp)
		sp->borrows = true;
	return sp;
}

void bsp_sparse_free(struct bsp_sparse *sp)
{
	if (!sp)
		return;
	bsp_scan_ahead_free(sp->scan_ahead);
	bsp_range_lock_done(&sp->ranges);
	bsp_undurable_done(&sp->undurable);
	pthread_rwlock_destroy(&sp->size_lock);
	bsp_writeback_done(&sp->writeback);
	free(atomic_load(&sp->same.memory));
	pthread_mutex_destroy(&sp->asked_lock);
	if (sp->known_counts.layers)
		g_array_unref(sp->known_counts.layers);
	pthread_mutex_destroy(&sp->flush_lock);
	pthread_mutex_destroy(&sp->watch_lock);
	pthread_mutex_destroy(&sp->scan_lock);
	g_free(sp->spot_checks.error);
	free(sp->scan_buffer);
	bsp_map_free(sp->relied);
	bsp_map_free(sp->map);
	if (!sp->borrows)
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

/* --- Scanning ahead --- */

int bsp_sparse_scan_ahead_start(struct bsp_sparse *sp,
				const struct bsp_scan_ahead_options *options)
{
	struct bsp_scan_ahead *scan_ahead = bsp_scan_ahead_new(sp, options);
	int r = -ENOMEM;

	/* The thread, too, looks for changes. */
	sp->scan_ahead = scan_ahead;
	if (scan_ahead)
		r = bsp_scan_ahead_start(scan_ahead);
	if (r) {
		bsp_scan_ahead_free(scan_ahead);
		sp->scan_ahead = NULL;
	}
	return r;
}

void bsp_sparse_scan_ahead_stop(struct bsp_sparse *sp)
{
	if (sp->scan_ahead)
		bsp_scan_ahead_stop(sp->scan_ahead);
}

bool bsp_sparse_scan_ahead_running(struct bsp_sparse *sp)
{
	return sp->scan_ahead && bsp_scan_ahead_alive(sp->scan_ahead);
}

void bsp_sparse_scan_ahead_join(struct bsp_sparse *sp)
{
	bsp_scan_ahead_free(sp->scan_ahead);
	sp->scan_ahead = NULL;
}

void bsp_sparse_scan_ahead_set_background(struct bsp_sparse *sp, bool rest)
{
	if (sp->scan_ahead)
		bsp_scan_ahead_set_background(sp->scan_ahead, rest);
}

void bsp_sparse_report_read(struct bsp_sparse *sp, uint64_t off)
{
	if (sp->scan_ahead)
		bsp_scan_ahead_report_read(sp->scan_ahead, off);
}

bool bsp_sparse_is_current(struct bsp_sparse *sp, uint64_t generation)
{
	return bsp_map_generation(sp->map) == generation;
}

/* --- Answers from the map --- */

uint64_t bsp_sparse_bytes_in(const struct bsp_sparse *sp, uint64_t granules,
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
	/* Programs look for holes only if blocks are missing, and GNU tar takes
	 * a file without any for one hole. */
	return bsp_max(bsp_min(blocks, full ? full - 1 : 0), 1);
}

static void fill_known(struct bsp_sparse *sp, struct bsp_stat *st)
{
	uint64_t totals[BSP_STATES], end;
	enum bsp_state last;

	st->size = atomic_load(&sp->size);
	/* The two do not change at one instant. */
	st->capacity = bsp_max(atomic_load(&sp->capacity), st->size);
	end = bsp_granules(st->size, sp->shift);
	/* The last granule's state counts for its short length. Past the
	 * logical size all granules are holes or markers. */
	bsp_map_totals(sp->map, end ? end - 1 : 0, totals, &last);
	st->unknown = bsp_sparse_bytes_in(sp, totals[BSP_UNKNOWN], st->size,
					  last == BSP_UNKNOWN);
	st->data = bsp_sparse_bytes_in(sp, totals[BSP_DATA], st->size,
				       last == BSP_DATA);
	st->hole = st->size - bsp_min(st->size, st->data + st->unknown);
	st->blocks = blocks_of(st);
	st->pending = !atomic_load(&sp->gone) &&
		      (bsp_undurable_lost(&sp->undurable) ||
		       (totals[BSP_MARKER] &&
			bsp_map_next(sp->map, BSP_IN_MARKER, 0, end) < end));
}

/* Seconds are rounded down, also before 1970, so that nanoseconds are not
 * negative. */
static struct timespec mtime_of(struct bsp_sparse *sp)
{
	int64_t ns = atomic_load(&sp->mtime_ns);
	int64_t rest = ns % BSP_SECOND_NS;

	if (rest < 0)
		rest += BSP_SECOND_NS;
	return (struct timespec){ .tv_sec = (ns - rest) / BSP_SECOND_NS,
				  .tv_nsec = rest };
}

static bool has_cached_size(struct bsp_sparse *sp)
{
	const struct bsp_device_ops *ops = sp->dev->ops;
	uint64_t size;
	int r = (ops->cached_size ? ops->cached_size : ops->size)(sp->dev,
								  &size);

	return r != 0 || size == atomic_load(&sp->capacity);
}

bool bsp_sparse_stat_nowait(struct bsp_sparse *sp, struct bsp_stat *ret_stat)
{
	*ret_stat = (struct bsp_stat){ 0 };
	fill_known(sp, ret_stat);
	ret_stat->mtime = mtime_of(sp);
	/* Programs take "no blocks" for one hole and look no further, so that
	 * this needs a check for changes. */
	return ret_stat->blocks != 0 && has_cached_size(sp);
}

void bsp_sparse_stat(struct bsp_sparse *sp, struct bsp_stat *ret_stat)
{
	if (bsp_sparse_stat_nowait(sp, ret_stat))
		return;
	/* Connecting to a server anew may take seconds. */
	if (!bsp_sparse_is_connected(sp)) {
		ret_stat->blocks = bsp_max(ret_stat->blocks, 1);
		return;
	}
	(void)bsp_sparse_refresh(sp);
	(void)bsp_sparse_stat_nowait(sp, ret_stat);
}

int bsp_sparse_extent(struct bsp_sparse *sp, uint64_t off,
		      struct bsp_extent *ret_extent)
{
	static const unsigned sets[] = { BSP_IN_DATA, BSP_IN_ZERO,
					 BSP_IN_UNKNOWN };
	static const enum bsp_extent_type types[] = {
		[BSP_UNKNOWN] = BSP_EXTENT_UNKNOWN,
		[BSP_DATA] = BSP_EXTENT_DATA,
		[BSP_HOLE] = BSP_EXTENT_HOLE,
		[BSP_MARKER] = BSP_EXTENT_HOLE,
	};
	uint64_t size = atomic_load(&sp->size);
	enum bsp_extent_type type;

	if (off >= size)
		return 0;
	ret_extent->off = off;
	do {
		type = types[bsp_map_get(sp->map, off >> sp->shift)];
		ret_extent->len =
			bsp_sparse_run_end(sp, BSP_IN_ALL & ~sets[type], off,
					   size) -
			off;
		/* Again, if another thread changed the granule in between. */
	} while (ret_extent->len == 0);
	ret_extent->type = type;
	return 1;
}

/* A bsp_extent_fn. */
static int next_extent(void *data, uint64_t off, struct bsp_extent *ret_extent)
{
	return bsp_sparse_extent(data, off, ret_extent);
}

struct bsp_extent_source bsp_sparse_extent_source(struct bsp_sparse *sp)
{
	return (struct bsp_extent_source){ next_extent, sp };
}
