/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A mount with --all: every block device that the program may read, by the
 * kernel's name, and folders of links to them, as in /dev/disk.
 */
#ifndef BLKSPARSEFS_ALL_H
#define BLKSPARSEFS_ALL_H

#include <fuse_lowlevel.h>
#include <stdbool.h>

struct mount;

/* Returns false without memory. */
bool all_init(struct mount *mount);

/* No request may run. Does nothing before all_init(). */
void all_done(struct mount *mount);

/* The handlers of such a mount: those of ops.h, but for names and attributes.
 */
const struct fuse_lowlevel_ops *all_ops(void);

#endif
