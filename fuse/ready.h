/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Going to the background. The program forks before it does anything else. The
 * child does all the work, with the stderr and the directory of the caller,
 * while the parent waits for the child, and the caller for the parent. Once the
 * mount answers, the child detaches from the caller and tells the parent, which
 * exits with 0. If the child ends earlier, the parent exits with the status of
 * the child. So a caller never sees a mount that does not answer yet, and
 * misses no message.
 */
#ifndef BLKSPARSEFS_READY_H
#define BLKSPARSEFS_READY_H

#include <glib.h>
#include <stdbool.h>

struct ready {
	int fd;		   /* to the parent; -1: none, or it was told */
	GArray *inherited; /* inherited descriptors above stderr */
};

/* Returns in the child; false if it cannot fork. No thread may run yet. */
bool ready_fork(struct ready *ready);

/* Detaches from the caller, if the program is to go to the background. False if
 * the parent has gone: then the mount has no user. */
bool ready_report(struct ready *ready);

void ready_done(struct ready *ready);

#endif
