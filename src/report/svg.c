/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A picture as an SVG file: text all through, with one path for all cells of a
 * colour, so that a picture has at most some 100 KiB.
 */
#include "report/report.h"

#include "report/picture.h"

struct svg {
	struct bsp_canvas canvas; /* must be first */
	struct bsp_picture picture;
	GString *text;
};

static void svg_fill(struct bsp_canvas *canvas, uint32_t colour,
		     const struct bsp_box *boxes, unsigned n)
{
	GString *text = ((struct svg *)canvas)->text;

	g_string_append_printf(text, "<path fill=\"#%06x\" d=\"", colour);
	for (unsigned i = 0; i < n; i++)
		g_string_append_printf(text, "M%d %dh%dv%dh-%dz", boxes[i].x,
				       boxes[i].y, boxes[i].width,
				       boxes[i].height, boxes[i].width);
	g_string_append(text, "\"/>\n");
}

static void svg_lines(struct bsp_canvas *canvas, uint32_t colour, double thick,
		      const struct bsp_box *lines, unsigned n)
{
	GString *text = ((struct svg *)canvas)->text;
	unsigned tenths = (unsigned)(thick * 10);

	g_string_append_printf(
		text,
		"<path fill=\"none\" stroke=\"#%06x\" "
		"stroke-width=\"%u.%u\" stroke-linecap=\"square\""
		" d=\"",
		colour, tenths / 10, tenths % 10);
	for (unsigned i = 0; i < n; i++)
		g_string_append_printf(text, "M%d %dl%d %d", lines[i].x,
				       lines[i].y, lines[i].width,
				       lines[i].height);
	g_string_append(text, "\"/>\n");
}

static void svg_text(struct bsp_canvas *canvas, int x, int y, int size,
		     enum bsp_anchor anchor, bool bold, uint32_t colour,
		     const char *text)
{
	static const char *const anchors[] = {
		[BSP_ANCHOR_START] = "start",
		[BSP_ANCHOR_MIDDLE] = "middle",
		[BSP_ANCHOR_END] = "end",
	};
	g_autofree char *escaped = g_markup_escape_text(text, -1);

	g_string_append_printf(
		((struct svg *)canvas)->text,
		"<text x=\"%d\" y=\"%d\" font-size=\"%d\" "
		"text-anchor=\"%s\"%s fill=\"#%06x\">%s</text>\n",
		x, y, size, anchors[anchor],
		bold ? " font-weight=\"bold\"" : "", colour, escaped);
}

static int svg_begin(struct bsp_report_output *out)
{
	struct svg *svg = g_new0(struct svg, 1);

	svg->canvas = (struct bsp_canvas){ svg_fill, svg_lines, svg_text };
	svg->text = g_string_new(NULL);
	bsp_picture_init(&svg->picture, out);
	out->state = svg;
	return 0;
}

static int svg_extent(struct bsp_report_output *out,
		      const struct bsp_extent *extent)
{
	bsp_picture_add(&((struct svg *)out->state)->picture, extent);
	return 0;
}

static int svg_end(struct bsp_report_output *out)
{
	struct svg *svg = out->state;
	g_autofree char *path = bsp_report_title(out->report, false);
	g_autofree char *title = g_markup_escape_text(path, -1);
	int height = bsp_picture_height(out);

	g_string_append_printf(
		svg->text,
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		"<!-- Drawn by blksparse map. -->\n"
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" "
		"height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\">\n"
		"<title>Map of %s</title>\n"
		"<g shape-rendering=\"crispEdges\" font-family=\"'DejaVu Sans',"
		" Verdana, Arial, sans-serif\">\n",
		BSP_PICTURE_WIDTH, height, BSP_PICTURE_WIDTH, height, title);
	bsp_picture_draw(&svg->picture, out, &svg->canvas);
	g_string_append(svg->text, "</g>\n</svg>\n");
	return bsp_report_puts(out, svg->text->str);
}

static void svg_done(struct bsp_report_output *out)
{
	struct svg *svg = out->state;

	bsp_picture_clear(&svg->picture);
	g_string_free(svg->text, true);
	g_free(svg);
}

const struct bsp_report_format bsp_report_svg = {
	.name = "svg",
	.granule = 1,
	.tells_unknown = true,
	.begin = svg_begin,
	.extent = svg_extent,
	.end = svg_end,
	.done = svg_done,
};
