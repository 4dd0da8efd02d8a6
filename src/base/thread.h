/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads with all signals blocked, since signals are for the caller's threads;
 * and waits with a time limit that setting the wall clock does not move.
 */
#ifndef BSP_BASE_THREAD_H
#define BSP_BASE_THREAD_H

#include <pthread.h>
#include <time.h>

/* pthread_create(3), with all signals blocked in the thread. Returns 0 or
 * -errno. */
int bsp_thread_start(pthread_t *thread, void *(*run)(void *), void *data);

/* pthread_cond_init(3), with time limits by CLOCK_MONOTONIC. */
void bsp_cond_init(pthread_cond_t *cond);

/* The time limit, for such a condition, that is ms milliseconds from now. */
struct timespec bsp_cond_limit(unsigned ms);

#endif
