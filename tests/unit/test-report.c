/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The reports: the rounding and merging that they share, the text of each
 * format, and the errors of a source, of a write and of the arguments.
 *
 * A source here is a list of runs. assert_extents() reads the extents back from
 * a table, because its lines are the easiest to parse.
 */
#include "unit.h"

#include <errno.h>
#include <json-glib/json-glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blksparse.h"

/* --- A source and a sink ----------------------------------------------------
 */

#define DATA BSP_EXTENT_DATA
#define HOLE BSP_EXTENT_HOLE
#define UNKNOWN BSP_EXTENT_UNKNOWN

/* Extents by their lengths; the list ends with a length of 0. */
struct run {
	uint64_t len;
	enum bsp_extent_type type;
};

static int run_extent(void *source, uint64_t off, struct bsp_extent *ret_extent)
{
	uint64_t start = 0;

	for (const struct run *run = source; run->len; run++) {
		if (off == start) {
			ret_extent->off = off;
			ret_extent->len = run->len;
			ret_extent->type = run->type;
			return 1;
		}
		start += run->len;
	}
	return 0;
}

struct sink {
	GString *text;
	size_t room; /* then -ENOSPC; 0: without end */
};

static int sink_write(void *data, const void *buf, size_t len)
{
	struct sink *sink = data;

	if (sink->room && sink->text->len + len > sink->room)
		return -ENOSPC;
	g_string_append_len(sink->text, buf, (gssize)len);
	return 0;
}

static int write_with(const struct bsp_report *report, enum bsp_format format,
		      char **ret_text)
{
	struct sink sink = { .text = g_string_new(NULL) };
	int r = bsp_report_write(report, format, sink_write, &sink);

	*ret_text = g_string_free(sink.text, false);
	return r;
}

static struct bsp_report report_of(const struct run *runs, uint64_t size,
				   uint32_t granule)
{
	return (struct bsp_report){ .path = "disk",
				    .size = size,
				    .granule = granule,
				    .source = { run_extent, (void *)runs } };
}

static void assert_text(const struct bsp_report *report, enum bsp_format format,
			const char *expected)
{
	g_autofree char *text = NULL;

	assert_int_equal(write_with(report, format, &text), 0);
	assert_string_equal(text, expected);
}

/* Compares the extents of a table, each as "START+LENGTHt", t being the first
 * letter of its type. */
static void assert_extents(const struct run *runs, uint64_t size,
			   uint32_t granule, const char *expected)
{
	struct bsp_report report = report_of(runs, size, granule);
	g_autofree char *text = NULL;
	g_autoptr(GString) short_form = g_string_new(NULL);
	g_auto(GStrv) lines = NULL;

	assert_int_equal(write_with(&report, BSP_FORMAT_TABLE, &text), 0);
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines + 1; **line; line++) {
		uint64_t start, end, len;
		char type[16];

		assert_int_equal(sscanf(*line,
					"%" G_GUINT64_FORMAT
					" %" G_GUINT64_FORMAT
					" %" G_GUINT64_FORMAT " %15s",
					&start, &end, &len, type),
				 4);
		assert_int_equal(end, start + len);
		g_string_append_printf(short_form,
				       "%" G_GUINT64_FORMAT
				       "+%" G_GUINT64_FORMAT "%c ",
				       start, len, type[0]);
	}
	assert_string_equal(short_form->str, expected);
}

static const struct run mixed[] = {
	{ 8192, HOLE }, { 4096, DATA }, { 12288, HOLE }, { 1000, DATA }, { 0 },
};
enum { MIXED_SIZE = 8192 + 4096 + 12288 + 1000 };

/* --- Rounding and merging ------------------------------------------------
 */

static void adjacent_extents_of_one_type_are_merged(void **state)
{
	static const struct run runs[] = { { 10, DATA },   { 20, DATA },
					   { 30, HOLE },   { 1, HOLE },
					   { 5, UNKNOWN }, { 6, UNKNOWN },
					   { 2, DATA },	   { 0 } };

	assert_extents(runs, 74, 0, "0+30d 30+31h 61+11u 72+2d ");
}

static void data_is_rounded_outwards(void **state)
{
	static const struct run within[] = {
		{ 5000, HOLE }, { 1, DATA }, { 20000, HOLE }, { 0 }
	};
	static const struct run crossing[] = {
		{ 8191, HOLE }, { 2, DATA }, { 20000, HOLE }, { 0 }
	};
	static const struct run small_holes[] = { { 1, DATA },	 { 8190, HOLE },
						  { 1, DATA },	 { 4095, HOLE },
						  { 100, DATA }, { 0 } };
	static const struct run cut_holes[] = {
		{ 5000, HOLE }, { 5000, HOLE }, { 5000, HOLE }, { 0 }
	};

	assert_extents(within, 25001, 4096, "0+4096h 4096+4096d 8192+16809h ");
	assert_extents(crossing, 28193, 4096,
		       "0+4096h 4096+8192d 12288+15905h ");
	assert_extents(small_holes, 12387, 4096, "0+12387d ");
	assert_extents(cut_holes, 15000, 4096, "0+15000h ");
}

static void the_end_need_not_be_aligned(void **state)
{
	static const struct run data[] = { { 4096, HOLE }, { 1, DATA }, { 0 } };
	static const struct run hole[] = { { 4096, DATA }, { 1, HOLE }, { 0 } };
	static const struct run late[] = { { 4095, DATA }, { 2, HOLE }, { 0 } };

	assert_extents(data, 4097, 4096, "0+4096h 4096+1d ");
	assert_extents(hole, 4097, 4096, "0+4096d 4096+1h ");
	assert_extents(late, 4097, 4096, "0+4096d 4096+1h ");
}

static void extents_are_cut_at_the_size(void **state)
{
	static const struct run runs[] = { { 4096, HOLE },
					   { UINT64_MAX - 4096, DATA },
					   { 0 } };

	assert_extents(runs, 5000, 4096, "0+4096h 4096+904d ");
	assert_extents(runs, 4096, 4096, "0+4096h ");
	assert_extents(runs, UINT64_MAX, 1 << 20, "0+18446744073709551615d ");
}

/* Valid: the extents partition the file, are aligned and merged, and no byte of
 * data is called a hole. */
static void reports_of_random_extents_are_valid(void **state)
{
	enum { RUNS = 40, G = 8 };
	struct run runs[RUNS + 1] = { 0 };
	char truth[RUNS * 20 + 1];

	srandom(1);
	for (int round = 0; round < 2000; round++) {
		uint64_t size = 0, at = 0;
		struct bsp_report report;
		g_autofree char *text = NULL;
		const char *line;
		char last = 0;

		for (int i = 0; i < RUNS; i++) {
			runs[i].len = 1 + (uint64_t)random() % 20;
			runs[i].type = random() % 2 ? DATA : HOLE;
			memset(truth + size, runs[i].type == DATA ? 'd' : 'h',
			       runs[i].len);
			size += runs[i].len;
		}
		report = report_of(runs, size, G);
		assert_int_equal(write_with(&report, BSP_FORMAT_TABLE, &text),
				 0);
		line = strchr(text, '\n') + 1;
		while (*line != '\n') {
			uint64_t start, end, len;
			char type;

			sscanf(line,
			       "%" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT
			       " %" G_GUINT64_FORMAT " %c",
			       &start, &end, &len, &type);
			assert_int_equal(start, at);
			assert_true(end % G == 0 || end == size);
			assert_int_not_equal(type, last);
			if (type == 'h')
				assert_null(memchr(truth + start, 'd', len));
			else
				for (uint64_t g = start; g < end; g += G)
					assert_non_null(
						memchr(truth + g, 'd',
						       MIN(G, size - g)));
			last = type;
			at = end;
			line = strchr(line, '\n') + 1;
		}
		assert_int_equal(at, size);
	}
}

/* --- Formats ----------------------------------------------------------------
 */

static void table_has_columns_and_totals(void **state)
{
	struct bsp_report report = report_of(mixed, MIXED_SIZE, 4096);

	assert_text(&report, BSP_FORMAT_TABLE,
		    " START     END  LENGTH  TYPE\n"
		    "     0    8192    8192  hole\n"
		    "  8192   12288    4096  data\n"
		    " 12288   24576   12288  hole\n"
		    " 24576   25576    1000  data\n"
		    "\n"
		    "data       5096     4.9 KiB   19.9%  2 extents\n"
		    "hole      20480    20.0 KiB   80.1%  2 extents\n"
		    "total     25576    24.9 KiB\n");
	report.summary = true;
	assert_text(&report, BSP_FORMAT_TABLE,
		    "data       5096     4.9 KiB   19.9%  2 extents\n"
		    "hole      20480    20.0 KiB   80.1%  2 extents\n"
		    "total     25576    24.9 KiB\n");
}

static void table_rounds_a_small_share_up(void **state)
{
	static const struct run runs[] = { { 4096, DATA },
					   { (UINT64_C(8) << 60) - 8192, HOLE },
					   { 4096, UNKNOWN },
					   { 0 } };
	struct bsp_report report = report_of(runs, UINT64_C(8) << 60, 4096);

	report.summary = true;
	assert_text(&report, BSP_FORMAT_TABLE,
		    "data                    4096     4.0 KiB    0.1%  "
		    "1 extent\n"
		    "hole     9223372036854767616     7.9 EiB   99.9%  "
		    "1 extent\n"
		    "unknown                 4096     4.0 KiB    0.1%  "
		    "1 extent\n"
		    "total    9223372036854775808     8.0 EiB\n");
}

static void json_keys_have_a_fixed_order(void **state)
{
	struct bsp_report report = report_of(mixed, MIXED_SIZE, 4096);

	assert_text(
		&report, BSP_FORMAT_JSON,
		"{\n"
		"  \"format\": \"blksparse-map\",\n"
		"  \"version\": 1,\n"
		"  \"path\": \"disk\",\n"
		"  \"size\": 25576,\n"
		"  \"granule\": 4096,\n"
		"  \"extents\": [\n"
		"    { \"start\": 0, \"length\": 8192, \"type\": \"hole\" },\n"
		"    { \"start\": 8192, \"length\": 4096, \"type\": \"data\" },\n"
		"    { \"start\": 12288, \"length\": 12288, \"type\": \"hole\" },\n"
		"    { \"start\": 24576, \"length\": 1000, \"type\": \"data\" }\n"
		"  ],\n"
		"  \"totals\": {\n"
		"    \"data\": { \"bytes\": 5096, \"extents\": 2 },\n"
		"    \"hole\": { \"bytes\": 20480, \"extents\": 2 },\n"
		"    \"unknown\": { \"bytes\": 0, \"extents\": 0 }\n"
		"  }\n"
		"}\n");
}

static void json_has_the_layers_before_the_totals(void **state)
{
	static const struct bsp_known_layer layers[] = {
		{ .name = "dm-0 \342\206\222 a.img (ext4)", .zeros = 8192 },
		{ .name = "sda\n\"", .reason = "known=off" },
	};
	struct bsp_report report = report_of(mixed, MIXED_SIZE, 0);
	g_autofree char *text = NULL;
	const char *known;

	report.summary = true;
	report.layers = layers;
	report.n_layers = G_N_ELEMENTS(layers);
	report.bytes_read = 4096;
	assert_int_equal(write_with(&report, BSP_FORMAT_JSON, &text), 0);
	known = strstr(text, "  \"known\"");
	assert_non_null(known);
	assert_true(g_str_has_prefix(
		known, "  \"known\": [\n"
		       "    { \"layer\": \"dm-0 \342\206\222 a.img (ext4)\", "
		       "\"bytes\": 8192, \"reason\": null },\n"
		       "    { \"layer\": \"sda\\n\\\"\", \"bytes\": 0, "
		       "\"reason\": \"known=off\" }\n"
		       "  ],\n"
		       "  \"read\": 4096,\n"
		       "  \"totals\": {\n"));
	report.n_layers = 0;
	g_free(text);
	assert_int_equal(write_with(&report, BSP_FORMAT_JSON, &text), 0);
	assert_non_null(strstr(text, "  \"known\": [],\n  \"read\": 4096"));
}

static void json_is_valid_for_any_path(void **state)
{
	static const struct {
		const char *path;
		const char *read;
	} cases[] = {
		{ "", "" },
		{ "a \"b\" \\ \n\t\x01\x7f/", "a \"b\" \\ \n\t\x01\x7f/" },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x9f",
		  "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x9f" },
		{ "a\xff\xfe", "a\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xc3", "\xef\xbf\xbd" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		for (int summary = 0; summary < 2; summary++) {
			g_autoptr(JsonParser) parser = json_parser_new();
			struct bsp_report report =
				report_of(mixed, MIXED_SIZE, 0);
			g_autofree char *text = NULL;
			JsonObject *root;

			report.path = cases[i].path;
			report.summary = summary;
			assert_int_equal(
				write_with(&report, BSP_FORMAT_JSON, &text), 0);
			assert_true(json_parser_load_from_data(parser, text, -1,
							       NULL));
			root = json_node_get_object(
				json_parser_get_root(parser));
			assert_string_equal(
				json_object_get_string_member(root, "path"),
				cases[i].read);
			assert_int_equal(
				json_object_has_member(root, "extents"),
				!summary);
		}
	}
}

static void json_takes_paths_of_any_length(void **state)
{
	struct bsp_report report = report_of(mixed, MIXED_SIZE, 0);
	g_autofree char *path = g_strnfill(100000, '"');
	g_autofree char *text = NULL;

	report.path = path;
	assert_int_equal(write_with(&report, BSP_FORMAT_JSON, &text), 0);
	assert_true(strlen(text) > 200000);
}

static void qemu_rounds_the_size_up_to_a_sector(void **state)
{
	static const struct run hole_end[] = { { 512, DATA },
					       { 100, HOLE },
					       { 0 } };
	struct bsp_report report = report_of(mixed, MIXED_SIZE, 0);

	assert_text(&report, BSP_FORMAT_QEMU,
		    "[{ \"start\": 0, \"length\": 8192, \"depth\": 0, "
		    "\"present\": true, \"zero\": true, \"data\": false, "
		    "\"offset\": 0},\n"
		    "{ \"start\": 8192, \"length\": 4096, \"depth\": 0, "
		    "\"present\": true, \"zero\": false, \"data\": true, "
		    "\"offset\": 8192},\n"
		    "{ \"start\": 12288, \"length\": 12288, \"depth\": 0, "
		    "\"present\": true, \"zero\": true, \"data\": false, "
		    "\"offset\": 12288},\n"
		    "{ \"start\": 24576, \"length\": 1000, \"depth\": 0, "
		    "\"present\": true, \"zero\": false, \"data\": true, "
		    "\"offset\": 24576},\n"
		    "{ \"start\": 25576, \"length\": 24, \"depth\": 0, "
		    "\"present\": true, \"zero\": true, \"data\": false, "
		    "\"offset\": 25576}]\n");
	report = report_of(hole_end, 612, 0);
	assert_text(&report, BSP_FORMAT_QEMU,
		    "[{ \"start\": 0, \"length\": 512, \"depth\": 0, "
		    "\"present\": true, \"zero\": false, \"data\": true, "
		    "\"offset\": 0},\n"
		    "{ \"start\": 512, \"length\": 512, \"depth\": 0, "
		    "\"present\": true, \"zero\": true, \"data\": false, "
		    "\"offset\": 512}]\n");
}

static void ddrescue_marks_data_as_finished(void **state)
{
	static const struct run runs[] = { { 8192, HOLE },
					   { UINT64_C(5) << 40, UNKNOWN },
					   { 4096, DATA },
					   { 0 } };
	struct bsp_report report =
		report_of(runs, (UINT64_C(5) << 40) + 12288, 0);

	assert_text(&report, BSP_FORMAT_DDRESCUE,
		    "# Mapfile. Created by blksparse version " PACKAGE_VERSION
		    "\n"
		    "# Data is finished (+), holes are non-tried (?): "
		    "a domain mapfile\n"
		    "# current_pos  current_status  current_pass\n"
		    "0x00000000     ?               1\n"
		    "#      pos        size  status\n"
		    "0x00000000  0x00002000  ?\n"
		    "0x00002000  0x50000001000  +\n");
}

static void bmap_has_block_counts_and_its_checksum(void **state)
{
	struct bsp_report report = report_of(mixed, MIXED_SIZE, 0);
	g_autofree char *text = NULL, *checksum = NULL;
	char *at;

	assert_int_equal(write_with(&report, BSP_FORMAT_BMAP, &text), 0);
	assert_non_null(strstr(text, "<ImageSize> 25576 </ImageSize>"));
	assert_non_null(strstr(text, "<BlockSize> 4096 </BlockSize>"));
	assert_non_null(strstr(text, "<BlocksCount> 7 </BlocksCount>"));
	assert_non_null(strstr(text, "<MappedBlocksCount> 2 </"));
	assert_non_null(strstr(text, "<BlockMap>\n"
				     "        <Range> 2 </Range>\n"
				     "        <Range> 6 </Range>\n"
				     "    </BlockMap>"));
	at = strstr(text, "<BmapFileChecksum> ");
	assert_non_null(at);
	at += strlen("<BmapFileChecksum> ");
	checksum = g_strndup(at, 64);
	memset(at, '0', 64);
	g_autofree char *again =
		g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
	assert_string_equal(checksum, again);
}

static void bmap_block_size_is_the_granule(void **state)
{
	struct bsp_report report = report_of(mixed, MIXED_SIZE, 8192);
	g_autofree char *text = NULL;

	assert_int_equal(write_with(&report, BSP_FORMAT_BMAP, &text), 0);
	assert_non_null(strstr(text, "<BlockSize> 8192 </BlockSize>"));
	assert_non_null(strstr(text, "<BlocksCount> 4 </BlocksCount>"));
	assert_non_null(strstr(text, "<MappedBlocksCount> 2 </"));
	assert_non_null(strstr(text, "<BlockMap>\n"
				     "        <Range> 1 </Range>\n"
				     "        <Range> 3 </Range>\n"
				     "    </BlockMap>"));
}

/* --- Errors ---------------------------------------------------------
 */

/* Suppressions of AddressSanitizer's search for leaks: fontconfig, which cairo
 * uses, keeps what it has read. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libfontconfig";
}

/* The last format: without cairo there is no png. */
static int last_format(void)
{
	enum bsp_format format;

	return bsp_format_from_name("png", &format, NULL) ? BSP_FORMAT_PNG
							  : BSP_FORMAT_SVG;
}

static void only_table_and_json_have_a_summary(void **state)
{
	for (int f = BSP_FORMAT_TABLE; f <= BSP_FORMAT_PNG; f++) {
		struct bsp_report report = report_of(mixed, MIXED_SIZE, 0);
		bool has = f == BSP_FORMAT_TABLE || f == BSP_FORMAT_JSON;
		g_autofree char *text = NULL;

		report.summary = true;
		assert_int_equal(write_with(&report, (enum bsp_format)f, &text),
				 has ? 0 : -EINVAL);
		assert_true(has || *text == '\0');
	}
}

static void only_bmap_refuses_an_empty_file(void **state)
{
	for (int f = BSP_FORMAT_TABLE; f <= last_format(); f++) {
		struct bsp_report report = report_of(mixed, 0, 0);
		g_autofree char *text = NULL;

		assert_int_equal(write_with(&report, (enum bsp_format)f, &text),
				 f == BSP_FORMAT_BMAP ? -EINVAL : 0);
	}
}

static void an_invalid_granule_is_refused(void **state)
{
	struct bsp_report report = report_of(mixed, MIXED_SIZE, 5000);
	g_autofree char *text = NULL;

	assert_int_equal(write_with(&report, BSP_FORMAT_TABLE, &text), -EINVAL);
}

static int failing_extent(void *source, uint64_t off,
			  struct bsp_extent *ret_extent)
{
	return off == 0 ? run_extent(source, off, ret_extent) : -EIO;
}

static int shifted_extent(void *source, uint64_t off,
			  struct bsp_extent *ret_extent)
{
	int r = run_extent(source, off, ret_extent);

	ret_extent->off++;
	return r;
}

static void a_bad_source_ends_the_report(void **state)
{
	for (int f = BSP_FORMAT_TABLE; f <= last_format(); f++) {
		enum bsp_format format = (enum bsp_format)f;
		struct bsp_report report = report_of(mixed, MIXED_SIZE, 0);
		g_autofree char *io = NULL, *order = NULL, *ended = NULL;

		report.source.extent = failing_extent;
		assert_int_equal(write_with(&report, format, &io), -EIO);
		report.source.extent = shifted_extent;
		assert_int_equal(write_with(&report, format, &order), -EPROTO);
		report = report_of(mixed, MIXED_SIZE + 1, 0);
		assert_int_equal(write_with(&report, format, &ended), -ENODATA);
	}
}

/* The disk becomes full after each possible number of bytes. */
static void a_failing_write_ends_the_report(void **state)
{
	for (int f = BSP_FORMAT_TABLE; f <= BSP_FORMAT_SVG; f++) {
		enum bsp_format format = (enum bsp_format)f;
		struct bsp_report report = report_of(mixed, MIXED_SIZE, 0);
		g_autofree char *text = NULL;

		assert_int_equal(write_with(&report, format, &text), 0);
		for (size_t room = 1; room < strlen(text); room++) {
			struct sink sink = { g_string_new(NULL), room };

			assert_int_equal(bsp_report_write(&report, format,
							  sink_write, &sink),
					 -ENOSPC);
			assert_memory_equal(sink.text->str, text,
					    sink.text->len);
			g_string_free(sink.text, true);
		}
	}
}

static void each_format_is_found_by_its_name(void **state)
{
	static const struct {
		const char *name;
		enum bsp_format format;
	} cases[] = {
		{ "table", BSP_FORMAT_TABLE },
		{ "json", BSP_FORMAT_JSON },
		{ "qemu", BSP_FORMAT_QEMU },
		{ "bmap", BSP_FORMAT_BMAP },
		{ "ddrescue", BSP_FORMAT_DDRESCUE },
		{ "plot", BSP_FORMAT_PLOT },
		{ "svg", BSP_FORMAT_SVG },
	};
	static const char *const others[] = { "", "JSON", "xml", "table " };

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		enum bsp_format format = (enum bsp_format)99;
		GError *error = NULL;

		assert_true(
			bsp_format_from_name(cases[i].name, &format, &error));
		assert_int_equal(format, cases[i].format);
		for (size_t j = 0; j < G_N_ELEMENTS(others); j++) {
			assert_false(bsp_format_from_name(others[j], &format,
							  &error));
			assert_int_equal(format, cases[i].format);
			/* The message lists the formats. */
			assert_non_null(strstr(error->message, cases[i].name));
			g_clear_error(&error);
		}
	}
}

/* --- Size -------------------------------------------------------------------
 */

static int alternating_extent(void *source, uint64_t off,
			      struct bsp_extent *ret_extent)
{
	ret_extent->off = off;
	ret_extent->len = 4096;
	ret_extent->type = off / 4096 % 2 ? HOLE : DATA;
	return 1;
}

static int count_write(void *data, const void *buf, size_t len)
{
	*(uint64_t *)data += len;
	return 0;
}

/* The private memory of this process, bytes. */
static uint64_t memory_used(void)
{
	unsigned long total, resident, shared;
	FILE *statm = fopen("/proc/self/statm", "r");
	int n = fscanf(statm, "%lu %lu %lu", &total, &resident, &shared);

	fclose(statm);
	assert_int_equal(n, 3);
	return (uint64_t)(resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void memory_does_not_grow_with_the_extents(void **state)
{
	enum { EXTENTS = 1000000 };
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
	/* With what the sanitizers note, and keep of what was freed. */
	enum { MEMORY = 8 * EXTENTS };
#else
	enum { MEMORY = 1 << 20 };
#endif

	for (int f = BSP_FORMAT_TABLE; f <= BSP_FORMAT_SVG; f++) {
		struct bsp_report report =
			report_of(NULL, UINT64_C(4096) * EXTENTS, 0);
		uint64_t before, bytes = 0;

		report.source.extent = alternating_extent;
		before = memory_used();
		assert_int_equal(bsp_report_write(&report, (enum bsp_format)f,
						  count_write, &bytes),
				 0);
		assert_true(bytes > EXTENTS || f > BSP_FORMAT_DDRESCUE);
		assert_true(memory_used() < before + MEMORY);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(adjacent_extents_of_one_type_are_merged),
		cmocka_unit_test(data_is_rounded_outwards),
		cmocka_unit_test(the_end_need_not_be_aligned),
		cmocka_unit_test(extents_are_cut_at_the_size),
		cmocka_unit_test(reports_of_random_extents_are_valid),
		cmocka_unit_test(table_has_columns_and_totals),
		cmocka_unit_test(table_rounds_a_small_share_up),
		cmocka_unit_test(json_keys_have_a_fixed_order),
		cmocka_unit_test(json_has_the_layers_before_the_totals),
		cmocka_unit_test(json_is_valid_for_any_path),
		cmocka_unit_test(json_takes_paths_of_any_length),
		cmocka_unit_test(qemu_rounds_the_size_up_to_a_sector),
		cmocka_unit_test(ddrescue_marks_data_as_finished),
		cmocka_unit_test(bmap_has_block_counts_and_its_checksum),
		cmocka_unit_test(bmap_block_size_is_the_granule),
		cmocka_unit_test(only_table_and_json_have_a_summary),
		cmocka_unit_test(only_bmap_refuses_an_empty_file),
		cmocka_unit_test(an_invalid_granule_is_refused),
		cmocka_unit_test(a_bad_source_ends_the_report),
		cmocka_unit_test(a_failing_write_ends_the_report),
		cmocka_unit_test(each_format_is_found_by_its_name),
		cmocka_unit_test(memory_does_not_grow_with_the_extents),
	};

	return cmocka_run_group_tests_name("export", tests, NULL, NULL);
}
