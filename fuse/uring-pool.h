/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The threads that serve requests by io_uring. uring.c settles with the kernel
 * that there are such requests, and passes on the answers to them.
 */
#ifndef BLKSPARSEFS_URING_POOL_H
#define BLKSPARSEFS_URING_POOL_H

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "buffer.h"

struct uring_pool;

/* A pool without threads, for the requests of se; NULL if memory or descriptors
 * are short. Workers are given their buffers among those. */
struct uring_pool *uring_pool_new(struct fuse_session *se,
				  struct buffers *buffers);

/* Starts the first thread, for requests and answers of up to payload_size
 * bytes. Returns whether the kernel may be told that io_uring is used; then
 * uring_pool_register() follows. */
bool uring_pool_start(struct uring_pool *pool, size_t payload_size);

/* How many requests of one processor are served at once at most; after
 * uring_pool_start(). */
unsigned uring_pool_queue_depth(const struct uring_pool *pool);

/* The kernel was told, and accepted it: from here on requests come; or it did
 * not. */
void uring_pool_register(struct uring_pool *pool, bool accepted);

/* Does this thread serve requests of a pool? */
bool uring_pool_is_worker(void);

/* Does this thread serve the request of that number, and has not answered it
 * yet? */
bool uring_pool_has_request(uint64_t unique);

/* Answers it, as writev(2) to /dev/fuse would. */
ssize_t uring_pool_reply(const struct iovec *iov, int count);

/* Waits for the requests that are being served, and ends all threads. */
void uring_pool_stop(struct uring_pool *pool);

/* After uring_pool_stop(), or without any thread. NULL is fine. */
void uring_pool_free(struct uring_pool *pool);

#endif
