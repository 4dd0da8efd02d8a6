/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which operations of one object wait for each other, and look again at what
 * another one changed meanwhile. While the device is busy with the first
 * operation, a thread begins a second one, which has PAUSE_US to get ahead.
 */
#include "unit.h"

#include <errno.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blksparse-mount.h"
#include "fake-device.h"
#include "sparse/sparse.h"

enum { G = 4096, SIZE = 16 * G, PAUSE_US = 20000 };

struct fixture {
	struct fake *fake;
	struct bsp_sparse *sp;

	/* The operation that begins while the device is busy. */
	void (*second)(struct fixture *f);
	pthread_t thread;
	atomic_uint begun; /* calls of the device */
	bool got_ahead;	   /* the second one was done before the first */
	atomic_bool done;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->fake = fake_new(SIZE);
	memset(fake_bytes(f->fake), 0xaa, SIZE);
	fake_make_writable(f->fake, 1 << FAKE_PUNCH);
	f->sp = bsp_sparse_new(fake_device(f->fake), NULL, NULL);
	assert_non_null(f->sp);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	bsp_sparse_free(f->sp);
	free(f);
	return 0;
}

static void *do_second(void *data)
{
	struct fixture *f = data;

	f->second(f);
	atomic_store(&f->done, true);
	return NULL;
}

/* Called by the device when it begins. */
static void device_begins(void *data)
{
	struct fixture *f = data;

	if (atomic_fetch_add(&f->begun, 1))
		return;
	if (pthread_create(&f->thread, NULL, do_second, f))
		abort();
	usleep(PAUSE_US);
	f->got_ahead = atomic_load(&f->done) || atomic_load(&f->begun) > 1;
}

static void write_begins(void *data, uint64_t off)
{
	device_begins(data);
}

static void put(struct fixture *f, uint64_t off, size_t len, int byte)
{
	char *buf = malloc(len);

	memset(buf, byte, len);
	if (bsp_sparse_write(f->sp, off, buf, len) != (ssize_t)len)
		abort();
	free(buf);
}

static void make_marker(struct fixture *f, uint64_t off, uint64_t len)
{
	assert_int_equal(
		bsp_sparse_fallocate(f->sp,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     off, len),
		0);
}

static void finish(struct fixture *f)
{
	assert_int_not_equal(atomic_load(&f->begun), 0);
	pthread_join(f->thread, NULL);
	fake_on_write(f->fake, NULL, NULL);
	fake_on_zeroing(f->fake, NULL, NULL);
	assert_false(f->got_ahead);
}

/* All of [off, off + len) is byte for a reader, and on the device. */
static void assert_bytes(struct fixture *f, uint64_t off, size_t len, int byte)
{
	unsigned char *buf = malloc(len);

	assert_int_equal(bsp_sparse_read(f->sp, off, buf, len), len);
	for (size_t i = 0; i < len; i++) {
		assert_int_equal(buf[i], byte);
		assert_int_equal(fake_bytes(f->fake)[off + i], byte);
	}
	free(buf);
}

/* --- Writes --- */

static void put_b(struct fixture *f)
{
	put(f, 2 * G, G, 'b');
}

static void two_writers_of_a_marker_take_turns(void **state)
{
	struct fixture *f = *state;

	make_marker(f, 2 * G, G);
	f->second = put_b;
	fake_on_write(f->fake, write_begins, f);
	put(f, 2 * G, G, 'a');
	finish(f);
	assert_bytes(f, 2 * G, G, 'b');
}

static void put_part_b(struct fixture *f)
{
	put(f, 2 * G + 200, 100, 'b');
}

static void two_parts_of_a_marker_take_turns(void **state)
{
	struct fixture *f = *state;

	make_marker(f, 2 * G, G);
	f->second = put_part_b;
	fake_on_write(f->fake, write_begins, f);
	put(f, 2 * G, 100, 'a');
	finish(f);
	assert_bytes(f, 2 * G, 100, 'a');
	assert_bytes(f, 2 * G + 100, 100, 0);
	assert_bytes(f, 2 * G + 200, 100, 'b');
	assert_bytes(f, 2 * G + 300, G - 300, 0);
}

/* --- Flushes --- */

static void flush_markers(struct fixture *f)
{
	if (bsp_sparse_flush_markers(f->sp, NULL, NULL))
		abort();
}

static void flush_spares_a_granule_that_was_written_meanwhile(void **state)
{
	struct fixture *f = *state;

	make_marker(f, 0, 4 * G);
	f->second = flush_markers;
	fake_on_write(f->fake, write_begins, f);
	put(f, G, G, 'a');
	finish(f);
	assert_bytes(f, 0, G, 0);
	assert_bytes(f, G, G, 'a');
	flush_markers(f);
	assert_bytes(f, G, G, 'a');
	assert_bytes(f, 2 * G, 2 * G, 0);
}

static void put_in_marker(struct fixture *f)
{
	put(f, G, G, 'a');
}

static void writer_waits_for_the_flush_of_its_marker(void **state)
{
	struct fixture *f = *state;

	make_marker(f, 0, 4 * G);
	f->second = put_in_marker;
	fake_on_zeroing(f->fake, device_begins, f);
	flush_markers(f);
	finish(f);
	assert_bytes(f, 0, G, 0);
	assert_bytes(f, G, G, 'a');
	assert_bytes(f, 2 * G, 2 * G, 0);
}

static void put_past_end(struct fixture *f)
{
	put(f, 12 * G, G, 'a');
}

static void growth_waits_for_the_flush_of_the_last_granule(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(bsp_sparse_truncate(f->sp, 0), 0);
	assert_int_equal(bsp_sparse_truncate(f->sp, 10 * G + 100), 0);
	f->second = put_past_end;
	fake_on_zeroing(f->fake, device_begins, f);
	flush_markers(f);
	finish(f);
	flush_markers(f);
	assert_bytes(f, 10 * G, 2 * G, 0);
	assert_bytes(f, 12 * G, G, 'a');
}

/* --- A flush that fails while zeros are on their way --- */

struct race {
	struct fixture *f;
	unsigned flushes;
	pthread_t thread;
	int zeroed;		  /* the result of the thread */
	atomic_bool reading_back; /* it has unmapped the granule */
	atomic_bool failed;	  /* the flush has */
};

static void *zero_granule(void *data)
{
	struct race *race = data;

	race->zeroed = bsp_sparse_flush_markers(race->f->sp, NULL, NULL);
	return NULL;
}

/* Called when the device flushes: zeroes a granule, up to the read back. */
static void zero_beside_flush(void *data)
{
	struct race *race = data;

	if (race->flushes++)
		return;
	make_marker(race->f, 2 * G, G);
	if (pthread_create(&race->thread, NULL, zero_granule, race))
		abort();
	while (!atomic_load(&race->reading_back))
		usleep(100);
}

/* Called when the device reads. */
static void wait_for_failure(void *data)
{
	struct race *race = data;

	atomic_store(&race->reading_back, true);
	while (!atomic_load(&race->failed))
		usleep(100);
}

static void zeros_that_a_flush_lost_on_their_way_are_written_again(void **state)
{
	struct fixture *f = *state;
	struct race race = { .f = f };

	fake_make_writable(f->fake, 1 << FAKE_UNMAP);
	fake_cache(f->fake, FAKE_LOSES_ALL);
	fake_on_flush(f->fake, zero_beside_flush, &race);
	fake_on_read(f->fake, wait_for_failure, &race);
	fake_fail_flush(f->fake, EIO);
	assert_int_equal(bsp_sparse_flush(f->sp, NULL, NULL), -EIO);
	atomic_store(&race.failed, true);
	pthread_join(race.thread, NULL);
	assert_int_equal(race.zeroed, -EIO);
	fake_on_read(f->fake, NULL, NULL);
	fake_fail_flush(f->fake, 0);
	assert_int_equal(bsp_sparse_flush(f->sp, NULL, NULL), 0);
	assert_bytes(f, 2 * G, G, 0);
	assert_bytes(f, 3 * G, G, 0xaa);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			two_writers_of_a_marker_take_turns, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			two_parts_of_a_marker_take_turns, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			flush_spares_a_granule_that_was_written_meanwhile,
			set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			writer_waits_for_the_flush_of_its_marker, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			growth_waits_for_the_flush_of_the_last_granule, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			zeros_that_a_flush_lost_on_their_way_are_written_again,
			set_up, tear_down),
	};

	return cmocka_run_group_tests_name("exclusion", tests, NULL, NULL);
}
