/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads that signals do not concern: those are for the threads of the caller.
 */
#ifndef BSP_THREAD_H
#define BSP_THREAD_H

#include <pthread.h>

/* pthread_create(3), with all signals blocked in the thread. Returns 0 or
 * -errno. */
int bsp_thread_start(pthread_t *thread, void *(*run)(void *), void *data);

#endif
