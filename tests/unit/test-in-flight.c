/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The list of requests in flight: how many an inode has and which is the
 * oldest, slots of threads that have ended, and a reader beside threads that
 * begin and end requests.
 */
#include "unit.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "in-flight.h"

enum { SECOND = 1000000000, THREADS = 8, MANY = 20000 };

static struct in_flight list;

static int setup(void **state)
{
	return in_flight_init(&list);
}

static int teardown(void **state)
{
	in_flight_done(&list);
	return 0;
}

/* A request of a thread of its own, which ends when the test says so. */
struct holder {
	pthread_t thread;
	pthread_barrier_t begun, end;
	uint64_t ino, off;
	const char *op;
	int64_t came_ns; /* 0: now */
};

static void *holder_main(void *data)
{
	struct holder *holder = data;
	struct slot *slot;

	if (holder->came_ns)
		in_flight_came(&list, holder->came_ns);
	slot = in_flight_begin(&list, holder->ino, holder->op, holder->off, 7);
	pthread_barrier_wait(&holder->begun);
	pthread_barrier_wait(&holder->end);
	in_flight_end(slot);
	return NULL;
}

static struct holder *hold(uint64_t ino, const char *op, uint64_t off,
			   int64_t came_ns)
{
	struct holder *holder = calloc(1, sizeof(*holder));

	holder->ino = ino;
	holder->op = op;
	holder->off = off;
	holder->came_ns = came_ns;
	pthread_barrier_init(&holder->begun, NULL, 2);
	pthread_barrier_init(&holder->end, NULL, 2);
	assert_int_equal(
		pthread_create(&holder->thread, NULL, holder_main, holder), 0);
	pthread_barrier_wait(&holder->begun);
	return holder;
}

static void let_go(struct holder *holder)
{
	pthread_barrier_wait(&holder->end);
	assert_int_equal(pthread_join(holder->thread, NULL), 0);
	pthread_barrier_destroy(&holder->begun);
	pthread_barrier_destroy(&holder->end);
	free(holder);
}

static unsigned count(uint64_t ino)
{
	return in_flight_of(&list, ino).n;
}

static void an_inode_has_the_requests_that_are_about_it(void **state)
{
	struct holder *a = hold(2, "read", 100, 0);
	struct holder *b = hold(3, "flush", 0, 0);
	struct holder *c = hold(2, "write", 200, 0);

	assert_int_equal(count(2), 2);
	assert_int_equal(count(3), 1);
	assert_int_equal(count(1), 0);
	assert_string_equal(in_flight_of(&list, 3).op, "flush");
	let_go(a);
	assert_int_equal(count(2), 1);
	assert_string_equal(in_flight_of(&list, 2).op, "write");
	let_go(b);
	let_go(c);
	assert_int_equal(count(2), 0);
	assert_int_equal(count(3), 0);
}

static void the_oldest_is_the_one_that_came_first(void **state)
{
	int64_t now = in_flight_now();
	struct holder *a = hold(2, "read", 1, now - 3 * (int64_t)SECOND);
	struct holder *b = hold(2, "write", 2, now - 9 * (int64_t)SECOND);
	struct holder *c = hold(2, "fsync", 3, now - 6 * (int64_t)SECOND);
	struct in_flight_view view = in_flight_of(&list, 2);

	assert_int_equal(view.n, 3);
	assert_string_equal(view.op, "write");
	assert_int_equal(view.off, 2);
	assert_int_equal(view.len, 7);
	assert_true(view.age_ns >= 9 * (int64_t)SECOND);
	let_go(b);
	assert_string_equal(in_flight_of(&list, 2).op, "fsync");
	let_go(c);
	assert_string_equal(in_flight_of(&list, 2).op, "read");
	let_go(a);
}

/* The time of in_flight_came() is that of one request only. */
static void a_later_request_of_the_thread_is_new(void **state)
{
	in_flight_came(&list, in_flight_now() - 9 * (int64_t)SECOND);
	in_flight_end(in_flight_begin(&list, 2, "read", 0, 0));
	assert_int_equal(count(2), 0);
	(void)in_flight_begin(&list, 2, "write", 0, 0);
	assert_int_equal(count(2), 1);
	assert_true(in_flight_of(&list, 2).age_ns < 9 * (int64_t)SECOND);
}

static void a_thread_that_ended_leaves_its_slot(void **state)
{
	struct slot *const *first = (struct slot *const *)&list.slots;
	struct slot *slot;

	let_go(hold(2, "read", 0, 0));
	slot = *first;
	assert_non_null(slot);
	for (int i = 0; i < 100; i++)
		let_go(hold(2, "read", 0, 0));
	assert_ptr_equal(*first, slot);
}

/* --- Threads beside a reader --- */

static atomic_bool stop;

static void *busy_main(void *data)
{
	const uint64_t *ino = data;

	for (int i = 0; i < MANY; i++) {
		struct slot *slot =
			in_flight_begin(&list, *ino, "read", *ino, *ino);

		in_flight_end(slot);
	}
	return NULL;
}

static void *reader_main(void *data)
{
	unsigned long wrong = 0;

	while (!atomic_load(&stop)) {
		for (uint64_t ino = 0; ino < THREADS; ino++) {
			struct in_flight_view view = in_flight_of(&list, ino);

			wrong += view.n > 1;
			wrong += view.n && (view.off != ino ||
					    strcmp(view.op, "read") != 0);
		}
	}
	return (void *)wrong;
}

/* Each inode has one thread, so at most one request. */
static void a_reader_sees_whole_requests(void **state)
{
	pthread_t threads[THREADS], reader;
	uint64_t inos[THREADS];
	void *wrong;

	atomic_store(&stop, false);
	assert_int_equal(pthread_create(&reader, NULL, reader_main, NULL), 0);
	for (uint64_t i = 0; i < THREADS; i++) {
		inos[i] = i;
		assert_int_equal(
			pthread_create(&threads[i], NULL, busy_main, &inos[i]),
			0);
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	atomic_store(&stop, true);
	assert_int_equal(pthread_join(reader, &wrong), 0);
	assert_null(wrong);
	for (uint64_t i = 0; i < THREADS; i++)
		assert_int_equal(count(i), 0);
}

static void *detached_main(void *data)
{
	in_flight_end(in_flight_begin(&list, 1, "read", 0, 7));
	return NULL;
}

static unsigned threads_of_process(void)
{
	DIR *dir = opendir("/proc/self/task");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* No lock orders the end of the list after such a thread: ThreadSanitizer looks
 * whether the list does. */
static void a_detached_thread_leaves_its_slot(void **state)
{
	unsigned before = threads_of_process();
	pthread_attr_t detached;
	pthread_t thread;

	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(
			pthread_create(&thread, &detached, detached_main, NULL),
			0);
	pthread_attr_destroy(&detached);
	while (threads_of_process() > before)
		(void)usleep(1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			an_inode_has_the_requests_that_are_about_it, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			the_oldest_is_the_one_that_came_first, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_later_request_of_the_thread_is_new, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_thread_that_ended_leaves_its_slot, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_detached_thread_leaves_its_slot, setup, teardown),
		cmocka_unit_test_setup_teardown(a_reader_sees_whole_requests,
						setup, teardown),
	};

	return cmocka_run_group_tests_name("in-flight", tests, NULL, NULL);
}
