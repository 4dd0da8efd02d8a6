/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the kernel has cached of one file's content. What a scan reads of a file
 * that nobody can write is put there, and goes again behind who reads through
 * it, so that a copy of a large device does not fill the memory.
 */
#ifndef BLKSPARSEFS_PAGE_CACHE_H
#define BLKSPARSEFS_PAGE_CACHE_H

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <time.h>

#include "blksparse-mount.h"

struct page_cache;

/* Of the file with inode ino, which shows sp. As long as nobody reads from the
 * file, at most limit bytes are put there. Never NULL. */
struct page_cache *page_cache_new(struct bsp_sparse *sp, fuse_ino_t ino,
				  uint64_t limit);

/* NULL is fine. */
void page_cache_free(struct page_cache *cache);

/* From here on it is se's kernel. To be called before all that follows. */
void page_cache_start(struct page_cache *cache, struct fuse_session *se);

/* A bsp_scanned_fn: puts it there, if nothing was forgotten since. Waits for
 * pages that are being read. */
void page_cache_store(void *cache, uint64_t generation, uint64_t off,
		      const void *buf, uint64_t len);

/*
 * Something was forgotten: waits, until the CLOCK_MONOTONIC time that is given
 * at most, until no page_cache_store() of before can put anything there any
 * more. Returns whether that is so. May be called by a request's handler: the
 * pages that a store waits for may be those of a request behind it, which is
 * why there is a limit.
 */
bool page_cache_wait_stores(struct page_cache *cache,
			    const struct timespec *until);

/*
 * Somebody reads [off, off + size), through the cache. Returns how many bytes
 * at off it has in place of the kernel, and copies them to buf: 0, or less than
 * size, or size; none, if the device was changed since they were read.
 * *ret_passed: there is something for page_cache_drop_passed()
 * to do. May be called while a read is being answered.
 */
size_t page_cache_read(struct page_cache *cache, char *buf, size_t size,
		       uint64_t off, bool *ret_passed);

/* How many have the file open. If it is more than one, what one has passed is
 * kept for the others; if nobody has, memory is given back. */
void page_cache_set_readers(struct page_cache *cache, unsigned n);

/*
 * Has the kernel drop all, [off, off + len), or what its only reader has
 * passed. They wait for pages that are being read or written, one after the
 * other, so no request may wait for who calls them; and the first goes on only
 * until over() says so, for then what is left does not matter. It returns
 * whether all that was read before the call is gone.
 */
bool page_cache_drop_all(struct page_cache *cache, bsp_interrupted_fn over,
			 void *data);
void page_cache_drop(struct page_cache *cache, uint64_t off, uint64_t len);
void page_cache_drop_passed(struct page_cache *cache);

#endif
