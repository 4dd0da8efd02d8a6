/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing the lines of a trace.
 *
 * Each line is one write(2) of less than PIPE_BUF bytes, so that a pipe or a
 * file opened for appending gets it whole. There is no buffer and no lock, and
 * a line that cannot be written is lost.
 *
 * A trace must never be written to a disk. In a program that closed its
 * standard error, the next device to be opened would get descriptor 2. So
 * bsp_trace_init(), called before any device is opened, remembers which file
 * descriptor 2 is, and a line is written only while it still is that file.
 */
#include "base/trace.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	LINE_SIZE = 1024,
	PATH_SHOWN = 700, /* the longest path in a line; the rest is cut */
};

bool bsp_trace_enabled;

/* Standard error, as bsp_trace_init() found it. */
static struct stat output;

static void read_environment(void)
{
	const char *value = secure_getenv("BLKSPARSE_TRACE");

	bsp_trace_enabled = value && strcmp(value, "1") == 0 &&
			    fstat(STDERR_FILENO, &output) == 0;
}

void bsp_trace_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, read_environment);
}

uint64_t bsp_trace_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000 +
	       1;
}

static bool output_is_unchanged(void)
{
	struct stat now;

	return fstat(STDERR_FILENO, &now) == 0 && now.st_dev == output.st_dev &&
	       now.st_ino == output.st_ino && now.st_rdev == output.st_rdev;
}

void bsp_trace_write(uint64_t started, const char *operation, const char *path,
		     uint64_t off, uint64_t len, int64_t result)
{
	uint64_t us = bsp_trace_now() - started;
	int saved = errno;
	char line[LINE_SIZE];
	int n = snprintf(line, sizeof(line),
			 "trace: %s off=%" PRIu64 " len=%" PRIu64
			 " result=%" PRId64 " us=%" PRIu64 " path=%.*s\n",
			 operation, off, len, result, us, PATH_SHOWN, path);

	if (n > 0 && n < LINE_SIZE && output_is_unchanged())
		(void)!write(STDERR_FILENO, line, (size_t)n);
	errno = saved;
}
