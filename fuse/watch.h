/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The watch over one file, and over what the kernel has cached of its content:
 * it is dropped when another program wrote to the device, and a line is logged;
 * and what a scan reads of a file that nobody can write is put there.
 */
#ifndef BLKSPARSEFS_WATCH_H
#define BLKSPARSEFS_WATCH_H

#include <fuse_lowlevel.h>
#include <stdbool.h>

#include "blksparse-mount.h"

struct watch;

/* Makes a watch over sp, whose device is at path and whose inode is ino, and
 * has sp tell it of changes. sp and path must outlive it. Never NULL. */
struct watch *watch_new(struct bsp_sparse *sp, const char *path,
			fuse_ino_t ino);

/*
 * Starts the thread, and the scan ahead of seeks; from here on se's kernel is
 * told, and if the file is read-only, given what is scanned. background: scan
 * all of the device while the file is open. Returns 0 or -errno.
 */
int watch_start(struct watch *watch, struct fuse_session *se, bool writable,
		bool background);

/* How an opening may use what the kernel has cached of the file. */
enum watch_cache {
	WATCH_KEEP, /* all of it is right */
	WATCH_DROP, /* the kernel drops it at this opening, then it is right */
	WATCH_BYPASS, /* old bytes may be on their way there: not at all */
};

/* The file is opened once more. Each is followed by one watch_closed(). */
enum watch_cache watch_opened(struct watch *watch);

void watch_closed(struct watch *watch);

/*
 * For stat of a file that cannot be written: what is known of it, after a look
 * that is a second old at most, and one that began after the call where
 * bsp_sparse_stat_nowait() asks for it. The watch thread looks. The caller
 * waits for it 100 ms at most, and not at all while a look has taken longer
 * than that. Then the answer is what was known before, with one block at least,
 * and, unless the file is open, a time of change that moves: what pushes out
 * many dirty pages was written to, and being copied once too often is safe.
 */
void watch_stat(struct watch *watch, struct bsp_stat *ret_stat);

/*
 * Before the kernel is told a size of the file that comes from st: waits until
 * it has dropped what it has as of another size of the device, 100 ms at most,
 * and not at all once a drop has taken longer than that.
 */
void watch_sized(struct watch *watch, const struct bsp_stat *st);

/* Its size was changed, perhaps while nobody had it open: zeros may wait to be
 * carried out. */
void watch_resized(struct watch *watch);

/* It was written to. */
void watch_wrote(struct watch *watch);

/* Somebody reads [off, off + size) through the kernel's cache. How many bytes
 * at off were kept for that, which it copies to buf: mostly 0. */
size_t watch_cached(struct watch *watch, char *buf, size_t size, uint64_t off);

/* Asks the threads to end, and does not wait. */
void watch_stop(struct watch *watch);

/* Is there a thread that has not ended? */
bool watch_running(const struct watch *watch);

/* Waits until the threads have ended, if there are any. The session must still
 * be there; watch_stop() has been called. */
void watch_join(struct watch *watch);

/* No thread may be left, and nobody may use sp any more. NULL is fine. */
void watch_free(struct watch *watch);

#endif
