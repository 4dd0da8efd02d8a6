/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include "base/range.h"

static void clamp_ends_at_the_size_and_never_overflows(void **state)
{
	static const struct {
		uint64_t off, len, size, want;
	} rows[] = {
		{ 0, 0, 10, 0 },
		{ 0, 10, 10, 10 },
		{ 0, 11, 10, 10 },
		{ 9, 5, 10, 1 },
		{ 10, 5, 10, 0 },
		{ 11, 5, 10, 0 },
		{ UINT64_MAX, UINT64_MAX, 10, 0 },
		{ 5, UINT64_MAX, 10, 5 },
		{ 5, UINT64_MAX, UINT64_MAX, UINT64_MAX - 5 },
		{ 0, 1, 0, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(
			bsp_range_clamp(rows[i].off, rows[i].len, rows[i].size),
			rows[i].want);
}

static void granules_include_a_short_last_one(void **state)
{
	assert_int_equal(bsp_granules(0, 12), 0);
	assert_int_equal(bsp_granules(1, 12), 1);
	assert_int_equal(bsp_granules(4096, 12), 1);
	assert_int_equal(bsp_granules(4097, 12), 2);
	assert_int_equal(bsp_granules(UINT64_MAX, 12), UINT64_C(1) << 52);
}

static void aligning_saturates(void **state)
{
	assert_int_equal(bsp_align_up(0, 12), 0);
	assert_int_equal(bsp_align_up(1, 12), 4096);
	assert_int_equal(bsp_align_up(4096, 12), 4096);
	assert_int_equal(bsp_align_up(UINT64_MAX, 12), UINT64_MAX);
	assert_int_equal(bsp_align_down(4095, 12), 0);
	assert_int_equal(bsp_align_down(UINT64_MAX, 12), UINT64_MAX - 4095);
	assert_int_equal(bsp_add_sat(UINT64_MAX, 1), UINT64_MAX);
	assert_int_equal(bsp_add_sat(1, 2), 3);
}

static void the_start_of_a_granule_is_at_most_the_size(void **state)
{
	assert_int_equal(bsp_granule_start(0, 12, 5000), 0);
	assert_int_equal(bsp_granule_start(1, 12, 5000), 4096);
	assert_int_equal(bsp_granule_start(2, 12, 5000), 5000);
	assert_int_equal(bsp_granule_start(2, 12, 8192), 8192);
	assert_int_equal(bsp_granule_start(UINT64_MAX, 12, 8192), 8192);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clamp_ends_at_the_size_and_never_overflows),
		cmocka_unit_test(granules_include_a_short_last_one),
		cmocka_unit_test(aligning_saturates),
		cmocka_unit_test(the_start_of_a_granule_is_at_most_the_size),
	};

	return cmocka_run_group_tests_name("range", tests, NULL, NULL);
}
