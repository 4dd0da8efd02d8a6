/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <string.h>

#include "blksparse.h"

static void sizes_are_parsed_with_and_without_units(void **state)
{
	static const struct {
		const char *text;
		uint64_t size;
	} cases[] = {
		{ "0", 0 },
		{ "1", 1 },
		{ "4096", 4096 },
		{ "0010", 10 },
		{ "64K", 65536 },
		{ "64k", 65536 },
		{ "64Ki", 65536 },
		{ "64KiB", 65536 },
		{ "64kib", 65536 },
		{ "64KB", 65536 },
		{ "3M", 3 << 20 },
		{ "1mb", 1 << 20 },
		{ "4GiB", UINT64_C(4) << 30 },
		{ "5T", UINT64_C(5) << 40 },
		{ "7PiB", UINT64_C(7) << 50 },
		{ "0P", 0 },
		{ "16383P", UINT64_C(16383) << 50 },
		{ "18446744073709551615", UINT64_MAX },
		{ "18014398509481983K", UINT64_C(18014398509481983) << 10 },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		uint64_t size = 42;
		GError *error = NULL;

		assert_true(bsp_parse_size(cases[i].text, &size, &error));
		assert_null(error);
		assert_int_equal(size, cases[i].size);
	}
}

static void text_that_is_no_size_is_named_in_the_error(void **state)
{
	static const struct {
		const char *text;
		const char *complaint;
	} cases[] = {
		{ "", "is not a size" },
		{ " 1", "is not a size" },
		{ "-1", "is not a size" },
		{ "+1", "is not a size" },
		{ "K", "is not a size" },
		{ "many", "is not a size" },
		{ "\xff", "is not a size" },
		{ "1 K", "unit" },
		{ "1.5G", "unit" },
		{ "0x1000", "unit" },
		{ "1B", "unit" },
		{ "1E", "unit" },
		{ "1Kb/s", "unit" },
		{ "1KiBi", "unit" },
		{ "1KK", "unit" },
		{ "4096 ", "unit" },
		{ "18446744073709551616", "too large" },
		{ "99999999999999999999999K", "too large" },
		{ "16384P", "too large" },
		{ "18014398509481984K", "too large" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		uint64_t size = 42;
		GError *error = NULL;

		assert_false(bsp_parse_size(cases[i].text, &size, &error));
		assert_true(g_error_matches(error, BSP_ERROR, BSP_ERROR_USAGE));
		assert_non_null(strstr(error->message, cases[i].complaint));
		assert_non_null(strstr(error->message, cases[i].text));
		assert_int_equal(size, 42);
		g_error_free(error);
		assert_false(bsp_parse_size(cases[i].text, &size, NULL));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_parsed_with_and_without_units),
		cmocka_unit_test(text_that_is_no_size_is_named_in_the_error),
	};

	return cmocka_run_group_tests_name("size", tests, NULL, NULL);
}
