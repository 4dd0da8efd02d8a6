/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Passwords of URIs are found wherever the URIs are, and names are made. */
#include "unit.h"

#include <glib.h>
#include <limits.h>
#include <string.h>

#include "device/nbd-uri.h"

struct row {
	const char *text, *shown, *hidden;
};

static const struct row rows[] = {
	{ "nbd://u:secret@h/e", "nbd://u:***@h/e", "nbd://u:******@h/e" },
	{ "x=NBDS://u:a:b@c@h:1/e@f", "x=NBDS://u:***@h:1/e@f",
	  "x=NBDS://u:*****@h:1/e@f" },
	{ "fsname=nbd://h/,nbd+unix://:pw@/?socket=/s,nbd://v:q@i",
	  "fsname=nbd://h/,nbd+unix://:***@/?socket=/s,nbd://v:***@i",
	  "fsname=nbd://h/,nbd+unix://:**@/?socket=/s,nbd://v:*@i" },
	{ "nbd+vsock://u@2/e", "nbd+vsock://u@2/e", "nbd+vsock://u@2/e" },
	{ "nbd+unix:///a:b@c", "nbd+unix:///a:b@c", "nbd+unix:///a:b@c" },
	{ "http://u:p@h", "http://u:p@h", "http://u:p@h" },
	{ "nbd://u:@h", "nbd://u:@h", "nbd://u:@h" },
	{ "nbd://u:p%40@[::1]:1/e@f", "nbd://u:***@[::1]:1/e@f",
	  "nbd://u:****@[::1]:1/e@f" },
	{ "nbd://[::1]/e:f@g", "nbd://[::1]/e:f@g", "nbd://[::1]/e:f@g" },
	{ "nbd://[::1]:1/e:f@g", "nbd://[::1]:1/e:f@g", "nbd://[::1]:1/e:f@g" },
	{ "nbd://h:1/e:f@g", "nbd://h:1/e:f@g", "nbd://h:1/e:f@g" },
	/* No URIs, because these characters need a '%'. */
	{ "nbd://u:p/w@h/e", "nbd://u:***@h/e", "nbd://u:***@h/e" },
	{ "nbd://u:p?w@h/e", "nbd://u:***@h/e", "nbd://u:***@h/e" },
	{ "nbd://u:p#w@h/e", "nbd://u:***@h/e", "nbd://u:***@h/e" },
	{ "nbd://u:p/w@h,nbd://v:q@i", "nbd://u:***@h,nbd://v:***@i",
	  "nbd://u:***@h,nbd://v:*@i" },
	{ "nbd://", "nbd://", "nbd://" },
	{ "/dev/sdb", "/dev/sdb", "/dev/sdb" },
	{ "", "", "" },
};

static void passwords_are_not_shown(void **state)
{
	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_autofree char *shown = bsp_nbd_uri_redact(rows[i].text);
		g_autofree char *hidden = g_strdup(rows[i].text);

		bsp_nbd_uri_hide(hidden);
		assert_string_equal(shown, rows[i].shown);
		assert_string_equal(hidden, rows[i].hidden);
	}
}

static void hosts_are_told_from_sockets(void **state)
{
	assert_true(bsp_nbd_uri_has_host("nbd://h:1/e"));
	assert_true(bsp_nbd_uri_has_host("NBDS://u@h/e"));
	assert_false(bsp_nbd_uri_has_host("nbd+unix:///e?socket=/s"));
	assert_false(bsp_nbd_uri_has_host("nbds+unix:///e?socket=/s"));
	assert_false(bsp_nbd_uri_has_host("nbd+vsock://2/e"));
}

static void other_texts_do_not_show_them(void **state)
{
	g_autofree char *text = bsp_nbd_uri_redact_text(
		"nbd://u:secret@h", "no secret, no 'secret'");

	assert_string_equal(text, "no ***, no '***'");
}

static void a_decoded_password_is_not_shown(void **state)
{
	static const char uri[] = "nbds://u:p%40ss%3A@host/x";
	g_autofree char *raw = bsp_nbd_uri_redact_text(
		uri, "cannot parse nbds://u:p%40ss%3A@host/x: p%40ss%3A?");
	g_autofree char *decoded = bsp_nbd_uri_redact_text(
		uri, "user u:p@ss: is unknown, as is p@ss");
	g_autofree char *none = bsp_nbd_uri_redact_text(uri, "refused");

	assert_string_equal(raw, "cannot parse nbds://u:***@host/x: ***?");
	assert_string_equal(decoded, "user u:*** is unknown, as is p@ss");
	assert_string_equal(none, "refused");
}

static void uris_are_known_by_their_scheme(void **state)
{
	static const char *const uris[] = {
		"nbd://",
		"NBD://h",
		"nbds://h/x",
		"nbd+unix:///",
		"nbds+unix:///",
		"nbd+vsock://2",
		"nbds+vsock://2:10809/",
	};
	static const char *const others[] = {
		"",	     "nbd",	    "nbd:/x",	     "nbd:x",
		"/dev/nbd0", "nbd+ssh://h", "http://nbd://", "./nbd://x",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(uris); i++)
		assert_true(bsp_is_nbd_uri(uris[i]));
	for (size_t i = 0; i < G_N_ELEMENTS(others); i++)
		assert_false(bsp_is_nbd_uri(others[i]));
}

static void names_are_those_of_files(void **state)
{
	static const char *const names[][2] = {
		{ "nbd://h/a/b%20c", "b c" },
		{ "nbd://u:p@h:10809", "h" },
		{ "nbd+unix:///?socket=/run/x.sock", "x.sock" },
		{ "nbd+unix:///e?socket=/run/x.sock", "e" },
		{ "nbd://h/..", "h" },
		{ "nbd://h/%2f", "h" },
		{ "nbd://", "nbd" },
		{ "nbd://h/a%00b", "h" },
		{ "nbd://h/a/", "h" },
		{ "nbd://[fe80::1]:1", "fe80::1" },
		{ "nbd+unix://?socket=/run/a%20b", "a b" },
		{ "nbd://h:wrong/e", "nbd" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autofree char *name = bsp_nbd_uri_name(names[i][0]);

		assert_string_equal(name, names[i][1]);
	}
}

static void a_name_that_is_too_long_for_a_file_is_not_used(void **state)
{
	char longest[NAME_MAX + 2];
	g_autofree char *fits = NULL, *uri = NULL, *other = NULL;

	memset(longest, 'x', sizeof(longest));
	longest[NAME_MAX] = '\0';
	uri = g_strconcat("nbd://host/", longest, NULL);
	fits = bsp_nbd_uri_name(uri);
	assert_string_equal(fits, longest);
	g_free(uri);
	uri = g_strconcat("nbd://host/x", longest, NULL);
	other = bsp_nbd_uri_name(uri);
	assert_string_equal(other, "host");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(passwords_are_not_shown),
		cmocka_unit_test(hosts_are_told_from_sockets),
		cmocka_unit_test(other_texts_do_not_show_them),
		cmocka_unit_test(a_decoded_password_is_not_shown),
		cmocka_unit_test(uris_are_known_by_their_scheme),
		cmocka_unit_test(names_are_those_of_files),
		cmocka_unit_test(
			a_name_that_is_too_long_for_a_file_is_not_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
