/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lists of changes in JSON: those of each system, whole and in parts, and all
 * that must be refused.
 */
#include "unit.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "stream/change-map.h"

enum { SIZE = 1 << 20 };

/* Adds "off+len " to a text. */
static int note(void *data, uint64_t off, uint64_t len)
{
	g_string_append_printf(
		data, "%" G_GUINT64_FORMAT "+%" G_GUINT64_FORMAT " ", off, len);
	return 0;
}

/* Reads a text in parts of that many bytes; 0: at once. */
static bool read_parts(struct bsp_change_map *map, const char *text,
		       size_t part)
{
	size_t len = strlen(text), at = 0;

	while (at < len) {
		size_t n = part ? MIN(part, len - at) : len;

		if (!bsp_change_map_read(map, text + at, n))
			return false;
		at += n;
	}
	return bsp_change_map_end(map);
}

static void assert_changes(const char *text, const char *expected)
{
	for (size_t part = 0; part < 4; part++) {
		g_autoptr(GString) changes = g_string_new(NULL);
		struct bsp_change_map map;

		bsp_change_map_init(&map, SIZE, note, changes);
		if (!read_parts(&map, text, part))
			fail_msg("%s: at %d: %s", text, (int)map.at, map.why);
		assert_string_equal(changes->str, expected);
	}
}

static void assert_refused(const char *text, const char *why)
{
	for (size_t part = 0; part < 2; part++) {
		g_autoptr(GString) changes = g_string_new(NULL);
		struct bsp_change_map map;

		bsp_change_map_init(&map, SIZE, note, changes);
		if (read_parts(&map, text, part))
			fail_msg("'%s' was taken", text);
		if (!strstr(map.why, why))
			fail_msg("'%s': %s", text, map.why);
		assert_false(bsp_change_map_end(&map));
		assert_false(bsp_change_map_read(&map, "[]", 2));
	}
}

#define RBD(off, len)                                                          \
	"{\"offset\":" off ",\"length\":" len ",\"exists\":\"true\"}"

static void a_list_of_rbd_is_taken(void **state)
{
	assert_changes("[]", "");
	assert_changes(" [ ] \n", "");
	assert_changes("[" RBD("0", "4096") "]", "0+4096 ");
	assert_changes("[" RBD("4096", "512") ",{\"length\" : 3 ,\t\"exists\":"
					      "\"false\",\"offset\":8192 }]\n",
		       "4096+512 8192+3 ");
	assert_changes("[{\"offset\":0,\"length\":1048576,\"exists\":true}]",
		       "0+1048576 ");
	/* Members that are not known are skipped, with all in them. */
	assert_changes("[{\"offset\":4096,\"x\":{\"offset\":7,\"length\":[1,"
		       "{\"start\":-1.5e3}]},\"length\":8192,"
		       "\"n\":null,\"exists\":\"true\",\"offset\\u0041\":1}]",
		       "4096+8192 ");
}

static void the_messages_of_kubernetes_are_taken(void **state)
{
	assert_changes("[{\"block_metadata_type\":1,"
		       "\"volume_capacity_bytes\":1048576,\"block_metadata\":["
		       "{\"size_bytes\":4096},"
		       "{\"byte_offset\":8192,\"size_bytes\":4096}]},"
		       "{\"block_metadata_type\":1,"
		       "\"volume_capacity_bytes\":1048576,\"block_metadata\":["
		       "{\"byte_offset\":65536,\"size_bytes\":65536}]}]",
		       "0+4096 8192+4096 65536+65536 ");
	assert_changes("[{\"blockMetadataType\":\"FIXED_LENGTH\","
		       "\"volumeCapacityBytes\":\"1048576\",\"blockMetadata\":["
		       "{\"byteOffset\":\"4096\",\"sizeBytes\":\"4096\"}]}]",
		       "4096+4096 ");
	assert_changes("[{\"volume_capacity_bytes\":1048576},"
		       "{\"block_metadata\":null,"
		       "\"volume_capacity_bytes\":1048576}]",
		       "");
}

#define REPORT(format, extents)                                                \
	"{\"format\":\"blksparse-" format "\",\"version\":1,\"path\":\"/x\","  \
	"\"size\":1048576,\"extents\":[" extents "],\"totals\":{\"data\":"     \
	"{\"bytes\":1,\"extents\":1}}}\n"
#define EXTENT(start, length, type)                                            \
	"{\"start\":" start ",\"length\":" length ",\"type\":\"" type "\"}"

static void reports_are_taken(void **state)
{
	assert_changes(REPORT("diff", ""), "");
	assert_changes(REPORT("diff", EXTENT("4096", "4096", "differs")),
		       "4096+4096 ");
	assert_changes(
		REPORT("map", EXTENT("0", "4096", "data") "," EXTENT(
				      "4096", "4096",
				      "hole") "," EXTENT("8192", "1040384",
							 "unknown")),
		"0+4096 8192+1040384 ");
}

static void numbers_must_be_plain(void **state)
{
	static const char *const wrong[] = {
		"-1",  "1.0",  "1e3",	"+1",  "01", "\"1\"", "null",
		"0x1", "true", "1E400", "1 1", "[]", "{}",    "",
		"-",   ".",    "--",	"e",   "00",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
		g_autofree char *text = g_strdup_printf(
			"[{\"offset\":%s,\"length\":1,\"exists\":\"true\"}]",
			wrong[i]);

		assert_refused(text, "");
	}
	assert_refused("[" RBD("18446744073709551616", "1") "]", "too large");
	assert_refused("[" RBD("99999999999999999999999999999999999999999999999"
			       "99999999999999999999999999",
			       "1") "]",
		       "whole number");
}

static void extents_must_ascend_inside_of_the_size(void **state)
{
	assert_refused("[" RBD("4096", "4096") "," RBD("0", "4096") "]",
		       "do not ascend");
	assert_refused("[" RBD("0", "4097") "," RBD("4096", "4096") "]",
		       "overlap");
	assert_refused("[" RBD("4096", "1") "," RBD("4096", "1") "]",
		       "overlap");
	assert_refused("[" RBD("0", "1048577") "]", "beyond the size");
	assert_refused("[" RBD("1048577", "1") "]", "beyond the size");
	assert_refused("[" RBD("1048576", "1") "]", "beyond the size");
	assert_refused(
		"[" RBD("18446744073709551615", "18446744073709551615") "]",
		"beyond the size");
	assert_refused("[" RBD("4096", "18446744073709551615") "]",
		       "beyond the size");
	assert_refused("[" RBD("0", "0") "]", "empty");
	assert_refused(REPORT("diff", EXTENT("0", "4096", "same") ","
								  "{}"),
		       "");
	assert_refused(REPORT("map", EXTENT("0", "8192", "hole") "," EXTENT(
					     "4096", "4096", "data")),
		       "overlap");
}

static void another_size_or_format_is_refused(void **state)
{
	assert_refused("[{\"volume_capacity_bytes\":1048575}]", "another size");
	assert_refused("[{\"block_metadata\":[{\"size_bytes\":1}],"
		       "\"volume_capacity_bytes\":2097152}]",
		       "another size");
	assert_refused("{\"format\":\"blksparse-diff\",\"version\":1,"
		       "\"size\":4096,\"extents\":[]}",
		       "another size");
	assert_refused("{\"format\":\"blksparse-diff\",\"version\":2,"
		       "\"size\":1048576,\"extents\":[]}",
		       "version");
	assert_refused("{\"format\":\"blksparse-copy\",\"version\":1,"
		       "\"size\":1048576,\"extents\":[]}",
		       "format");
	assert_refused(REPORT("diff", EXTENT("0", "1", "odd")), "type");
}

static void what_is_missing_or_too_much_is_refused(void **state)
{
	assert_refused("", "empty");
	assert_refused("[", "too early");
	assert_refused("[" RBD("0", "1"), "too early");
	assert_refused("[" RBD("0", "1") ",", "too early");
	assert_refused("[" RBD("0", "1") ",]", "no JSON");
	assert_refused("[] []", "more follows");
	assert_refused("[]x", "more follows");
	assert_refused("[{}]", "lacks");
	assert_refused("{}", "lacks");
	assert_refused("[{\"offset\":0,\"length\":1}]", "lacks");
	assert_refused("[{\"offset\":0,\"offset\":1,\"length\":1,"
		       "\"exists\":\"true\"}]",
		       "twice");
	assert_refused("[{\"block_metadata\":[]}]", "lacks");
	assert_refused("{\"volume_capacity_bytes\":1048576,"
		       "\"block_metadata\":[]}",
		       "lacks");
	assert_refused("[{\"volume_capacity_bytes\":1048576,"
		       "\"block_metadata\":[{\"byte_offset\":1}]}]",
		       "lacks");
	assert_refused("[{\"volume_capacity_bytes\":1048576,"
		       "\"block_metadata\":[{}]}]",
		       "lacks");
	/* A report with blocks of another system, and the other way round. */
	assert_refused(REPORT("diff", "{\"byte_offset\":0,\"size_bytes\":1}"),
		       "lacks");
	assert_refused("[{\"volume_capacity_bytes\":1048576,"
		       "\"block_metadata\":[" EXTENT("0", "1", "data") "]}]",
		       "lacks");
	assert_refused(
		"[" RBD("0", "1") ",{\"volume_capacity_bytes\":1048576}]",
		"different kinds");
	assert_refused("{\"format\":\"blksparse-map\",\"version\":1,"
		       "\"size\":1048576}",
		       "lacks");
	assert_refused("[[" RBD("0", "1") "]]", "objects");
	assert_refused("[1]", "objects");
	assert_refused("1", "");
	assert_refused("1 ", "no list");
	assert_refused("null ", "no list");
	assert_refused("\"x\"", "no list");
	assert_refused("[{\"offset\":0 \"length\":1}]", "no JSON");
	assert_refused("[{\"offset\":0,\"length\":1,\"exists\":\"maybe\"}]",
		       "truth");
	assert_refused("[{\"o\":truth}]", "no JSON");
	assert_refused("[}", "no JSON");
	assert_refused("{]", "no JSON");
	assert_refused("[{\"a\n\":1}]", "no JSON");
	assert_refused("\xef\xbb\xbf[]", "no JSON");
}

static void nesting_has_a_limit(void **state)
{
	g_autoptr(GString) text = g_string_new("[{\"x\":");

	for (unsigned i = 0; i < 100000; i++)
		g_string_append(text, "[");
	assert_refused(text->str, "too deep");
}

static int refuse(void *data, uint64_t off, uint64_t len)
{
	return -ENOMEM;
}

static void an_error_of_the_caller_ends_it(void **state)
{
	static const char text[] = "[" RBD("0", "1") "]";
	struct bsp_change_map map;

	bsp_change_map_init(&map, SIZE, refuse, NULL);
	assert_false(bsp_change_map_read(&map, text, sizeof(text) - 1));
	assert_int_equal(map.error, -ENOMEM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_list_of_rbd_is_taken),
		cmocka_unit_test(the_messages_of_kubernetes_are_taken),
		cmocka_unit_test(reports_are_taken),
		cmocka_unit_test(numbers_must_be_plain),
		cmocka_unit_test(extents_must_ascend_inside_of_the_size),
		cmocka_unit_test(another_size_or_format_is_refused),
		cmocka_unit_test(what_is_missing_or_too_much_is_refused),
		cmocka_unit_test(nesting_has_a_limit),
		cmocka_unit_test(an_error_of_the_caller_ends_it),
	};

	return cmocka_run_group_tests_name("change-map", tests, NULL, NULL);
}
