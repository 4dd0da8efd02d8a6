/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests by io_uring instead of /dev/fuse, where the kernel offers that
 * (Linux 6.14, with its parameter fuse.enable_uring). Each processor has a
 * queue of its own, so that who asks and who answers need not wake up one
 * another across processors; that is most of what a small request costs.
 *
 * What the kernel still sends through /dev/fuse is left to libfuse's loop,
 * which runs beside it.
 */
#ifndef BLKSPARSEFS_URING_H
#define BLKSPARSEFS_URING_H

#include <fuse_lowlevel.h>
#include <stdbool.h>

#include "buffer.h"

struct uring;

/*
 * Attaches to a session that is mounted and not served yet; while its first
 * request is answered, it is settled whether io_uring is used. Threads that
 * serve requests are given their buffers among those. NULL where that is not
 * built in, or cannot be: then all comes through /dev/fuse.
 */
struct uring *uring_attach(struct fuse_session *se, struct buffers *buffers);

/* Does this thread serve a request that came by io_uring? It has to answer it
 * before it returns. */
bool uring_is_worker(void);

/* Waits for the requests that are being served; what comes then is not
 * answered. The session's loop must have ended. */
void uring_stop(struct uring *uring);

/* After the session is gone. */
void uring_free(struct uring *uring);

#endif
