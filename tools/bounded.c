/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bounded.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "interrupt.h"

static void run_child(void (*call)(const void *data, int fd), const void *data,
		      int fd)
{
	/* A reader of the program's output waits until all writers are gone.
	 * Ignore an error: Linux before 5.9 has no such call. */
	if (fd > 0)
		(void)close_range(0, (unsigned)fd - 1, 0);
	(void)close_range((unsigned)fd + 1, ~0U, 0);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	call(data, fd);
	_exit(0);
}

struct bounded *bounded_start(void (*call)(const void *data, int fd),
			      const void *data)
{
	struct bounded *bounded;
	int fds[2];
	pid_t pid;

	/* The program need not wait for its children then. */
	(void)signal(SIGCHLD, SIG_IGN);
	if (pipe2(fds, O_CLOEXEC) < 0)
		return NULL;
	pid = fork();
	if (pid == 0)
		run_child(call, data, fds[1]);
	(void)close(fds[1]);
	if (pid < 0) {
		(void)close(fds[0]);
		return NULL;
	}
	bounded = g_new0(struct bounded, 1);
	bounded->pid = pid;
	bounded->fd = fds[0];
	bounded->bytes = g_byte_array_new();
	return bounded;
}

bool bounded_has_ended(const struct bounded *call)
{
	return call->fd < 0;
}

/* Takes the bytes that are there. */
static void take_bytes(struct bounded *call)
{
	guint8 buf[8192];
	ssize_t n = read(call->fd, buf, sizeof(buf));

	if (n > 0) {
		g_byte_array_append(call->bytes, buf, (guint)n);
	} else if (n == 0 || errno != EINTR) {
		(void)close(call->fd);
		call->fd = -1;
	}
}

/* Waits for bytes of a call. False if there is no reason to wait for more. */
static bool wait_once(GPtrArray *calls, gint64 until)
{
	g_autofree struct pollfd *fds = g_new0(struct pollfd, calls->len);
	gint64 ms = (until - g_get_monotonic_time() + 999) / 1000;
	bool running = false;

	for (guint i = 0; i < calls->len; i++) {
		const struct bounded *call = g_ptr_array_index(calls, i);

		fds[i].fd = call ? call->fd : -1;
		fds[i].events = POLLIN;
		running |= fds[i].fd >= 0;
	}
	if (!running || poll(fds, calls->len, (int)MAX(ms, 0)) <= 0)
		return false;
	for (guint i = 0; i < calls->len; i++) {
		if (fds[i].revents)
			take_bytes(g_ptr_array_index(calls, i));
	}
	return true;
}

void bounded_wait(GPtrArray *calls, gint64 until)
{
	while (!interrupted(NULL) && wait_once(calls, until))
		continue;
}

void bounded_free(struct bounded *call)
{
	if (!call)
		return;
	if (call->fd >= 0) {
		(void)kill(call->pid, SIGKILL);
		(void)close(call->fd);
	}
	g_byte_array_unref(call->bytes);
	g_free(call);
}
