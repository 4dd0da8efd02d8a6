/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The figures of an object, exactly, after operations whose device calls are
 * known; and that they can be asked for while the device hangs.
 */
#include "unit.h"

#include <errno.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blksparse-mount.h"
#include "fake-device.h"
#include "sparse/sparse.h"

enum { G = 4096, SIZE = 64 * G };

struct fixture {
	struct fake *fake;
	struct bsp_sparse *sp;
};

/* A device of zeros but for 'o' bytes in [8 G, 16 G). */
static struct fixture make(bool writable, bool skip_same)
{
	const struct bsp_sparse_options options = { .skip_same = skip_same };
	struct fixture f = { .fake = fake_new(SIZE) };

	memset(fake_bytes(f.fake) + (size_t)(8 * G), 'o', 8 * G);
	if (writable)
		fake_make_writable(f.fake, 1 << FAKE_PUNCH);
	f.sp = bsp_sparse_new(fake_device(f.fake), &options, NULL);
	assert_non_null(f.sp);
	return f;
}

static struct bsp_figures figures(struct fixture f)
{
	struct bsp_figures now;

	bsp_sparse_figures(f.sp, &now);
	return now;
}

static void scan(struct fixture f)
{
	assert_int_equal(bsp_sparse_scan(f.sp, 0, SIZE, NULL, NULL, NULL), 0);
}

static void get(struct fixture f, uint64_t off, size_t len)
{
	void *buf = malloc(len);

	assert_int_equal(bsp_sparse_read(f.sp, off, buf, len), len);
	free(buf);
}

static ssize_t try_put(struct fixture f, uint64_t off, size_t len, int byte)
{
	void *buf = malloc(len);
	ssize_t n;

	memset(buf, byte, len);
	n = bsp_sparse_write(f.sp, off, buf, len);
	free(buf);
	return n;
}

static void put(struct fixture f, uint64_t off, size_t len, int byte)
{
	assert_int_equal(try_put(f, off, len, byte), len);
}

static void a_new_object_has_done_nothing(void **state)
{
	const struct bsp_figures none = { 0 };
	struct fixture f = make(true, false);
	struct bsp_figures now = figures(f);

	assert_memory_equal(&now, &none, offsetof(struct bsp_figures, gone));
	assert_false(now.gone || now.distrusted);
	bsp_sparse_free(f.sp);
}

static void reads_count_the_device_and_what_the_map_saved(void **state)
{
	struct fixture f = make(false, false);

	scan(f);
	assert_int_equal(figures(f).read, SIZE);
	assert_int_equal(figures(f).saved_holes, 0);
	/* Six granules of a hole, and two of data. */
	get(f, 2 * G, 8 * G);
	assert_int_equal(figures(f).read, SIZE + 2 * G);
	assert_int_equal(figures(f).saved_holes, 6 * G);
	assert_int_equal(figures(f).written, 0);
	bsp_sparse_free(f.sp);
}

static void seeks_count_what_they_passed(void **state)
{
	struct fixture f = make(false, false);
	uint64_t at;

	scan(f);
	assert_int_equal(bsp_sparse_seek_data(f.sp, G, NULL, NULL, &at), 0);
	assert_int_equal(at, 8 * G);
	assert_int_equal(figures(f).saved_seeks, 7 * G);
	/* Data saves nothing, nor does a seek for a hole. */
	assert_int_equal(bsp_sparse_seek_data(f.sp, at, NULL, NULL, &at), 0);
	assert_int_equal(bsp_sparse_seek_hole(f.sp, at, NULL, NULL, &at), 0);
	assert_int_equal(at, 16 * G);
	assert_int_equal(figures(f).saved_seeks, 7 * G);
	/* From here on all is zeros. */
	assert_int_equal(bsp_sparse_seek_data(f.sp, at, NULL, NULL, &at),
			 -ENXIO);
	assert_int_equal(figures(f).saved_seeks, 7 * G + SIZE - 16 * G);
	/* Past the end there is nothing to pass. */
	assert_int_equal(bsp_sparse_seek_data(f.sp, SIZE + G, NULL, NULL, &at),
			 -ENXIO);
	assert_int_equal(figures(f).saved_seeks, 7 * G + SIZE - 16 * G);
	bsp_sparse_free(f.sp);
}

static void zeros_are_pending_until_the_device_is_zeroed(void **state)
{
	struct fixture f = make(true, false);

	put(f, 20 * G, 2 * G, 'n');
	assert_int_equal(figures(f).written, 2 * G);
	put(f, 8 * G, 4 * G, 0);
	assert_int_equal(figures(f).written, 2 * G);
	assert_int_equal(figures(f).saved_zeros, 4 * G);
	assert_int_equal(figures(f).pending, 4 * G);
	/* A part of a granule that is zero already, and one that is not. */
	put(f, 8 * G + 100, 200, 0);
	assert_int_equal(figures(f).saved_zeros, 4 * G + 200);
	put(f, 12 * G + 100, 200, 0);
	assert_int_equal(figures(f).saved_zeros, 4 * G + 200);
	assert_int_equal(figures(f).written, 2 * G + 200);
	/* A punch is no write that was saved. */
	assert_int_equal(
		bsp_sparse_fallocate(f.sp,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     14 * G, G),
		0);
	assert_int_equal(figures(f).saved_zeros, 4 * G + 200);
	assert_int_equal(figures(f).pending, 5 * G);
	assert_int_equal(figures(f).zeroed, 0);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	assert_int_equal(figures(f).pending, 0);
	assert_int_equal(figures(f).zeroed, 5 * G);
	assert_int_equal(figures(f).written, 2 * G + 200);
	assert_int_equal(figures(f).read, 0);
	bsp_sparse_free(f.sp);
}

static void only_markers_of_the_file_are_pending(void **state)
{
	struct fixture f = make(true, false);

	/* All granules past the end are markers, and the last one is cut. */
	assert_int_equal(bsp_sparse_truncate(f.sp, 10 * G + 100), 0);
	assert_int_equal(figures(f).pending, 0);
	put(f, 8 * G, 2 * G + 100, 0);
	assert_int_equal(figures(f).pending, 2 * G);
	assert_int_equal(bsp_sparse_truncate(f.sp, 9 * G), 0);
	assert_int_equal(figures(f).pending, G);
	assert_int_equal(bsp_sparse_truncate(f.sp, SIZE - 100), 0);
	assert_int_equal(figures(f).pending, SIZE - 100 - 8 * G);
	assert_int_equal(bsp_sparse_truncate(f.sp, 0), 0);
	assert_int_equal(figures(f).pending, 0);
	bsp_sparse_free(f.sp);
}

static void zeroing_without_commands_counts_reads_and_writes(void **state)
{
	struct fixture f = { .fake = fake_new(SIZE) };

	memset(fake_bytes(f.fake), 'o', G);
	fake_make_writable(f.fake, 0);
	f.sp = bsp_sparse_new(fake_device(f.fake), NULL, NULL);
	put(f, 0, 4 * G, 0);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	/* Read first: only the granule that is not zero is written. */
	assert_int_equal(figures(f).read, 4 * G);
	assert_int_equal(figures(f).written, G);
	assert_int_equal(figures(f).zeroed, 0);
	/* The reads of the zeroing are no reads of the content. */
	assert_int_equal(bsp_sparse_bytes_read(f.sp), 0);
	bsp_sparse_free(f.sp);
}

static void writes_that_change_nothing_count_as_saved(void **state)
{
	struct fixture f = make(true, true);

	put(f, 8 * G, 2 * G, 'o');
	assert_int_equal(figures(f).saved_same, 2 * G);
	assert_int_equal(figures(f).read, 2 * G);
	/* Zeros that the device holds. */
	put(f, 0, G, 0);
	assert_int_equal(figures(f).saved_same, 3 * G);
	assert_int_equal(figures(f).saved_zeros, 0);
	/* A part of a granule. */
	put(f, 9 * G + 7, 10, 'o');
	assert_int_equal(figures(f).saved_same, 3 * G + 10);
	/* Zeros that it does not hold. */
	put(f, 10 * G, G, 0);
	assert_int_equal(figures(f).saved_zeros, G);
	assert_int_equal(figures(f).written, 0);
	put(f, 11 * G, G, 'n');
	assert_int_equal(figures(f).written, G);
	assert_int_equal(figures(f).saved_same, 3 * G + 10);
	bsp_sparse_free(f.sp);
}

static void errors_count(void **state)
{
	struct fixture f = make(true, false);
	char buf[G];

	fake_fail_reads(f.fake, 9 * G, G, EIO);
	assert_int_equal(bsp_sparse_read(f.sp, 9 * G, buf, G), -EIO);
	assert_int_equal(figures(f).read_errors, 1);
	assert_int_equal(figures(f).write_errors, 0);
	fake_fail_writes(f.fake, 9 * G, G, EIO);
	assert_int_equal(try_put(f, 9 * G, G, 'n'), -EIO);
	assert_int_equal(figures(f).write_errors, 1);
	assert_int_equal(figures(f).written, 0);
	fake_fail_writes(f.fake, 0, 0, 0);
	fake_fail_flush(f.fake, EIO);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
	assert_int_equal(figures(f).failed_flushes, 1);
	assert_int_equal(figures(f).read_errors, 1);
	assert_int_equal(figures(f).write_errors, 1);
	bsp_sparse_free(f.sp);
}

static struct bsp_failures failures(struct fixture f,
				    enum bsp_failing operation)
{
	struct bsp_failures now;

	bsp_sparse_failures(f.sp, operation, &now);
	return now;
}

static void assert_failed(struct fixture f, enum bsp_failing operation,
			  uint64_t n, uint64_t off, int error)
{
	struct bsp_failures now = failures(f, operation);

	assert_int_equal(now.n, n);
	assert_int_equal(now.off, off);
	assert_int_equal(now.error, error);
}

static void a_failure_tells_its_operation_and_place(void **state)
{
	struct fixture f = make(true, false);
	char buf[G];

	for (int i = 0; i < BSP_FAILINGS; i++)
		assert_failed(f, (enum bsp_failing)i, 0, 0, 0);
	fake_fail_reads(f.fake, 9 * G, G, EIO);
	assert_int_equal(bsp_sparse_read(f.sp, 9 * G, buf, G), -EIO);
	assert_int_equal(bsp_sparse_read(f.sp, 9 * G, buf, G), -EIO);
	assert_failed(f, BSP_FAILING_READ, 2, 9 * G, -EIO);
	fake_fail_writes(f.fake, 11 * G, G, ENOSPC);
	assert_int_equal(try_put(f, 11 * G, G, 'n'), -ENOSPC);
	assert_failed(f, BSP_FAILING_WRITE, 1, 11 * G, -ENOSPC);
	fake_fail_writes(f.fake, 0, 0, 0);
	fake_fail_commands(f.fake, 1 << FAKE_PUNCH, 0, SIZE, EIO);
	put(f, 13 * G, G, 0);
	fake_fail_flush(f.fake, EIO);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
	assert_failed(f, BSP_FAILING_ZERO, 1, 13 * G, -EIO);
	assert_failed(f, BSP_FAILING_FLUSH, 1, 0, -EIO);
	assert_failed(f, BSP_FAILING_WRITE, 1, 11 * G, -ENOSPC);
	bsp_sparse_free(f.sp);
}

static void a_command_that_is_refused_is_no_error(void **state)
{
	struct fixture f = make(true, false);

	fake_fail_commands(f.fake, 1 << FAKE_PUNCH, 0, SIZE, EOPNOTSUPP);
	put(f, 8 * G, G, 0);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	assert_int_equal(figures(f).write_errors, 0);
	assert_int_equal(figures(f).zeroed, 0);
	assert_int_equal(figures(f).written, G);
	bsp_sparse_free(f.sp);

	f = make(true, false);
	fake_fail_commands(f.fake, 1 << FAKE_PUNCH, 0, SIZE, EIO);
	put(f, 8 * G, G, 0);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	assert_int_equal(figures(f).write_errors, 1);
	assert_int_equal(figures(f).written, G);
	bsp_sparse_free(f.sp);
}

static void other_writers_count_once_a_look(void **state)
{
	struct fixture f = make(false, false);

	(void)bsp_sparse_refresh(f.sp);
	assert_int_equal(figures(f).other_writers, 0);
	fake_write(f.fake, 0, G, 'w');
	fake_write(f.fake, 4 * G, G, 'w');
	(void)bsp_sparse_refresh(f.sp);
	assert_int_equal(figures(f).other_writers, 1);
	(void)bsp_sparse_refresh(f.sp);
	assert_int_equal(figures(f).other_writers, 1);
	fake_write(f.fake, 0, G, 'w');
	(void)bsp_sparse_refresh(f.sp);
	assert_int_equal(figures(f).other_writers, 2);
	/* Such a device may have been written at each look, or never. */
	fake_stop_counting(f.fake);
	(void)bsp_sparse_refresh(f.sp);
	(void)bsp_sparse_refresh(f.sp);
	assert_int_equal(figures(f).other_writers, 2);
	bsp_sparse_free(f.sp);
}

static void known_zeros_count_by_layer(void **state)
{
	struct fixture f = make(false, false);
	struct bsp_known_layer layers[2] = { { 0 } };

	assert_int_equal(bsp_sparse_known_counts(f.sp, layers, 2), 0);
	fake_know_zeros(f.fake, 16 * G, SIZE - 16 * G);
	scan(f);
	assert_int_equal(bsp_sparse_known_counts(f.sp, layers, 0), 1);
	assert_int_equal(bsp_sparse_known_counts(f.sp, layers, 2), 1);
	assert_non_null(layers[0].name);
	assert_int_equal(layers[0].zeros, SIZE - 16 * G);
	assert_null(layers[1].name);
	bsp_sparse_free(f.sp);
}

/* --- A device that hangs --- */

static atomic_bool hanging, may_go_on;

static void hang(void *data)
{
	atomic_store(&hanging, true);
	while (!atomic_load(&may_go_on))
		usleep(1000);
}

static void hang_at(void *data, uint64_t off)
{
	hang(data);
}

struct call {
	struct fixture f;
	void (*run)(struct fixture f);
};

static void *call_main(void *data)
{
	const struct call *call = data;

	call->run(call->f);
	return NULL;
}

static void do_read(struct fixture f)
{
	char buf[G];

	(void)!bsp_sparse_read(f.sp, 8 * G, buf, G);
}

static void do_write(struct fixture f)
{
	(void)try_put(f, SIZE - G, G, 'n');
}

static void do_flush(struct fixture f)
{
	(void)!bsp_sparse_flush(f.sp, NULL, NULL);
}

static void do_refresh(struct fixture f)
{
	(void)bsp_sparse_refresh(f.sp);
}

/* Asks for the figures while a call waits for the device. If they waited as
 * well, the test would not end. */
static void asks_beside(struct fixture f, void (*run)(struct fixture f))
{
	struct call call = { f, run };
	struct bsp_known_layer layer;
	struct bsp_stat st;
	pthread_t thread;

	atomic_store(&hanging, false);
	atomic_store(&may_go_on, false);
	assert_int_equal(pthread_create(&thread, NULL, call_main, &call), 0);
	while (!atomic_load(&hanging))
		usleep(1000);
	(void)figures(f);
	(void)bsp_sparse_known_counts(f.sp, &layer, 1);
	(void)bsp_sparse_stat_nowait(f.sp, &st);
	atomic_store(&may_go_on, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void a_device_that_hangs_delays_nothing(void **state)
{
	struct fixture f = make(true, false);

	fake_on_read(f.fake, hang, NULL);
	asks_beside(f, do_read);
	fake_on_write(f.fake, hang_at, NULL);
	/* This write makes the file grow, and holds size_lock exclusively. */
	assert_int_equal(bsp_sparse_truncate(f.sp, SIZE - 2 * G), 0);
	asks_beside(f, do_write);
	fake_on_zeroing(f.fake, hang, NULL);
	put(f, 8 * G, G, 0);
	asks_beside(f, do_flush);
	fake_on_zeroing(f.fake, NULL, NULL);
	fake_on_flush(f.fake, hang, NULL);
	asks_beside(f, do_flush);
	fake_on_flush(f.fake, NULL, NULL);
	bsp_sparse_free(f.sp);

	f = make(false, false);
	fake_on_sample(f.fake, hang, NULL);
	asks_beside(f, do_refresh);
	fake_on_sample(f.fake, NULL, NULL);
	bsp_sparse_free(f.sp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_object_has_done_nothing),
		cmocka_unit_test(reads_count_the_device_and_what_the_map_saved),
		cmocka_unit_test(seeks_count_what_they_passed),
		cmocka_unit_test(zeros_are_pending_until_the_device_is_zeroed),
		cmocka_unit_test(only_markers_of_the_file_are_pending),
		cmocka_unit_test(
			zeroing_without_commands_counts_reads_and_writes),
		cmocka_unit_test(writes_that_change_nothing_count_as_saved),
		cmocka_unit_test(errors_count),
		cmocka_unit_test(a_failure_tells_its_operation_and_place),
		cmocka_unit_test(a_command_that_is_refused_is_no_error),
		cmocka_unit_test(other_writers_count_once_a_look),
		cmocka_unit_test(known_zeros_count_by_layer),
		cmocka_unit_test(a_device_that_hangs_delays_nothing),
	};

	return cmocka_run_group_tests_name("figures", tests, NULL, NULL);
}
