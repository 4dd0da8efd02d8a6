/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A place to draw a picture on. picture.c draws; svg.c and png.c are canvases.
 * Coordinates are in pixels, from the upper left corner; those of boxes are
 * whole, so that neighbours touch without a seam.
 *
 * Functions return nothing: a canvas keeps its first error until the end.
 */
#ifndef BSP_REPORT_CANVAS_H
#define BSP_REPORT_CANVAS_H

#include <stdbool.h>
#include <stdint.h>

struct bsp_box {
	int x, y, width, height;
};

enum bsp_anchor {
	BSP_ANCHOR_START,
	BSP_ANCHOR_MIDDLE,
	BSP_ANCHOR_END,
};

struct bsp_canvas {
	/* Fills boxes, which do not overlap, with a colour, 0xRRGGBB. */
	void (*fill)(struct bsp_canvas *canvas, uint32_t colour,
		     const struct bsp_box *boxes, unsigned n);
	/* Draws n lines, each from x, y to x + width, y + height. */
	void (*lines)(struct bsp_canvas *canvas, uint32_t colour, double thick,
		      const struct bsp_box *lines, unsigned n);
	/* Writes a line of valid text with its baseline at y. */
	void (*text)(struct bsp_canvas *canvas, int x, int y, int size,
		     enum bsp_anchor anchor, bool bold, uint32_t colour,
		     const char *text);
};

#endif
