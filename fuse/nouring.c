/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For builds without liburing: all requests come through /dev/fuse. */
#include "uring.h"

#include <stddef.h>

struct uring *uring_attach(struct fuse_session *se, struct buffers *buffers)
{
	return NULL;
}

bool uring_is_worker(void)
{
	return false;
}

void uring_stop(struct uring *uring)
{
}

void uring_free(struct uring *uring)
{
}
