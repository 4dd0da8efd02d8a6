/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A picture in text, for a terminal: rows of cells, a scale and a legend.
 *
 * A row has a round number of bytes, so that the offsets on the left are round:
 * the size of a cell is a power of two, and the number of cells in a row is
 * one, or one and a half. The last cell may have less bytes than the others;
 * its shade is that of the bytes that it has. Shades, not colours, tell how
 * much of a cell is used, so nothing is lost without colours.
 *
 * Lines that are wider than the terminal are broken between fields, which have
 * two spaces between them.
 */
#include "report/report.h"

#include <string.h>

#include "report/cells.h"

enum {
	COLUMNS_DEFAULT = 80,
	COLUMNS_MIN = 20,
	ROWS_MAX = 16,
	CELL_MIN = 512,
	GUTTER = 5,		 /* a space, and the names of marks */
	GUTTER_COLUMNS_MIN = 40, /* a narrower terminal has no room for it */
	BYTES_COLUMNS_MIN = 64,	 /* nor for the totals in bytes */
};

struct plot {
	unsigned width;	 /* of the terminal */
	unsigned labels; /* columns of the labels */
	unsigned columns, rows;
	uint64_t cell; /* bytes */
	bool gutter;
	struct bsp_cells cells;
	struct bsp_cells marks;
	GString *text;
};

/* --- Glyphs and colours --- */

enum glyph {
	GLYPH_HOLE,
	GLYPH_LESS, /* up to a third of the cell */
	GLYPH_HALF,
	GLYPH_MORE, /* from two thirds on */
	GLYPH_FULL,
	GLYPH_UNKNOWN,
	GLYPH_OUTSIDE,
	GLYPH_FRAME,
};

static const char *const unicode_glyphs[] = {
	[GLYPH_HOLE] = "·",    [GLYPH_LESS] = "░",  [GLYPH_HALF] = "▒",
	[GLYPH_MORE] = "▓",    [GLYPH_FULL] = "█",  [GLYPH_UNKNOWN] = "?",
	[GLYPH_OUTSIDE] = " ", [GLYPH_FRAME] = "│",
};

static const char *const ascii_glyphs[] = {
	[GLYPH_HOLE] = ".",    [GLYPH_LESS] = "-",  [GLYPH_HALF] = "+",
	[GLYPH_MORE] = "*",    [GLYPH_FULL] = "#",  [GLYPH_UNKNOWN] = "?",
	[GLYPH_OUTSIDE] = " ", [GLYPH_FRAME] = "|",
};

/* Colours of the 256 that have a contrast of 3:1 and more on black and on
 * white, and that the colour-blind tell apart: grey, blue, orange. */
static const char *const colours[] = {
	[GLYPH_HOLE] = "\033[38;5;244m",    [GLYPH_LESS] = "\033[38;5;33m",
	[GLYPH_HALF] = "\033[38;5;33m",	    [GLYPH_MORE] = "\033[38;5;33m",
	[GLYPH_FULL] = "\033[38;5;33m",	    [GLYPH_UNKNOWN] = "\033[38;5;166m",
	[GLYPH_OUTSIDE] = "\033[38;5;244m", [GLYPH_FRAME] = "\033[38;5;244m",
};

static const char *text_of(const struct bsp_report_output *out,
			   enum glyph glyph)
{
	return bsp_report_drawing(out->report)->ascii ? ascii_glyphs[glyph]
						      : unicode_glyphs[glyph];
}

/* Returns the colour, or "" without colours; NULL turns it off. */
static const char *colour_of(const struct bsp_report_output *out,
			     const enum glyph *glyph)
{
	if (!bsp_report_drawing(out->report)->colour)
		return "";
	return glyph ? colours[*glyph] : "\033[0m";
}

static enum glyph glyph_of(struct bsp_shade shade)
{
	if (shade.level == BSP_LEVEL_EMPTY)
		return GLYPH_OUTSIDE;
	if (shade.type == BSP_EXTENT_UNKNOWN)
		return GLYPH_UNKNOWN;
	if (shade.level == BSP_LEVEL_NONE || shade.level == BSP_LEVEL_FULL)
		return shade.level ? GLYPH_FULL : GLYPH_HOLE;
	return (enum glyph)(GLYPH_LESS + (shade.level - 1) / 2);
}

/* --- Lines --- */

/* Columns of a character. An escape sequence has none. */
static unsigned columns_of(gunichar c, bool *escape)
{
	if (c == '\033')
		*escape = true;
	if (*escape) {
		*escape = c != 'm';
		return 0;
	}
	if (g_unichar_iszerowidth(c))
		return 0;
	return g_unichar_iswide(c) ? 2 : 1;
}

static unsigned width_of(const char *text)
{
	bool escape = false;
	unsigned width = 0;

	for (; *text; text = g_utf8_next_char(text))
		width += columns_of(g_utf8_get_char(text), &escape);
	return width;
}

/* Appends a field that may be wider than the terminal. Returns the column in
 * which it ends. */
static unsigned append_broken(struct plot *plot, const char *field,
			      unsigned column)
{
	bool escape = false;

	for (; *field; field = g_utf8_next_char(field)) {
		gunichar c = g_utf8_get_char(field);
		unsigned width = columns_of(c, &escape);

		if (column + width > plot->width) {
			g_string_append_c(plot->text, '\n');
			column = 0;
		}
		g_string_append_unichar(plot->text, c);
		column += width;
	}
	return column;
}

static void append_line(struct plot *plot, const char *line)
{
	g_auto(GStrv) fields = NULL;
	unsigned column = 0;

	if (width_of(line) <= plot->width) {
		g_string_append(plot->text, line);
		g_string_append_c(plot->text, '\n');
		return;
	}
	fields = g_strsplit(line, "  ", -1);
	for (char **field = fields; *field; field++) {
		const char *text = g_strstrip(*field);
		unsigned width = width_of(text);

		if (width == 0)
			continue;
		if (column > 0 && column + 2 + width <= plot->width) {
			g_string_append(plot->text, "  ");
			column += 2;
		} else if (column > 0) {
			g_string_append(plot->text, "\n  ");
			column = 2;
		}
		column = append_broken(plot, text, column);
	}
	g_string_append_c(plot->text, '\n');
}

static void append_format(struct plot *plot, const char *format, ...)
	G_GNUC_PRINTF(2, 3);

static void append_format(struct plot *plot, const char *format, ...)
{
	g_autofree char *line = NULL;
	va_list args;

	va_start(args, format);
	line = g_strdup_vprintf(format, args);
	va_end(args);
	append_line(plot, g_strchomp(line));
}

/* --- Layout --- */

/* Lays out rows of this many cells. Returns the columns that they take. */
static unsigned lay_out(struct plot *plot, uint64_t size, uint64_t granule,
			unsigned columns)
{
	char label[BSP_SIZE_TEXT_LEN];
	uint64_t row;

	plot->columns = columns;
	plot->cell = MAX(granule, CELL_MIN);
	while (size && (size - 1) / plot->cell / columns >= ROWS_MAX)
		plot->cell *= 2;
	row = plot->cell * columns;
	plot->rows = size ? (unsigned)((size - 1) / row) + 1 : 0;
	plot->labels = 1;
	for (unsigned i = 1; i < plot->rows; i++) {
		(void)bsp_report_offset_text(row * i, row, label);
		plot->labels = MAX(plot->labels, (unsigned)strlen(label));
	}
	return plot->labels + 3 + columns + (plot->gutter ? GUTTER : 0);
}

static void choose_layout(struct plot *plot, uint64_t size, uint64_t granule)
{
	unsigned columns = 256;

	while (lay_out(plot, size, granule, columns) > plot->width &&
	       columns > 4)
		columns = columns & (columns - 1) ? columns / 3 * 2
						  : columns / 4 * 3;
}

static int plot_begin(struct bsp_report_output *out)
{
	const struct bsp_drawing *drawing = bsp_report_drawing(out->report);
	uint64_t size = out->report->size;
	struct plot *plot = g_new0(struct plot, 1);

	out->state = plot;
	plot->text = g_string_new(NULL);
	plot->width = drawing->columns ? drawing->columns : COLUMNS_DEFAULT;
	plot->width = MAX(plot->width, COLUMNS_MIN);
	plot->gutter = drawing->n_marks && plot->width >= GUTTER_COLUMNS_MIN;
	choose_layout(plot, size, out->granule);
	bsp_cells_init_steps(&plot->cells, size, plot->cell,
			     plot->columns * plot->rows);
	bsp_cells_init_marks(&plot->marks, drawing->marks, drawing->n_marks,
			     size);
	return 0;
}

static int plot_extent(struct bsp_report_output *out,
		       const struct bsp_extent *extent)
{
	struct plot *plot = out->state;

	bsp_cells_add(&plot->cells, extent);
	bsp_cells_add(&plot->marks, extent);
	return 0;
}

/* --- The map --- */

/* Appends the names of the marks that begin in a row, or a line if one goes
 * on there. */
static void append_gutter(const struct bsp_report_output *out, unsigned row)
{
	const struct bsp_drawing *drawing = bsp_report_drawing(out->report);
	struct plot *plot = out->state;
	uint64_t from = plot->cells.bounds[(size_t)row * plot->columns];
	uint64_t to = plot->cells.bounds[((size_t)row + 1) * plot->columns];
	const char *first = NULL, *last = NULL;
	bool inside = false;

	for (unsigned i = 0; i < plot->marks.n; i += 2) {
		uint64_t off = plot->marks.bounds[i];

		inside |= off < to && plot->marks.bounds[i + 1] > from;
		if (off < from || off >= to)
			continue;
		last = drawing->marks[i / 2].name;
		first = first ? first : last;
	}
	if (first && first != last && strlen(first) + strlen(last) + 2 < GUTTER)
		g_string_append_printf(plot->text, " %s-%s", first, last);
	else if (first)
		g_string_append_printf(plot->text, " %.*s%s", GUTTER - 2, first,
				       first == last ? "" : "+");
	else if (inside)
		g_string_append_printf(plot->text, " %s",
				       text_of(out, GLYPH_FRAME));
}

static void append_cells(const struct bsp_report_output *out, unsigned row)
{
	struct plot *plot = out->state;
	const char *last = "";

	for (unsigned i = 0; i < plot->columns; i++) {
		enum glyph glyph = glyph_of(
			bsp_cells_shade(&plot->cells, row * plot->columns + i));
		const char *colour = colour_of(out, &glyph);

		if (strcmp(colour, last) != 0)
			g_string_append(plot->text, colour);
		last = colour;
		g_string_append(plot->text, text_of(out, glyph));
	}
	g_string_append(plot->text, colour_of(out, NULL));
}

static void append_row(const struct bsp_report_output *out, unsigned row)
{
	struct plot *plot = out->state;
	uint64_t bytes = plot->cell * plot->columns;
	const char *frame = text_of(out, GLYPH_FRAME);
	char label[BSP_SIZE_TEXT_LEN];

	g_string_append_printf(
		plot->text, "%*s %s", (int)plot->labels,
		bsp_report_offset_text(bytes * row, bytes, label), frame);
	append_cells(out, row);
	g_string_append(plot->text, frame);
	if (plot->gutter)
		append_gutter(out, row);
	g_string_append_c(plot->text, '\n');
}

/* --- The legend --- */

static void append_title(const struct bsp_report_output *out)
{
	struct plot *plot = out->state;
	g_autofree char *path = bsp_report_title(
		out->report, bsp_report_drawing(out->report)->ascii);
	uint64_t extents = 0;
	char size[BSP_SIZE_TEXT_LEN];

	for (int type = 0; type < BSP_EXTENT_TYPES; type++)
		extents += out->extents[type];
	append_format(plot, "%s  %s  %" G_GUINT64_FORMAT " extent%s", path,
		      bsp_report_size_text(out->report->size, size), extents,
		      extents == 1 ? "" : "s");
}

/* Appends to line: a glyph in its colour and its meaning. */
static void add_key(const struct bsp_report_output *out, GString *line,
		    enum glyph glyph, const char *meaning)
{
	g_string_append_printf(line, "%s%s%s%s %s", line->len ? "  " : "",
			       colour_of(out, &glyph), text_of(out, glyph),
			       colour_of(out, NULL), meaning);
}

static void append_keys(const struct bsp_report_output *out)
{
	struct plot *plot = out->state;
	uint64_t row = plot->cell * plot->columns;
	const char *data = bsp_report_type_name(out, BSP_EXTENT_DATA);
	g_autofree char *less = g_strdup_printf("up to 1/3 %s", data);
	g_autoptr(GString) line = g_string_new(NULL);
	char cell_text[BSP_SIZE_TEXT_LEN], row_text[BSP_SIZE_TEXT_LEN];

	if (plot->rows == 0)
		return;
	append_format(plot, "a cell is %s  a row is %s",
		      bsp_report_offset_text(plot->cell, plot->cell, cell_text),
		      bsp_report_offset_text(row, row, row_text));
	add_key(out, line, GLYPH_HOLE,
		bsp_report_type_name(out, BSP_EXTENT_HOLE));
	add_key(out, line, GLYPH_LESS, less);
	add_key(out, line, GLYPH_HALF, "up to 2/3");
	add_key(out, line, GLYPH_MORE, "more");
	add_key(out, line, GLYPH_FULL, data);
	if (out->extents[BSP_EXTENT_UNKNOWN])
		add_key(out, line, GLYPH_UNKNOWN, "unknown");
	append_line(plot, line->str);
	g_string_append_c(plot->text, '\n');
}

/* Removes the second field, of bytes. */
static char *without_bytes(char *line)
{
	char *name_end = strchr(line, ' ');
	char *bytes = name_end + strspn(name_end, " ");
	char *rest = bytes + strcspn(bytes, " ");

	memmove(line + strlen("unknown"), rest, strlen(rest) + 1);
	return line;
}

static void append_total(struct plot *plot, char *line)
{
	if (plot->width < BYTES_COLUMNS_MIN)
		without_bytes(line);
	append_line(plot, g_strchomp(line));
}

static void append_totals(const struct bsp_report_output *out)
{
	struct plot *plot = out->state;
	g_autofree char *whole = bsp_report_whole_text(out);

	for (int i = 0; i < BSP_EXTENT_TYPES; i++) {
		enum bsp_extent_type type = (enum bsp_extent_type)i;
		g_autofree char *line = NULL;

		if (!bsp_report_tells(out, type))
			continue;
		line = bsp_report_total_text(out, type);
		append_total(plot, line);
	}
	append_total(plot, whole);
}

static void append_marks(const struct bsp_report_output *out)
{
	const struct bsp_drawing *drawing = bsp_report_drawing(out->report);
	struct plot *plot = out->state;

	if (drawing->n_marks)
		g_string_append_c(plot->text, '\n');
	for (uint64_t i = 0; i < drawing->n_marks; i++) {
		const struct bsp_mark *mark = &drawing->marks[i];
		uint64_t off = plot->marks.bounds[i * 2];
		uint64_t len = plot->marks.bounds[i * 2 + 1] - off;
		unsigned tenths = bsp_report_share(
			plot->marks.bytes[i * 2][BSP_EXTENT_DATA], len);
		g_autofree char *text = bsp_report_printable(
			mark->text ? mark->text : "", drawing->ascii);
		char from[BSP_SIZE_TEXT_LEN], size[BSP_SIZE_TEXT_LEN];

		append_format(plot, "%2s  %10s  at %-10s  %3u.%u%% %s  %s",
			      mark->name, bsp_report_size_text(len, size),
			      bsp_report_size_text(off, from), tenths / 10,
			      tenths % 10,
			      bsp_report_type_name(out, BSP_EXTENT_DATA), text);
	}
}

static int plot_end(struct bsp_report_output *out)
{
	struct plot *plot = out->state;

	append_title(out);
	for (unsigned row = 0; row < plot->rows; row++)
		append_row(out, row);
	append_keys(out);
	append_totals(out);
	append_marks(out);
	return bsp_report_puts(out, plot->text->str);
}

static void plot_done(struct bsp_report_output *out)
{
	struct plot *plot = out->state;

	bsp_cells_clear(&plot->cells);
	bsp_cells_clear(&plot->marks);
	g_string_free(plot->text, true);
	g_free(plot);
}

const struct bsp_report_format bsp_report_plot = {
	.name = "plot",
	.granule = 1,
	.tells_unknown = true,
	.begin = plot_begin,
	.extent = plot_extent,
	.end = plot_end,
	.done = plot_done,
};
