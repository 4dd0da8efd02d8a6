/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Going over two objects side by side, with threads: to copy one to the other,
 * or to compare them.
 *
 * Worker threads take pieces in order. Each works on the first object with its
 * piece, then on the second. Up to `jobs` threads at a time work on each of the
 * two, so that all takes as long as the slower one. Ranges that need no work,
 * such as known holes, are passed.
 *
 * A thread may also read by a queue (device/read-queue.h), and do the work on
 * the second object with each piece as it comes. The queue of a network device
 * receives in the thread that waits, so that the piece, which is small, is
 * still in this processor's cache then. With pieces that one thread received
 * for another, a copy of data in memory took an eighth more of processor time.
 * The map of the first object learns nothing from such reads.
 *
 * With a thread on each side of a job, threads relieve each other at each
 * piece. Where reads hardly wait, that costs more than it gains: with one
 * thread for each job, a copy of data in memory to an NBD server on this host
 * took a tenth less time.
 *
 * Of several errors, the one at the lowest offset counts.
 */
#ifndef BSP_TRANSFER_PAIR_H
#define BSP_TRANSFER_PAIR_H

#include "transfer/transfer.h"

enum {
	BSP_PAIR_PIECE = 1 << 20, /* bytes, at most */
	BSP_PAIR_JOBS_MAX = 64,
	/* For each job, one thread is on the first side, one on the second, and
	 * one between the two; but see reads_at_once. */
	BSP_PAIR_THREADS_EACH = 3,
	BSP_PAIR_THREADS = BSP_PAIR_THREADS_EACH * BSP_PAIR_JOBS_MAX,
	/* With queues, bytes of a piece, at most. */
	BSP_PAIR_QUEUED_PIECE = 256 << 10,
	/* Pieces under way for each job. */
	BSP_PAIR_QUEUED_EACH = BSP_PAIR_PIECE / BSP_PAIR_QUEUED_PIECE,
	BSP_PAIR_SLOTS = BSP_PAIR_QUEUED_EACH * BSP_PAIR_JOBS_MAX,
};

_Static_assert(BSP_PAIR_SLOTS >= BSP_PAIR_THREADS, "a slot for each thread");

/* The work of a thread when it failed. */
enum bsp_pair_step {
	BSP_PAIR_READING, /* the first object */
	BSP_PAIR_WRITING, /* the second */
	BSP_PAIR_FLUSHING,
	BSP_PAIR_READING_BACK, /* the second */
	BSP_PAIR_COMPARING,
};

struct bsp_pair_piece {
	uint64_t off;
	size_t len;
	/* The first and the second object are known to be zero there. */
	bool zero[2];
};

struct bsp_pair;

struct bsp_pair_ops {
	/* Returns the end of the range at the cursor that needs no work, and
	 * counts it, but for progress.done; the cursor, or less, if there is
	 * none. lock held. */
	uint64_t (*pass)(struct bsp_pair *pair);
	/* Sets the end of the piece at the cursor. ret_piece->off is set. lock
	 * held. */
	void (*cut)(struct bsp_pair *pair, struct bsp_pair_piece *ret_piece);
	/* The work on the two sides, with the thread's buffer. They return
	 * false after bsp_pair_fail(). */
	bool (*first)(struct bsp_pair *pair, const struct bsp_pair_piece *piece,
		      char *buf);
	/* *data is 0, and is for count(). */
	bool (*second)(struct bsp_pair *pair,
		       const struct bsp_pair_piece *piece, char *buf,
		       uint64_t *data);
	/* Counts a piece that is done, but for progress.done. lock held. */
	void (*count)(struct bsp_pair *pair, const struct bsp_pair_piece *piece,
		      uint64_t data);
	/* Adds counters to a report of progress. May be NULL. */
	void (*report)(struct bsp_pair *pair, struct bsp_progress *progress);
	/* Starts other threads, which end by bsp_pair_end_thread(). Returns
	 * how many. May be NULL. */
	unsigned (*start)(struct bsp_pair *pair, pthread_t *threads);
};

/* The most threads of start(). */
enum { BSP_PAIR_OTHERS = 4 };

/* The threads on one side. Protected by the pair's lock. */
struct bsp_pair_side {
	unsigned busy;
	pthread_cond_t left;
};

struct bsp_pair {
	/* Fixed while threads run. */
	struct bsp_transfer call;
	const struct bsp_pair_ops *ops;
	struct bsp_sparse *side[2];
	uint64_t size;	    /* of the content that both have */
	unsigned jobs;	    /* threads on each side at a time */
	size_t buffer_size; /* of each slot */
	char *memory;	    /* a buffer for each slot */
	/* The first object is read by queues. It is read-only. */
	bool queued;
	/* Reads of the first object hardly wait: each job has one thread. */
	bool reads_at_once;
	unsigned depth; /* of each queue: the slots of a thread */
	/* The layers below were right so far. Then data that is passed must be
	 * gone over again if one is found to err. */
	bool trusting[2];

	/* Atomic: the caller wants all to end. */
	atomic_bool interrupted;

	pthread_mutex_t lock; /* a leaf lock, but for those of the objects */
	pthread_cond_t changed;
	pthread_cond_t moved; /* wakes the other threads */
	/* protected by lock: */
	uint64_t cursor; /* where the next piece starts */
	/* An object is known to be zero from the cursor on up to here, if that
	 * is more. */
	uint64_t zeros_end[2];
	/* Where the piece in each slot starts; UINT64_MAX: it has none. */
	uint64_t at[BSP_PAIR_SLOTS];
	uint64_t wake_at; /* wake the other threads when all below is done */
	unsigned started;
	unsigned working; /* workers */
	unsigned running; /* threads */
	bool stop;
	int error;
	enum bsp_pair_step failed_step; /* of the error */
	uint64_t failed_off;
	struct bsp_progress progress;
	struct bsp_pair_side sides[2];
};

/* Before the first phase. call, ops and side are set. */
void bsp_pair_init(struct bsp_pair *pair);
void bsp_pair_clear(struct bsp_pair *pair);

/* Goes over both objects once. trusting is set by it for the sides that the
 * caller wants watched. Returns 0 or -errno. */
int bsp_pair_run(struct bsp_pair *pair, enum bsp_phase phase,
		 const bool watched[2]);

/* Was a layer below an object found to err about zeros, since this phase began?
 * Then data was passed before. */
bool bsp_pair_is_misled(const struct bsp_pair *pair);

/* Notes an error, and ends the work. */
void bsp_pair_fail(struct bsp_pair *pair, int error, enum bsp_pair_step step,
		   uint64_t off);

/* Returns the end of the zeros of an object that are known to start at the
 * cursor; the cursor, or less, if there are none. lock held. */
uint64_t bsp_pair_zeros(struct bsp_pair *pair, unsigned side);

/* The length of a piece, at most. */
static inline size_t bsp_pair_piece_max(const struct bsp_pair *pair)
{
	return pair->queued ? BSP_PAIR_QUEUED_PIECE : BSP_PAIR_PIECE;
}

/* Returns the offset below which all pieces are done. lock held. */
uint64_t bsp_pair_done_until(const struct bsp_pair *pair);

/* To be called by other threads of start(): at their beginning, so that their
 * waits can be interrupted; and at their end. */
void bsp_pair_begin_thread(struct bsp_pair *pair);
void bsp_pair_end_thread(struct bsp_pair *pair);

#endif
