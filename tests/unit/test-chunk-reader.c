/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A chunk reader that reads through the cache, as the check of a base does,
 * over a device that it borrows.
 */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "fake-device.h"
#include "sparse/sparse.h"
#include "transfer/chunk-reader.h"

enum { G = 4096, KIB = 1024, MIB = 1 << 20 };

struct fixture {
	struct fake *fake;
	struct bsp_device *dev;
	struct bsp_sparse *sp;
};

/* A writable device of 4 MiB that knows that its second MiB is zero. The rest
 * is 'x'. */
static int set_up(void **state)
{
	static struct fixture f;

	f.fake = fake_new(4 * MIB);
	memset(fake_bytes(f.fake), 'x', 4 * MIB);
	memset(fake_bytes(f.fake) + MIB, 0, MIB);
	fake_know_zeros(f.fake, MIB, MIB);
	fake_make_writable(f.fake, 1 << FAKE_PUNCH);
	f.dev = fake_device(f.fake);
	f.sp = bsp_sparse_new_borrowing(f.dev, NULL, NULL);
	assert_non_null(f.sp);
	*state = &f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	bsp_sparse_free(f->sp);
	bsp_device_close(f->dev);
	return 0;
}

static unsigned in(struct fixture *f, unsigned set)
{
	unsigned n = 0;

	for (uint64_t i = 0; i < 4 * MIB / G; i++)
		n += (set >> bsp_map_get(f->sp->map, i)) & 1;
	return n;
}

/* The bytes that the device was asked for, since the last call: through the
 * cache, and by spot checks. */
static void bytes_read(struct fixture *f, uint64_t *ret_through,
		       uint64_t *ret_checked)
{
	const struct fake_call *reads;
	size_t n = fake_reads(f->fake, &reads);

	*ret_through = *ret_checked = 0;
	for (size_t i = 0; i < n; i++)
		*(reads[i].kind == FAKE_READ_THROUGH ? ret_through
						     : ret_checked) +=
			reads[i].len;
}

/* Reads [off, end), and compares it with the device. Returns the last result of
 * the reader. */
static int read_and_compare(struct fixture *f, uint64_t off, uint64_t end,
			    struct bsp_chunk *ret_last)
{
	struct bsp_chunk_reader *reader =
		bsp_chunk_reader_new_through(f->sp, off, end);
	int r;

	assert_non_null(reader);
	while ((r = bsp_chunk_reader_next(reader, ret_last)) > 0) {
		const unsigned char *bytes = fake_bytes(f->fake) + off;

		assert_int_equal(ret_last->off, off);
		for (uint64_t i = 0; i < ret_last->len; i++)
			assert_int_equal(ret_last->data ? ret_last->data[i] : 0,
					 bytes[i]);
		off += ret_last->len;
	}
	if (r == 0)
		assert_int_equal(off, end);
	bsp_chunk_reader_free(reader);
	return r;
}

static void known_holes_are_not_read_and_nothing_is_learned(void **state)
{
	struct fixture *f = *state;
	uint64_t through, checked;
	struct bsp_chunk last;

	assert_int_equal(read_and_compare(f, 0, 4 * MIB, &last), 0);
	bytes_read(f, &through, &checked);
	assert_int_equal(through, 3 * MIB);
	assert_int_equal(checked, G);
	assert_int_equal(in(f, BSP_IN_DATA), 0);
	assert_int_equal(in(f, BSP_IN_HOLE), MIB / G);
}

static void a_range_may_begin_and_end_at_any_byte(void **state)
{
	struct fixture *f = *state;
	struct bsp_chunk last;

	assert_int_equal(read_and_compare(f, 5, MIB + 9, &last), 0);
	assert_int_equal(read_and_compare(f, 2 * MIB - 7, 2 * MIB + 1, &last),
			 0);
	assert_int_equal(read_and_compare(f, MIB + 3, MIB + 4, &last), 0);
	assert_int_equal(read_and_compare(f, 7, 7, &last), 0);
}

static void a_short_read_goes_on(void **state)
{
	struct fixture *f = *state;
	struct bsp_chunk last;

	fake_limit_reads(f->fake, 1000);
	assert_int_equal(read_and_compare(f, 0, MIB, &last), 0);
}

/* The second read would succeed, and hide that a writeback failed. */
static void a_read_that_fails_is_not_repeated(void **state)
{
	struct fixture *f = *state;
	const struct fake_call *reads;
	struct bsp_chunk last;
	size_t n;

	fake_fail_reads(f->fake, 300 * KIB, 1, EIO);
	fake_fail_whole(f->fake);
	assert_int_equal(read_and_compare(f, 0, MIB, &last), -EIO);
	assert_true(last.off <= 300 * KIB);
	n = fake_reads(f->fake, &reads);
	for (size_t i = 0, failed = 0; i < n; i++) {
		failed += reads[i].off <= 300 * KIB &&
			  reads[i].off + reads[i].len > 300 * KIB;
		assert_true(failed <= 1);
	}
}

static void a_device_that_ends_early_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct bsp_chunk last;

	fake_resize(f->fake, 512 * KIB);
	assert_int_equal(read_and_compare(f, 0, MIB, &last), -EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			known_holes_are_not_read_and_nothing_is_learned, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			a_range_may_begin_and_end_at_any_byte, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(a_short_read_goes_on, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(
			a_read_that_fails_is_not_repeated, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_device_that_ends_early_is_an_error, set_up,
			tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
