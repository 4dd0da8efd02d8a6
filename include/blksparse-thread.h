/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads that take no signals, and waits with a time limit that does not move
 * when the wall clock is set. Both libblksparse and blksparsefs start their
 * threads through here. Not installed: see blksparse-mount.h.
 */
#ifndef BLKSPARSE_THREAD_H
#define BLKSPARSE_THREAD_H

#include <pthread.h>
#include <time.h>

#include "blksparse.h"

/*
 * As pthread_create(3), but all signals are blocked in the new thread: signals
 * are for the threads of the caller. Returns 0 or -errno.
 */
int bsp_thread_start(pthread_t *thread, void *(*run)(void *), void *data);

/* As pthread_cond_init(3); time limits are by CLOCK_MONOTONIC. */
void bsp_cond_init(pthread_cond_t *cond);

/*
 * Has waits of this thread for a device on a network ask interrupted(data) now
 * and then, and fail with -EINTR if it returns true. A write that is
 * interrupted so may be carried out later; a later write of the same bytes
 * waits for it. NULL: they are not interrupted, as at the start of a thread.
 */
void bsp_interrupt_set(bsp_interrupted_fn interrupted, void *data);

/* The time limit, for such a condition, that is ms milliseconds from now. */
struct timespec bsp_cond_limit(unsigned ms);

#endif
