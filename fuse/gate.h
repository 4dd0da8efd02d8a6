/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Limits how many requests of one file run at once. A device that hangs blocks
 * the thread of each request to it. Every file may block GATE_REQUESTS threads,
 * and there are that many for each file; further requests wait in a queue,
 * which takes no thread. So a device that hangs never takes the threads that
 * other files need.
 *
 * Requests by io_uring do not pass the gate: each of them has a thread and a
 * ring entry of its own until its reply.
 */
#ifndef BLKSPARSEFS_GATE_H
#define BLKSPARSEFS_GATE_H

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdint.h>

enum {
	/* Enough to keep a device busy. */
	GATE_REQUESTS = 64,
};

/* A request with the arguments of its handler. */
struct job {
	void (*run)(const struct job *job); /* handles it and replies */
	fuse_req_t req;
	fuse_ino_t ino;
	struct fuse_file_info fi;
	size_t size;
	off_t off;
	const char *buf; /* size bytes of a write; or NULL */
	int64_t came_ns; /* when it came to the gate */
	struct job *next;
};

struct gate {
	pthread_mutex_t lock; /* a leaf lock */
	/* Protected by lock. */
	unsigned running; /* threads that run jobs */
	unsigned waiting; /* jobs */
	struct job *first, *last;
};

void gate_init(struct gate *gate);

/* No request may run or wait. */
void gate_done(struct gate *gate);

/*
 * Runs job and then jobs that came to wait meanwhile; or, if the gate is full,
 * queues a copy of job for one of the threads inside. If memory is short, more
 * jobs run at once. run() must not wait for another request to the same file.
 */
void gate_run(struct gate *gate, const struct job *job);

/* The number of jobs that wait. */
unsigned gate_waiting(struct gate *gate);

#endif
