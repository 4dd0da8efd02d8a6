/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Storing: the scan ahead stores the data that it reads in the kernel's page
 * cache, so that the reader that follows a seek finds it there and the device
 * is read once. This is only correct while no program writes to the file, since
 * the kernel would store it over newer pages. Data from before a change of the
 * device must not be stored after the kernel was told to drop its pages. So
 * stores and drops run under store_lock, and a store first checks that no data
 * was forgotten since it was read. A store waits for pages that are being read.
 * Threads that serve reads never wait for the scan, and only one seek of a file
 * does at a time (fuse_file_llseek() holds the inode's lock), so enough threads
 * are left to serve them.
 *
 * Dropping: the kernel does not report reads that it serves from its cache. So
 * one page every few MiB is not stored but kept here: a probe page. A
 * sequential reader has to request it, which tells where the reader is: at most
 * a read-ahead before the probe page, and past the previous one. The pages
 * between the two probe pages before that are dropped then. The kernel uses
 * their memory for the next pages; memory that was idle for long costs more
 * time, and other programs need it. If a reader skips a probe page or goes
 * backwards, no pages are dropped.
 *
 * A probe page is the first page of its piece, because the read-ahead that the
 * missing page triggers stays within that piece.
 *
 * The simpler way is to store without probe pages and never to drop. A cold
 * copy of 1 GiB of data then took 1.6 times as long, reading 8 GiB in a control
 * group of 1 GiB 1.1 to 1.4 times; a device with a tenth of data was copied as
 * fast.
 *
 * Pages of a writable file are dropped only after a change of the device, and
 * where a write was interrupted, never behind a writer. The kernel copies the
 * bytes of a write into clean pages before it sends the write
 * (fuse_fill_write_pages() in fs/fuse/file.c). If such a page is dropped in
 * between, a reader has the old bytes read into a new one, and there they stay.
 */
#include "page-cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "blksparse-thread.h"

enum {
	PAGE = 4096,
	PROBE_STEP = 4 << 20,	/* bytes from one probe page to the next */
	PROBE_PIECE = 64 << 10, /* least length of a piece with a probe page */
	PROBES_MAX = 1024,	/* probe pages that wait for a reader */
	DROP_STEPS = 64,	/* steps of page_cache_drop_all() */
};

/* No probe page. */
#define NOWHERE UINT64_MAX

struct probe_page {
	uint64_t generation;
	char bytes[PAGE];
};

struct page_cache {
	/* Fixed after page_cache_start(). */
	struct bsp_sparse *sp;
	struct fuse_session *se;
	fuse_ino_t ino;
	uint64_t limit;

	pthread_mutex_t store_lock;
	/* Protected by store_lock: */
	uint64_t since_probe; /* bytes stored since the last probe page */

	/* A leaf lock, held for a few instructions and a search. */
	pthread_mutex_t lock;
	pthread_cond_t stored; /* CLOCK_MONOTONIC; storing became false */
	/* Protected by lock: */
	bool storing;	 /* a store may be on its way to the kernel */
	uint64_t stores; /* finished stores */
	uint64_t probe_at[PROBES_MAX];	/* offsets, or NOWHERE */
	struct probe_page *probe_pages; /* PROBES_MAX of them, or NULL */
	unsigned next_probe;		/* the oldest, or a free one */
	uint64_t last_probe;		/* the last one that was requested */
	uint64_t previous_probe;	/* the one before, or NOWHERE */
	unsigned readers;		/* how often the file is open */
	uint64_t stored_unread;		/* bytes stored since the last read */
	uint64_t drop_from, drop_to;
};

/* --- Life ---------------------------------------------------------------- */

struct page_cache *page_cache_new(struct bsp_sparse *sp, fuse_ino_t ino,
				  uint64_t limit)
{
	struct page_cache *cache = g_new0(struct page_cache, 1);

	cache->sp = sp;
	cache->ino = ino;
	cache->limit = limit;
	pthread_mutex_init(&cache->store_lock, NULL);
	pthread_mutex_init(&cache->lock, NULL);
	bsp_cond_init(&cache->stored);
	cache->last_probe = cache->previous_probe = NOWHERE;
	for (unsigned i = 0; i < PROBES_MAX; i++)
		cache->probe_at[i] = NOWHERE;
	return cache;
}

void page_cache_free(struct page_cache *cache)
{
	if (!cache)
		return;
	pthread_cond_destroy(&cache->stored);
	pthread_mutex_destroy(&cache->lock);
	pthread_mutex_destroy(&cache->store_lock);
	free(cache->probe_pages);
	g_free(cache);
}

void page_cache_start(struct page_cache *cache, struct fuse_session *se)
{
	cache->se = se;
}

/* lock held. */
static void forget_probe_pages(struct page_cache *cache)
{
	free(cache->probe_pages);
	cache->probe_pages = NULL;
	cache->last_probe = cache->previous_probe = NOWHERE;
	for (unsigned i = 0; i < PROBES_MAX; i++)
		cache->probe_at[i] = NOWHERE;
}

void page_cache_set_readers(struct page_cache *cache, unsigned n)
{
	pthread_mutex_lock(&cache->lock);
	cache->readers = n;
	if (n == 0)
		forget_probe_pages(cache);
	pthread_mutex_unlock(&cache->lock);
}

/* --- Storing ------------------------------------------------------------- */

/* Fails if the kernel has forgotten the inode; then no program has the file
 * open. store_lock held. */
static void store_pages(struct page_cache *cache, uint64_t off, const char *buf,
			uint64_t len)
{
	struct fuse_bufvec bufv = FUSE_BUFVEC_INIT((size_t)len);

	bufv.buf[0].mem = (void *)buf;
	(void)fuse_lowlevel_notify_store(cache->se, cache->ino, (off_t)off,
					 &bufv, 0);
}

/* Keeps the page at off as a probe page. False if memory is short, or the file
 * is not open. */
static bool keep_probe_page(struct page_cache *cache, uint64_t generation,
			    const char *buf, uint64_t off)
{
	struct probe_page *probe;
	bool kept;

	pthread_mutex_lock(&cache->lock);
	if (!cache->probe_pages && cache->readers)
		cache->probe_pages =
			malloc(PROBES_MAX * sizeof(*cache->probe_pages));
	kept = cache->probe_pages;
	if (kept) {
		probe = &cache->probe_pages[cache->next_probe];
		probe->generation = generation;
		memcpy(probe->bytes, buf, PAGE);
		cache->probe_at[cache->next_probe] = off;
		cache->next_probe = (cache->next_probe + 1) % PROBES_MAX;
	}
	pthread_mutex_unlock(&cache->lock);
	return kept;
}

/* Whether a piece of that length gets a probe page. A short piece gets one only
 * if no longer one came for a while. store_lock held. */
static bool needs_probe_page(const struct page_cache *cache, uint64_t len)
{
	return (cache->since_probe >= PROBE_STEP && len >= PROBE_PIECE) ||
	       (cache->since_probe >= 2 * (uint64_t)PROBE_STEP && len > PAGE);
}

/* Whether len more bytes may be stored. A caller that seeks through a large
 * device without reading would otherwise push all other pages out of memory,
 * and at last the pages that it reads first. */
static bool has_room(struct page_cache *cache, uint64_t len)
{
	bool has;

	pthread_mutex_lock(&cache->lock);
	has = len <= cache->limit && cache->stored_unread <= cache->limit - len;
	if (has)
		cache->stored_unread += len;
	pthread_mutex_unlock(&cache->lock);
	return has;
}

/* Called before a store checks that its data is current, and after it.
 * store_lock held. */
static void set_storing(struct page_cache *cache, bool storing)
{
	pthread_mutex_lock(&cache->lock);
	cache->storing = storing;
	if (!storing) {
		cache->stores++;
		pthread_cond_broadcast(&cache->stored);
	}
	pthread_mutex_unlock(&cache->lock);
}

void page_cache_store(void *data, uint64_t generation, uint64_t off,
		      const void *buf, uint64_t len)
{
	struct page_cache *cache = data;
	const char *from = buf;

	pthread_mutex_lock(&cache->store_lock);
	set_storing(cache, true);
	if (bsp_sparse_is_current(cache->sp, generation) &&
	    has_room(cache, len)) {
		cache->since_probe += len;
		if (needs_probe_page(cache, len) && off % PAGE == 0 &&
		    keep_probe_page(cache, generation, from, off)) {
			cache->since_probe = 0;
			from += PAGE;
			off += PAGE;
			len -= PAGE;
		}
		store_pages(cache, off, from, len);
	}
	set_storing(cache, false);
	pthread_mutex_unlock(&cache->store_lock);
}

bool page_cache_wait_stores(struct page_cache *cache,
			    const struct timespec *until)
{
	uint64_t stores;
	bool ended;
	int timeout = 0;

	pthread_mutex_lock(&cache->lock);
	stores = cache->stores;
	while (cache->storing && cache->stores == stores && !timeout)
		timeout = pthread_cond_timedwait(&cache->stored, &cache->lock,
						 until);
	ended = !cache->storing || cache->stores != stores;
	pthread_mutex_unlock(&cache->lock);
	return ended;
}

/* --- Readers ------------------------------------------------------------- */

/* Whether there is a probe page in [from, to). lock held. */
static bool has_probe_page(const struct page_cache *cache, uint64_t from,
			   uint64_t to)
{
	for (unsigned i = 0; i < PROBES_MAX; i++) {
		if (cache->probe_at[i] >= from && cache->probe_at[i] < to)
			return true;
	}
	return false;
}

/* The kernel requested the probe page at off, which is gone now. Plans the drop
 * behind a sequential reader. lock held. */
static void probe_page_requested(struct page_cache *cache, uint64_t off)
{
	uint64_t from = cache->previous_probe, to = cache->last_probe;
	bool on = cache->readers == 1 && to < off &&
		  !has_probe_page(cache, to, off);

	cache->last_probe = off;
	cache->previous_probe = on ? to : NOWHERE;
	if (!on || from == NOWHERE)
		return;
	/* A range that is not dropped yet ends where this one begins. */
	if (cache->drop_to != from)
		cache->drop_from = from;
	cache->drop_to = to;
}

/* Index of the probe page at off, or PROBES_MAX. lock held. */
static unsigned find_probe_page(const struct page_cache *cache, uint64_t off)
{
	unsigned i = 0;

	if (!cache->probe_pages)
		return PROBES_MAX;
	while (i < PROBES_MAX && cache->probe_at[i] != off)
		i++;
	return i;
}

static bool is_probe_page(struct page_cache *cache, uint64_t off)
{
	bool is;

	pthread_mutex_lock(&cache->lock);
	cache->stored_unread = 0;
	is = find_probe_page(cache, off) < PROBES_MAX;
	pthread_mutex_unlock(&cache->lock);
	return is;
}

size_t page_cache_read(struct page_cache *cache, char *buf, size_t size,
		       uint64_t off, bool *ret_passed)
{
	size_t n = 0;
	unsigned i;

	*ret_passed = false;
	if (!is_probe_page(cache, off))
		return 0;
	/* The device is not read for these bytes, so check for changes, as
	 * before a hole. Without the lock, since a change calls the watch,
	 * which has a lock of its own. */
	(void)bsp_sparse_refresh(cache->sp);
	pthread_mutex_lock(&cache->lock);
	i = find_probe_page(cache, off);
	if (i < PROBES_MAX) {
		cache->probe_at[i] = NOWHERE;
		if (size >= PAGE && off + PAGE <= bsp_sparse_size(cache->sp) &&
		    bsp_sparse_is_current(cache->sp,
					  cache->probe_pages[i].generation)) {
			memcpy(buf, cache->probe_pages[i].bytes, PAGE);
			n = PAGE;
		}
		probe_page_requested(cache, off);
		*ret_passed = cache->drop_from < cache->drop_to;
	}
	pthread_mutex_unlock(&cache->lock);
	return n;
}

/* --- Dropping ------------------------------------------------------------ */

/* The kernel may not know the inode yet, or no more; then it has no pages of
 * it. */
static bool drop_range(struct page_cache *cache, uint64_t off, uint64_t len)
{
	int r = fuse_lowlevel_notify_inval_inode(cache->se, cache->ino,
						 (off_t)off, (off_t)len);

	return r == 0 || r == -ENOENT;
}

void page_cache_drop(struct page_cache *cache, uint64_t off, uint64_t len)
{
	(void)drop_range(cache, off, len);
}

/* The kernel locks a page while it is read, and drops it after that
 * (invalidate_inode_pages2_range() in mm/truncate.c). So each page that is in
 * the cache afterwards was requested after this call. */
bool page_cache_drop_all(struct page_cache *cache, bsp_interrupted_fn over,
			 void *data)
{
	uint64_t size = bsp_sparse_size(cache->sp);
	uint64_t step = MAX(size / DROP_STEPS, PAGE), off = 0;
	bool done = true;

	pthread_mutex_lock(&cache->store_lock);
	while (off < size && !over(data)) {
		done = drop_range(cache, off, step) && done;
		off += step;
	}
	/* Pages from a time when the file was longer. */
	done = !over(data) && drop_range(cache, off, 0) && done;
	pthread_mutex_unlock(&cache->store_lock);
	pthread_mutex_lock(&cache->lock);
	forget_probe_pages(cache);
	pthread_mutex_unlock(&cache->lock);
	return done;
}

void page_cache_drop_passed(struct page_cache *cache)
{
	uint64_t from, to;

	pthread_mutex_lock(&cache->lock);
	from = cache->drop_from;
	to = cache->drop_to;
	cache->drop_from = to;
	pthread_mutex_unlock(&cache->lock);
	if (from < to)
		(void)drop_range(cache, from, to - from);
}
