/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Verifying holes: false ones are found and named in order, each hole is read
 * once, and a writer is not taken for an error.
 */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "fake-device.h"
#include "sparse/scan.h"

enum { G = 4096, MIB = 1 << 20, SIZE = 8 * MIB + 512, FOUND_MAX = 8 };

/* The layer knows [4 MiB, SIZE), all of which is zero; so is [2 MiB, 4 MiB),
 * which has to be read. The rest is data. */
struct fixture {
	struct fake *fake;
	struct bsp_sparse *sp;
	struct bsp_false_hole found[FOUND_MAX];
	unsigned n;
	uint64_t done;
	bool interrupt;
};

static int setup(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);

	f->fake = fake_new(SIZE);
	memset(fake_bytes(f->fake), 'd', 2 * MIB);
	fake_know_zeros(f->fake, 4 * MIB, SIZE - 4 * MIB);
	f->sp = bsp_sparse_new(fake_device(f->fake), NULL, NULL);
	assert_non_null(f->sp);
	f->sp->spot_checks.patience_ms = 0;
	assert_int_equal(
		bsp_sparse_scan(f->sp, 0, UINT64_MAX, NULL, NULL, NULL), 0);
	(void)fake_reads(f->fake, NULL);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	bsp_sparse_free(f->sp);
	g_free(f);
	return 0;
}

static void on_false_hole(void *data, const struct bsp_false_hole *hole)
{
	struct fixture *f = data;

	assert_true(f->n < FOUND_MAX);
	f->found[f->n++] = *hole;
}

static bool on_interrupted(void *data)
{
	return ((struct fixture *)data)->interrupt;
}

static void on_progress(void *data, const struct bsp_progress *now)
{
	((struct fixture *)data)->done = now->done;
}

static int verify(struct fixture *f)
{
	f->n = 0;
	return bsp_sparse_verify(f->sp, bsp_sparse_extent_source(f->sp),
				 on_false_hole, on_interrupted, on_progress, f);
}

/* Changes bytes that were zero, without a write that the kernel counts. */
static void put(struct fixture *f, uint64_t off, uint64_t len)
{
	memset(fake_bytes(f->fake) + off, 'x', len);
}

static void assert_found(struct fixture *f, unsigned i, uint64_t off,
			 uint64_t len, int error, const char *layer)
{
	assert_true(i < f->n);
	assert_int_equal(f->found[i].off, off);
	assert_int_equal(f->found[i].len, len);
	assert_int_equal(f->found[i].error, error);
	if (layer)
		assert_string_equal(f->found[i].layer, layer);
	else
		assert_null(f->found[i].layer);
}

static void each_hole_is_read_once_and_no_data(void **state)
{
	struct fixture *f = *state;
	const struct fake_call *reads;
	uint64_t sum = 0;
	size_t n;

	assert_int_equal(verify(f), 0);
	assert_int_equal(f->n, 0);
	n = fake_reads(f->fake, &reads);
	for (size_t i = 0; i < n; i++) {
		assert_true(reads[i].off >= 2 * MIB);
		sum += reads[i].len;
	}
	assert_int_equal(sum, SIZE - 2 * MIB);
}

static void false_holes_are_found_with_their_layers(void **state)
{
	struct fixture *f = *state;

	put(f, 3 * MIB + 5, 1);			    /* it was read as zeros */
	put(f, 5 * MIB + BSP_SCAN_READ - G, 2 * G); /* in two reads */
	put(f, SIZE - 1, 1);
	assert_int_equal(verify(f), 0);
	assert_int_equal(f->n, 3);
	assert_found(f, 0, 3 * MIB, G, 0, NULL);
	assert_found(f, 1, 5 * MIB + BSP_SCAN_READ - G, 2 * G, 0, "fake");
	assert_found(f, 2, 8 * MIB, 512, 0, "fake");
}

static void neighbours_of_two_layers_are_reported_apart(void **state)
{
	struct fixture *f = *state;

	put(f, 4 * MIB - G, 2 * G);
	assert_int_equal(verify(f), 0);
	assert_int_equal(f->n, 2);
	assert_found(f, 0, 4 * MIB - G, G, 0, NULL);
	assert_found(f, 1, 4 * MIB, G, 0, "fake");
}

static void unreadable_parts_are_false_holes(void **state)
{
	struct fixture *f = *state;

	fake_fail_reads(f->fake, 6 * MIB, G, EIO);
	put(f, 6 * MIB + 2 * G, G);
	assert_int_equal(verify(f), 0);
	assert_int_equal(f->n, 2);
	assert_found(f, 0, 6 * MIB, G, -EIO, "fake");
	assert_found(f, 1, 6 * MIB + 2 * G, G, 0, "fake");
}

static void a_write_of_another_program_is_no_false_hole(void **state)
{
	struct fixture *f = *state;

	fake_write(f->fake, 5 * MIB, G, 'w');
	assert_int_equal(verify(f), -ESTALE);
	assert_int_equal(f->n, 0);
}

static void a_write_that_is_not_counted_yet_is_noticed(void **state)
{
	struct fixture *f = *state;

	put(f, 3 * MIB, G);
	put(f, 6 * MIB, G);
	f->sp->spot_checks.patience_ms = 1;
	fake_write_dirty(f->fake, 7 * MIB, G, 0);
	assert_int_equal(verify(f), -ESTALE);
}

static void an_interrupt_ends_it(void **state)
{
	struct fixture *f = *state;

	f->interrupt = true;
	assert_int_equal(verify(f), -ECANCELED);
}

static void a_writable_object_is_refused(void **state)
{
	struct fake *fake = fake_new(MIB);
	struct bsp_sparse *sp;

	fake_make_writable(fake, 0);
	sp = bsp_sparse_new(fake_device(fake), NULL, NULL);
	assert_int_equal(bsp_sparse_verify(sp, bsp_sparse_extent_source(sp),
					   on_false_hole, NULL, NULL, NULL),
			 -EINVAL);
	bsp_sparse_free(sp);
}

#define VERIFY_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		VERIFY_TEST(each_hole_is_read_once_and_no_data),
		VERIFY_TEST(false_holes_are_found_with_their_layers),
		VERIFY_TEST(neighbours_of_two_layers_are_reported_apart),
		VERIFY_TEST(unreadable_parts_are_false_holes),
		VERIFY_TEST(a_write_of_another_program_is_no_false_hole),
		VERIFY_TEST(a_write_that_is_not_counted_yet_is_noticed),
		VERIFY_TEST(an_interrupt_ends_it),
		cmocka_unit_test(a_writable_object_is_refused),
	};

	return cmocka_run_group_tests_name("verify", tests, NULL, NULL);
}
