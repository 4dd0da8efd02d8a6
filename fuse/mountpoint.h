/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mount point: whether the program may mount there, and where its mount is
 * later. A mount can move, be copied and be mounted upon while it is served,
 * and the unmount must find it, with all copies, and no other mount.
 */
#ifndef BLKSPARSEFS_MOUNTPOINT_H
#define BLKSPARSEFS_MOUNTPOINT_H

#include <glib.h>
#include <stdbool.h>

struct mountpoint {
	char *path;   /* absolute, without symbolic links */
	bool is_file; /* a regular file, not a directory */
	/* The device number of our mount, as text; NULL before mounting, or if
	 * it is not known. */
	char *device;
	char *source; /* as in mountinfo; NULL if not known */
};

/* Checks path and fills *ret. Fails if a FUSE file system is mounted there
 * already. On failure *ret is untouched. */
bool mountpoint_check(const char *path, struct mountpoint *ret, GError **error);

/* Notes the device number of our mount. Call it after mounting. */
void mountpoint_mounted(struct mountpoint *mp);

/* Makes the kernel read kib KiB ahead of a sequential reader of our files, if
 * it reads less. Does nothing without permission (only root has it). Call it
 * after the reply to FUSE_INIT, at which the kernel sets its own value. */
void mountpoint_read_ahead(const struct mountpoint *mp, unsigned kib);

/*
 * Unmounts our mount with all its copies, wherever they are by now and even if
 * they are in use, and ends all requests to it. Leaves other mounts, and a
 * mount of ours that carries another one. dead is the result of
 * mountpoint_is_dead() before this program ended the connection. On false error
 * tells which part of our mount is left.
 */
bool mountpoint_unmount(const struct mountpoint *mp, bool dead, int connection,
			GError **error);

/* Whether the kernel has ended the connection to /dev/fuse. It does so when the
 * mount is gone and no file of it is open any more, and when the connection is
 * aborted. Another mount may have our device number then. */
bool mountpoint_is_dead(int connection);

void mountpoint_done(struct mountpoint *mp);

#endif
