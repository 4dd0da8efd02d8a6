/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/zero.h"

/* For each length: one nonzero byte at each offset, and none. */
static void one_nonzero_byte_is_found_at_every_offset(void **state)
{
	unsigned char bytes[200] = { 0 };

	for (size_t len = 0; len <= sizeof(bytes) - 1; len++) {
		assert_true(bsp_is_zero(bytes + 1, len));
		for (size_t at = 0; at < len; at++) {
			bytes[1 + at] = 0x80;
			assert_false(bsp_is_zero(bytes + 1, len));
			bytes[1 + at] = 0;
		}
	}
}

static void bytes_outside_the_buffer_do_not_count(void **state)
{
	unsigned char bytes[64];

	memset(bytes, 0xff, sizeof(bytes));
	memset(bytes + 7, 0, 40);
	assert_true(bsp_is_zero(bytes + 7, 40));
	assert_false(bsp_is_zero(bytes + 6, 41));
	assert_false(bsp_is_zero(bytes + 7, 41));
}

static void runs_end_where_the_kind_changes(void **state)
{
	enum { G = 4096 };
	unsigned char *buf = calloc(1, 5 * G);
	bool zero;

	assert_non_null(buf);
	assert_int_equal(bsp_zero_run(buf, 5 * G, G, &zero), 5 * G);
	assert_true(zero);
	buf[2 * G - 1] = 1; /* the last byte of granule 1 */
	buf[2 * G] = 1;	    /* the first byte of granule 2 */
	assert_int_equal(bsp_zero_run(buf, 5 * G, G, &zero), G);
	assert_true(zero);
	assert_int_equal(bsp_zero_run(buf + G, 4 * G, G, &zero), 2 * G);
	assert_false(zero);
	assert_int_equal(bsp_zero_run(buf + 3 * G, 2 * G, G, &zero), 2 * G);
	assert_true(zero);
	free(buf);
}

static void a_short_granule_at_the_end_counts(void **state)
{
	enum { G = 4096 };
	unsigned char buf[G + 512] = { 0 };
	bool zero;

	assert_int_equal(bsp_zero_run(buf, sizeof(buf), G, &zero), G + 512);
	assert_true(zero);
	buf[G + 511] = 1;
	assert_int_equal(bsp_zero_run(buf, sizeof(buf), G, &zero), G);
	assert_int_equal(bsp_zero_run(buf + G, 512, G, &zero), 512);
	assert_false(zero);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_nonzero_byte_is_found_at_every_offset),
		cmocka_unit_test(bytes_outside_the_buffer_do_not_count),
		cmocka_unit_test(runs_end_where_the_kind_changes),
		cmocka_unit_test(a_short_granule_at_the_end_counts),
	};

	return cmocka_run_group_tests_name("zero", tests, NULL, NULL);
}
