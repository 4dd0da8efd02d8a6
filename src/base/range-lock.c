/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A list of requests in order of arrival. A request waits while an older one,
 * held or waiting, overlaps it and one of the two is exclusive. Waiting
 * requests count as well as held ones: otherwise readers that keep coming would
 * keep a writer out.
 *
 * The list is as long as there are requests under way, a few dozen at most. So
 * each request searches it from the front, and each unlock wakes all waiters.
 */
#include "base/range-lock.h"

#include "blksparse-thread.h"

void bsp_range_lock_init(struct bsp_range_lock *lock)
{
	*lock = (struct bsp_range_lock){ 0 };
	pthread_mutex_init(&lock->mutex, NULL);
	bsp_cond_init(&lock->released);
}

void bsp_range_lock_done(struct bsp_range_lock *lock)
{
	pthread_cond_destroy(&lock->released);
	pthread_mutex_destroy(&lock->mutex);
}

static bool excluded(const struct bsp_range_hold *by,
		     const struct bsp_range_hold *hold)
{
	return (by->exclusive || hold->exclusive) && by->from < hold->to &&
	       hold->from < by->to;
}

static bool must_wait(const struct bsp_range_lock *lock,
		      const struct bsp_range_hold *hold)
{
	for (const struct bsp_range_hold *older = lock->first; older != hold;
	     older = older->next)
		if (excluded(older, hold))
			return true;
	return false;
}

void bsp_range_lock(struct bsp_range_lock *lock, struct bsp_range_hold *hold,
		    uint64_t from, uint64_t to, bool exclusive)
{
	*hold = (struct bsp_range_hold){ .from = from,
					 .to = to,
					 .exclusive = exclusive };
	pthread_mutex_lock(&lock->mutex);
	hold->prev = lock->last;
	if (lock->last)
		lock->last->next = hold;
	else
		lock->first = hold;
	lock->last = hold;
	while (must_wait(lock, hold))
		pthread_cond_wait(&lock->released, &lock->mutex);
	pthread_mutex_unlock(&lock->mutex);
}

void bsp_range_unlock(struct bsp_range_lock *lock, struct bsp_range_hold *hold)
{
	pthread_mutex_lock(&lock->mutex);
	if (hold->prev)
		hold->prev->next = hold->next;
	else
		lock->first = hold->next;
	if (hold->next)
		hold->next->prev = hold->prev;
	else
		lock->last = hold->prev;
	pthread_cond_broadcast(&lock->released);
	pthread_mutex_unlock(&lock->mutex);
}
