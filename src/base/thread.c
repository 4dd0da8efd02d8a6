/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Starting threads, and waiting with a time limit.
 *
 * A new thread inherits the signal mask of the thread that creates it. So all
 * signals are blocked around pthread_create(): if the new thread blocked them
 * itself, a signal could reach it before that.
 *
 * Time limits use CLOCK_MONOTONIC. With CLOCK_REALTIME, the default of a
 * condition, a wait would stall for as long as the clock is set back.
 */
#include "blksparse-thread.h"

#include <signal.h>

int bsp_thread_start(pthread_t *thread, void *(*run)(void *), void *data)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(thread, NULL, run, data);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

void bsp_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

struct timespec bsp_cond_limit(unsigned ms)
{
	struct timespec limit;

	(void)clock_gettime(CLOCK_MONOTONIC, &limit);
	limit.tv_sec += ms / 1000;
	limit.tv_nsec += ms % 1000 * 1000000L;
	limit.tv_sec += limit.tv_nsec / 1000000000;
	limit.tv_nsec %= 1000000000;
	return limit;
}
