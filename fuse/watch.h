/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The watch of one file: it looks for changes that other programs make to the
 * device. After a change it has the kernel drop the cached pages of the file,
 * and logs a line. It also logs requests that the device failed, starts the
 * scan ahead of seeks (whose data goes into the kernel's cache if the file is
 * read-only), flushes zeros that wait for long, and starts writeback behind a
 * sequential writer.
 */
#ifndef BLKSPARSEFS_WATCH_H
#define BLKSPARSEFS_WATCH_H

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <time.h>

#include "blksparse-mount.h"
#include "failures.h"

struct watch;

enum { WATCH_CHANGES = BSP_CHANGE_CONNECTED + 1 };

/* When lines about a file may be logged again. Begins as zeros; used by one
 * watch at a time. It lives as long as the file, so that a device that each
 * reader opens anew does not log the same each time. */
struct watch_lines {
	time_t next[WATCH_CHANGES]; /* seconds of CLOCK_MONOTONIC */
	struct failures failures;
};

/* Makes a watch of sp, whose device is at path and whose file has the inode
 * ino, and registers it for changes of sp. sp, path and lines must outlive it.
 * Never NULL. */
struct watch *watch_new(struct bsp_sparse *sp, const char *path, fuse_ino_t ino,
			struct watch_lines *lines);

/* Starts the thread and the scan ahead of seeks. From now on the kernel of se
 * is told of changes. If the file is read-only, the kernel also gets the
 * scanned data. background: scan the whole device while the file is open.
 * Returns 0 or -errno. */
int watch_start(struct watch *watch, struct fuse_session *se, bool writable,
		bool background);

/* How an opening may use the pages that the kernel has cached. */
enum watch_cache {
	WATCH_KEEP,   /* all pages are current */
	WATCH_DROP,   /* this opening drops them; then they are current */
	WATCH_BYPASS, /* do not use the cache: old bytes may be on their way */
};

/* Call it at each opening of the file; watch_closed() follows. */
enum watch_cache watch_opened(struct watch *watch);

/* The same without a look at the device, and so without waiting for it. The
 * opening has to bypass the cache. */
enum watch_cache watch_opened_nowait(struct watch *watch);

void watch_closed(struct watch *watch);

/*
 * For a stat of a read-only file: returns the map's state as of a look that is
 * a second old at most, or that began after the call if
 * bsp_sparse_stat_nowait() asks for that. The watch thread looks. The caller
 * waits for it 100 ms at most, and not at all while a look has taken longer
 * than that. In that case the result is the last known state, with at least one
 * block, and with a new mtime unless the file is open: the kernel probably
 * writes out many dirty pages of the device, so a program wrote to it, and
 * copying the file once too often is safe.
 */
void watch_stat(struct watch *watch, struct bsp_stat *ret_stat);

/* Call it before the kernel gets a size of the file from st. Waits until the
 * kernel has dropped all pages from before that size: 100 ms at most, and not
 * at all while a drop has taken longer than that. Then a device that has grown
 * keeps its old size in st, until the pages are dropped. */
void watch_sized(struct watch *watch, struct bsp_stat *st);

/* Call it after the size of the file was changed, even if the file is not open:
 * zeros may wait to be flushed. */
void watch_resized(struct watch *watch);

/* Call it after a write. */
void watch_wrote(struct watch *watch);

/* Call it after a write of [off, off + len) that was interrupted: the device
 * may still get it. */
void watch_interrupted(struct watch *watch, uint64_t off, uint64_t len);

/*
 * The kernel requests [off, off + size) for its cache. Copies the bytes at off
 * that were kept for this to buf and returns their number, which is mostly 0.
 */
size_t watch_cached(struct watch *watch, char *buf, size_t size, uint64_t off);

/* Asks the threads to end, without waiting. */
void watch_stop(struct watch *watch);

/* Whether a thread has not ended yet. */
bool watch_running(const struct watch *watch);

/* Waits until the threads have ended, if there are any. The session must still
 * exist. Call watch_stop() before. */
void watch_join(struct watch *watch);

/* No thread may be left, and no other thread may use sp. NULL is fine. */
void watch_free(struct watch *watch);

#endif
