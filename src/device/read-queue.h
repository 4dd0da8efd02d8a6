/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Several reads of one device in flight: by the device's own kind of queue if
 * it has one, by io_uring if the device has a descriptor for that and the
 * kernel allows it, otherwise by threads.
 *
 * A scan keeps several reads in flight because a single one leaves most devices
 * idle between requests. Reads come back in any order.
 *
 * Threads: a queue belongs to the thread that made it.
 */
#ifndef BSP_DEVICE_READ_QUEUE_H
#define BSP_DEVICE_READ_QUEUE_H

#include "device/device.h"

/* One read. It and buf belong to the queue while it is in flight. */
struct bsp_read {
	void *buf; /* aligned to BSP_BUFFER_ALIGN */
	size_t len;
	uint64_t off;
	ssize_t result; /* of the device's read(), once it is done */
	/* The queue's own: */
	struct bsp_read *next;
	uint64_t started; /* for a trace */
};

struct bsp_read_queue {
	void (*submit)(struct bsp_read_queue *queue, struct bsp_read *read);
	struct bsp_read *(*wait)(struct bsp_read_queue *queue);
	void (*start)(struct bsp_read_queue *queue); /* NULL: submit does */
	void (*free)(struct bsp_read_queue *queue);
	struct bsp_device *dev; /* repeats refused reads; NULL: none does */
	unsigned in_flight;
};

/* A queue for up to depth reads in flight; NULL if there is no memory. */
struct bsp_read_queue *bsp_read_queue_new(struct bsp_device *dev,
					  unsigned depth);

/* Waits for all reads in flight, and frees the queue. NULL is fine. */
void bsp_read_queue_free(struct bsp_read_queue *queue);

/* Submits a read. It starts at the latest when the owner waits and no read is
 * done yet. */
void bsp_read_submit(struct bsp_read_queue *queue, struct bsp_read *read);

/* Starts all reads that were submitted, for an owner that does something else
 * now. */
void bsp_read_start(struct bsp_read_queue *queue);

/* Waits until a read is done and returns it; NULL if none is in flight. */
struct bsp_read *bsp_read_wait(struct bsp_read_queue *queue);

/* The kinds. They return NULL if they cannot work here. meson builds one of two
 * files for io_uring; the other's function always returns NULL. */
struct bsp_read_queue *bsp_read_queue_uring_new(int fd, unsigned depth);
struct bsp_read_queue *bsp_read_queue_threads_new(struct bsp_device *dev,
						  unsigned depth);

/* A queue of threads that call read(data, ...) instead of a device. */
typedef ssize_t (*bsp_read_fn)(void *data, uint64_t off, void *buf, size_t len);
struct bsp_read_queue *bsp_read_queue_calls_new(bsp_read_fn read, void *data,
						unsigned depth);

#endif
