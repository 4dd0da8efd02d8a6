/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The operations of the file system, as a table for libfuse. The userdata of
 * the session is a struct mount.
 */
#ifndef BLKSPARSEFS_OPS_H
#define BLKSPARSEFS_OPS_H

#include <fuse_lowlevel.h>

extern const struct fuse_lowlevel_ops ops;

#endif
