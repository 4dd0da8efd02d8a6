/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One buffer for each thread that handles requests. It is aligned so that a
 * device can read into it directly. The thread keeps it until it ends:
 * otherwise each read of 1 MiB would cost a mapping and 256 page faults.
 *
 * A thread has at most one buffer at a time; the next buffers_get() may move
 * it.
 */
#ifndef BLKSPARSEFS_BUFFER_H
#define BLKSPARSEFS_BUFFER_H

#include <pthread.h>
#include <stddef.h>

struct buffers {
	pthread_key_t key; /* fixed after buffers_init() */
};

/* Returns 0 or -errno. */
int buffers_init(struct buffers *buffers);

/* The buffers of threads that still run stay. */
void buffers_done(struct buffers *buffers);

/* Makes [mem, mem + size) the buffer of this thread, for requests of up to that
 * size. The caller still owns the memory. Returns 0 or -ENOMEM. */
int buffers_lend(struct buffers *buffers, void *mem, size_t size);

/*
 * Returns the buffer of this thread, at least size bytes with undefined
 * content; NULL if memory is short. It is valid until the thread calls again.
 */
void *buffers_get(struct buffers *buffers, size_t size);

#endif
