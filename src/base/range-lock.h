/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Locks on ranges of granules [from, to), shared or exclusive. Requests are
 * granted in the order in which they came, as far as they overlap, so nobody
 * starves. A thread that holds one must not ask for another.
 */
#ifndef BSP_BASE_RANGE_LOCK_H
#define BSP_BASE_RANGE_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* One held or awaited range; lives with the caller until it is unlocked. */
struct bsp_range_hold {
	uint64_t from, to;
	bool exclusive;
	struct bsp_range_hold *next, *prev; /* protected by the lock's mutex */
};

struct bsp_range_lock {
	pthread_mutex_t mutex;
	pthread_cond_t released;
	/* All that is held or awaited, the oldest first; under mutex. */
	struct bsp_range_hold *first, *last;
};

void bsp_range_lock_init(struct bsp_range_lock *lock);
void bsp_range_lock_done(struct bsp_range_lock *lock);

/* Waits until nothing older that overlaps [from, to) excludes it. */
void bsp_range_lock(struct bsp_range_lock *lock, struct bsp_range_hold *hold,
		    uint64_t from, uint64_t to, bool exclusive);
void bsp_range_unlock(struct bsp_range_lock *lock, struct bsp_range_hold *hold);

#endif
