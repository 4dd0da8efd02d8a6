/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The threads that serve requests by io_uring, with their rings and ring
 * entries. uring.c negotiates with the kernel, starts the pool, and passes the
 * replies of libfuse on to it. libfuse calls the handlers on the pool's threads
 * as on its own.
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

/* Makes a pool without threads for the requests of se. Workers get their
 * buffers from those. NULL if memory or descriptors are short. */
struct uring_pool *uring_pool_new(struct fuse_session *se,
				  struct buffers *buffers);

/* Makes the ring entries, for requests and replies of up to payload_size bytes,
 * and starts the dispatcher. If it returns true, the caller may accept
 * io_uring, and calls uring_pool_register() next. */
bool uring_pool_start(struct uring_pool *pool, size_t payload_size);

/* How many requests of one CPU are served at once at most. Call it after
 * uring_pool_start(). */
unsigned uring_pool_queue_depth(const struct uring_pool *pool);

/* Tells whether the kernel accepted io_uring. If so, requests arrive from now
 * on. */
void uring_pool_register(struct uring_pool *pool, bool accepted);

/* Whether this thread serves requests of a pool. */
bool uring_pool_is_worker(void);

/* Whether this thread serves the request of that number and has not replied
 * yet. */
bool uring_pool_has_request(uint64_t unique);

/* Replies to that request, as writev(2) to /dev/fuse would. */
ssize_t uring_pool_reply(const struct iovec *iov, int count);

/* Waits for the requests that are being served, and ends all threads. */
void uring_pool_stop(struct uring_pool *pool);

/*
 * Call it after uring_pool_stop(), or if no thread was started. NULL is fine.
 */
void uring_pool_free(struct uring_pool *pool);

#endif
