/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <string.h>

#include "device/identity.h"

#define SECOND INT64_C(1000000000)

/* --- The medium --- */

static void media_differ_only_in_fields_that_both_samples_have(void **state)
{
	const struct bsp_medium disk = { .sequence = 7 };
	const struct bsp_medium loop = { 7, 1, 2, 4096, 0 };
	const struct bsp_medium mapped = { .sequence = 7, .table = 9 };
	const struct {
		struct bsp_medium was, now;
		enum bsp_medium_change change;
	} rows[] = {
		{ disk, disk, BSP_MEDIUM_SAME },
		{ disk, { .sequence = 8 }, BSP_MEDIUM_OTHER },
		{ disk, { .sequence = 0 }, BSP_MEDIUM_SAME },
		{ { 0 }, disk, BSP_MEDIUM_SAME },
		{ disk, loop, BSP_MEDIUM_SAME },
		{ loop, { 7, 1, 2, 4096, 0 }, BSP_MEDIUM_SAME },
		{ loop, { 7, 3, 2, 4096, 0 }, BSP_MEDIUM_OTHER },
		{ loop, { 7, 1, 3, 4096, 0 }, BSP_MEDIUM_OTHER },
		{ loop, { 7, 1, 2, 0, 0 }, BSP_MEDIUM_OTHER },
		{ loop, { 7, 0, 0, 0, 0 }, BSP_MEDIUM_SAME },
		{ mapped, mapped, BSP_MEDIUM_SAME },
		{ mapped, disk, BSP_MEDIUM_SAME },
		{ mapped, { .sequence = 7, .table = 8 }, BSP_MEDIUM_TABLE },
		{ mapped, { .sequence = 8, .table = 8 }, BSP_MEDIUM_OTHER },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(bsp_medium_compare(&rows[i].was, &rows[i].now),
				 rows[i].change);
}

static void an_update_keeps_fields_that_the_sample_lacks(void **state)
{
	struct bsp_medium medium = { 7, 1, 2, 4096, 9 };
	const struct bsp_medium cheap = { 7, 1, 2, 8192, 0 };

	bsp_medium_update(&medium, &(struct bsp_medium){ 8, 0, 0, 0, 0 });
	assert_int_equal(medium.sequence, 8);
	assert_int_equal(medium.file_off, 4096);
	bsp_medium_update(&medium, &cheap);
	assert_int_equal(medium.file_off, 8192);
	assert_int_equal(medium.table, 9);
}

static void hashes_of_two_texts_differ_and_are_never_zero(void **state)
{
	uint64_t whole = bsp_hash(0, "linear 7:0 0", 12);

	assert_true(whole != 0);
	assert_true(bsp_hash(0, "", 0) != 0);
	assert_true(bsp_hash(bsp_hash(0, "linear", 6), " 7:0 0", 6) == whole);
	assert_true(bsp_hash(0, "linear 7:0 8", 12) != whole);
}

/* --- The content --- */

static void contents_that_are_not_counted_are_never_equal(void **state)
{
	struct bsp_content a = { .counted = true }, b = a, c = { 0 }, d = c;

	assert_true(bsp_content_equal(&a, &b));
	assert_false(bsp_content_equal(&c, &d));
	b.value[BSP_CONTENT_VALUES - 1] = 1;
	assert_false(bsp_content_equal(&a, &b));
}

/* All times are in seconds. */
static bool settles(struct bsp_settling *settling, int changed, int realtime,
		    int boottime)
{
	const struct timespec at = { .tv_sec = changed };

	return bsp_settle(settling, &at, realtime * SECOND, boottime * SECOND);
}

static void a_change_time_settles_when_it_is_old(void **state)
{
	struct bsp_settling old = { 0 }, young = { 0 };

	assert_true(settles(&old, 900, 1000, 10));
	assert_false(settles(&young, 999, 1000, 10));
	assert_false(settles(&young, 999, 1003, 13));
	assert_true(settles(&young, 999, 1004, 14));
	/* Another change time starts anew. */
	assert_false(settles(&young, 1004, 1004, 14));
	assert_true(settles(&young, 1004, 1009, 19));
}

static void setting_the_clock_does_not_settle_a_change_time(void **state)
{
	struct bsp_settling forth = { 0 }, back = { 0 };

	/* The clock goes forward an hour, a second after the change. */
	assert_false(settles(&forth, 1000, 1000, 10));
	assert_false(settles(&forth, 1000, 4601, 11));
	assert_true(settles(&forth, 1000, 4605, 15));
	/* The clock is set back an hour, and then the file is changed: its
	 * change time looks an hour old to a clock that was not set. */
	assert_true(settles(&back, 5000, 9000, 10));
	assert_false(settles(&back, 5400, 5401, 11));
	assert_true(settles(&back, 5400, 5406, 16));
}

static void
a_change_time_in_the_future_settles_after_being_seen_long_enough(void **state)
{
	struct bsp_settling settling = { 0 };

	assert_false(settles(&settling, 9999, 1000, 10));
	assert_false(settles(&settling, 9999, 1004, 14));
	assert_true(settles(&settling, 9999, 1005, 15));
	assert_false(settles(&settling, 9998, 1006, 16));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			media_differ_only_in_fields_that_both_samples_have),
		cmocka_unit_test(an_update_keeps_fields_that_the_sample_lacks),
		cmocka_unit_test(hashes_of_two_texts_differ_and_are_never_zero),
		cmocka_unit_test(contents_that_are_not_counted_are_never_equal),
		cmocka_unit_test(a_change_time_settles_when_it_is_old),
		cmocka_unit_test(
			setting_the_clock_does_not_settle_a_change_time),
		cmocka_unit_test(
			a_change_time_in_the_future_settles_after_being_seen_long_enough),
	};

	return cmocka_run_group_tests_name("identity", tests, NULL, NULL);
}
