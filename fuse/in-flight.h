/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The requests that handlers have begun and not answered yet, for people: how
 * many there are for a file, and which of them has waited longest.
 *
 * Each thread that handles requests has a slot for the one request that it
 * handles. It writes to its slot without a lock, and a reader looks at all
 * slots without one. So a request costs a few stores to memory of its thread.
 */
#ifndef BLKSPARSEFS_IN_FLIGHT_H
#define BLKSPARSEFS_IN_FLIGHT_H

#include <pthread.h>
#include <stdint.h>

struct slot;

struct in_flight {
	pthread_key_t key;	      /* fixed after in_flight_init() */
	_Atomic(struct slot *) slots; /* a list that only grows */
};

/* Returns 0 or -errno. */
int in_flight_init(struct in_flight *list);

/* No other thread may use the list any more. */
void in_flight_done(struct in_flight *list);

/*
 * Begins a request of this thread about the inode. op must live on; off and len
 * are those of the operation. Returns the slot for in_flight_end(); NULL
 * without memory, and then the request is not counted.
 */
struct slot *in_flight_begin(struct in_flight *list, uint64_t ino,
			     const char *op, uint64_t off, uint64_t len);

/* The next request that this thread begins came at that time already, in
 * nanoseconds of in_flight_now(). */
void in_flight_came(struct in_flight *list, int64_t came_ns);

/* Ends the request. slot may be NULL. */
void in_flight_end(struct slot *slot);

/* A request and the number of all of its file. */
struct in_flight_view {
	unsigned n;
	/* The oldest of them; n 0: not set. */
	const char *op;
	uint64_t off, len;
	int64_t age_ns;
};

/* Looks at the requests about an inode. Does not wait. The list has to outlive
 * the call. */
struct in_flight_view in_flight_of(struct in_flight *list, uint64_t ino);

/* A time in nanoseconds, with the resolution of a clock tick: it is cheap. */
int64_t in_flight_now(void);

#endif
