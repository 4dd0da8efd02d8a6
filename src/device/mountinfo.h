/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mounts that a process sees, as /proc/PID/mountinfo lists them (proc(5)).
 *
 * Threads: any.
 */
#ifndef BSP_DEVICE_MOUNTINFO_H
#define BSP_DEVICE_MOUNTINFO_H

#include <glib.h>

#define BSP_MOUNTINFO_SELF "/proc/self/mountinfo"

/* One mount. The kernel's escapes (a blank is \040) are taken out. */
struct bsp_mount {
	char *id;
	char *parent; /* the id of the mount that it is mounted on */
	char *device; /* st_dev of its files, "major:minor" */
	char *where;  /* the mount point */
	char *type;
	char *source;
};

/*
 * All mounts in a mountinfo, each after the mount that it covers: an array of
 * struct bsp_mount *, to be freed by g_ptr_array_unref(). NULL if the file
 * cannot be read.
 */
GPtrArray *bsp_mountinfo_read(const char *path);

#endif
