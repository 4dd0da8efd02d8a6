/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads by io_uring: one thread, and one system call that submits all new reads
 * and waits for one to complete.
 *
 * The kernel, or a policy that confines the program (seccomp, SELinux), may
 * refuse io_uring, and not only when the ring is made. So a no-op is sent
 * through a new ring first.
 */
#include "device/read-queue.h"

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/trace.h"

struct uring {
	struct bsp_read_queue queue;
	struct io_uring ring;
	int fd;
};

/*
 * Held while a ring is mapped or unmapped. The kernel may map a ring at
 * addresses that a ring of another thread had before. liburing makes these
 * system calls without libc, so ThreadSanitizer does not see that the one ended
 * before the other began.
 */
static pthread_mutex_t mapping_lock = PTHREAD_MUTEX_INITIALIZER;

static void sleep_1_ms(void)
{
	const struct timespec moment = { .tv_nsec = 1000000 };

	(void)nanosleep(&moment, NULL);
}

/* Waits for a completion and takes it out of the ring. */
static struct io_uring_cqe next_completion(struct uring *u)
{
	struct io_uring_cqe *cqe, copy;

	while (io_uring_peek_cqe(&u->ring, &cqe) != 0) {
		int r = io_uring_submit_and_wait(&u->ring, 1);

		/* The kernel is short of memory; reads in flight go on. */
		if (r < 0 && r != -EINTR)
			sleep_1_ms();
	}
	copy = *cqe;
	io_uring_cqe_seen(&u->ring, cqe);
	return copy;
}

static void uring_submit(struct bsp_read_queue *queue, struct bsp_read *read)
{
	struct uring *u = (struct uring *)queue;
	/* The ring has an entry for each read that may be in flight. */
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	io_uring_prep_read(sqe, u->fd, read->buf, (unsigned)read->len,
			   read->off);
	read->started = bsp_trace_start();
	io_uring_sqe_set_data(sqe, read);
}

static void uring_start(struct bsp_read_queue *queue)
{
	struct uring *u = (struct uring *)queue;

	/* After an error the next wait tries again. */
	if (io_uring_sq_ready(&u->ring))
		(void)io_uring_submit(&u->ring);
}

static struct bsp_read *uring_wait(struct bsp_read_queue *queue)
{
	struct io_uring_cqe cqe = next_completion((struct uring *)queue);
	struct bsp_read *read = io_uring_cqe_get_data(&cqe);

	read->result = cqe.res;
	bsp_trace_end(read->started, "device.read",
		      queue->dev ? bsp_device_path(queue->dev) : "", read->off,
		      read->len, read->result);
	return read;
}

static void uring_free(struct bsp_read_queue *queue)
{
	struct uring *u = (struct uring *)queue;

	pthread_mutex_lock(&mapping_lock);
	io_uring_queue_exit(&u->ring);
	pthread_mutex_unlock(&mapping_lock);
	free(u);
}

static bool make_ring(struct io_uring *ring, unsigned depth)
{
	int r;

	pthread_mutex_lock(&mapping_lock);
	/* Since Linux 6.1 the kernel can leave completions until they are asked
	 * for, so that they do not interrupt the reader (io_uring_setup(2)). */
	r = io_uring_queue_init(depth, ring,
				IORING_SETUP_SINGLE_ISSUER |
					IORING_SETUP_DEFER_TASKRUN);
	if (r)
		r = io_uring_queue_init(depth, ring, 0);
	pthread_mutex_unlock(&mapping_lock);
	return r == 0;
}

static bool test_with_nop(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;

	io_uring_prep_nop(io_uring_get_sqe(ring));
	if (io_uring_submit_and_wait(ring, 1) < 0 ||
	    io_uring_peek_cqe(ring, &cqe))
		return false;
	io_uring_cqe_seen(ring, cqe);
	return true;
}

struct bsp_read_queue *bsp_read_queue_uring_new(int fd, unsigned depth)
{
	struct uring *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	if (!make_ring(&u->ring, depth)) {
		free(u);
		return NULL;
	}
	if (!test_with_nop(&u->ring)) {
		uring_free(&u->queue);
		return NULL;
	}
	u->queue.submit = uring_submit;
	u->queue.wait = uring_wait;
	u->queue.start = uring_start;
	u->queue.free = uring_free;
	u->fd = fd;
	return &u->queue;
}
