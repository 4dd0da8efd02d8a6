/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a mount ends by SIGTERM, SIGINT or SIGHUP.
 */
#ifndef BLKSPARSEFS_STOP_H
#define BLKSPARSEFS_STOP_H

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "inode.h"
#include "mountpoint.h"

struct stopper {
	atomic_bool stopping; /* long requests should answer at once */
	atomic_bool ended;    /* nothing is left that could hang */

	pthread_mutex_t lock;
	bool looping; /* the session's loop runs; protected by lock */

	/* Fixed after stop_start(). */
	bool patient;
	sigset_t signals;
	pthread_t thread;
	pthread_t main;
	bool started;
	const struct tree *tree;	     /* used while looping, */
	struct fuse_session *se;	     /* and this too */
	const struct mountpoint *mountpoint; /* until stop_end() */
};

/* Holds the signals back, so that none ends the program between mounting and
 * stop_start(). Before any thread is started. patient: a device that does not
 * answer is waited for, since zeros that it was not given yet would be lost. */
void stop_init(struct stopper *stopper, bool patient);

/* Waits for signals in a thread of its own. To be called by the thread that
 * is about to run the session's loop. Returns 0 or -errno. */
int stop_start(struct stopper *stopper, struct fuse_session *se,
	       const struct tree *tree, const struct mountpoint *mountpoint);

/* The loop has ended, by a signal or otherwise. */
void stop_loop_ended(struct stopper *stopper);

/* Everything has been closed; ends the thread. */
void stop_end(struct stopper *stopper);

#endif
