/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pictures: the exact text of plots, their width on any terminal, and the boxes
 * and texts that are drawn on a canvas, here one that records them.
 */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/picture.h"

#define DATA BSP_EXTENT_DATA
#define HOLE BSP_EXTENT_HOLE
#define UNKNOWN BSP_EXTENT_UNKNOWN

enum { KIB = 1024 };

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
			*ret_extent =
				(struct bsp_extent){ off, run->len, run->type };
			return 1;
		}
		start += run->len;
	}
	return 0;
}

static int write_text(void *data, const void *buf, size_t len)
{
	g_string_append_len(data, buf, (gssize)len);
	return 0;
}

static char *draw(const struct run *runs, const struct bsp_drawing *drawing,
		  enum bsp_format format)
{
	struct bsp_report report = { .path = "disk",
				     .drawing = drawing,
				     .source = { run_extent, (void *)runs } };
	GString *text = g_string_new(NULL);

	for (const struct run *run = runs; run->len; run++)
		report.size += run->len;
	assert_int_equal(bsp_report_write(&report, format, write_text, text),
			 0);
	return g_string_free(text, false);
}

static void assert_plot(const struct run *runs,
			const struct bsp_drawing *drawing, const char *expected)
{
	g_autofree char *text = draw(runs, drawing, BSP_FORMAT_PLOT);

	assert_string_equal(text, expected);
}

/* 20 cells of 512 bytes, the last of which is short. */
static const struct run mixed[] = {
	{ 4 * 512, HOLE },
	{ 1, DATA },
	{ 511, HOLE },
	{ 171, DATA },
	{ 341, HOLE },
	{ 511, DATA },
	{ 1 + 8 * 512, HOLE },
	{ 1, UNKNOWN },
	{ 511 + 512, HOLE },
	{ 512, DATA },
	{ 512, HOLE },
	{ 100, DATA },
	{ 0 },
};

static void a_plot_has_shades_a_scale_and_totals(void **state)
{
	const struct bsp_drawing drawing = { .columns = 64 };

	assert_plot(
		mixed, &drawing,
		"disk  9.5 KiB  12 extents\n"
		"0 │····░▒▓········?·█·█                            │\n"
		"a cell is 0.5 KiB  a row is 24 KiB\n"
		"· hole  ░ up to 1/3 data  ▒ up to 2/3  ▓ more  █ data  ? unknown\n"
		"\n"
		"data       1295     1.2 KiB   13.2%  5 extents\n"
		"hole       8532     8.3 KiB   86.8%  6 extents\n"
		"unknown       1         1 B    0.1%  1 extent\n"
		"total      9828     9.5 KiB\n");
}

static void a_plot_in_ascii_has_no_other_characters(void **state)
{
	const struct bsp_drawing drawing = { .columns = 64, .ascii = true };
	g_autofree char *text = draw(mixed, &drawing, BSP_FORMAT_PLOT);

	assert_true(g_str_is_ascii(text));
	assert_non_null(strstr(text, "\n0 |....-+*........?.#.#        "));
	assert_non_null(strstr(text, ". hole  - up to 1/3 data  + up to 2/3  "
				     "* more  # data"));
}

static void colours_change_nothing_else(void **state)
{
	struct bsp_drawing drawing = { .columns = 70, .colour = true };
	g_autofree char *coloured = draw(mixed, &drawing, BSP_FORMAT_PLOT);
	g_autoptr(GRegex) escapes = g_regex_new("\033\\[[0-9;]*m", 0, 0, NULL);
	g_autofree char *bare =
		g_regex_replace(escapes, coloured, -1, 0, "", 0, NULL);

	assert_non_null(strstr(coloured, "\033[38;5;33m░▒▓\033["));
	drawing.colour = false;
	assert_plot(mixed, &drawing, bare);
}

static void offsets_of_rows_are_round(void **state)
{
	static const struct run runs[] = {
		{ 3 << 20, HOLE }, { 1 << 20, DATA }, { 100 * KIB, HOLE }, { 0 }
	};
	const struct bsp_drawing drawing = { .columns = 28 };

	assert_plot(runs, &drawing,
		    "disk  4.0 MiB  3 extents\n"
		    "      0 │················│\n"
		    "0.5 MiB │················│\n"
		    "  1 MiB │················│\n"
		    "1.5 MiB │················│\n"
		    "  2 MiB │················│\n"
		    "2.5 MiB │················│\n"
		    "  3 MiB │████████████████│\n"
		    "3.5 MiB │████████████████│\n"
		    "  4 MiB │····            │\n"
		    "a cell is 32 KiB\n"
		    "  a row is 0.5 MiB\n"
		    "· hole  ░ up to 1/3 data\n"
		    "  ▒ up to 2/3  ▓ more\n"
		    "  █ data\n"
		    "\n"
		    "data  1.0 MiB  24.4%\n"
		    "  1 extent\n"
		    "hole  3.0 MiB  75.6%\n"
		    "  2 extents\n"
		    "total       4.0 MiB\n");
}

static void nothing_has_totals_and_no_rows(void **state)
{
	static const struct run none[] = { { 0 } };

	assert_plot(none, NULL,
		    "disk  0 B  0 extents\n"
		    "data          0         0 B    0.0%  0 extents\n"
		    "hole          0         0 B    0.0%  0 extents\n"
		    "total         0         0 B\n");
}

static void a_picture_of_differences_says_so(void **state)
{
	const struct bsp_drawing drawing = { .columns = 64, .ascii = true };
	static const struct run runs[] = { { 512, DATA },
					   { 512, HOLE },
					   { 0 } };
	const struct bsp_report report = {
		.path = "a\n",
		.other = "b",
		.size = 1024,
		.drawing = &drawing,
		.source = { run_extent, (void *)runs },
	};
	g_autoptr(GString) text = g_string_new(NULL);
	g_autoptr(GString) svg = g_string_new(NULL);

	assert_int_equal(
		bsp_report_write(&report, BSP_FORMAT_PLOT, write_text, text),
		0);
	assert_true(g_str_has_prefix(text->str, "a? and b  1.0 KiB"));
	assert_non_null(strstr(text->str, ". same  - up to 1/3 differs"));
	assert_non_null(strstr(text->str, "\ndiffers     512 "));
	assert_int_equal(
		bsp_report_write(&report, BSP_FORMAT_SVG, write_text, svg), 0);
	assert_non_null(strstr(svg->str, ">a? and b</text>"));
	assert_non_null(strstr(svg->str, ">same</text>"));
}

static const struct bsp_mark marks[] = {
	{ .off = 0, .len = 10 * KIB, .name = "1", .text = "vfat \"EFI\"" },
	{ .off = 10 * KIB, .len = 70 * KIB, .name = "2" },
	{ .off = 200 * KIB, .len = 50 * KIB, .name = "5", .text = "a\033[1mb" },
};

static void a_plot_names_marks_where_they_begin(void **state)
{
	static const struct run runs[] = { { 5 * KIB, DATA },
					   { 195 * KIB, HOLE },
					   { 56 * KIB, UNKNOWN },
					   { 0 } };
	const struct bsp_drawing drawing = {
		.columns = 64, .ascii = true, .marks = marks, .n_marks = 3
	};
	g_autofree char *text = draw(runs, &drawing, BSP_FORMAT_PLOT);

	assert_non_null(strstr(text, "| 1-2\n"));
	assert_non_null(strstr(text, "| |\n"));
	assert_non_null(strstr(text, "| 5\n"));
	assert_non_null(strstr(
		text,
		"\n\n"
		" 1    10.0 KiB  at 0 B          50.0% data  vfat \"EFI\"\n"
		" 2    70.0 KiB  at 10.0 KiB      0.0% data\n"
		" 5    50.0 KiB  at 200.0 KiB     0.0% data  a?[1mb\n"));
}

/* On a terminal of any width no line is wider, and all numbers are there. */
static void no_line_is_wider_than_the_terminal(void **state)
{
	struct bsp_drawing drawing = { .marks = marks, .n_marks = 3 };
	struct run runs[] = { { 1, DATA }, { 1, HOLE }, { 0 } };

	for (unsigned shift = 9; shift < 63; shift += 3) {
		runs[0].len = UINT64_C(1) << shift;
		runs[1].len = (UINT64_C(1) << shift) + 4097;
		for (drawing.columns = 20; drawing.columns <= 200;
		     drawing.columns++) {
			g_autofree char *text =
				draw(runs, &drawing, BSP_FORMAT_PLOT);
			g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

			for (char **line = lines; *line; line++)
				assert_true(g_utf8_strlen(*line, -1) <=
					    drawing.columns);
			assert_non_null(strstr(text, "total"));
			assert_non_null(strstr(text, "1 extent"));
		}
	}
}

/* --- The picture --- */

/* Records how often each pixel was filled, and the texts. */
struct recorder {
	struct bsp_canvas canvas; /* must be first */
	GString *texts;
	uint32_t colours[2000][BSP_PICTURE_WIDTH];
	unsigned lines;
	unsigned height;
};

static void record_fill(struct bsp_canvas *canvas, uint32_t colour,
			const struct bsp_box *boxes, unsigned n)
{
	struct recorder *recorder = (struct recorder *)canvas;

	for (unsigned i = 0; i < n; i++) {
		const struct bsp_box *box = &boxes[i];

		assert_true(box->x >= 0 && box->y >= 0 && box->width > 0 &&
			    box->height > 0);
		assert_true(box->x + box->width <= BSP_PICTURE_WIDTH);
		assert_true(box->y + box->height <= (int)recorder->height);
		for (int y = box->y; y < box->y + box->height; y++)
			for (int x = box->x; x < box->x + box->width; x++)
				recorder->colours[y][x] = colour;
	}
}

static void record_lines(struct bsp_canvas *canvas, uint32_t colour,
			 double thick, const struct bsp_box *lines, unsigned n)
{
	((struct recorder *)canvas)->lines += n;
}

/* Texts stay inside, if a letter is three quarters as wide as high. */
static void record_text(struct bsp_canvas *canvas, int x, int y, int size,
			enum bsp_anchor anchor, bool bold, uint32_t colour,
			const char *text)
{
	struct recorder *recorder = (struct recorder *)canvas;
	int width = (int)g_utf8_strlen(text, -1) * size * 3 / 5;
	int left = anchor == BSP_ANCHOR_START ? x
		   : anchor == BSP_ANCHOR_END ? x - width
					      : x - width / 2;

	assert_true(g_utf8_validate(text, -1, NULL));
	assert_true(left >= 0 && left + width <= BSP_PICTURE_WIDTH);
	assert_true(y >= size && y <= (int)recorder->height);
	g_string_append_printf(recorder->texts, "%s\n", text);
}

static struct recorder *record(const struct run *runs,
			       const struct bsp_drawing *drawing)
{
	struct recorder *recorder = g_new0(struct recorder, 1);
	struct bsp_report report = { .path = "disk", .drawing = drawing };
	struct bsp_report_output out = { .report = &report, .granule = 1 };
	struct bsp_picture picture;
	uint64_t off = 0;

	for (const struct run *run = runs; run->len; run++)
		report.size += run->len;
	recorder->canvas =
		(struct bsp_canvas){ record_fill, record_lines, record_text };
	recorder->texts = g_string_new("\n");
	recorder->height = (unsigned)bsp_picture_height(&out);
	bsp_picture_init(&picture, &out);
	for (const struct run *run = runs; run->len; run++) {
		const struct bsp_extent extent = { off, run->len, run->type };

		bsp_picture_add(&picture, &extent);
		out.bytes[run->type] += run->len;
		out.extents[run->type]++;
		off += run->len;
	}
	bsp_picture_draw(&picture, &out, &recorder->canvas);
	bsp_picture_clear(&picture);
	return recorder;
}

static void drop(struct recorder *recorder)
{
	g_string_free(recorder->texts, true);
	g_free(recorder);
}

/* Counts pixels of a colour in a box. */
static unsigned count(const struct recorder *recorder, uint32_t colour, int x,
		      int y, int width, int height)
{
	unsigned n = 0;

	for (int row = y; row < y + height; row++)
		for (int column = x; column < x + width; column++)
			n += recorder->colours[row][column] == colour;
	return n;
}

enum {
	FULL = 0x08306b,
	NONE = 0xeef1f4,
	LEFT = 32,
	STRIP = 896,
	STRIP_TOP = 88,
	STRIP_HEIGHT = 56,
	SQUARE = 512,
	SQUARE_TOP = 196, /* without marks */
};

static void the_areas_are_the_shares(void **state)
{
	static const struct run runs[] = { { 3 << 20, DATA },
					   { 5 << 20, HOLE },
					   { 0 } };
	struct recorder *recorder = record(runs, NULL);
	unsigned strip = STRIP * STRIP_HEIGHT;

	assert_int_equal(
		count(recorder, FULL, LEFT, STRIP_TOP, STRIP, STRIP_HEIGHT),
		strip / 8 * 3);
	assert_int_equal(
		count(recorder, NONE, LEFT, STRIP_TOP, STRIP, STRIP_HEIGHT),
		strip / 8 * 5);
	/* The strip begins on the left, and the curve in the upper left. */
	assert_int_equal(recorder->colours[STRIP_TOP][LEFT], FULL);
	assert_int_equal(recorder->colours[SQUARE_TOP][LEFT], FULL);
	assert_int_equal(recorder->colours[SQUARE_TOP][LEFT + SQUARE - 1],
			 NONE);
	assert_int_equal(
		count(recorder, FULL, LEFT, SQUARE_TOP, SQUARE, SQUARE),
		SQUARE * SQUARE / 8 * 3);
	assert_int_equal(
		count(recorder, NONE, LEFT, SQUARE_TOP, SQUARE, SQUARE),
		SQUARE * SQUARE / 8 * 5);
	drop(recorder);
}

static void one_byte_of_data_is_seen(void **state)
{
	static const struct run runs[] = { { UINT64_C(1) << 50, HOLE },
					   { 1, DATA },
					   { UINT64_C(1) << 50, HOLE },
					   { 0 } };
	struct recorder *recorder = record(runs, NULL);

	assert_int_equal(
		count(recorder, NONE, LEFT, STRIP_TOP, STRIP, STRIP_HEIGHT),
		(STRIP - 1) * STRIP_HEIGHT);
	assert_int_equal(
		count(recorder, NONE, LEFT, SQUARE_TOP, SQUARE, SQUARE),
		SQUARE * SQUARE - 16);
	drop(recorder);
}

static void the_legend_has_totals_and_marks(void **state)
{
	static const struct run runs[] = { { 100 * KIB, DATA },
					   { 156 * KIB, HOLE },
					   { 44 * KIB, UNKNOWN },
					   { 0 } };
	const struct bsp_drawing drawing = { .marks = marks, .n_marks = 3 };
	static const char *const texts[] = {
		"disk",
		"300.0 KiB, 3 extents",
		"data",
		"100.0 KiB",
		"33.3%",
		"1 extent",
		"hole",
		"156.0 KiB",
		"52.0%",
		"unknown",
		"44.0 KiB",
		"14.7%",
		"total",
		"300.0 KiB",
		"256 KiB",
		"Partitions",
		"10.0 KiB",
		"100.0%",
		"a?[1mb",
		"vfat \"EFI\"",
		"1  vfat \"EFI\"",
	};
	struct recorder *recorder = record(runs, &drawing);

	for (size_t i = 0; i + 1 < G_N_ELEMENTS(texts); i++) {
		g_autofree char *line = g_strdup_printf("\n%s\n", texts[i]);

		assert_non_null(strstr(recorder->texts->str, line));
	}
	/* There is no room for that below 30 pixels of the strip. */
	assert_null(strstr(recorder->texts->str, texts[20]));
	assert_true(recorder->lines > 63); /* the curve has so many */
	drop(recorder);
}

/* Of any size and any number of marks; record_text() and record_fill() assert
 * that it stays inside. */
static void all_is_inside_of_the_picture(void **state)
{
	struct bsp_mark many[100];
	struct bsp_drawing drawing = { .marks = many };
	struct run runs[] = { { 1, DATA }, { 1, HOLE }, { 0 } };
	char names[G_N_ELEMENTS(many)][8];

	for (unsigned shift = 0; shift < 63; shift += 2) {
		runs[0].len = runs[1].len = UINT64_C(1) << shift;
		for (unsigned i = 0; i < G_N_ELEMENTS(many); i++) {
			snprintf(names[i], sizeof(names[i]), "%u", i + 1);
			many[i] = (struct bsp_mark){
				.off = (runs[0].len / 50) * i,
				.len = runs[0].len / 50,
				.name = names[i],
				.text = "a text that is far too long for the "
					"legend of this picture",
			};
		}
		for (drawing.n_marks = 0; drawing.n_marks <= 100;
		     drawing.n_marks += 20)
			drop(record(runs, &drawing));
	}
}

static void ignore_text(GMarkupParseContext *context, const gchar *text,
			gsize len, gpointer data, GError **error)
{
	g_string_append_len(data, text, (gssize)len);
}

static void svg_is_valid_for_any_path(void **state)
{
	static const GMarkupParser parser = { .text = ignore_text };
	const struct bsp_report report = {
		.path = "<a> & \"b\"\x01\xff\033[1m\xef\xbf\xbe",
		.size = 9828,
		.source = { run_extent, (void *)mixed },
	};
	g_autoptr(GString) text = g_string_new(NULL);
	g_autoptr(GString) content = g_string_new(NULL);
	g_autoptr(GMarkupParseContext) context =
		g_markup_parse_context_new(&parser, 0, content, NULL);

	assert_int_equal(
		bsp_report_write(&report, BSP_FORMAT_SVG, write_text, text), 0);
	assert_true(g_markup_parse_context_parse(context, text->str, -1, NULL));
	assert_true(g_markup_parse_context_end_parse(context, NULL));
	assert_non_null(strstr(content->str, "<a> & \"b\"?\xef\xbf\xbd?[1m?"));
	assert_non_null(strstr(content->str, "8.3 KiB"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_plot_has_shades_a_scale_and_totals),
		cmocka_unit_test(a_plot_in_ascii_has_no_other_characters),
		cmocka_unit_test(colours_change_nothing_else),
		cmocka_unit_test(offsets_of_rows_are_round),
		cmocka_unit_test(nothing_has_totals_and_no_rows),
		cmocka_unit_test(a_picture_of_differences_says_so),
		cmocka_unit_test(a_plot_names_marks_where_they_begin),
		cmocka_unit_test(no_line_is_wider_than_the_terminal),
		cmocka_unit_test(the_areas_are_the_shares),
		cmocka_unit_test(one_byte_of_data_is_seen),
		cmocka_unit_test(the_legend_has_totals_and_marks),
		cmocka_unit_test(all_is_inside_of_the_picture),
		cmocka_unit_test(svg_is_valid_for_any_path),
	};

	return cmocka_run_group_tests_name("picture", tests, NULL, NULL);
}
