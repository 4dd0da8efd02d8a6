/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BSP_DEVICE_NBD_QUEUE_H
#define BSP_DEVICE_NBD_QUEUE_H

#include "device/nbd-pool.h"
#include "device/read-queue.h"

/* Makes a read queue (read-queue.h) of the export. may_close: it may close the
 * connection when its owner is interrupted. Returns NULL if there is no memory.
 */
struct bsp_read_queue *bsp_nbd_queue_new(struct bsp_nbd_pool *pool,
					 unsigned depth, bool may_close);

#endif
