/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls that may hang, such as those about a mount whose driver is stopped.
 * Each one runs in a child process, so that the program can go on, and end,
 * without it: a thread that waits for such a driver cannot be killed, and would
 * keep its process from ending.
 *
 * A call returns bytes. It shares neither memory nor standard descriptors with
 * the program. Use this before the program starts threads.
 */
#ifndef BOUNDED_H
#define BOUNDED_H

#include <glib.h>
#include <stdbool.h>

struct bounded {
	GPid pid;
	int fd;		   /* the bytes come from here; -1: all have come */
	GByteArray *bytes; /* as far as they have come */
};

/* Starts to run call(data, fd), which writes its bytes to fd. Returns NULL and
 * sets errno if no process can be started. */
struct bounded *bounded_start(void (*call)(const void *data, int fd),
			      const void *data);

/*
 * Waits until all calls of the array, of struct bounded *, have ended, or until
 * that time (of g_get_monotonic_time()), or for a signal. NULL in the array is
 * fine. The bytes of a call that has not ended may be incomplete.
 */
void bounded_wait(GPtrArray *calls, gint64 until);

bool bounded_has_ended(const struct bounded *call);

/* Ends the call, as far as the kernel allows, and frees it. NULL is fine. */
void bounded_free(struct bounded *call);

#endif
