/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lines about devices that do not answer: one when a request to a file has
 * waited for half a minute, and one when none waits that long any more.
 */
#ifndef BLKSPARSEFS_HANGS_H
#define BLKSPARSEFS_HANGS_H

#include "in-flight.h"
#include "inode.h"

enum {
	HANGS_SECONDS = 10, /* between two looks */
};

/* Looks at the requests of all files. Never waits. Used by one thread; the tree
 * has to outlive the call. */
void hangs_log(const struct tree *tree, struct in_flight *in_flight);

#endif
