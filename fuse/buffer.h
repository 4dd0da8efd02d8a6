/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One buffer for each thread that asks for one, aligned so that a device can
 * read into it directly, and kept until the thread ends: a read of 1 MiB would
 * otherwise cost a mapping and 256 page faults each time.
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

/* Buffers of threads that have not ended stay. */
void buffers_done(struct buffers *buffers);

/* Makes [mem, mem + size) this thread's buffer, for requests of up to that
 * size; it stays the caller's. Returns 0 or -ENOMEM. */
int buffers_lend(struct buffers *buffers, void *mem, size_t size);

/* This thread's buffer, of at least size bytes and with any content; NULL if
 * memory is short. It is this thread's until it asks again. */
void *buffers_get(struct buffers *buffers, size_t size);

#endif
