/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looks in /proc for signals of the thread that waits for a reply.
 *
 * The kernel reports that a caller got a signal (FUSE_INTERRUPT), but not which
 * one, and only once a request. By io_uring it may not report it at all. It
 * reports the same when the caller's own io_uring has a completion. So a flush,
 * which only the death of its caller may end early, looks here; and so does a
 * seek.
 *
 * A look happens at most every 100 ms and first after that time, so that short
 * requests cost nothing. A close that has zeros to flush looks before it
 * begins.
 */
#ifndef BLKSPARSEFS_CALLER_H
#define BLKSPARSEFS_CALLER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Used by the thread that handles the request. */
struct caller {
	pid_t tid;	  /* in this program's pid namespace; 0: not known */
	uint64_t look_ns; /* time of the next look; CLOCK_MONOTONIC */
};

/* tid comes from fuse_req_ctx() and stays valid, since the caller waits for the
 * reply; except to a read ahead, for which only the kernel waits. at_once: the
 * first question looks, too. */
void caller_init(struct caller *caller, pid_t tid, bool at_once);

/*
 * Whether a signal has killed the caller, so that it will not see the reply.
 * False if /proc does not tell: the caller lives in another pid namespace, or
 * /proc is missing, shows another namespace, or hides processes (hidepid).
 * False for a process that ends by itself: closing its files is part of its
 * work.
 */
bool caller_is_killed(struct caller *caller);

/* Whether a signal is pending that the caller's thread will take. False if
 * /proc does not tell. */
bool caller_has_signal(struct caller *caller);

/* Whether the caller's thread has ended, so that only the kernel waits for the
 * reply, to a read ahead. False if its number is not known. */
bool caller_is_gone(const struct caller *caller);

#endif
