/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The place of a mount: may we mount there, and is what is mounted there ours?
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

/* False if our mount is known to be gone, or to lie below another. */
bool mountpoint_is_ours(const struct mountpoint *mp);

/* Takes our mount away if it is known to be there, whoever uses it, and ends
 * all requests to it. */
void mountpoint_detach(const struct mountpoint *mp);

void mountpoint_done(struct mountpoint *mp);

#endif
