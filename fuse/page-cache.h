/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel's cache of one file's content. On a read-only mount a scan stores
 * the data that it reads there, and the pages behind a sequential reader are
 * dropped, so that a copy of a large device does not fill the memory.
 */
#ifndef BLKSPARSEFS_PAGE_CACHE_H
#define BLKSPARSEFS_PAGE_CACHE_H

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <time.h>

#include "blksparse-mount.h"

struct page_cache;

/* Makes the object for the file with inode ino, which shows sp. While no
 * program reads the file, at most limit bytes are stored. Never NULL. */
struct page_cache *page_cache_new(struct bsp_sparse *sp, fuse_ino_t ino,
				  uint64_t limit);

/* NULL is fine. */
void page_cache_free(struct page_cache *cache);

/* Sets the session whose kernel has the cache. Call it before all functions
 * below. */
void page_cache_start(struct page_cache *cache, struct fuse_session *se);

/* A bsp_scanned_fn: stores the data in the cache, if none was forgotten since
 * it was read. Waits for pages that are being read. */
void page_cache_store(void *cache, uint64_t generation, uint64_t off,
		      const void *buf, uint64_t len);

/* Call it after data was forgotten. Waits until every page_cache_store() that
 * began before has ended, but no longer than until, a time of CLOCK_MONOTONIC.
 * Returns whether they have ended. A handler may call it. It needs the limit: a
 * store may wait for the pages of a request that comes after the handler's. */
bool page_cache_wait_stores(struct page_cache *cache,
			    const struct timespec *until);

/* The kernel requests [off, off + size) for its cache. Copies the bytes at off
 * that are kept here to buf, and returns their number: 0 to size; 0 if the
 * device has changed since they were read. *ret_passed: call
 * page_cache_drop_passed() soon. May be called while a read is served. */
size_t page_cache_read(struct page_cache *cache, char *buf, size_t size,
		       uint64_t off, bool *ret_passed);

/* Sets how often the file is open. If more than once, pages behind one reader
 * stay for the others. If not at all, the probe pages are freed. */
void page_cache_set_readers(struct page_cache *cache, unsigned n);

/*
 * Have the kernel drop the whole file, a range, or the pages behind the only
 * reader.
 * They wait, page by page, for pages that are being read or written, so no
 * request may wait for their caller. page_cache_drop_all() stops early once
 * over() returns true. It returns whether all pages from before the call are
 * gone.
 */
bool page_cache_drop_all(struct page_cache *cache, bsp_interrupted_fn over,
			 void *data);
void page_cache_drop(struct page_cache *cache, uint64_t off, uint64_t len);
void page_cache_drop_passed(struct page_cache *cache);

#endif
