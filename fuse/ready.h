/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Going to the background. The program forks before it does anything; the
 * child does all the work with the caller's stderr and directory still its
 * own, while the parent, whom the caller waits for, waits for the child. When
 * the mount answers, the child lets go of the caller and tells the parent,
 * which exits with 0. If the child ends before that, the parent exits with
 * its status. So a caller never sees a mount that does not answer yet, nor
 * misses a message.
 */
#ifndef BLKSPARSEFS_READY_H
#define BLKSPARSEFS_READY_H

#include <glib.h>
#include <stdbool.h>

struct ready {
	int fd;		   /* to the parent; -1 if there is none, or it knows */
	GArray *inherited; /* the caller's descriptors above stderr */
};

/* Returns in the child; false if it cannot fork. No thread may have been
 * started. */
bool ready_fork(struct ready *ready);

/* Lets go of the caller, if there is one who waits. False if it has gone: then
 * nobody wants the mount. */
bool ready_report(struct ready *ready);

void ready_done(struct ready *ready);

#endif
