/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The operations of the file system. Their userdata is a struct mount.
 */
#ifndef BLKSPARSEFS_OPS_H
#define BLKSPARSEFS_OPS_H

#include <fuse_lowlevel.h>
#include <stdatomic.h>

#include "buffer.h"
#include "inode.h"
#include "ready.h"
#include "stop.h"
#include "uring.h"

/* All there is of one mount; each part says what protects it. */
struct mount {
	struct options options;	      /* fixed */
	struct mountpoint mountpoint; /* fixed once mounted */
	struct tree tree;
	struct buffers buffers;
	struct ready ready; /* of the thread that runs init */
	struct stopper stopper;
	struct fuse_session *se; /* fixed before the loop, */
	struct uring *uring;	 /* and so is this; or NULL */
	atomic_flag reads_ahead; /* the kernel was asked to */
};

extern const struct fuse_lowlevel_ops ops;

#endif
