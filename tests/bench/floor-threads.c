/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The reads of the floor by threads: one thread for each read in flight. Used
 * where liburing is missing.
 */
#include "floor.h"

#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct scan {
	int fd;
	uint64_t size;
	_Atomic uint64_t next;
	_Atomic uint64_t data;
};

static void *scan_blocks(void *arg)
{
	struct scan *scan = arg;
	char *block = aligned_alloc(4096, FLOOR_BLOCK);
	uint64_t at;

	if (!block)
		err(1, "memory");
	memset(block, 1, FLOOR_BLOCK);
	while ((at = atomic_fetch_add(&scan->next, FLOOR_BLOCK)) < scan->size) {
		ssize_t len = pread(scan->fd, block, FLOOR_BLOCK, (off_t)at);

		if (len <= 0)
			err(1, "read");
		atomic_fetch_add(&scan->data,
				 floor_data_pages(block, (size_t)len));
	}
	free(block);
	return NULL;
}

uint64_t floor_scan(int fd, uint64_t size)
{
	struct scan scan = { .fd = fd, .size = size };
	pthread_t threads[FLOOR_DEPTH];

	for (int i = 0; i < FLOOR_DEPTH; i++) {
		errno = pthread_create(&threads[i], NULL, scan_blocks, &scan);
		if (errno)
			err(1, "thread");
	}
	for (int i = 0; i < FLOOR_DEPTH; i++)
		pthread_join(threads[i], NULL);
	return scan.data;
}
