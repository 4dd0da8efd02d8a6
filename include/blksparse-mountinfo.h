/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mounts that a process sees, as /proc/PID/mountinfo lists them (proc(5)).
 * The library names a mount that holds a device, and blksparsefs finds its own
 * mounts; both read the list through here. Not installed: see
 * blksparse-mount.h.
 *
 * Threads: any.
 */
#ifndef BLKSPARSE_MOUNTINFO_H
#define BLKSPARSE_MOUNTINFO_H

#include <glib.h>
#include <stdbool.h>

G_BEGIN_DECLS

/* The path of this process's list. */
#define BSP_MOUNTINFO_SELF "/proc/self/mountinfo"

/* One mount. Paths are as they are: the kernel's escapes (\040 is a blank) are
 * decoded. */
struct bsp_mount {
	char *id;
	char *parent; /* the id of the mount that this one is mounted on */
	char *device; /* st_dev of its files, as "major:minor" */
	char *where;  /* the mount point */
	char *type;   /* of the file system */
	char *source; /* the device, or another name of the source */
};

/*
 * Reads the list of mounts at path. Returns an array of struct bsp_mount *, to
 * be freed by g_ptr_array_unref(); a mount comes after the mount that it
 * covers. Returns NULL if the list cannot be read.
 */
GPtrArray *bsp_mountinfo_read(const char *path);

/* Whether a path leads through the mount point or ends there. Compares text:
 * following the path might hang. */
bool bsp_mount_is_above(const struct bsp_mount *mount, const char *path);

/*
 * Returns the device number, in the same form, of the file system that an
 * absolute path lies on, by text: that of the last of the mounts with the
 * longest mount point above the path. NULL if there is none, or without mounts.
 */
const char *bsp_mount_device_of(const GPtrArray *mounts, const char *path);

G_END_DECLS

#endif
