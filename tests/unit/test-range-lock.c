/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which ranges exclude each other. A request that must wait has all the time of
 * PAUSE_US to be granted all the same; one that must not wait would hang.
 */
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#include "base/range-lock.h"

enum { PAUSE_US = 20000 };

static int set_up(void **state)
{
	static struct bsp_range_lock lock;

	bsp_range_lock_init(&lock);
	*state = &lock;
	return 0;
}

static int tear_down(void **state)
{
	bsp_range_lock_done(*state);
	return 0;
}

/* A thread that asks for a range, and keeps it until it may go. */
struct asker {
	struct bsp_range_lock *lock;
	uint64_t from, to;
	bool exclusive;

	struct bsp_range_hold hold;
	pthread_t thread;
	atomic_bool granted, may_go;
};

static void *ask(void *data)
{
	struct asker *asker = data;

	bsp_range_lock(asker->lock, &asker->hold, asker->from, asker->to,
		       asker->exclusive);
	atomic_store(&asker->granted, true);
	while (!atomic_load(&asker->may_go))
		usleep(100);
	bsp_range_unlock(asker->lock, &asker->hold);
	return NULL;
}

/* Whether the lock has the request, granted or waiting. */
static bool is_queued(struct asker *asker)
{
	bool is;

	pthread_mutex_lock(&asker->lock->mutex);
	is = asker->lock->last == &asker->hold;
	pthread_mutex_unlock(&asker->lock->mutex);
	return is;
}

static void start(struct asker *asker)
{
	assert_int_equal(pthread_create(&asker->thread, NULL, ask, asker), 0);
	while (!is_queued(asker))
		usleep(100);
}

static void assert_waits(struct asker *asker)
{
	usleep(PAUSE_US);
	assert_false(atomic_load(&asker->granted));
}

static void assert_granted(struct asker *asker)
{
	while (!atomic_load(&asker->granted))
		usleep(100);
}

static void finish(struct asker *asker)
{
	atomic_store(&asker->may_go, true);
	pthread_join(asker->thread, NULL);
}

/* Asks for a range beside one that is held, [10, 20). */
static void check_beside(struct bsp_range_lock *lock, bool held_exclusive,
			 uint64_t from, uint64_t to, bool exclusive, bool waits)
{
	struct asker asker = {
		.lock = lock, .from = from, .to = to, .exclusive = exclusive
	};
	struct bsp_range_hold held;

	bsp_range_lock(lock, &held, 10, 20, held_exclusive);
	start(&asker);
	if (waits)
		assert_waits(&asker);
	else
		assert_granted(&asker);
	bsp_range_unlock(lock, &held);
	assert_granted(&asker);
	finish(&asker);
	assert_null(lock->first);
	assert_null(lock->last);
}

static void ranges_that_overlap_exclude_each_other(void **state)
{
	check_beside(*state, true, 12, 13, true, true);
	check_beside(*state, true, 0, 11, true, true);
	check_beside(*state, true, 19, 30, true, true);
	check_beside(*state, true, 0, 30, true, true);
}

static void neighbours_do_not_exclude_each_other(void **state)
{
	check_beside(*state, true, 0, 10, true, false);
	check_beside(*state, true, 20, 30, true, false);
}

static void only_shared_holders_are_side_by_side(void **state)
{
	check_beside(*state, false, 10, 20, false, false);
	check_beside(*state, false, 10, 20, true, true);
	check_beside(*state, true, 10, 20, false, true);
}

static void an_older_request_that_waits_is_not_overtaken(void **state)
{
	struct bsp_range_lock *lock = *state;
	struct asker writer = {
		.lock = lock, .from = 0, .to = 2, .exclusive = true
	};
	struct asker reader = { .lock = lock, .from = 0, .to = 1 };
	struct asker other = { .lock = lock, .from = 2, .to = 3 };
	struct bsp_range_hold first, second;

	/* The second of the holders makes the writer wait, and the first does
	 * not concern the reader. */
	bsp_range_lock(lock, &first, 100, 101, true);
	bsp_range_lock(lock, &second, 1, 2, false);
	start(&writer);
	start(&reader);
	start(&other);
	assert_granted(&other);
	assert_waits(&writer);
	assert_waits(&reader);
	bsp_range_unlock(lock, &first);
	bsp_range_unlock(lock, &second);
	assert_granted(&writer);
	assert_waits(&reader);
	finish(&writer);
	assert_granted(&reader);
	finish(&reader);
	finish(&other);
	assert_null(lock->first);
	assert_null(lock->last);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			ranges_that_overlap_exclude_each_other, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			neighbours_do_not_exclude_each_other, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			only_shared_holders_are_side_by_side, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			an_older_request_that_waits_is_not_overtaken, set_up,
			tear_down),
	};

	return cmocka_run_group_tests_name("range-lock", tests, NULL, NULL);
}
