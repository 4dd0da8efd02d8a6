/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Locks on ranges of granules [from, to), shared or exclusive. Requests that
 * overlap are granted in the order in which they came, so that none starves. A
 * thread that holds a range must not ask for another one: it could wait for a
 * request that waits for its own.
 */
#ifndef BSP_BASE_RANGE_LOCK_H
#define BSP_BASE_RANGE_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* A range that is held or waited for. It belongs to the caller, and has to stay
 * in place until it is unlocked. */
struct bsp_range_hold {
	uint64_t from, to;
	bool exclusive;
	struct bsp_range_hold *next, *prev; /* protected by the lock's mutex */
};

struct bsp_range_lock {
	pthread_mutex_t mutex;
	pthread_cond_t released;
	/* All ranges held or waited for, the oldest first; protected by
	 * mutex. */
	struct bsp_range_hold *first, *last;
};

void bsp_range_lock_init(struct bsp_range_lock *lock);
void bsp_range_lock_done(struct bsp_range_lock *lock);

/* Waits until no older range that overlaps [from, to) excludes this one. */
void bsp_range_lock(struct bsp_range_lock *lock, struct bsp_range_hold *hold,
		    uint64_t from, uint64_t to, bool exclusive);
void bsp_range_unlock(struct bsp_range_lock *lock, struct bsp_range_hold *hold);

#endif
