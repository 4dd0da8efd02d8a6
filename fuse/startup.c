/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "startup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	/*
	 * Open files of a program that serves: a ring for each request that is
	 * at work, and some for each device. Not all that the hard limit
	 * allows, which may be a thousand million: programs that are started
	 * from here may close them one by one.
	 */
	SERVICE_FILES = 65536,
};

/* --- Descriptors --- */

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/*
 * Opened the wrong way round: a caller that closed its standard output wants
 * no stream to vanish in /dev/null, and to be told that all is well.
 */
static bool open_standard(int fd)
{
	int flags = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;

	/* open(2) takes the lowest number that is free. */
	return is_open(fd) || open("/dev/null", flags) == fd;
}

bool startup(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (!open_standard(fd)) {
			/* To where messages go, if they go anywhere. */
			(void)fprintf(
				stderr,
				"%s: descriptor %d is closed, and /dev/null cannot be opened in its place: %m\n",
				program_invocation_short_name, fd);
			return false;
		}
	}
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN); /* setrlimit(2), RLIMIT_FSIZE */
	return true;
}

/* --- Limits --- */

static rlim_t larger(rlim_t a, rlim_t b)
{
	return a > b ? a : b; /* RLIM_INFINITY is the largest */
}

/* Raises a limit to the wanted value, or to the hard limit where only root may
 * go beyond that. A limit that is higher stays. */
static void raise_limit(__rlimit_resource_t resource, rlim_t wanted)
{
	struct rlimit now, above;

	if (getrlimit(resource, &now) < 0 || now.rlim_cur >= wanted)
		return;
	above.rlim_cur = wanted;
	above.rlim_max = larger(now.rlim_max, wanted);
	if (setrlimit(resource, &above) == 0)
		return;
	now.rlim_cur = now.rlim_max < wanted ? now.rlim_max : wanted;
	(void)setrlimit(resource, &now);
}

/* --- Services --- */

void startup_service(void)
{
	sigset_t none;

	raise_limit(RLIMIT_NOFILE, SERVICE_FILES);
	raise_limit(RLIMIT_NPROC, RLIM_INFINITY);
	raise_limit(RLIMIT_FSIZE, RLIM_INFINITY);
	raise_limit(RLIMIT_CPU, RLIM_INFINITY);
	/* GLib ends a program that gets no memory, and each thread takes
	 * megabytes of addresses. */
	raise_limit(RLIMIT_AS, RLIM_INFINITY);
	raise_limit(RLIMIT_DATA, RLIM_INFINITY);
	/* Comes each second beyond a soft limit of RLIMIT_CPU. */
	(void)signal(SIGXCPU, SIG_IGN);
	/* Ignored, children would end without a status. */
	(void)signal(SIGCHLD, SIG_DFL);
	sigemptyset(&none);
	(void)pthread_sigmask(SIG_SETMASK, &none, NULL);
	(void)umask(022);
}
