/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An object that is opened on demand: one opening for all users, one closing
 * after the last of them and after each thread that looks at it. The object is
 * memory that is freed, so that a sanitizer sees a look at a closed one.
 */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "on-demand.h"

enum {
	THREADS = 8,
	ROUNDS = 2000,
};

static struct on_demand object;
static int *memory; /* there while the object is open */
static atomic_uint opened, closed;
static atomic_bool go_on, entered;
static int answer;

static int open_it(void *data)
{
	if (answer)
		return answer;
	memory = calloc(1, sizeof(*memory));
	atomic_fetch_add(&opened, 1);
	return memory ? 0 : -ENOMEM;
}

static void close_it(void *data)
{
	free(memory);
	memory = NULL;
	atomic_fetch_add(&closed, 1);
}

static int setup(void **state)
{
	on_demand_init(&object);
	atomic_store(&opened, 0);
	atomic_store(&closed, 0);
	answer = 0;
	return 0;
}

static int teardown(void **state)
{
	on_demand_done(&object);
	return 0;
}

static void is_open_from_the_first_user_to_the_last(void **state)
{
	assert_false(on_demand_hold(&object));
	assert_int_equal(on_demand_open(&object, open_it, NULL), 0);
	assert_int_equal(on_demand_open(&object, open_it, NULL), 0);
	assert_int_equal(atomic_load(&opened), 1);
	on_demand_close(&object, close_it, NULL);
	assert_int_equal(atomic_load(&closed), 0);
	assert_true(on_demand_hold(&object));
	on_demand_drop(&object);
	on_demand_close(&object, close_it, NULL);
	assert_int_equal(atomic_load(&closed), 1);
	assert_false(on_demand_hold(&object));
	assert_int_equal(on_demand_open(&object, open_it, NULL), 0);
	assert_int_equal(atomic_load(&opened), 2);
	on_demand_close(&object, close_it, NULL);
}

static void an_opening_that_fails_leaves_no_user(void **state)
{
	answer = -EACCES;
	assert_int_equal(on_demand_open(&object, open_it, NULL), -EACCES);
	assert_false(on_demand_hold(&object));
	answer = 0;
	assert_int_equal(on_demand_open(&object, open_it, NULL), 0);
	on_demand_close(&object, close_it, NULL);
	assert_int_equal(atomic_load(&closed), 1);
}

/* An opening that takes as long as the test wants. */
static int open_slowly(void *data)
{
	atomic_store(&entered, true);
	while (!atomic_load(&go_on))
		usleep(1000);
	return open_it(data);
}

static void *use_slowly(void *data)
{
	(void)on_demand_open(&object, open_slowly, NULL);
	on_demand_close(&object, close_it, NULL);
	return NULL;
}

static void a_look_does_not_wait_for_an_opening(void **state)
{
	pthread_t thread;

	atomic_store(&go_on, false);
	atomic_store(&entered, false);
	assert_int_equal(pthread_create(&thread, NULL, use_slowly, NULL), 0);
	while (!atomic_load(&entered))
		usleep(1000);
	assert_false(on_demand_hold(&object));
	atomic_store(&go_on, true);
	pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&closed), 1);
}

static void *use(void *data)
{
	for (int i = 0; i < ROUNDS; i++) {
		if (on_demand_open(&object, open_it, NULL))
			abort(); /* cmocka works in the main thread only */
		__atomic_fetch_add(memory, 1, __ATOMIC_RELAXED);
		on_demand_close(&object, close_it, NULL);
	}
	return NULL;
}

static void *look(void *data)
{
	for (int i = 0; i < ROUNDS; i++) {
		if (!on_demand_hold(&object))
			continue;
		__atomic_fetch_add(memory, 1, __ATOMIC_RELAXED);
		on_demand_drop(&object);
	}
	return NULL;
}

static void no_thread_meets_a_closed_object(void **state)
{
	pthread_t threads[2 * THREADS];

	for (int i = 0; i < 2 * THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL,
						i % 2 ? use : look, NULL),
				 0);
	for (int i = 0; i < 2 * THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&opened), atomic_load(&closed));
	assert_null(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			is_open_from_the_first_user_to_the_last, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			an_opening_that_fails_leaves_no_user, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_look_does_not_wait_for_an_opening, setup, teardown),
		cmocka_unit_test_setup_teardown(no_thread_meets_a_closed_object,
						setup, teardown),
	};

	return cmocka_run_group_tests_name("on-demand", tests, NULL, NULL);
}
