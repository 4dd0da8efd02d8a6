/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For LD_PRELOAD: fails one in seven io_uring commands of FUSE as if the kernel
 * were short of memory. Such a command is replaced by one that does nothing and
 * completes with ENOMEM (IORING_NOP_INJECT_RESULT, Linux 6.10), as
 * io_uring_cmd_prep() fails. At the end it prints the number of failed commands
 * to stderr.
 */
#include <dlfcn.h>
#include <errno.h>
#include <liburing.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
	ONE_IN = 7,
	NOP_INJECT_RESULT = 1,
};

static atomic_uint commands, refused;

static void refuse_some(struct io_uring *ring)
{
	struct io_uring_sq *sq = &ring->sq;
	unsigned shift = ring->flags & IORING_SETUP_SQE128 ? 1 : 0;

	for (unsigned at = sq->sqe_head; at != sq->sqe_tail; at++) {
		struct io_uring_sqe *sqe =
			&sq->sqes[(at & *sq->kring_mask) << shift];
		uint64_t user_data = sqe->user_data;

		if (sqe->opcode != IORING_OP_URING_CMD ||
		    atomic_fetch_add(&commands, 1) % ONE_IN)
			continue;
		memset(sqe, 0, sizeof(*sqe));
		sqe->opcode = IORING_OP_NOP;
		sqe->rw_flags = NOP_INJECT_RESULT;
		sqe->len = (uint32_t)-ENOMEM;
		sqe->user_data = user_data;
		atomic_fetch_add(&refused, 1);
	}
}

int io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_nr)
{
	int (*next)(struct io_uring *, unsigned) =
		dlsym(RTLD_NEXT, "io_uring_submit_and_wait");

	refuse_some(ring);
	return next(ring, wait_nr);
}

int io_uring_submit_and_wait_timeout(struct io_uring *ring,
				     struct io_uring_cqe **cqe,
				     unsigned wait_nr,
				     struct __kernel_timespec *limit,
				     sigset_t *mask)
{
	int (*next)(struct io_uring *, struct io_uring_cqe **, unsigned,
		    struct __kernel_timespec *, sigset_t *) =
		dlsym(RTLD_NEXT, "io_uring_submit_and_wait_timeout");

	refuse_some(ring);
	return next(ring, cqe, wait_nr, limit, mask);
}

__attribute__((destructor)) static void report(void)
{
	fprintf(stderr, "no-memory: %u refused\n", atomic_load(&refused));
}
