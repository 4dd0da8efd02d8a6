/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The handler resets itself (SA_RESETHAND), so that a second signal ends the
 * program at once. Without SA_RESTART, a system call that waits returns EINTR,
 * and its caller asks interrupted().
 */
#include "interrupt.h"

#include <signal.h>
#include <stddef.h>

#include "blksparse-thread.h"

static volatile sig_atomic_t caught;

static void on_signal(int signal)
{
	caught = 1;
}

void interrupt_catch(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action = { .sa_handler = on_signal,
				    .sa_flags = (int)SA_RESETHAND };
	struct sigaction before;

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		sigaction(signals[i], NULL, &before);
		/* nohup, or a script's background job: stays ignored. */
		if (before.sa_handler != SIG_IGN)
			sigaction(signals[i], &action, NULL);
	}
	bsp_interrupt_set(interrupted, NULL);
}

bool interrupted(void *data)
{
	return caught;
}
