/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include "blksparse-mount.h"

static void control_characters_become_question_marks(void **state)
{
	static const struct {
		const char *text, *shown;
	} cases[] = {
		{ "", "" },
		{ "/dev/sda: not found", "/dev/sda: not found" },
		{ "a\nb\tc\rd", "a?b?c?d" },
		{ "\033[31mred\033[0m", "?[31mred?[0m" },
		{ "\x01\x1f\x7f~", "???~" },
		/* C1: U+0080, U+009B and U+009F, and what is beside them. */
		{ "\xc2\x80 \xc2\x9b"
		  "31m \xc2\x9f",
		  "? ?31m ?" },
		{ "\xc2\xa0 \xc3\x80 gr\xc3\xbc\xc3\x9f"
		  "e \xe2\x86\x92",
		  "\xc2\xa0 \xc3\x80 gr\xc3\xbc\xc3\x9f"
		  "e \xe2\x86\x92" },
		/* No UTF-8. */
		{ "\xff\xc2", "\xff\xc2" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *text = g_strdup(cases[i].text);

		bsp_make_printable(text);
		assert_string_equal(text, cases[i].shown);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(control_characters_become_question_marks),
	};

	return cmocka_run_group_tests_name("printable", tests, NULL, NULL);
}
