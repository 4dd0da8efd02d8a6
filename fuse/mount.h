/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One mount with all its parts. It is the userdata of libfuse's session, in
 * which each handler finds its objects. main.c makes, starts and ends the parts
 * in serve(); stop.c explains the order of the end. Only main.c, ops.c, all.c
 * and uring.c include this header: the parts do not know each other through it.
 */
#ifndef BLKSPARSEFS_MOUNT_H
#define BLKSPARSEFS_MOUNT_H

#include <fuse_lowlevel.h>
#include <stdatomic.h>

#include "buffer.h"
#include "held.h"
#include "in-flight.h"
#include "inode.h"
#include "mountpoint.h"
#include "options.h"
#include "ready.h"
#include "stop.h"

struct uring;
struct table;

/* Each part says what protects it. */
struct mount {
	struct options options;	      /* fixed */
	struct mountpoint mountpoint; /* fixed once mounted */
	struct tree tree;
	struct table *links; /* with --all; see all.c */
	struct buffers buffers;
	struct held held;
	struct in_flight in_flight;
	struct ready ready; /* used only by the thread that runs init */
	struct stopper stopper;
	struct fuse_session *se;   /* fixed before the loop */
	struct uring *uring;	   /* fixed before the loop; may be NULL */
	atomic_flag set_readahead; /* the kernel was asked to read ahead */
};

#endif
