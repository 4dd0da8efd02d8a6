/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The figures of files, for people: as blksparse stat asks for them, and as
 * lines of the log. Neither waits for a device.
 */
#ifndef BLKSPARSEFS_FIGURES_H
#define BLKSPARSEFS_FIGURES_H

#include "blksparse-ioctl.h"
#include "in-flight.h"
#include "inode.h"

/* Fills *ret with the figures of a file: that of the inode, and ret->index must
 * be 0; or, if ino is 0, that of the index. With --all only files whose device
 * is open count. Returns false if there is none. */
bool figures_fill(const struct tree *tree, fuse_ino_t ino,
		  struct in_flight *in_flight, struct bsp_ioctl_stat *ret);

/* Logs a line for each file. */
void figures_log(const struct tree *tree, struct in_flight *in_flight);

#endif
