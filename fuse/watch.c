/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each file has a watch with a thread of its own: looking at a device may take
 * as long as the device takes, and other files must not wait for it.
 *
 * The thread looks once a second while the file is open or zeros wait to be
 * flushed. Otherwise it sleeps without waking up; the next opening looks, or
 * the thread does for a stat that finds the last look old. A read or a seek
 * that notices a change only notes it and wakes the thread. A handler cannot
 * tell the kernel to drop pages, because it would wait for the pages of the
 * read that is being served. If the kernel does not count writes to the device,
 * each look counts as a change, and seeks would have the cache dropped all the
 * time. There they do not wake the thread, and one look a second has to do.
 *
 * The lock is held for a few instructions only, never during a call to libfuse
 * or a call that may read the device.
 */
#include "watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "blksparse-thread.h"
#include "log.h"
#include "page-cache.h"

enum {
	MEMORY_MIN = 64 << 20,
	/* The part of the memory for stored pages that no program has read. */
	UNREAD_DIVISOR = 4,
	LOOK_SECONDS = 1,
	FLUSH_SECONDS = 5, /* how long zeros may wait to be flushed */
	LOG_SECONDS = 60,  /* between two lines about the same problem */
};

#define SECOND_NS ((int64_t)1000000000)
/* How long a handler waits for another thread here. */
#define WAIT_NS (SECOND_NS / 10)

struct watch {
	/* Fixed after watch_new(). */
	struct bsp_sparse *sp;
	const char *path;
	struct page_cache *cache;
	struct watch_lines *lines; /* used only by the thread */

	/* Fixed after watch_start(). */
	bool background;
	pthread_t thread;
	bool started;

	atomic_bool running; /* the thread has not ended */

	pthread_mutex_t lock;
	/* CLOCK_MONOTONIC */
	pthread_cond_t wake;
	pthread_cond_t looked; /* a look or a drop of all pages is done */

	/* Protected by lock. */
	bool stopping;
	bool woken;
	bool noted[WATCH_CHANGES];
	unsigned opened;    /* open files */
	bool asked;	    /* a stat waits, or waited, for the next look */
	int64_t wait_ns;    /* since when stats wait; 0: they do not */
	int64_t looking_ns; /* when the look in progress began; 0: none */
	int64_t looked_ns;  /* when the last finished look began */
	/* The last change, as counted by bsp_sparse_refresh(), after which the
	 * kernel has dropped all pages. Set by the thread. */
	uint64_t dropped_num;
	/* Size of the device at the last finished drop of all pages, bytes. */
	uint64_t dropped_size;
	int64_t resized_ns; /* since when handlers wait for a drop; 0: none */
	uint64_t drop_num;  /* the last change that needs a drop at once */
	uint64_t reported_size; /* capacity in the last reply that had one */
	bool pending;		/* some zeros wait to be flushed */
	/* Where writes were interrupted, and pages are to be dropped. */
	uint64_t interrupted_from, interrupted_to;

	/* Used only by the thread. */
	time_t pending_since;
	bool flush_failed; /* the last flush failed, and was logged */
};

/* CLOCK_MONOTONIC */
static int64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * SECOND_NS + now.tv_nsec;
}

static time_t now_seconds(void)
{
	return (time_t)(now_ns() / SECOND_NS);
}

static struct timespec timespec_of(int64_t ns)
{
	return (struct timespec){ .tv_sec = ns / SECOND_NS,
				  .tv_nsec = ns % SECOND_NS };
}

/* A bsp_changed_fn. */
static void note_change(void *data, enum bsp_change change)
{
	struct watch *watch = data;

	pthread_mutex_lock(&watch->lock);
	watch->noted[change] = true;
	if (change != BSP_CHANGE_UNWATCHABLE) {
		watch->woken = true;
		pthread_cond_signal(&watch->wake);
	}
	pthread_mutex_unlock(&watch->lock);
}

/* In bytes; a small value if it is not known. */
static uint64_t physical_memory(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);

	return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page
				     : MEMORY_MIN;
}

struct watch *watch_new(struct bsp_sparse *sp, const char *path, fuse_ino_t ino,
			struct watch_lines *lines)
{
	struct watch *watch = g_new0(struct watch, 1);

	watch->sp = sp;
	watch->path = path;
	watch->lines = lines;
	failures_restart(&lines->failures);
	watch->cache =
		page_cache_new(sp, ino, physical_memory() / UNREAD_DIVISOR);
	pthread_mutex_init(&watch->lock, NULL);
	bsp_cond_init(&watch->wake);
	bsp_cond_init(&watch->looked);
	bsp_sparse_set_changed(sp, note_change, watch);
	return watch;
}

void watch_free(struct watch *watch)
{
	if (!watch)
		return;
	pthread_cond_destroy(&watch->looked);
	pthread_cond_destroy(&watch->wake);
	pthread_mutex_destroy(&watch->lock);
	page_cache_free(watch->cache);
	g_free(watch);
}

/* --- The thread ---------------------------------------------------------- */

static void log_false_zeros(struct watch *watch)
{
	g_autofree char *why = bsp_sparse_false_zeros(watch->sp);

	log_line(
		LOG_WARNING,
		"%s: %s; the layers below are no longer asked, and all is read",
		watch->path, why);
}

static void log_change(struct watch *watch, enum bsp_change change)
{
	watch->lines->next[change] = now_seconds() + LOG_SECONDS;
	switch (change) {
	case BSP_CHANGE_CONTENT:
		log_line(
			LOG_NOTICE,
			"%s: another program wrote to it; searches look for holes again",
			watch->path);
		break;
	case BSP_CHANGE_SIZE:
		log_line(LOG_NOTICE,
			 "%s: its size is now %" G_GUINT64_FORMAT " bytes",
			 watch->path, bsp_sparse_size(watch->sp));
		break;
	case BSP_CHANGE_UNWATCHABLE:
		/* Log it once: the line would repeat every minute. */
		watch->lines->next[change] = G_MAXINT;
		log_line(
			LOG_WARNING, "%s: %s", watch->path,
			bsp_is_nbd_uri(watch->path)
				? "NBD does not tell of other writers of it; each search asks its server again (-o unshared if there are none)"
				: "the kernel does not count writes of other programs to it; each search reads it again");
		break;
	case BSP_CHANGE_MEDIUM:
		log_line(
			LOG_NOTICE,
			"%s: it has another medium, file or table; the new content is shown",
			watch->path);
		break;
	case BSP_CHANGE_GONE:
		log_line(
			LOG_ERR,
			"%s: %s is neither read nor written any more; writes that were not synced are lost: unmount it, and mount it again",
			watch->path,
			bsp_is_nbd_uri(watch->path)
				? "the connection to its server was lost before all was written; it"
				: "it has another medium than at mounting, and");
		break;
	case BSP_CHANGE_FALSE_ZEROS:
		log_false_zeros(watch);
		break;
	case BSP_CHANGE_DISCONNECTED:
		log_line(
			LOG_WARNING,
			"%s: the connection to its server was lost; it is connected anew when it is used",
			watch->path);
		break;
	case BSP_CHANGE_CONNECTED:
		log_line(LOG_NOTICE,
			 "%s: connected anew; all of it is read again",
			 watch->path);
		break;
	}
}

/* A bsp_interrupted_fn. */
static bool is_stopping(void *data)
{
	struct watch *watch = data;
	bool stopping;

	pthread_mutex_lock(&watch->lock);
	stopping = watch->stopping;
	pthread_mutex_unlock(&watch->lock);
	return stopping;
}

/* Looks for changes and wakes the threads that wait for a look. Returns like
 * bsp_sparse_refresh(). */
static uint64_t refresh(struct watch *watch)
{
	uint64_t num;
	bool times;

	pthread_mutex_lock(&watch->lock);
	watch->looking_ns = now_ns();
	/* While the file is open, a new mtime without a change would tell its
	 * reader that the file was changed meanwhile. */
	times = watch->asked && !watch->opened;
	watch->asked = false;
	pthread_mutex_unlock(&watch->lock);
	num = times ? bsp_sparse_refresh_mtime(watch->sp)
		    : bsp_sparse_refresh_all(watch->sp);
	pthread_mutex_lock(&watch->lock);
	watch->looked_ns = MAX(watch->looked_ns, watch->looking_ns);
	watch->looking_ns = 0;
	watch->wait_ns = 0;
	pthread_cond_broadcast(&watch->looked);
	pthread_mutex_unlock(&watch->lock);
	return num;
}

static uint64_t device_size(struct watch *watch)
{
	struct bsp_stat st;

	(void)bsp_sparse_stat_nowait(watch->sp, &st);
	return st.capacity;
}

/* Has the kernel drop all pages from before change num, or before drop_num if
 * that is later. */
static void drop_all(struct watch *watch, uint64_t num)
{
	uint64_t size;

	pthread_mutex_lock(&watch->lock);
	num = MAX(num, watch->drop_num);
	pthread_mutex_unlock(&watch->lock);
	size = device_size(watch);
	if (!page_cache_drop_all(watch->cache, is_stopping, watch))
		return;
	pthread_mutex_lock(&watch->lock);
	watch->dropped_num = num;
	watch->dropped_size = size;
	watch->resized_ns = 0;
	pthread_cond_broadcast(&watch->looked);
	pthread_mutex_unlock(&watch->lock);
}

static bool is_drop_due(struct watch *watch)
{
	bool due;

	pthread_mutex_lock(&watch->lock);
	due = watch->drop_num > watch->dropped_num;
	pthread_mutex_unlock(&watch->lock);
	return due;
}

/* Looks, and has the kernel drop its pages if there was a change since the last
 * drop. */
static void look_for_changes(struct watch *watch)
{
	bool noted[WATCH_CHANGES];
	uint64_t num;
	time_t now;

	/* Handlers that wait for this drop need not wait for the look. */
	if (is_drop_due(watch))
		drop_all(watch, watch->dropped_num);
	num = refresh(watch);
	now = now_seconds();
	if (num > watch->dropped_num)
		drop_all(watch, num);
	pthread_mutex_lock(&watch->lock);
	/* Changes that follow each other quickly are logged later. */
	for (int i = 0; i < WATCH_CHANGES; i++) {
		noted[i] = watch->noted[i] && now >= watch->lines->next[i];
		watch->noted[i] &= !noted[i];
	}
	pthread_mutex_unlock(&watch->lock);
	for (int i = 0; i < WATCH_CHANGES; i++) {
		if (noted[i])
			log_change(watch, (enum bsp_change)i);
	}
}

/* Flushes zeros that have waited for long, so that little is lost if the
 * program is killed. Also tries again after a close that failed to flush. */
static void flush_old_zeros(struct watch *watch)
{
	bool was_pending = watch->pending;
	time_t now = now_seconds();
	struct bsp_stat st;
	int r = 0;

	(void)bsp_sparse_stat_nowait(watch->sp, &st);
	if (st.pending && !was_pending)
		watch->pending_since = now;
	if (st.pending && now - watch->pending_since >= FLUSH_SECONDS) {
		r = bsp_sparse_flush_markers(watch->sp, is_stopping, watch);
		watch->pending_since = now_seconds();
		(void)bsp_sparse_stat_nowait(watch->sp, &st);
	}
	pthread_mutex_lock(&watch->lock);
	watch->pending = st.pending;
	pthread_mutex_unlock(&watch->lock);
	if (r && r != -EINTR && !watch->flush_failed)
		log_line(
			LOG_ERR,
			"%s: cannot zero the device where zeros were written: %s; trying again",
			watch->path, g_strerror(-r));
	if (r != -EINTR)
		watch->flush_failed = r != 0;
}

static void log_failures(struct watch *watch)
{
	failures_log(&watch->lines->failures, watch->sp, watch->path,
		     (uint64_t)now_seconds());
}

/* Sleeps until the next look; false at the end. */
static bool wait_for_time(struct watch *watch)
{
	struct timespec until = bsp_cond_limit(LOOK_SECONDS * 1000);
	bool stopping;
	int timeout = 0;

	pthread_mutex_lock(&watch->lock);
	while (!watch->stopping && !watch->woken && !timeout) {
		if (watch->opened || watch->pending)
			timeout = pthread_cond_timedwait(&watch->wake,
							 &watch->lock, &until);
		else
			pthread_cond_wait(&watch->wake, &watch->lock);
	}
	watch->woken = false;
	stopping = watch->stopping;
	pthread_mutex_unlock(&watch->lock);
	return !stopping;
}

/*
 * The kernel drops the pages of a write past its cache after the write has
 * succeeded. If it was interrupted, the server may carry it out later, and
 * pages that a program read beside it have the old bytes. Reads that come now
 * wait for the write (device/nbd-pool.c).
 */
static void drop_interrupted(struct watch *watch)
{
	uint64_t from, to;

	pthread_mutex_lock(&watch->lock);
	from = watch->interrupted_from;
	to = watch->interrupted_to;
	watch->interrupted_from = watch->interrupted_to = 0;
	pthread_mutex_unlock(&watch->lock);
	if (from < to)
		page_cache_drop(watch->cache, from, to - from);
}

static void *watch_main(void *data)
{
	struct watch *watch = data;

	bsp_interrupt_set(is_stopping, watch);
	while (wait_for_time(watch)) {
		/* First: a look may wait for the device. */
		log_failures(watch);
		drop_interrupted(watch);
		look_for_changes(watch);
		page_cache_drop_passed(watch->cache);
		bsp_sparse_write_back(watch->sp, is_stopping, watch);
		flush_old_zeros(watch);
	}
	log_failures(watch);
	atomic_store(&watch->running, false);
	return NULL;
}

int watch_start(struct watch *watch, struct fuse_session *se, bool writable,
		bool background)
{
	const struct bsp_scan_ahead_options ahead = {
		.scanned = writable ? NULL : page_cache_store,
		.scanned_data = watch->cache,
	};
	int r;

	page_cache_start(watch->cache, se);
	watch->background = background;
	r = bsp_sparse_scan_ahead_start(watch->sp, &ahead);
	if (r)
		return r;
	watch->dropped_num = bsp_sparse_refresh(watch->sp);
	watch->dropped_size = watch->reported_size = device_size(watch);
	atomic_store(&watch->running, true);
	r = bsp_thread_start(&watch->thread, watch_main, watch);
	watch->started = r == 0;
	if (r)
		atomic_store(&watch->running, false);
	return r;
}

void watch_stop(struct watch *watch)
{
	pthread_mutex_lock(&watch->lock);
	watch->stopping = true;
	pthread_cond_signal(&watch->wake);
	pthread_cond_broadcast(&watch->looked);
	pthread_mutex_unlock(&watch->lock);
	bsp_sparse_scan_ahead_stop(watch->sp);
}

bool watch_running(const struct watch *watch)
{
	return atomic_load(&watch->running) ||
	       bsp_sparse_scan_ahead_running(watch->sp);
}

void watch_join(struct watch *watch)
{
	if (watch->started)
		(void)pthread_join(watch->thread, NULL);
	watch->started = false;
	bsp_sparse_scan_ahead_join(watch->sp);
}

/* --- Another size -------------------------------------------------------- */

/*
 * The kernel drops all pages of the old size before it gets to know a new size.
 * Otherwise it would write back a page that was changed through a mapping up to
 * the new end. In the page at the old end, the bytes after the end are zeros,
 * which would then overwrite data of the device.
 *
 * If a stat's request overlaps a drop, the kernel does not take over the size,
 * although the caller of stat gets it (fuse_change_attributes() and
 * fuse_reverse_inval_inode() in fs/fuse/inode.c). A program that opens, stats
 * and maps a file that grew would then get SIGBUS for the new part. So an
 * opening after which a new size is reported waits until no drop is left to do.
 */

/* Waits up to WAIT_NS until the kernel has dropped all pages from before change
 * num and from before the new size. The thread drops them without a look, which
 * may take long. lock held. */
static void wait_for_drop(struct watch *watch, uint64_t size, uint64_t num)
{
	struct timespec until;
	int timeout = 0;

	if (watch->dropped_size == size && watch->dropped_num >= num)
		return;
	watch->drop_num = MAX(watch->drop_num, num);
	watch->woken = true;
	pthread_cond_signal(&watch->wake);
	if (!watch->resized_ns)
		watch->resized_ns = now_ns();
	until = timespec_of(watch->resized_ns + WAIT_NS);
	while ((watch->dropped_size != size || watch->dropped_num < num) &&
	       !watch->stopping && !timeout)
		timeout = pthread_cond_timedwait(&watch->looked, &watch->lock,
						 &until);
}

void watch_sized(struct watch *watch, struct bsp_stat *st)
{
	pthread_mutex_lock(&watch->lock);
	wait_for_drop(watch, st->capacity, 0);
	if (watch->dropped_size != st->capacity &&
	    watch->reported_size < st->capacity)
		st->size = MIN(st->size, watch->reported_size);
	else
		watch->reported_size = st->capacity;
	pthread_mutex_unlock(&watch->lock);
}

/* Called by an opening that found change num. */
static void wait_for_new_size(struct watch *watch, uint64_t num)
{
	uint64_t size = device_size(watch);

	pthread_mutex_lock(&watch->lock);
	if (watch->reported_size != size)
		wait_for_drop(watch, size, num);
	pthread_mutex_unlock(&watch->lock);
}

/* --- Open files ---------------------------------------------------------- */

/* lock held. */
static void count_opening(struct watch *watch)
{
	/* The thread may be asleep without a time limit. */
	if (watch->opened++ == 0) {
		pthread_cond_signal(&watch->wake);
		if (watch->background)
			bsp_sparse_scan_ahead_set_background(watch->sp, true);
	}
	page_cache_set_readers(watch->cache, watch->opened);
}

/*
 * The kernel may keep its pages only if it has dropped them since the newest
 * change. This opening need not be the first to notice that change, and another
 * thread may be about to have the pages dropped. At an opening that does not
 * keep the pages, the kernel drops them itself before open(2) returns
 * (fuse_open() in fs/fuse/file.c). Only a store that began before the change
 * could still add old bytes.
 */
enum watch_cache watch_opened(struct watch *watch)
{
	int64_t began = now_ns();
	uint64_t num = bsp_sparse_refresh_mtime(watch->sp);
	struct timespec until;
	bool keep;

	pthread_mutex_lock(&watch->lock);
	watch->looked_ns = MAX(watch->looked_ns, began);
	keep = watch->dropped_num == num;
	count_opening(watch);
	pthread_mutex_unlock(&watch->lock);
	if (keep)
		return WATCH_KEEP;
	wait_for_new_size(watch, num);
	until = timespec_of(now_ns() + WAIT_NS);
	return page_cache_wait_stores(watch->cache, &until) ? WATCH_DROP
							    : WATCH_BYPASS;
}

enum watch_cache watch_opened_nowait(struct watch *watch)
{
	pthread_mutex_lock(&watch->lock);
	count_opening(watch);
	pthread_mutex_unlock(&watch->lock);
	return WATCH_BYPASS;
}

void watch_closed(struct watch *watch)
{
	pthread_mutex_lock(&watch->lock);
	if (--watch->opened == 0)
		bsp_sparse_scan_ahead_set_background(watch->sp, false);
	page_cache_set_readers(watch->cache, watch->opened);
	/* One more look: the close may have left zeros to flush. */
	watch->woken = true;
	pthread_cond_signal(&watch->wake);
	pthread_mutex_unlock(&watch->lock);
}

/* --- Stat ---------------------------------------------------------------- */

/* Has the thread look, unless a look began at since_ns or later, and waits up
 * to WAIT_NS for its end. Returns whether such a look has ended. lock held. */
static bool wait_for_look(struct watch *watch, int64_t since_ns)
{
	struct timespec until;
	int timeout = 0;

	if (watch->looked_ns >= since_ns)
		return true;
	if (watch->looking_ns < since_ns) {
		watch->asked = true;
		watch->woken = true;
		pthread_cond_signal(&watch->wake);
	}
	if (!watch->wait_ns)
		watch->wait_ns = now_ns();
	until = timespec_of(watch->wait_ns + WAIT_NS);
	while (watch->looked_ns < since_ns && !watch->stopping && !timeout)
		timeout = pthread_cond_timedwait(&watch->looked, &watch->lock,
						 &until);
	return watch->looked_ns >= since_ns;
}

void watch_stat(struct watch *watch, struct bsp_stat *ret_stat)
{
	int64_t now = now_ns();
	bool looked;

	pthread_mutex_lock(&watch->lock);
	looked = wait_for_look(watch, now - LOOK_SECONDS * SECOND_NS);
	if (!looked && !watch->opened)
		bsp_sparse_assume_written(watch->sp);
	pthread_mutex_unlock(&watch->lock);
	if (bsp_sparse_stat_nowait(watch->sp, ret_stat))
		return;
	pthread_mutex_lock(&watch->lock);
	looked = wait_for_look(watch, now);
	pthread_mutex_unlock(&watch->lock);
	(void)bsp_sparse_stat_nowait(watch->sp, ret_stat);
	if (!looked && ret_stat->blocks == 0)
		ret_stat->blocks = 1;
}

/* --- Events ------------------------------------------------- */

static void wake(struct watch *watch)
{
	pthread_mutex_lock(&watch->lock);
	watch->woken = true;
	pthread_cond_signal(&watch->wake);
	pthread_mutex_unlock(&watch->lock);
}

void watch_resized(struct watch *watch)
{
	wake(watch);
}

void watch_wrote(struct watch *watch)
{
	if (bsp_sparse_writeback_due(watch->sp))
		wake(watch);
}

void watch_interrupted(struct watch *watch, uint64_t off, uint64_t len)
{
	bool first;

	pthread_mutex_lock(&watch->lock);
	first = watch->interrupted_from == watch->interrupted_to;
	watch->interrupted_from =
		first ? off : MIN(watch->interrupted_from, off);
	watch->interrupted_to = MAX(watch->interrupted_to, off + len);
	watch->woken = true;
	pthread_cond_signal(&watch->wake);
	pthread_mutex_unlock(&watch->lock);
}

size_t watch_cached(struct watch *watch, char *buf, size_t size, uint64_t off)
{
	bool passed;
	size_t n = page_cache_read(watch->cache, buf, size, off, &passed);

	if (passed)
		wake(watch);
	bsp_sparse_report_read(watch->sp, off);
	return n;
}
