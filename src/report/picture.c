/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From top to bottom: the title, the strip, the marks below it, and its scale;
 * then the square on the left, and the legend on the right. The background is
 * painted, so the picture looks the same on any page.
 *
 * Holes are nearly white, and data is blue, the darker the more of it a cell
 * has. A cell with a single byte of data differs clearly from a hole. The
 * colours differ in brightness as well as in hue, for the colour-blind and for
 * printers without colours.
 *
 * The width of a text is only estimated, with a margin: the font of an SVG file
 * is chosen where it is shown.
 */
#include "report/picture.h"

#include <string.h>

#include "report/hilbert.h"

enum {
	MARGIN = 32,
	STRIP_WIDTH = BSP_PICTURE_WIDTH - 2 * MARGIN,
	STRIP_HEIGHT = 56,
	STRIP_TOP = 88,
	STRIP_END = STRIP_TOP + STRIP_HEIGHT,
	MARKS_HEIGHT = 26, /* below the strip, if there are any */
	SCALE_HEIGHT = 52,
	SQUARE = 512,
	SIDE_MAX = 128,
	CELL_MIN = 512, /* bytes of a cell of the square */
	LEGEND = MARGIN + SQUARE + MARGIN,
	LEGEND_END = BSP_PICTURE_WIDTH - MARGIN,
	LINE = 22, /* of the legend */
};

enum {
	WHITE = 0xffffff,
	INK = 0x1b2733,
	GREY = 0x55616d,
	FRAME = 0x97a3af,
	EDGE = 0xd5dbe1,
	MARK_EVEN = 0x55616d,
	MARK_ODD = 0xa3aeb9,
	UNKNOWN = 0xc2568f,
};

/* No data, six parts, all data. */
static const uint32_t data_colours[BSP_LEVELS] = {
	0xeef1f4, 0xa6cbe8, 0x7fb4dc, 0x5a9bcd,
	0x3d83bd, 0x256ba9, 0x145693, 0x08306b,
};

static uint32_t colour_of(struct bsp_shade shade)
{
	if (shade.level == BSP_LEVEL_EMPTY)
		return WHITE;
	if (shade.type == BSP_EXTENT_UNKNOWN)
		return UNKNOWN;
	return data_colours[shade.level];
}

/* --- Counting --- */

static unsigned choose_side(const struct bsp_report_output *out)
{
	uint64_t cells = out->report->size / MAX(out->granule, CELL_MIN);
	unsigned side = 1;

	while (side < SIDE_MAX && cells >= (uint64_t)side * side * 4)
		side *= 2;
	return side;
}

void bsp_picture_init(struct bsp_picture *picture,
		      const struct bsp_report_output *out)
{
	const struct bsp_drawing *drawing = bsp_report_drawing(out->report);
	uint64_t size = out->report->size;

	picture->side = choose_side(out);
	bsp_cells_init(&picture->strip, size,
		       (unsigned)CLAMP(size, 1, STRIP_WIDTH));
	bsp_cells_init(&picture->square, size, picture->side * picture->side);
	bsp_cells_init_marks(&picture->marks, drawing->marks, drawing->n_marks,
			     size);
}

void bsp_picture_clear(struct bsp_picture *picture)
{
	bsp_cells_clear(&picture->strip);
	bsp_cells_clear(&picture->square);
	bsp_cells_clear(&picture->marks);
}

void bsp_picture_add(struct bsp_picture *picture,
		     const struct bsp_extent *extent)
{
	bsp_cells_add(&picture->strip, extent);
	bsp_cells_add(&picture->square, extent);
	bsp_cells_add(&picture->marks, extent);
}

/* --- Drawing --- */

struct painter {
	const struct bsp_picture *picture;
	const struct bsp_report_output *out;
	const struct bsp_drawing *drawing;
	struct bsp_canvas *canvas;
	GArray *boxes; /* of struct bsp_box, before they are filled */
};

static void fill(const struct painter *painter, uint32_t colour, int x, int y,
		 int width, int height)
{
	const struct bsp_box box = { x, y, width, height };

	painter->canvas->fill(painter->canvas, colour, &box, 1);
}

/* Draws a frame around a box, outside of it. */
static void frame(const struct painter *painter, uint32_t colour, int x, int y,
		  int width, int height)
{
	const struct bsp_box sides[] = {
		{ x - 1, y - 1, width + 2, 1 },
		{ x - 1, y + height, width + 2, 1 },
		{ x - 1, y, 1, height },
		{ x + width, y, 1, height },
	};

	painter->canvas->fill(painter->canvas, colour, sides,
			      G_N_ELEMENTS(sides));
}

static void add_box(const struct painter *painter, int x, int y, int width,
		    int height)
{
	const struct bsp_box box = { x, y, width, height };

	g_array_append_val(painter->boxes, box);
}

static void fill_boxes(const struct painter *painter, uint32_t colour)
{
	if (painter->boxes->len)
		painter->canvas->fill(painter->canvas, colour,
				      (struct bsp_box *)painter->boxes->data,
				      painter->boxes->len);
	g_array_set_size(painter->boxes, 0);
}

static void write_text(const struct painter *painter, int x, int y, int size,
		       enum bsp_anchor anchor, uint32_t colour,
		       const char *text)
{
	if (*text)
		painter->canvas->text(painter->canvas, x, y, size, anchor,
				      false, colour, text);
}

static void write_bold(const struct painter *painter, int x, int y, int size,
		       enum bsp_anchor anchor, const char *text)
{
	painter->canvas->text(painter->canvas, x, y, size, anchor, true, INK,
			      text);
}

/* Returns a text that fits into width pixels, or ends in an ellipsis, and has
 * only what can be shown; to be freed. A letter is 0.66 of the size at most,
 * on average. */
static char *fitting(const char *text, int width, int size)
{
	g_autofree char *shown = bsp_report_printable(text, false);
	int room = width * 100, ellipsis = size * 100;
	const char *end = shown;
	GString *cut;

	for (const char *at = shown; *at; at = g_utf8_next_char(at)) {
		gunichar c = g_utf8_get_char(at);

		room -= size * (g_unichar_iswide(c) ? 105 : 66);
		if (room >= ellipsis)
			end = g_utf8_next_char(at);
	}
	if (room >= 0)
		return g_steal_pointer(&shown);
	cut = g_string_new_len(shown, end - shown);
	g_string_append(cut, "…");
	return g_string_free(cut, false);
}

/* --- The strip --- */

/* The colours that cells can have. */
static unsigned all_colours(uint32_t colours[BSP_LEVELS + 1])
{
	memcpy(colours, data_colours, sizeof(data_colours));
	colours[BSP_LEVELS] = UNKNOWN;
	return BSP_LEVELS + 1;
}

/* Where cell i of the strip begins, pixels. */
static int strip_x(const struct painter *painter, unsigned i)
{
	return MARGIN + (int)(i * STRIP_WIDTH / painter->picture->strip.n);
}

static void paint_strip_colour(const struct painter *painter, uint32_t colour)
{
	const struct bsp_cells *strip = &painter->picture->strip;

	for (unsigned i = 0, end; i < strip->n; i = end) {
		for (end = i; end < strip->n; end++) {
			struct bsp_shade shade = bsp_cells_shade(strip, end);

			if (colour_of(shade) != colour)
				break;
		}
		if (end > i)
			add_box(painter, strip_x(painter, i), STRIP_TOP,
				strip_x(painter, end) - strip_x(painter, i),
				STRIP_HEIGHT);
		else
			end++;
	}
	fill_boxes(painter, colour);
}

static void paint_strip(const struct painter *painter)
{
	uint32_t colours[BSP_LEVELS + 1];
	unsigned n = all_colours(colours);

	for (unsigned i = 0; i < n; i++)
		paint_strip_colour(painter, colours[i]);
	frame(painter, FRAME, MARGIN, STRIP_TOP, STRIP_WIDTH, STRIP_HEIGHT);
}

static int x_of(const struct painter *painter, uint64_t off)
{
	double share = (double)off / (double)painter->out->report->size;

	return MARGIN + (int)(share * (double)STRIP_WIDTH);
}

static void paint_strip_marks(const struct painter *painter)
{
	const uint64_t *bounds = painter->picture->marks.bounds;

	for (unsigned i = 0; i < painter->drawing->n_marks; i++) {
		const struct bsp_mark *mark = &painter->drawing->marks[i];
		int from = x_of(painter, bounds[(size_t)i * 2]);
		int width =
			MAX(x_of(painter, bounds[(size_t)i * 2 + 1]) - from, 1);
		g_autofree char *whole = g_strdup_printf(
			"%s  %s", mark->name, mark->text ? mark->text : "");
		g_autofree char *name = fitting(mark->name, width - 4, 11);
		g_autofree char *text = fitting(whole, width - 4, 11);

		fill(painter, i % 2 ? MARK_ODD : MARK_EVEN, from, STRIP_END + 4,
		     width, 5);
		if (g_str_has_suffix(text, "…"))
			text = (g_free(text), g_steal_pointer(&name));
		if (!g_str_has_suffix(text, "…"))
			write_text(painter, from, STRIP_END + 22, 11,
				   BSP_ANCHOR_START, INK, text);
	}
}

static int scale_top(const struct bsp_report_output *out)
{
	bool marks = bsp_report_drawing(out->report)->n_marks > 0;

	return STRIP_END + (marks ? MARKS_HEIGHT : 0);
}

static void paint_scale(const struct painter *painter)
{
	uint64_t size = painter->out->report->size, step = 1;
	int top = scale_top(painter->out);
	char label[BSP_SIZE_TEXT_LEN];

	while (step < size / 8 + (size % 8 != 0))
		step *= 2;
	for (uint64_t off = 0; off < size && off + step > off; off += step) {
		int x = x_of(painter, off);

		add_box(painter, x, top + 3, 1, 6);
		if (x < BSP_PICTURE_WIDTH - MARGIN - 96)
			write_text(painter, x, top + 22, 11,
				   off ? BSP_ANCHOR_MIDDLE : BSP_ANCHOR_START,
				   GREY,
				   bsp_report_offset_text(off, step, label));
	}
	add_box(painter, BSP_PICTURE_WIDTH - MARGIN - 1, top + 3, 1, 6);
	write_text(painter, BSP_PICTURE_WIDTH - MARGIN, top + 22, 11,
		   BSP_ANCHOR_END, GREY, bsp_report_size_text(size, label));
	fill_boxes(painter, FRAME);
}

/* --- The square --- */

/* The content of each place of the square. */
struct grid {
	unsigned side;
	int pixels;	   /* of a cell */
	uint32_t *colours; /* side rows of side cells */
	int *marks;	   /* -1: none */
};

static int mark_at(const struct painter *painter, uint64_t off)
{
	const uint64_t *bounds = painter->picture->marks.bounds;

	for (unsigned i = 0; i < painter->drawing->n_marks; i++) {
		if (off >= bounds[(size_t)i * 2] &&
		    off < bounds[(size_t)i * 2 + 1])
			return (int)i;
	}
	return -1;
}

static void make_grid(const struct painter *painter, struct grid *grid)
{
	const struct bsp_cells *square = &painter->picture->square;

	grid->side = painter->picture->side;
	grid->pixels = SQUARE / (int)grid->side;
	grid->colours = g_new(uint32_t, square->n);
	grid->marks = g_new(int, square->n);
	for (unsigned i = 0; i < square->n; i++) {
		unsigned x, y;

		bsp_hilbert(grid->side, i, &x, &y);
		grid->colours[y * grid->side + x] =
			colour_of(bsp_cells_shade(square, i));
		grid->marks[y * grid->side + x] =
			mark_at(painter, square->bounds[i]);
	}
}

static void free_grid(struct grid *grid)
{
	g_free(grid->colours);
	g_free(grid->marks);
}

/* Paints the cells of one colour, with one box for those in a row. */
static void paint_grid_colour(const struct painter *painter,
			      const struct grid *grid, int top, uint32_t colour)
{
	for (unsigned y = 0; y < grid->side; y++) {
		const uint32_t *row = grid->colours + (size_t)y * grid->side;
		unsigned end;

		for (unsigned x = 0; x < grid->side; x = end + 1) {
			for (end = x; end < grid->side; end++) {
				if (row[end] != colour)
					break;
			}
			if (end > x)
				add_box(painter, MARGIN + (int)x * grid->pixels,
					top + (int)y * grid->pixels,
					(int)(end - x) * grid->pixels,
					grid->pixels);
		}
	}
	fill_boxes(painter, colour);
}

/* Adds lines between cells of different marks, those in a row as one: between
 * rows, or, if across, between columns. */
static void add_borders(const struct painter *painter, const struct grid *grid,
			int top, bool across)
{
	unsigned side = grid->side;
	unsigned next = across ? side : 1, other = across ? 1 : side;

	for (unsigned line = 1; line < side; line++) {
		const int *marks = grid->marks + (ptrdiff_t)line * other;
		unsigned end;

		for (unsigned i = 0; i < side; i = end + 1) {
			int at = (int)line * grid->pixels;
			int from = (int)i * grid->pixels, len;

			for (end = i; end < side; end++) {
				const int *here = marks + (ptrdiff_t)end * next;

				if (*here == *(here - other))
					break;
			}
			len = (int)(end - i) * grid->pixels;
			if (len == 0)
				continue;
			if (across)
				add_box(painter, MARGIN + at, top + from, 0,
					len);
			else
				add_box(painter, MARGIN + from, top + at, len,
					0);
		}
	}
}

static void paint_borders(const struct painter *painter,
			  const struct grid *grid, int top)
{
	struct bsp_canvas *canvas = painter->canvas;
	const struct bsp_box *lines;

	add_borders(painter, grid, top, false);
	add_borders(painter, grid, top, true);
	lines = (const struct bsp_box *)painter->boxes->data;
	if (painter->boxes->len) {
		/* White below it makes a dark line visible on dark data. */
		canvas->lines(canvas, WHITE, 4, lines, painter->boxes->len);
		canvas->lines(canvas, INK, 1.5, lines, painter->boxes->len);
	}
	g_array_set_size(painter->boxes, 0);
}

/* Finds the cell of a mark that is nearest to the middle of its cells. Returns
 * the number of cells. */
static unsigned middle_of(const struct grid *grid, int mark, unsigned *ret_x,
			  unsigned *ret_y)
{
	unsigned n = 0, cells = grid->side * grid->side;
	double x = 0, y = 0, best = 0;

	for (unsigned i = 0; i < cells; i++) {
		if (grid->marks[i] != mark)
			continue;
		x += i % grid->side;
		y += (unsigned)(i / grid->side);
		n++;
	}
	for (unsigned i = 0; i < cells; i++) {
		double right = i % grid->side - x / n;
		double down = (unsigned)(i / grid->side) - y / n;
		double distance = right * right + down * down;

		if (grid->marks[i] != mark || (best > 0 && distance >= best))
			continue;
		best = MAX(distance, 1e-9);
		*ret_x = i % grid->side;
		*ret_y = i / grid->side;
	}
	return n;
}

static void paint_tag(const struct painter *painter, const struct grid *grid,
		      int top, int mark)
{
	const char *name = painter->drawing->marks[mark].name;
	int width = (int)strlen(name) * 8 + 8, left, y;
	unsigned column = 0, row = 0;
	unsigned n = middle_of(grid, mark, &column, &row);

	/* A tag must not hide what it names. */
	if ((int)n * grid->pixels * grid->pixels < 900)
		return;
	left = (int)column * grid->pixels + grid->pixels / 2 - width / 2;
	left = MARGIN + CLAMP(left, 2, SQUARE - width - 2);
	y = (int)row * grid->pixels + grid->pixels / 2 - 8;
	y = top + CLAMP(y, 2, SQUARE - 18);
	fill(painter, WHITE, left, y, width, 16);
	frame(painter, INK, left, y, width, 16);
	write_bold(painter, left + width / 2, y + 12, 11, BSP_ANCHOR_MIDDLE,
		   name);
}

static void paint_square(const struct painter *painter, int top)
{
	uint32_t colours[BSP_LEVELS + 1];
	unsigned n = all_colours(colours);
	struct grid grid;

	make_grid(painter, &grid);
	for (unsigned i = 0; i < n; i++)
		paint_grid_colour(painter, &grid, top, colours[i]);
	paint_borders(painter, &grid, top);
	frame(painter, FRAME, MARGIN, top, SQUARE, SQUARE);
	if (painter->drawing->n_marks > 1) {
		for (unsigned i = 0; i < painter->drawing->n_marks; i++)
			paint_tag(painter, &grid, top, (int)i);
	}
	free_grid(&grid);
}

/* --- The legend --- */

/* Writes a line with three columns of numbers. */
static void write_total(const struct painter *painter, int y, const char *name,
			const char *size, const char *share,
			const char *extents)
{
	write_text(painter, LEGEND + 24, y, 13, BSP_ANCHOR_START, INK, name);
	write_text(painter, LEGEND + 150, y, 13, BSP_ANCHOR_END, INK, size);
	write_text(painter, LEGEND + 205, y, 13, BSP_ANCHOR_END, INK, share);
	write_text(painter, LEGEND_END, y, 13, BSP_ANCHOR_END, GREY, extents);
}

static int paint_total(const struct painter *painter, int y,
		       enum bsp_extent_type type)
{
	const struct bsp_report_output *out = painter->out;
	unsigned tenths = bsp_report_share(out->bytes[type], out->report->size);
	const struct bsp_shade full = {
		type == BSP_EXTENT_HOLE ? BSP_LEVEL_NONE : BSP_LEVEL_FULL, type
	};
	g_autofree char *share =
		g_strdup_printf("%u.%u%%", tenths / 10, tenths % 10);
	g_autofree char *extents = g_strdup_printf(
		"%" G_GUINT64_FORMAT " extent%s", out->extents[type],
		out->extents[type] == 1 ? "" : "s");
	char size[BSP_SIZE_TEXT_LEN];

	fill(painter, colour_of(full), LEGEND, y - 12, 14, 14);
	frame(painter, FRAME, LEGEND, y - 12, 14, 14);
	write_total(painter, y, bsp_report_type_name(painter->out, type),
		    bsp_report_size_text(out->bytes[type], size), share,
		    extents);
	return y + LINE;
}

static int paint_totals(const struct painter *painter, int y)
{
	char size[BSP_SIZE_TEXT_LEN];

	for (int i = 0; i < BSP_EXTENT_TYPES; i++) {
		if (bsp_report_tells(painter->out, (enum bsp_extent_type)i))
			y = paint_total(painter, y, (enum bsp_extent_type)i);
	}
	write_total(painter, y, "total",
		    bsp_report_size_text(painter->out->report->size, size), "",
		    "");
	return y + LINE;
}

/* The shades of cells, between their two ends. */
static int paint_shades(const struct painter *painter, int y)
{
	enum { WIDTH = 24, ALL = WIDTH * BSP_LEVELS };
	g_autofree char *meaning = g_strdup_printf(
		"%s in a cell",
		bsp_report_type_name(painter->out, BSP_EXTENT_DATA));

	y += 10;
	for (int i = 0; i < BSP_LEVELS; i++)
		fill(painter, data_colours[i], LEGEND + i * WIDTH, y - 12,
		     WIDTH, 14);
	frame(painter, FRAME, LEGEND, y - 12, ALL, 14);
	write_text(painter, LEGEND + ALL + 10, y, 11, BSP_ANCHOR_START, GREY,
		   meaning);
	write_text(painter, LEGEND, y + 17, 11, BSP_ANCHOR_START, GREY, "none");
	write_text(painter, LEGEND + ALL / 2, y + 17, 11, BSP_ANCHOR_MIDDLE,
		   GREY, "half");
	write_text(painter, LEGEND + ALL, y + 17, 11, BSP_ANCHOR_END, GREY,
		   "all");
	return y + LINE + 26;
}

/* The curve through a square of 8 by 8 cells. */
static void paint_curve(const struct painter *painter, int left, int top)
{
	enum { SIDE = 8, STEP = 10 };

	for (unsigned i = 0; i + 1 < SIDE * SIDE; i++) {
		unsigned x, y, next_x, next_y;

		bsp_hilbert(SIDE, i, &x, &y);
		bsp_hilbert(SIDE, i + 1, &next_x, &next_y);
		add_box(painter, left + STEP / 2 + (int)x * STEP,
			top + STEP / 2 + (int)y * STEP,
			((int)next_x - (int)x) * STEP,
			((int)next_y - (int)y) * STEP);
	}
	painter->canvas->lines(painter->canvas, GREY, 1.5,
			       (struct bsp_box *)painter->boxes->data,
			       painter->boxes->len);
	g_array_set_size(painter->boxes, 0);
	fill(painter, INK, left + STEP / 2 - 3, top + STEP / 2 - 3, 6, 6);
	frame(painter, FRAME, left, top, SIDE * STEP, SIDE * STEP);
}

/* How the square is to be read. The quarters of the curve have the offsets at
 * which they begin. */
static int paint_curve_key(const struct painter *painter, int y)
{
	enum { SIDE = 80, LEFT = LEGEND + 74, RIGHT = LEFT + SIDE };
	const struct bsp_picture *picture = painter->picture;
	uint64_t size = painter->out->report->size;
	uint64_t cells = (uint64_t)picture->side * picture->side;
	char text[BSP_SIZE_TEXT_LEN];
	g_autofree char *cell = g_strdup_printf(
		"a cell: %s", bsp_report_size_text(size / cells, text));

	paint_curve(painter, LEFT, y);
	write_text(painter, LEFT - 8, y + 12, 11, BSP_ANCHOR_END, GREY, "0");
	write_text(painter, LEFT - 8, y + SIDE - 4, 11, BSP_ANCHOR_END, GREY,
		   bsp_report_size_text(size / 4, text));
	write_text(painter, RIGHT + 8, y + SIDE - 4, 11, BSP_ANCHOR_START, GREY,
		   bsp_report_size_text(size / 2, text));
	write_text(painter, RIGHT + 8, y + 12, 11, BSP_ANCHOR_START, GREY,
		   bsp_report_size_text(size - size / 4, text));
	write_text(painter, RIGHT + 92, y + 12, 11, BSP_ANCHOR_START, GREY,
		   "the square");
	write_text(painter, RIGHT + 92, y + 28, 11, BSP_ANCHOR_START, GREY,
		   "follows this");
	write_text(painter, RIGHT + 92, y + 44, 11, BSP_ANCHOR_START, GREY,
		   "curve");
	write_text(painter, RIGHT + 92, y + SIDE - 4, 11, BSP_ANCHOR_START,
		   GREY, cell);
	return y + SIDE + 40;
}

static void paint_mark(const struct painter *painter, int y, unsigned i)
{
	const struct bsp_mark *mark = &painter->drawing->marks[i];
	const struct bsp_cells *marks = &painter->picture->marks;
	uint64_t len =
		marks->bounds[(size_t)i * 2 + 1] - marks->bounds[(size_t)i * 2];
	unsigned tenths = bsp_report_share(
		marks->bytes[(size_t)i * 2][BSP_EXTENT_DATA], len);
	g_autofree char *text = fitting(mark->text ? mark->text : "", 190, 12);
	g_autofree char *share =
		g_strdup_printf("%u.%u%%", tenths / 10, tenths % 10);
	char size[BSP_SIZE_TEXT_LEN];

	write_bold(painter, LEGEND, y, 12, BSP_ANCHOR_START, mark->name);
	write_text(painter, LEGEND + 28, y, 12, BSP_ANCHOR_START, INK, text);
	write_text(painter, LEGEND_END - 62, y, 12, BSP_ANCHOR_END, INK,
		   bsp_report_size_text(len, size));
	write_text(painter, LEGEND_END, y, 12, BSP_ANCHOR_END, INK, share);
}

static void paint_marks(const struct painter *painter, int y, int bottom)
{
	unsigned n = (unsigned)painter->drawing->n_marks;
	unsigned room = (unsigned)(bottom - y) / 20;
	g_autofree char *more = NULL;

	if (n == 0)
		return;
	write_text(painter, LEGEND_END - 62, y, 11, BSP_ANCHOR_END, GREY,
		   "size");
	write_text(painter, LEGEND_END, y, 11, BSP_ANCHOR_END, GREY,
		   bsp_report_type_name(painter->out, BSP_EXTENT_DATA));
	write_bold(painter, LEGEND, y, 12, BSP_ANCHOR_START,
		   n == 1 ? "Content" : "Partitions");
	if (n > room)
		more = g_strdup_printf("and %u more", n - (room - 1));
	for (unsigned i = 0; i < (more ? room - 1 : n); i++)
		paint_mark(painter, y + 20 * ((int)i + 1), i);
	if (more)
		write_text(painter, LEGEND + 28, y + 20 * (int)room, 12,
			   BSP_ANCHOR_START, GREY, more);
}

/* --- All --- */

int bsp_picture_height(const struct bsp_report_output *out)
{
	return scale_top(out) + SCALE_HEIGHT + SQUARE + MARGIN;
}

static void paint_title(const struct painter *painter)
{
	const struct bsp_report_output *out = painter->out;
	g_autofree char *title = bsp_report_title(out->report, false);
	g_autofree char *path = fitting(title, STRIP_WIDTH, 20);
	g_autofree char *line = NULL;
	uint64_t extents = 0;
	char size[BSP_SIZE_TEXT_LEN];

	for (int type = 0; type < BSP_EXTENT_TYPES; type++)
		extents += out->extents[type];
	line = g_strdup_printf("%s, %" G_GUINT64_FORMAT " extent%s",
			       bsp_report_size_text(out->report->size, size),
			       extents, extents == 1 ? "" : "s");
	write_bold(painter, MARGIN, 46, 20, BSP_ANCHOR_START, path);
	write_text(painter, MARGIN, 68, 13, BSP_ANCHOR_START, GREY, line);
}

void bsp_picture_draw(const struct bsp_picture *picture,
		      const struct bsp_report_output *out,
		      struct bsp_canvas *canvas)
{
	const struct painter painter = {
		.picture = picture,
		.out = out,
		.drawing = bsp_report_drawing(out->report),
		.canvas = canvas,
		.boxes = g_array_new(false, false, sizeof(struct bsp_box)),
	};
	int height = bsp_picture_height(out);
	int top = scale_top(out) + SCALE_HEIGHT, y = top + 14;

	fill(&painter, WHITE, 0, 0, BSP_PICTURE_WIDTH, height);
	frame(&painter, EDGE, 1, 1, BSP_PICTURE_WIDTH - 2, height - 2);
	paint_title(&painter);
	paint_strip(&painter);
	if (out->report->size) {
		paint_strip_marks(&painter);
		paint_scale(&painter);
	}
	paint_square(&painter, top);
	y = paint_totals(&painter, y);
	if (out->report->size) {
		y = paint_shades(&painter, y);
		y = paint_curve_key(&painter, y);
		paint_marks(&painter, y, top + SQUARE);
	}
	g_array_unref(painter.boxes);
}
