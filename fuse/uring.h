/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests by io_uring instead of /dev/fuse, where the kernel offers that
 * (Linux 6.14 with its parameter fuse.enable_uring). Each CPU has a queue of
 * its own, so that a caller and the thread that answers it need not wake each
 * other across CPUs; most of the time of a small request goes into that.
 *
 * libfuse's loop runs beside it and serves the requests that the kernel still
 * sends through /dev/fuse.
 */
#ifndef BLKSPARSEFS_URING_H
#define BLKSPARSEFS_URING_H

#include <fuse_lowlevel.h>
#include <stdbool.h>

#include "buffer.h"

struct uring;

/* Attaches to a session that is mounted and not served yet. The reply to the
 * session's first request then decides whether io_uring is used. Worker threads
 * get their buffers from those. Returns NULL if io_uring is not built in or not
 * possible: all requests then come through /dev/fuse. */
struct uring *uring_attach(struct fuse_session *se, struct buffers *buffers);

/* Whether this thread serves a request that came by io_uring. It has to reply
 * before it returns. */
bool uring_is_worker(void);

/* Waits for the requests that are being served; later ones get no reply. The
 * session's loop must have ended. */
void uring_stop(struct uring *uring);

/* Call it after the session is destroyed. NULL is fine. */
void uring_free(struct uring *uring);

#endif
