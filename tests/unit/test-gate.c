/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The gate of a file: how many jobs run at once, in which order the others run,
 * and that a waiting job has its own copy of its data. The jobs block until the
 * test opens the gate, as requests to a device that hangs.
 */
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gate.h"

enum {
	JOBS = 3 * GATE_REQUESTS,
	STEP_US = 1000,
};

static struct gate gate;
static atomic_uint running, most, n_done;
static atomic_bool may_end;
static atomic_uint
	order[JOBS]; /* offsets of the jobs, in the order of their ends */

static void run(const struct job *job)
{
	unsigned now = atomic_fetch_add(&running, 1) + 1;
	unsigned seen = atomic_load(&most);

	while (seen < now && !atomic_compare_exchange_weak(&most, &seen, now))
		continue;
	while (!atomic_load(&may_end))
		usleep(STEP_US);
	if (job->buf && memcmp(job->buf, "the data", job->size) != 0)
		abort(); /* cmocka works in the main thread only */
	atomic_fetch_sub(&running, 1);
	atomic_store(&order[atomic_fetch_add(&n_done, 1)], (unsigned)job->off);
}

static void *run_one(void *data)
{
	gate_run(&gate, data);
	return NULL;
}

static int setup(void **state)
{
	gate_init(&gate);
	atomic_store(&running, 0);
	atomic_store(&most, 0);
	atomic_store(&n_done, 0);
	atomic_store(&may_end, false);
	return 0;
}

static int teardown(void **state)
{
	gate_done(&gate);
	return 0;
}

/* Fills the gate with jobs that block. */
static void fill(pthread_t threads[], struct job *job)
{
	for (int i = 0; i < GATE_REQUESTS; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, run_one, job), 0);
	while (atomic_load(&running) < GATE_REQUESTS)
		usleep(STEP_US);
}

static void drain(pthread_t threads[])
{
	atomic_store(&may_end, true);
	for (int i = 0; i < GATE_REQUESTS; i++)
		(void)pthread_join(threads[i], NULL);
}

static void jobs_beyond_the_limit_wait_without_a_thread(void **state)
{
	pthread_t threads[GATE_REQUESTS];
	struct job job = { .run = run };

	fill(threads, &job);
	/* Each call returns, although its job does not run yet. */
	for (int i = GATE_REQUESTS; i < JOBS; i++)
		gate_run(&gate, &job);
	assert_int_equal(atomic_load(&running), GATE_REQUESTS);
	assert_int_equal(atomic_load(&n_done), 0);
	assert_int_equal(gate_waiting(&gate), JOBS - GATE_REQUESTS);
	drain(threads);
	assert_int_equal(atomic_load(&n_done), JOBS);
	assert_int_equal(gate_waiting(&gate), 0);
	assert_int_equal(atomic_load(&most), GATE_REQUESTS);
}

static void a_waiting_job_keeps_a_copy_of_its_data(void **state)
{
	pthread_t threads[GATE_REQUESTS];
	struct job job = { .run = run };
	char bytes[] = "the data";

	fill(threads, &job);
	job.buf = bytes;
	job.size = sizeof(bytes);
	gate_run(&gate, &job);
	memset(bytes, 0, sizeof(bytes));
	memset(&job, 0, sizeof(job));
	job.run = run;
	drain(threads);
	assert_int_equal(atomic_load(&n_done), GATE_REQUESTS + 1);
}

static void waiting_jobs_run_in_order(void **state)
{
	struct job job = { .run = run };
	pthread_t thread;

	/* Leave room for one thread. */
	gate.running = GATE_REQUESTS - 1;
	assert_int_equal(pthread_create(&thread, NULL, run_one, &job), 0);
	while (atomic_load(&running) < 1)
		usleep(STEP_US);
	for (int i = 1; i < JOBS; i++) {
		struct job next = { .run = run, .off = i };

		gate_run(&gate, &next);
	}
	atomic_store(&may_end, true);
	(void)pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&n_done), JOBS);
	for (unsigned i = 1; i < JOBS; i++)
		assert_int_equal(atomic_load(&order[i]), i);
	assert_int_equal(gate.running, GATE_REQUESTS - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			jobs_beyond_the_limit_wait_without_a_thread, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			a_waiting_job_keeps_a_copy_of_its_data, setup,
			teardown),
		cmocka_unit_test_setup_teardown(waiting_jobs_run_in_order,
						setup, teardown),
	};

	return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}
