/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests to one file that are handled at once. A device that hangs keeps the
 * thread of each request to it; as many as a file may keep there are for each
 * file, and requests beyond those wait in a queue, which takes no thread. So a
 * device that hangs never keeps the threads that the other files need.
 *
 * Requests that come by io_uring do not pass: each of them has a thread and a
 * place of its own until it is answered.
 */
#ifndef BLKSPARSEFS_GATE_H
#define BLKSPARSEFS_GATE_H

#include <fuse_lowlevel.h>
#include <pthread.h>

enum {
	/* Enough for a device to do what it can. */
	GATE_REQUESTS = 64,
};

/* A request, as its handler is given it. */
struct job {
	void (*run)(const struct job *job); /* answers it */
	fuse_req_t req;
	fuse_ino_t ino;
	struct fuse_file_info fi;
	size_t size;
	off_t off;
	const char *buf; /* size bytes that it came with; or NULL */
	struct job *next;
};

struct gate {
	pthread_mutex_t lock; /* a leaf lock */
	/* Protected by lock. */
	unsigned running; /* threads that are in */
	struct job *first, *last;
};

void gate_init(struct gate *gate);

/* No request may be in, or wait. */
void gate_done(struct gate *gate);

/*
 * Runs job, and those that came to wait meanwhile, or puts a copy of it into
 * the queue for one of the threads that are in. Where memory is short there are
 * more at once. Nothing that run() waits for may need another request to the
 * same file to be answered.
 */
void gate_run(struct gate *gate, const struct job *job);

#endif
