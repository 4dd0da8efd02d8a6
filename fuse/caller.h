/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What /proc tells of the thread that waits for the answer to a request.
 *
 * The kernel says that a caller got a signal (FUSE_INTERRUPT), but not which,
 * and only once in a request; by io_uring it may not say it at all. For a
 * mere completion of the caller's io_uring it says the same. So a flush, which
 * only death may cut short, looks here, and a seek looks here as well.
 *
 * Looks are made at most every 100 ms, the first one after that time, so that
 * short requests cost nothing; a close that has zeros to carry out looks before
 * it begins.
 */
#ifndef BLKSPARSEFS_CALLER_H
#define BLKSPARSEFS_CALLER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Used by the thread that handles the request. */
struct caller {
	pid_t tid;	  /* as this program sees it; 0: it does not */
	uint64_t look_ns; /* when to look next; CLOCK_MONOTONIC */
};

/* tid: of fuse_req_ctx(). It stays the caller's, which waits for the answer.
 * at_once: the first look comes at the first question. */
void caller_init(struct caller *caller, pid_t tid, bool at_once);

/*
 * Has a signal killed the caller, so that no one will see the answer? False if
 * /proc does not tell: the caller lives in another pid namespace, or /proc is
 * missing, of another namespace, or mounted with hidepid. False for a process
 * that ends by itself: closing its files is part of its work.
 */
bool caller_is_killed(struct caller *caller);

/* Does a signal wait for the caller that its thread will take? False if /proc
 * does not tell. */
bool caller_has_signal(struct caller *caller);

#endif
