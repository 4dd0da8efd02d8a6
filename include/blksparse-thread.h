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

/*
 * As pthread_create(3), but all signals are blocked in the new thread: signals
 * are for the threads of the caller. Returns 0 or -errno.
 */
int bsp_thread_start(pthread_t *thread, void *(*run)(void *), void *data);

/* As pthread_cond_init(3); time limits are by CLOCK_MONOTONIC. */
void bsp_cond_init(pthread_cond_t *cond);

/* The time limit, for such a condition, that is ms milliseconds from now. */
struct timespec bsp_cond_limit(unsigned ms);

#endif
