/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A picture as a PNG file, drawn by cairo with twice as many pixels as the SVG
 * has, for screens on which these are small.
 *
 * cairo is loaded when a program asks for such a picture, and not linked: it
 * needs twenty libraries more, those of X among them. With them each start of a
 * program would take twice the time, and blksparsefs, which runs as root, would
 * have them all in its memory. Only the headers are needed to build this file;
 * without them nopng.c takes its place.
 */
#include "report/report.h"

#include <cairo.h>
#include <dlfcn.h>
#include <errno.h>

#include "base/error.h"
#include "report/picture.h"

enum { SCALE = 2 };

/* --- cairo --- */

#define LIBRARY "libcairo.so.2"

/* The functions of cairo that are called. */
#define FUNCTIONS(F)                                                           \
	F(image_surface_create)                                                \
	F(surface_destroy)                                                     \
	F(surface_write_to_png_stream)                                         \
	F(create)                                                              \
	F(destroy)                                                             \
	F(status)                                                              \
	F(scale)                                                               \
	F(set_antialias)                                                       \
	F(set_source_rgb)                                                      \
	F(rectangle)                                                           \
	F(fill)                                                                \
	F(move_to)                                                             \
	F(rel_line_to)                                                         \
	F(set_line_cap)                                                        \
	F(set_line_width)                                                      \
	F(stroke)                                                              \
	F(select_font_face)                                                    \
	F(set_font_size)                                                       \
	F(text_extents)                                                        \
	F(show_text)

/* NOLINTNEXTLINE(bugprone-macro-parentheses): a declaration */
#define DECLARE(name) __typeof__(cairo_##name) *name;
#define NAME(name) "cairo_" #name,

static struct {
	FUNCTIONS(DECLARE)
} cairo;

static const char *const names[] = { FUNCTIONS(NAME) };

static bool load_functions(void *library, GError **error)
{
	/* Each member is a pointer to a function. */
	void **functions = (void **)&cairo;

	G_STATIC_ASSERT(sizeof(cairo) == sizeof(names));
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		functions[i] = dlsym(library, names[i]);
		if (!functions[i])
			return bsp_error_set(error, BSP_ERROR_FAILED,
					     "%s is too old for png: it has no "
					     "%s()",
					     LIBRARY, names[i]);
	}
	return true;
}

static bool png_load(GError **error)
{
	static void *library;

	if (library)
		return true;
	library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return bsp_error_set(error, BSP_ERROR_FAILED,
				     "png needs cairo, which cannot be loaded "
				     "(%s); svg does not",
				     LIBRARY);
	return load_functions(library, error);
}

/* --- Drawing --- */

struct png {
	struct bsp_canvas canvas; /* must be first */
	struct bsp_picture picture;
	cairo_surface_t *surface;
	cairo_t *cr;
};

static cairo_t *cr_of(struct bsp_canvas *canvas)
{
	return ((struct png *)canvas)->cr;
}

static void set_colour(cairo_t *cr, uint32_t colour)
{
	cairo.set_source_rgb(cr, (colour >> 16) / 255.0,
			     (colour >> 8 & 255) / 255.0,
			     (colour & 255) / 255.0);
}

static void png_fill(struct bsp_canvas *canvas, uint32_t colour,
		     const struct bsp_box *boxes, unsigned n)
{
	cairo_t *cr = cr_of(canvas);

	set_colour(cr, colour);
	cairo.set_antialias(cr, CAIRO_ANTIALIAS_NONE);
	for (unsigned i = 0; i < n; i++)
		cairo.rectangle(cr, boxes[i].x, boxes[i].y, boxes[i].width,
				boxes[i].height);
	cairo.fill(cr);
}

static void png_lines(struct bsp_canvas *canvas, uint32_t colour, double thick,
		      const struct bsp_box *lines, unsigned n)
{
	cairo_t *cr = cr_of(canvas);

	set_colour(cr, colour);
	cairo.set_antialias(cr, CAIRO_ANTIALIAS_NONE);
	cairo.set_line_width(cr, thick);
	cairo.set_line_cap(cr, CAIRO_LINE_CAP_SQUARE);
	for (unsigned i = 0; i < n; i++) {
		cairo.move_to(cr, lines[i].x, lines[i].y);
		cairo.rel_line_to(cr, lines[i].width, lines[i].height);
	}
	cairo.stroke(cr);
}

static void png_text(struct bsp_canvas *canvas, int x, int y, int size,
		     enum bsp_anchor anchor, bool bold, uint32_t colour,
		     const char *text)
{
	cairo_t *cr = cr_of(canvas);
	cairo_text_extents_t extents;
	double left = x;

	set_colour(cr, colour);
	cairo.set_antialias(cr, CAIRO_ANTIALIAS_DEFAULT);
	cairo.select_font_face(cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
			       bold ? CAIRO_FONT_WEIGHT_BOLD
				    : CAIRO_FONT_WEIGHT_NORMAL);
	cairo.set_font_size(cr, size);
	cairo.text_extents(cr, text, &extents);
	if (anchor == BSP_ANCHOR_MIDDLE)
		left -= extents.x_advance / 2;
	else if (anchor == BSP_ANCHOR_END)
		left -= extents.x_advance;
	cairo.move_to(cr, left, y);
	cairo.show_text(cr, text);
}

/* --- The format --- */

static int png_begin(struct bsp_report_output *out)
{
	struct png *png;

	if (!png_load(NULL))
		return -EOPNOTSUPP;
	png = g_new0(struct png, 1);
	png->canvas = (struct bsp_canvas){ png_fill, png_lines, png_text };
	bsp_picture_init(&png->picture, out);
	out->state = png;
	return 0;
}

static int png_extent(struct bsp_report_output *out,
		      const struct bsp_extent *extent)
{
	bsp_picture_add(&((struct png *)out->state)->picture, extent);
	return 0;
}

struct stream {
	struct bsp_report_output *out;
	int error; /* -errno of the first write that failed */
};

static cairo_status_t write_stream(void *closure, const unsigned char *data,
				   unsigned int length)
{
	struct stream *stream = closure;

	stream->error = stream->out->write(stream->out->data, data, length);
	return stream->error < 0 ? CAIRO_STATUS_WRITE_ERROR
				 : CAIRO_STATUS_SUCCESS;
}

static int png_end(struct bsp_report_output *out)
{
	struct png *png = out->state;
	struct stream stream = { .out = out };
	cairo_status_t status;

	png->surface = cairo.image_surface_create(
		CAIRO_FORMAT_RGB24, BSP_PICTURE_WIDTH * SCALE,
		bsp_picture_height(out) * SCALE);
	png->cr = cairo.create(png->surface);
	cairo.scale(png->cr, SCALE, SCALE);
	bsp_picture_draw(&png->picture, out, &png->canvas);
	if (cairo.status(png->cr) != CAIRO_STATUS_SUCCESS)
		return -ENOMEM;
	status = cairo.surface_write_to_png_stream(png->surface, write_stream,
						   &stream);
	if (stream.error < 0)
		return stream.error;
	return status == CAIRO_STATUS_SUCCESS ? 0 : -ENOMEM;
}

static void png_done(struct bsp_report_output *out)
{
	struct png *png = out->state;

	if (!png)
		return;
	if (png->cr)
		cairo.destroy(png->cr);
	if (png->surface)
		cairo.surface_destroy(png->surface);
	bsp_picture_clear(&png->picture);
	g_free(png);
}

const struct bsp_report_format bsp_report_png = {
	.name = "png",
	.granule = 1,
	.tells_unknown = true,
	.load = png_load,
	.begin = png_begin,
	.extent = png_extent,
	.end = png_end,
	.done = png_done,
};
