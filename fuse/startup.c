/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every value here is one that a shell, a service manager or a container may
 * set, and that can break the program: a device opened as descriptor 2
 * gets error messages written to it, a low limit ends a mount in use. Limits
 * are only raised, never lowered.
 */
#include "startup.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	/*
	 * Open files of a service: a ring for each request in progress, and
	 * some for each device. Do not take all that the hard limit allows,
	 * which may be 10^9: a program that this one starts may close all
	 * descriptors one by one.
	 */
	SERVICE_FILES = 65536,
	LARGE_BUFFER = 256 << 10,
};

/* --- Descriptors --- */

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* Opens it in the wrong direction, so that a write to standard output fails. A
 * caller that closed its standard output would otherwise lose the output to
 * /dev/null and see success. */
static bool open_standard(int fd)
{
	int flags = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;

	/* open(2) returns the lowest free number. */
	return is_open(fd) || open("/dev/null", flags) == fd;
}

bool startup(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (!open_standard(fd)) {
			/* This reaches the caller if stderr is open. */
			(void)fprintf(
				stderr,
				"%s: descriptor %d is closed, and /dev/null cannot be opened in its place: %m\n",
				program_invocation_short_name, fd);
			return false;
		}
	}
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN); /* see RLIMIT_FSIZE in setrlimit(2) */
	return true;
}

/* --- Limits --- */

static rlim_t larger(rlim_t a, rlim_t b)
{
	return a > b ? a : b; /* RLIM_INFINITY is the largest value */
}

/* Raises a limit to the wanted value, or only to the hard limit without the
 * permission for more (only root has it). Never lowers a limit. */
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

/*
 * malloc(3) raises the size from which memory comes from mmap(2) and goes back
 * at free(3), up to 32 MiB, whenever such memory is freed. From then on the
 * buffers of requests and scans come from the arenas, of which there are up to
 * eight for each processor, and each keeps what its threads had at most. A size
 * that is set stays (mallopt(3)).
 */
static void return_large_buffers(void)
{
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): no other thread runs yet */
	(void)mallopt(M_MMAP_THRESHOLD, LARGE_BUFFER);
}

void startup_service(void)
{
	sigset_t none;

	return_large_buffers();
	raise_limit(RLIMIT_NOFILE, SERVICE_FILES);
	raise_limit(RLIMIT_NPROC, RLIM_INFINITY);
	raise_limit(RLIMIT_FSIZE, RLIM_INFINITY);
	raise_limit(RLIMIT_CPU, RLIM_INFINITY);
	/* GLib ends the program if an allocation fails, and each thread takes
	 * megabytes of address space. */
	raise_limit(RLIMIT_AS, RLIM_INFINITY);
	raise_limit(RLIMIT_DATA, RLIM_INFINITY);
	/* The kernel sends it each second beyond a soft RLIMIT_CPU. */
	(void)signal(SIGXCPU, SIG_IGN);
	/* If it is ignored, waitpid(2) gets no status of children. */
	(void)signal(SIGCHLD, SIG_DFL);
	sigemptyset(&none);
	(void)pthread_sigmask(SIG_SETMASK, &none, NULL);
	(void)umask(022);
}
