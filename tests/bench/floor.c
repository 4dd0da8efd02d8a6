/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The floor of the benchmarks: the least time that reading a device, or writing
 * a sparse file, takes on this machine.
 *
 *   floor scan FILE        reads all of FILE, past the page cache if possible,
 *                          tests it for zeros, and prints the number of
 *                          nonzero pages of 4 KiB
 *   floor write SIZE FILE  writes a new FILE of SIZE bytes, with data in the
 *                          lines "OFFSET LENGTH data" of standard input
 */
#include "floor.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAGE = 4096, WORDS = PAGE / 8, STEP = 64 };

#ifdef __x86_64__
#define VECTORS __attribute__((target_clones("avx2", "default")))
#else
#define VECTORS
#endif

/* The compiler makes vectors of the inner loop. Not for other files to call:
 * clang 14 gives its choice a name of its own. */
VECTORS static uint64_t count(const void *block, size_t len)
{
	const uint64_t *words = block, *end = words + len / 8;
	uint64_t data = 0;

	for (; words < end; words += WORDS) {
		uint64_t any = 0;

		for (int i = 0; i < WORDS && !any; i += STEP)
			for (int j = 0; j < STEP; j++)
				any |= words[i + j];
		data += any != 0;
	}
	return data;
}

uint64_t floor_data_pages(const void *block, size_t len)
{
	return count(block, len);
}

static int scan(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
	off_t size;

	if (fd < 0 && errno == EINVAL)
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		err(1, "%s", path);
	size = lseek(fd, 0, SEEK_END);
	if (size < 0 || size % PAGE != 0)
		errx(1, "%s: of no use: %jd bytes", path, (intmax_t)size);
	printf("%" PRIu64 "\n", floor_scan(fd, (uint64_t)size));
	return 0;
}

static void write_data(int fd, const char *block, uint64_t at, uint64_t end)
{
	while (at < end) {
		uint64_t len = end - at < FLOOR_BLOCK ? end - at : FLOOR_BLOCK;
		ssize_t put = pwrite(fd, block, (size_t)len, (off_t)at);

		if (put <= 0)
			err(1, "write");
		at += (uint64_t)put;
	}
}

static int write_extents(uint64_t size, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char *block = malloc(FLOOR_BLOCK);
	uint64_t at, len;
	char type[8];

	if (fd < 0 || ftruncate(fd, (off_t)size))
		err(1, "%s", path);
	if (!block)
		err(1, "memory");
	memset(block, 1, FLOOR_BLOCK);
	while (scanf("%" SCNu64 " %" SCNu64 " %7s", &at, &len, type) == 3)
		if (strcmp(type, "data") == 0)
			write_data(fd, block, at, at + len);
	free(block);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "scan") == 0)
		return scan(argv[2]);
	if (argc == 4 && strcmp(argv[1], "write") == 0)
		return write_extents(strtoull(argv[2], NULL, 0), argv[3]);
	errx(2, "usage: floor scan FILE | floor write SIZE FILE");
}
