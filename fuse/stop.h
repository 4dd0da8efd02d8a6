/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ends the mount at SIGTERM, SIGINT or SIGHUP. A thread of its own takes the
 * signals and lets the scans, the watches and the loop end in order; if a
 * device hangs, it detaches the mount and ends the program. main() then
 * unmounts.
 *
 * At SIGUSR1 the thread logs the figures of all files, also while the mount
 * ends. Now and then it looks for requests that wait for long: a watch may hang
 * itself.
 */
#ifndef BLKSPARSEFS_STOP_H
#define BLKSPARSEFS_STOP_H

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "in-flight.h"
#include "inode.h"
#include "mountpoint.h"

struct stopper {
	atomic_bool stopping; /* long requests must reply at once */
	atomic_bool ended;    /* no step is left that could hang */

	pthread_mutex_t lock;
	/* Protected by lock. */
	bool looping;	/* the session's loop runs */
	bool has_files; /* the figures of tree may be asked for */

	/* Fixed after stop_start(). */
	bool patient;
	sigset_t signals;
	pthread_t thread;
	pthread_t main;
	bool started;
	const struct tree *tree;     /* used while looping or has_files */
	struct in_flight *in_flight; /* used while has_files */
	struct fuse_session *se;     /* used while looping */
	const struct mountpoint *mountpoint; /* used until stop_end() */
};

/* Blocks the signals, so that none ends the program between mounting and
 * stop_start(). Call it before any thread starts. patient: wait for a device
 * that does not answer, because zeros that it has not got yet would be lost. */
void stop_init(struct stopper *stopper, bool patient);

/* Starts the thread that waits for signals. The thread that will run the
 * session's loop calls it. Returns 0 or -errno. */
int stop_start(struct stopper *stopper, struct fuse_session *se,
	       const struct tree *tree, struct in_flight *in_flight,
	       const struct mountpoint *mountpoint);

/* Call it after the loop has ended for any reason. */
void stop_loop_ended(struct stopper *stopper);

/* Call it before the tree is closed: SIGUSR1 does nothing from now on. */
void stop_files_end(struct stopper *stopper);

/* Call it after everything is closed; ends the thread. */
void stop_end(struct stopper *stopper);

#endif
