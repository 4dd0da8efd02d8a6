/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The place of a mount: may we mount there, and where is our mount by now?
 */
#ifndef BLKSPARSEFS_MOUNTPOINT_H
#define BLKSPARSEFS_MOUNTPOINT_H

#include <glib.h>
#include <stdbool.h>

struct mountpoint {
	char *path;   /* absolute, without links */
	bool is_file; /* a regular file, not a directory */
	/* The device number of our mount, as text; NULL if there is none, or
	 * it cannot be known. */
	char *device;
	char *source; /* as mountinfo names it; NULL if that is not known */
};

/* Finds out about path, where nothing that libfuse serves may be mounted. On
 * failure *ret is untouched. */
bool mountpoint_check(const char *path, struct mountpoint *ret, GError **error);

/* To be called when our mount is there. */
void mountpoint_mounted(struct mountpoint *mp);

/*
 * Has the kernel read kib KiB ahead of who reads a file of our mount in order,
 * if it reads less; nothing if we may not (only root may), or cannot. Not
 * before the kernel had its answer to init: it takes back what was set before.
 */
void mountpoint_read_ahead(const struct mountpoint *mp, unsigned kib);

/*
 * Takes our mount away, with all its copies and wherever they are by now,
 * though it may be in use, and ends all requests to it. Mounts of others stay,
 * and so does one of ours that they are mounted on. dead: see
 * mountpoint_is_dead(), asked before anything here ended the connection; which
 * may have been ended since. False, and an error, if something is left of ours.
 */
bool mountpoint_unmount(const struct mountpoint *mp, bool dead, int connection,
			GError **error);

/* Has the kernel ended the connection to /dev/fuse, as it does when a mount is
 * gone and no file of it is open any more, or when it is aborted? The device
 * number may be another mount's then. */
bool mountpoint_is_dead(int connection);

void mountpoint_done(struct mountpoint *mp);

#endif
