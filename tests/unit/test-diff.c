/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Comparing two fake devices: the granules that differ, the exact reads, and
 * the error and progress that the caller gets.
 */
#include "unit.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/changes.h"
#include "blksparse.h"
#include "fake-device.h"
#include "sparse/sparse.h"

enum { G = 4096, MIB = 1 << 20, SIZE = 5 * MIB + 512 };

struct both {
	struct fake *fake[2];
	struct bsp_sparse *sp[2];
	struct bsp_progress progress;
	struct bsp_changes *changes; /* of the last call */
	GError *error;
};

/* Makes two devices with the same bytes, of which one may be longer. */
static struct both both_new(uint64_t first, uint64_t second)
{
	struct both b = { .fake = { fake_new(first), fake_new(second) } };

	for (unsigned i = 0; i < 2; i++) {
		memset(fake_bytes(b.fake[i]) + 3 * G, 'a', 2 * G);
		memset(fake_bytes(b.fake[i]) + 2 * MIB - 100, 'b', 200);
		b.sp[i] = bsp_sparse_new(fake_device(b.fake[i]), NULL, NULL);
		assert_non_null(b.sp[i]);
	}
	return b;
}

static void both_free(struct both *b)
{
	bsp_sparse_free(b->sp[0]);
	bsp_sparse_free(b->sp[1]);
	bsp_changes_free(b->changes);
	g_clear_error(&b->error);
}

static bool diff(struct both *b, const struct bsp_transfer_options *options)
{
	bsp_changes_free(b->changes);
	g_clear_error(&b->error);
	b->changes =
		bsp_diff(b->sp[0], b->sp[1], options, &b->progress, &b->error);
	return b->changes;
}

/* Asserts that exactly the granules differ in which the bytes do. */
static void assert_differences(struct both *b)
{
	struct bsp_extent_source source = bsp_changes_extent_source(b->changes);
	uint64_t size = bsp_changes_size(b->changes), differ = 0;
	uint64_t first = bsp_sparse_size(b->sp[0]);
	uint64_t second = bsp_sparse_size(b->sp[1]);
	uint64_t both = MIN(first, second);
	struct bsp_extent extent = { 0 };

	assert_int_equal(size, MAX(first, second));
	for (uint64_t off = 0; off < size; off += G) {
		uint64_t len = MIN(G, size - off);
		bool differs = off + len > both ||
			       memcmp(fake_bytes(b->fake[0]) + off,
				      fake_bytes(b->fake[1]) + off, len) != 0;

		assert_int_equal(source.extent(source.data, off, &extent), 1);
		assert_int_equal(extent.off, off);
		assert_int_equal(extent.type,
				 differs ? BSP_EXTENT_DATA : BSP_EXTENT_HOLE);
		differ += differs ? len : 0;
	}
	assert_int_equal(source.extent(source.data, size, &extent), 0);
	assert_int_equal(bsp_changes_bytes(b->changes), differ);
}

static uint64_t bytes_read(struct fake *fake)
{
	const struct fake_call *calls;
	size_t n = fake_reads(fake, &calls);
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += calls[i].len;
	return sum;
}

static void equal_devices_do_not_differ(void **state)
{
	struct both b = both_new(SIZE, SIZE);

	assert_true(diff(&b, NULL));
	assert_differences(&b);
	assert_int_equal(bsp_changes_bytes(b.changes), 0);
	assert_int_equal(b.progress.done, SIZE);
	assert_int_equal(b.progress.same, SIZE);
	assert_int_equal(b.progress.data, 0);
	assert_int_equal(bytes_read(b.fake[0]), SIZE);
	assert_int_equal(bytes_read(b.fake[1]), SIZE);
	both_free(&b);
}

static void each_byte_that_differs_is_found(void **state)
{
	static const uint64_t places[] = { 0,	       G - 1,	G,
					   MIB - 1,    MIB,	3 * MIB + 77,
					   SIZE - 512, SIZE - 1 };

	for (unsigned jobs = 1; jobs <= 8; jobs += 7) {
		const struct bsp_transfer_options options = { .jobs = jobs };
		struct both b = both_new(SIZE, SIZE);

		for (size_t i = 0; i < G_N_ELEMENTS(places); i++)
			fake_bytes(b.fake[i % 2])[places[i]] ^= 1;
		assert_true(diff(&b, &options));
		assert_differences(&b);
		assert_int_equal(b.progress.data, bsp_changes_bytes(b.changes));
		assert_int_equal(b.progress.data + b.progress.same, SIZE);
		both_free(&b);
	}
}

static void the_rest_of_the_larger_one_differs(void **state)
{
	static const uint64_t sizes[][2] = {
		{ SIZE, SIZE + G },
		{ SIZE + 3 * MIB, SIZE },
		{ 4 * MIB, 5 * MIB },
		{ 512, 1024 },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		struct both b = { 0 };

		for (unsigned j = 0; j < 2; j++) {
			b.fake[j] = fake_new(sizes[i][j]);
			memset(fake_bytes(b.fake[j]), 'a', 512);
			b.sp[j] = bsp_sparse_new(fake_device(b.fake[j]), NULL,
						 NULL);
		}
		assert_true(diff(&b, NULL));
		assert_differences(&b);
		assert_int_equal(b.progress.size,
				 MAX(sizes[i][0], sizes[i][1]));
		both_free(&b);
	}
}

static void zeros_that_both_know_are_not_read(void **state)
{
	struct both b = both_new(SIZE, SIZE);

	for (unsigned i = 0; i < 2; i++)
		b.sp[i]->spot_checks.unchecked = 0;
	/* Both know [0, 1), the first alone [1, 2), the second alone [2, 3). */
	memset(fake_bytes(b.fake[0]), 0, 3 * MIB);
	memset(fake_bytes(b.fake[1]), 0, 3 * MIB);
	fake_bytes(b.fake[1])[MIB + 5 * G] = 'x';
	fake_bytes(b.fake[0])[2 * MIB + 9 * G] = 'y';
	fake_know_zeros(b.fake[0], 0, 2 * MIB);
	fake_know_zeros(b.fake[1], 0, MIB);
	assert_true(diff(&b, NULL));
	assert_differences(&b);
	assert_int_equal(bsp_changes_bytes(b.changes), 2 * G);
	assert_int_equal(bytes_read(b.fake[0]), SIZE - 2 * MIB);
	assert_int_equal(bytes_read(b.fake[1]), SIZE - MIB);
	both_free(&b);
}

/* After the first question, a check of the answers becomes due. */
static void check_next(void *data)
{
	struct bsp_sparse *sp = data;

	sp->spot_checks.unchecked = UINT64_C(1) << 40;
}

static void a_layer_that_lies_hides_nothing(void **state)
{
	for (unsigned liar = 0; liar < 2; liar++) {
		struct both b = both_new(SIZE, SIZE);

		/* The bytes are equal but for one; the liar has them as zeros.
		 */
		for (unsigned i = 0; i < 2; i++) {
			memset(fake_bytes(b.fake[i]), 'a', 4 * MIB);
			b.sp[i]->spot_checks.patience_ms = 0;
		}
		fake_bytes(b.fake[1])[7 * G] = 'x';
		b.sp[liar]->spot_checks.unchecked = 0;
		fake_know_zeros(b.fake[liar], 0, 4 * MIB);
		fake_on_question(b.fake[liar], check_next, b.sp[liar]);
		assert_true(diff(&b, NULL));
		assert_true(atomic_load(&b.sp[liar]->distrusted));
		assert_differences(&b);
		assert_int_equal(bsp_changes_bytes(b.changes), G);
		assert_int_equal(b.progress.same, SIZE - G);
		both_free(&b);
	}
}

static void granules_of_two_sizes_go_together(void **state)
{
	static const struct bsp_sparse_options options = { .granule = 64
								      << 10 };
	struct both b = both_new(SIZE, SIZE);

	bsp_sparse_free(b.sp[1]);
	b.fake[1] = fake_new(SIZE);
	memset(fake_bytes(b.fake[1]) + 3 * G, 'a', 2 * G);
	b.sp[1] = bsp_sparse_new(fake_device(b.fake[1]), &options, NULL);
	fake_know_true_zeros(b.fake[0]);
	fake_know_true_zeros(b.fake[1]);
	assert_true(diff(&b, NULL));
	assert_differences(&b);
	both_free(&b);
}

static void a_failure_names_the_device_and_the_place(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		struct both b = both_new(SIZE, SIZE);
		g_autofree char *place = g_strdup_printf("byte %d", 3 * MIB);

		fake_fail_reads(b.fake[i], 3 * MIB, 512, EIO);
		assert_false(diff(&b, NULL));
		assert_true(
			g_error_matches(b.error, BSP_ERROR, BSP_ERROR_FAILED));
		assert_non_null(strstr(b.error->message, place));
		assert_int_equal(b.progress.done, 0);
		both_free(&b);
	}
}

static void shrink(void *data)
{
	fake_resize(data, MIB);
}

static void a_device_that_shrinks_is_an_error(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct bsp_transfer_options options = { .jobs = 1 };
		struct both b = both_new(SIZE, SIZE);

		fake_on_read(b.fake[i], shrink, b.fake[i]);
		assert_false(diff(&b, &options));
		assert_true(
			g_error_matches(b.error, BSP_ERROR, BSP_ERROR_FAILED));
		both_free(&b);
	}
}

static bool interrupt(void *data)
{
	atomic_bool *asked = data;

	atomic_store(asked, true);
	return true;
}

/* Holds a read back until the caller asked for interrupts: all could be
 * compared before that. */
static void wait_for_question(void *data)
{
	atomic_bool *asked = data;

	while (!atomic_load(asked))
		g_usleep(1000);
}

static void an_interrupt_ends_it(void **state)
{
	atomic_bool asked = false;
	const struct bsp_transfer_options options = {
		.interrupted = interrupt,
		.data = &asked,
	};
	struct both b = both_new(SIZE, SIZE);

	fake_on_read(b.fake[0], wait_for_question, &asked);
	assert_false(diff(&b, &options));
	assert_true(g_error_matches(b.error, BSP_ERROR, BSP_ERROR_INTERRUPTED));
	both_free(&b);
}

/* --- Sets of changes --- */

static void changes_are_found_in_units(void **state)
{
	struct bsp_changes *changes = bsp_changes_new(10 * G + 100);
	uint64_t off, end;

	assert_int_equal(bsp_changes_add(changes, 3 * G + 5, 1), 0);
	assert_int_equal(bsp_changes_add(changes, 10 * G + 99, 50), 0);
	assert_int_equal(bsp_changes_add(changes, 11 * G, UINT64_MAX), 0);
	assert_int_equal(bsp_changes_add(changes, UINT64_MAX, UINT64_MAX), 0);
	assert_int_equal(bsp_changes_bytes(changes), G + 100);
	assert_true(bsp_changes_find(changes, 0, G, &off, &end));
	assert_int_equal(off, 3 * G);
	assert_int_equal(end, 4 * G);
	assert_true(bsp_changes_find(changes, 0, 2 * G, &off, &end));
	assert_int_equal(off, 2 * G);
	assert_int_equal(end, 4 * G);
	assert_true(bsp_changes_find(changes, 4 * G, 8 * G, &off, &end));
	assert_int_equal(off, 8 * G);
	assert_int_equal(end, 10 * G + 100);
	assert_false(bsp_changes_find(changes, end, G, &off, &end));
	bsp_changes_free(changes);
	bsp_changes_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_devices_do_not_differ),
		cmocka_unit_test(each_byte_that_differs_is_found),
		cmocka_unit_test(the_rest_of_the_larger_one_differs),
		cmocka_unit_test(zeros_that_both_know_are_not_read),
		cmocka_unit_test(a_layer_that_lies_hides_nothing),
		cmocka_unit_test(granules_of_two_sizes_go_together),
		cmocka_unit_test(a_failure_names_the_device_and_the_place),
		cmocka_unit_test(a_device_that_shrinks_is_an_error),
		cmocka_unit_test(an_interrupt_ends_it),
		cmocka_unit_test(changes_are_found_in_units),
	};

	return cmocka_run_group_tests_name("diff", tests, NULL, NULL);
}
