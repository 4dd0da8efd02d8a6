/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Built without liburing: read-queue.c then always uses threads.
 */
#include "device/read-queue.h"

struct bsp_read_queue *bsp_read_queue_uring_new(int fd, unsigned depth)
{
	return NULL;
}
