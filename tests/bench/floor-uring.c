/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The reads of the floor by io_uring: one thread, with several reads in flight
 * into registered buffers.
 */
#include "floor.h"

#include <err.h>
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

static void queue_read(struct io_uring *ring, int fd, char *buffers,
		       unsigned slot, uint64_t at)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_read_fixed(sqe, fd, buffers + (size_t)slot * FLOOR_BLOCK,
				 FLOOR_BLOCK, at, 0);
	io_uring_sqe_set_data64(sqe, slot);
}

/* Waits for one read; returns its length, and its SLOT. */
static size_t finish_read(struct io_uring *ring, unsigned *slot)
{
	struct io_uring_cqe *cqe;
	int status = io_uring_submit_and_wait(ring, 1);

	if (status >= 0)
		status = io_uring_peek_cqe(ring, &cqe);
	if (status == 0)
		status = cqe->res;
	if (status <= 0) {
		errno = -status;
		err(1, "io_uring");
	}
	*slot = (unsigned)io_uring_cqe_get_data64(cqe);
	io_uring_cqe_seen(ring, cqe);
	return (size_t)status;
}

uint64_t floor_scan(int fd, uint64_t size)
{
	struct io_uring ring;
	struct iovec vec = { NULL, (size_t)FLOOR_DEPTH * FLOOR_BLOCK };
	uint64_t at = 0, data = 0;
	unsigned in_flight = 0, slot;
	int status;

	vec.iov_base = aligned_alloc(2 << 20, vec.iov_len);
	if (!vec.iov_base)
		err(1, "memory");
	memset(vec.iov_base, 1, vec.iov_len);
	status = io_uring_queue_init(FLOOR_DEPTH, &ring, 0);
	if (status == 0)
		status = io_uring_register_buffers(&ring, &vec, 1);
	if (status < 0) {
		errno = -status;
		err(1, "io_uring");
	}
	for (; in_flight < FLOOR_DEPTH && at < size; at += FLOOR_BLOCK)
		queue_read(&ring, fd, vec.iov_base, in_flight++, at);
	while (in_flight > 0) {
		size_t len = finish_read(&ring, &slot);

		data += floor_data_pages(
			(char *)vec.iov_base + (size_t)slot * FLOOR_BLOCK, len);
		if (at < size) {
			queue_read(&ring, fd, vec.iov_base, slot, at);
			at += FLOOR_BLOCK;
		} else {
			in_flight--;
		}
	}
	return data;
}
