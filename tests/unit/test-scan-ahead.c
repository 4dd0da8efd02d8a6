/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The scan ahead of seeks, with its thread. The thread runs beside the test, so
 * the test asserts what holds at any speed: the bytes that were read, the data
 * that was delivered, and the answers of seeks. test-scan-window.c tests the
 * policy.
 */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blksparse-mount.h"
#include "fake-device.h"

enum { G = 4096, MIB = 1 << 20, SIZE = 24 * MIB + 512 };

struct scanned_object {
	struct fake *fake;
	struct bsp_sparse *sp;
	/* Written by the thread: how often each byte was delivered. */
	unsigned char *delivered;
	atomic_uint wrong;
	bool known; /* all was known before */
	/* Tells reads of the device to block, or to write once. */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool blocking, blocked;
	atomic_bool rewrite; /* once */
};

/* Data is delivered before the map learns it, or if the map knew it before. */
static void scanned(void *data, uint64_t generation, uint64_t off,
		    const void *buf, uint64_t len)
{
	struct scanned_object *a = data;
	struct bsp_extent extent;

	if (!bsp_sparse_is_current(a->sp, generation))
		return;
	if (off % G || memcmp(buf, fake_bytes(a->fake) + off, len))
		a->wrong++;
	if (bsp_sparse_extent(a->sp, off, &extent) != 1 ||
	    extent.type != (a->known ? BSP_EXTENT_DATA : BSP_EXTENT_UNKNOWN))
		a->wrong++;
	for (uint64_t i = off; i < off + len; i++)
		a->delivered[i]++;
}

/* Data and holes of many lengths. */
static void fill(struct fake *fake)
{
	unsigned char *bytes = fake_bytes(fake);
	unsigned seed = 5;

	for (uint64_t at = 0; at < SIZE;) {
		uint64_t run = 1 + (uint64_t)rand_r(&seed) % (700 * 1024);

		for (uint64_t i = at; i < at + run && i < SIZE; i++)
			bytes[i] = 'd';
		at += run + (uint64_t)rand_r(&seed) % (900 * 1024);
	}
}

static struct scanned_object *object_new(bool filled, uint64_t window)
{
	struct scanned_object *a = calloc(1, sizeof(*a));
	const struct bsp_sparse_options patient = { .budget_ms = UINT32_MAX };
	struct bsp_scan_ahead_options options = {
		.window = window,
		.scanned = scanned,
		.scanned_data = a,
	};

	assert_non_null(a);
	a->fake = fake_new(SIZE);
	if (filled)
		fill(a->fake);
	a->delivered = calloc(1, SIZE);
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->wake, NULL);
	a->sp = bsp_sparse_new(fake_device(a->fake), &patient, NULL);
	assert_non_null(a->sp);
	assert_int_equal(bsp_sparse_scan_ahead_start(a->sp, &options), 0);
	return a;
}

static void object_free(struct scanned_object *a)
{
	bsp_sparse_free(a->sp);
	pthread_cond_destroy(&a->wake);
	pthread_mutex_destroy(&a->lock);
	free(a->delivered);
	free(a);
}

/* Is [from, to) all that byte? The bytes are plain data, and many. */
static bool all_are(const unsigned char *bytes, uint64_t from, uint64_t to,
		    int byte)
{
	return from == to ||
	       (bytes[from] == byte &&
		memcmp(bytes + from, bytes + from + 1, to - from - 1) == 0);
}

/* Seeks over all extents, as cp(1) does; the answers of seeks must be right. */
static void walk(struct scanned_object *a, uint64_t size)
{
	const unsigned char *bytes = fake_bytes(a->fake);
	uint64_t off = 0, data, hole;

	while (bsp_sparse_seek_data(a->sp, off, NULL, NULL, &data) == 0) {
		assert_int_in_range(data, off, size - 1);
		assert_true(all_are(bytes, off, data, 0));
		assert_int_equal(
			bsp_sparse_seek_hole(a->sp, data, NULL, NULL, &hole),
			0);
		assert_int_in_range(hole, data + 1, size);
		off = hole;
	}
	assert_true(all_are(bytes, off, size, 0));
}

static uint64_t bytes_read(struct fake *fake)
{
	const struct fake_call *reads;
	size_t n = fake_reads(fake, &reads);
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += reads[i].len;
	return sum;
}

static void scan_reads_all_once_and_delivers_all_data_once(void **state)
{
	struct scanned_object *a = object_new(true, 0);
	const unsigned char *bytes = fake_bytes(a->fake);
	struct bsp_stat st;

	walk(a, SIZE);
	bsp_sparse_scan_ahead_join(a->sp);
	assert_int_equal(bytes_read(a->fake), SIZE);
	for (uint64_t at = 0; at < SIZE; at += G) {
		uint64_t end = at + G < SIZE ? at + G : SIZE;
		bool zero = all_are(bytes, at, end, 0);

		assert_true(all_are(a->delivered, at, end, zero ? 0 : 1));
	}
	assert_int_equal(a->wrong, 0);
	bsp_sparse_stat(a->sp, &st);
	assert_int_equal(st.unknown, 0);
	object_free(a);
}

/* --- Known data --- */

static struct scanned_object *object_new_known(void)
{
	struct scanned_object *a = object_new(true, 0);

	assert_int_equal(bsp_sparse_scan(a->sp, 0, SIZE, NULL, NULL, NULL), 0);
	(void)bytes_read(a->fake);
	a->known = true;
	return a;
}

/*
 * Seeks over all extents and reads them in small parts, as cp(1) does on a
 * mount that keeps delivered data: it reports each read that misses, and now
 * and then one that hits. Returns the bytes of the misses.
 */
static uint64_t read_through(struct scanned_object *a)
{
	uint64_t off = 0, data, hole, asked = 0;
	unsigned pieces = 0;

	while (bsp_sparse_seek_data(a->sp, off, NULL, NULL, &data) == 0) {
		assert_int_equal(
			bsp_sparse_seek_hole(a->sp, data, NULL, NULL, &hole),
			0);
		for (off = data; off < hole; off += G) {
			if (!a->delivered[off]) {
				a->delivered[off] = 'r';
				asked += G;
				bsp_sparse_report_read(a->sp, off);
			} else if (pieces++ % 256 == 0) {
				bsp_sparse_report_read(a->sp, off);
			}
		}
	}
	return asked;
}

static void known_data_is_read_ahead_of_a_reader(void **state)
{
	struct scanned_object *a = object_new_known();
	struct bsp_stat st;
	uint64_t asked;

	bsp_sparse_stat(a->sp, &st);
	for (unsigned pass = 0; pass < 2; pass++) {
		memset(a->delivered, 0, SIZE);
		asked = read_through(a);
		/* Only until the thread has seen that it reads. */
		assert_int_in_range(asked, G, st.data / 4);
		for (uint64_t at = 0; at < SIZE; at += G)
			assert_true(a->delivered[at] <= 1 ||
				    a->delivered[at] == 'r');
	}
	bsp_sparse_scan_ahead_join(a->sp);
	assert_int_in_range(bytes_read(a->fake), st.data, 2 * st.data - asked);
	assert_int_equal(a->wrong, 0);
	object_free(a);
}

static void seeks_alone_read_nothing_where_all_is_known(void **state)
{
	struct scanned_object *a = object_new_known();

	uint64_t data, hole;

	walk(a, SIZE);
	bsp_sparse_report_read(a->sp, SIZE - G);
	walk(a, SIZE);
	assert_int_equal(bytes_read(a->fake), 0);
	/* The program reads once where it found data, and goes back. */
	assert_int_equal(bsp_sparse_seek_data(a->sp, 0, NULL, NULL, &data), 0);
	bsp_sparse_report_read(a->sp, data);
	nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
	(void)bytes_read(a->fake);
	assert_int_equal(bsp_sparse_seek_hole(a->sp, data, NULL, NULL, &hole),
			 0);
	nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
	(void)bytes_read(a->fake);
	walk(a, SIZE);
	nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
	bsp_sparse_scan_ahead_join(a->sp);
	assert_int_equal(bytes_read(a->fake), 0);
	object_free(a);
}

static void random_reader_is_not_followed(void **state)
{
	struct scanned_object *a = object_new_known();
	unsigned seed = 1;
	uint64_t data, hole;

	for (unsigned i = 0; i < 50; i++) {
		uint64_t off = (uint64_t)rand_r(&seed) % (SIZE / G) * G;

		if (bsp_sparse_seek_data(a->sp, off, NULL, NULL, &data))
			continue;
		assert_int_equal(
			bsp_sparse_seek_hole(a->sp, data, NULL, NULL, &hole),
			0);
		bsp_sparse_report_read(a->sp, data);
		/* Far back, where no reader is. */
		assert_int_equal(
			bsp_sparse_seek_data(a->sp, 0, NULL, NULL, &data), 0);
	}
	bsp_sparse_scan_ahead_join(a->sp);
	/* At most the run after each read. */
	assert_int_in_range(bytes_read(a->fake), 0, 50 * MIB);
	object_free(a);
}

static void one_seek_scans_the_smallest_window_only(void **state)
{
	struct scanned_object *a = object_new(true, 0);
	uint64_t at;

	assert_int_equal(bsp_sparse_seek_data(a->sp, 0, NULL, NULL, &at), 0);
	/* Only reads that were requested before may follow. */
	nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
	bsp_sparse_scan_ahead_join(a->sp);
	assert_int_in_range(bytes_read(a->fake), 1, 2 * MIB + 256 * 1024);
	object_free(a);
}

static void window_stays_within_the_option(void **state)
{
	struct scanned_object *a = object_new(true, 256 * 1024);
	uint64_t at = 0;

	for (uint64_t off = 0; off < 8 * MIB; off += MIB / 2)
		assert_int_equal(
			bsp_sparse_seek_data(a->sp, off, NULL, NULL, &at), 0);
	nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
	bsp_sparse_scan_ahead_join(a->sp);
	assert_int_in_range(bytes_read(a->fake), 1, at + 512 * 1024);
	object_free(a);
}

/* The function that takes the data waits for a call that comes after the
 * seek. */
static void take_late(void *data, uint64_t generation, uint64_t off,
		      const void *buf, uint64_t len)
{
	struct scanned_object *a = data;

	pthread_mutex_lock(&a->lock);
	while (a->blocking)
		pthread_cond_wait(&a->wake, &a->lock);
	pthread_mutex_unlock(&a->lock);
}

static void seek_gives_up_on_a_delivery_that_is_stuck(void **state)
{
	struct scanned_object a = { .blocking = true, .fake = fake_new(SIZE) };
	const struct bsp_scan_ahead_options options = {
		.scanned = take_late,
		.scanned_data = &a,
	};
	uint64_t at = 42;

	memset(fake_bytes(a.fake), 'd', SIZE);
	pthread_mutex_init(&a.lock, NULL);
	pthread_cond_init(&a.wake, NULL);
	a.sp = bsp_sparse_new(fake_device(a.fake), NULL, NULL);
	assert_int_equal(bsp_sparse_scan_ahead_start(a.sp, &options), 0);
	assert_int_equal(bsp_sparse_seek_data(a.sp, 3 * G, NULL, NULL, &at), 0);
	assert_int_equal(at, 3 * G);
	assert_int_equal(bsp_sparse_seek_hole(a.sp, 5 * G, NULL, NULL, &at), 0);
	assert_int_in_range(at, 6 * G, SIZE);
	pthread_mutex_lock(&a.lock);
	a.blocking = false;
	pthread_cond_broadcast(&a.wake);
	pthread_mutex_unlock(&a.lock);
	bsp_sparse_free(a.sp);
}

static void rest_is_scanned_in_the_background_if_wanted(void **state)
{
	struct scanned_object *a = object_new(true, 0);
	struct bsp_stat st;

	bsp_sparse_scan_ahead_set_background(a->sp, true);
	do {
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
		bsp_sparse_stat(a->sp, &st);
	} while (st.unknown);
	assert_int_equal(bytes_read(a->fake), SIZE);
	/* No reader is near, so nothing is delivered. */
	assert_true(all_are(a->delivered, 0, SIZE, 0));
	object_free(a);
}

/* --- A device that does not answer --- */

static void block_read(void *data)
{
	struct scanned_object *a = data;

	pthread_mutex_lock(&a->lock);
	a->blocked = true;
	while (a->blocking)
		pthread_cond_wait(&a->wake, &a->lock);
	pthread_mutex_unlock(&a->lock);
}

static void release_reads(struct scanned_object *a)
{
	pthread_mutex_lock(&a->lock);
	a->blocking = false;
	pthread_cond_broadcast(&a->wake);
	pthread_mutex_unlock(&a->lock);
}

static bool is_blocked(void *data)
{
	struct scanned_object *a = data;
	bool blocked;

	pthread_mutex_lock(&a->lock);
	blocked = a->blocked;
	pthread_mutex_unlock(&a->lock);
	return blocked;
}

static void interrupted_seek_returns_while_the_device_hangs(void **state)
{
	struct scanned_object *a = object_new(false, 0);
	uint64_t data = 7, hole = 7;

	fake_bytes(a->fake)[MIB] = 'd';
	a->blocking = true;
	fake_on_read(a->fake, block_read, a);
	/* Its granule is unknown and becomes data; the hole comes after it. */
	assert_int_equal(bsp_sparse_seek_data(a->sp, G, is_blocked, a, &data),
			 0);
	assert_int_equal(data, G);
	assert_int_equal(bsp_sparse_seek_hole(a->sp, 0, is_blocked, a, &hole),
			 0);
	assert_int_equal(hole, 2 * G);
	release_reads(a);
	/* The next seek finds the truth. */
	assert_int_equal(bsp_sparse_seek_data(a->sp, 2 * G, NULL, NULL, &data),
			 0);
	assert_int_equal(data, MIB);
	object_free(a);
}

static void read_slowly(void *data)
{
	nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
}

/* A device that is all zeros, and takes far longer than the budget. */
static void seek_beyond_its_time_answers_with_a_boundary(void **state)
{
	const struct bsp_sparse_options hasty = { .budget_ms = 1 };
	struct fake *fake = fake_new(SIZE);
	struct bsp_sparse *sp = bsp_sparse_new(fake_device(fake), &hasty, NULL);
	uint64_t data = 0, hole = 0;

	assert_non_null(sp);
	assert_int_equal(bsp_sparse_scan_ahead_start(
				 sp, &(struct bsp_scan_ahead_options){ 0 }),
			 0);
	fake_on_read(fake, read_slowly, NULL);
	assert_int_equal(bsp_sparse_seek_data(sp, 0, NULL, NULL, &data), 0);
	assert_int_in_range(data, G, SIZE - 1);
	fake_write(fake, 0, SIZE, 'd');
	assert_int_equal(bsp_sparse_seek_hole(sp, data, NULL, NULL, &hole), 0);
	assert_int_in_range(hole, data + G, SIZE - 1);
	bsp_sparse_free(sp);
}

static void *stop_when_blocked(void *data)
{
	struct scanned_object *a = data;

	while (!is_blocked(a))
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	bsp_sparse_scan_ahead_stop(a->sp);
	assert_true(bsp_sparse_scan_ahead_running(a->sp));
	release_reads(a);
	return NULL;
}

static void waiting_seeks_go_on_when_the_scan_is_stopped(void **state)
{
	struct scanned_object *a = object_new(true, 0);
	pthread_t thread;

	a->blocking = true;
	fake_on_read(a->fake, block_read, a);
	assert_int_equal(pthread_create(&thread, NULL, stop_when_blocked, a),
			 0);
	walk(a, SIZE);
	pthread_join(thread, NULL);
	object_free(a);
}

/* --- A device that fails --- */

static void unreadable_granules_are_data_and_the_others_right(void **state)
{
	struct scanned_object *a = object_new(false, 0);
	uint64_t data, hole;

	fake_bytes(a->fake)[8 * MIB] = 'd';
	fake_fail_reads(a->fake, MIB + 512, 3 * G, EIO);
	assert_int_equal(bsp_sparse_seek_data(a->sp, 0, NULL, NULL, &data), 0);
	assert_int_equal(data, MIB);
	assert_int_equal(bsp_sparse_seek_hole(a->sp, data, NULL, NULL, &hole),
			 0);
	assert_int_equal(hole, MIB + 4 * G);
	assert_int_equal(bsp_sparse_seek_data(a->sp, hole, NULL, NULL, &data),
			 0);
	assert_int_equal(data, 8 * MIB);
	assert_int_equal(bsp_sparse_seek_hole(a->sp, data, NULL, NULL, &hole),
			 0);
	assert_int_equal(hole, 8 * MIB + G);
	object_free(a);
}

/* --- Other writers --- */

static void rewrite_once(void *data)
{
	struct scanned_object *a = data;

	if (!atomic_exchange(&a->rewrite, false))
		return;
	/* After the read, before its bytes are learned. */
	fake_write(a->fake, 20 * MIB, G, 'n');
	(void)bsp_sparse_refresh(a->sp);
}

static void granules_read_before_a_change_are_read_again(void **state)
{
	struct scanned_object *a = object_new(false, 0);
	uint64_t data;

	atomic_store(&a->rewrite, true);
	fake_on_read(a->fake, rewrite_once, a);
	assert_int_equal(bsp_sparse_seek_data(a->sp, 0, NULL, NULL, &data), 0);
	assert_int_equal(data, 20 * MIB);
	walk(a, SIZE);
	assert_int_equal(a->wrong, 0);
	object_free(a);
}

static void nothing_is_read_ahead_where_results_are_not_kept(void **state)
{
	struct scanned_object *a = object_new(true, 0);
	uint64_t at;

	fake_stop_counting(a->fake);
	(void)bsp_sparse_refresh(a->sp);
	assert_int_equal(bsp_sparse_seek_data(a->sp, 8 * MIB, NULL, NULL, &at),
			 0);
	nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
	bsp_sparse_scan_ahead_join(a->sp);
	assert_int_in_range(bytes_read(a->fake), 1, at - 8 * MIB + 3 * MIB);
	object_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			scan_reads_all_once_and_delivers_all_data_once),
		cmocka_unit_test(known_data_is_read_ahead_of_a_reader),
		cmocka_unit_test(seeks_alone_read_nothing_where_all_is_known),
		cmocka_unit_test(random_reader_is_not_followed),
		cmocka_unit_test(one_seek_scans_the_smallest_window_only),
		cmocka_unit_test(window_stays_within_the_option),
		cmocka_unit_test(seek_gives_up_on_a_delivery_that_is_stuck),
		cmocka_unit_test(rest_is_scanned_in_the_background_if_wanted),
		cmocka_unit_test(
			interrupted_seek_returns_while_the_device_hangs),
		cmocka_unit_test(seek_beyond_its_time_answers_with_a_boundary),
		cmocka_unit_test(waiting_seeks_go_on_when_the_scan_is_stopped),
		cmocka_unit_test(
			unreadable_granules_are_data_and_the_others_right),
		cmocka_unit_test(granules_read_before_a_change_are_read_again),
		cmocka_unit_test(
			nothing_is_read_ahead_where_results_are_not_kept),
	};

	return cmocka_run_group_tests_name("scan-ahead", tests, NULL, NULL);
}
