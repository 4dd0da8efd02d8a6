/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Several reads of one device in flight: by io_uring where the device has a
 * descriptor for it and the kernel allows it, otherwise by threads.
 *
 * Threads: a queue belongs to the thread that made it.
 */
#ifndef BSP_DEVICE_READ_QUEUE_H
#define BSP_DEVICE_READ_QUEUE_H

#include "device/device.h"

/* One read. It, and buf, are the queue's while it is in flight. */
struct bsp_read {
	void *buf; /* aligned to BSP_BUFFER_ALIGN */
	size_t len;
	uint64_t off;
	ssize_t result; /* as of the device's read, once it is back */
	/* The queue's own: */
	struct bsp_read *next;
	uint64_t started; /* for a trace */
};

struct bsp_read_queue {
	void (*submit)(struct bsp_read_queue *queue, struct bsp_read *read);
	struct bsp_read *(*wait)(struct bsp_read_queue *queue);
	void (*free)(struct bsp_read_queue *queue);
	struct bsp_device *dev; /* NULL: refused reads are not tried there */
	unsigned in_flight;
};

/* A queue for up to depth reads in flight; NULL if there is no memory. */
struct bsp_read_queue *bsp_read_queue_new(struct bsp_device *dev,
					  unsigned depth);

/* Waits for what is in flight. NULL is fine. */
void bsp_read_queue_free(struct bsp_read_queue *queue);

/* Starts a read, at the latest with the next wait. */
void bsp_read_submit(struct bsp_read_queue *queue, struct bsp_read *read);

/* Waits for any read to be back; NULL if none is in flight. */
struct bsp_read *bsp_read_wait(struct bsp_read_queue *queue);

/* The kinds; NULL if it cannot be had. That with io_uring is one of two files,
 * of which the other never has any. */
struct bsp_read_queue *bsp_read_queue_uring_new(int fd, unsigned depth);
struct bsp_read_queue *bsp_read_queue_threads_new(struct bsp_device *dev,
						  unsigned depth);

#endif
