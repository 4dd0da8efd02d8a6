/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lists the extents of a file by lseek, as cp does, and prints the number of
 * extents, the number of calls, and the microseconds of a call.
 *
 *   list-extents FILE
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	uint64_t extents = 0, calls = 1;
	off_t data, hole = 0;
	double start;
	int fd;

	if (argc != 2)
		errx(2, "usage: list-extents FILE");
	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		err(1, "%s", argv[1]);
	start = now();
	while ((data = lseek(fd, hole, SEEK_DATA)) >= 0) {
		/* A boundary does not end an extent. */
		extents += data > hole || hole == 0;
		hole = lseek(fd, data, SEEK_HOLE);
		calls += 2;
		if (hole < 0)
			err(1, "%s: SEEK_HOLE", argv[1]);
	}
	if (errno != ENXIO)
		err(1, "%s: SEEK_DATA", argv[1]);
	printf("%" PRIu64 " %" PRIu64 " %.3f\n", extents, calls,
	       (now() - start) * 1e6 / (double)calls);
	return 0;
}
