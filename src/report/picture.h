/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A picture for a screen or paper: the object as a strip with a scale, and as a
 * square that follows the Hilbert curve; beside it a legend with the totals and
 * the marks. A format is this and a canvas.
 */
#ifndef BSP_REPORT_PICTURE_H
#define BSP_REPORT_PICTURE_H

#include "report/canvas.h"
#include "report/cells.h"

enum { BSP_PICTURE_WIDTH = 960 }; /* pixels */

struct bsp_picture {
	unsigned side;		/* of the square, cells */
	struct bsp_cells strip; /* from left to right */
	struct bsp_cells square;
	struct bsp_cells marks;
};

void bsp_picture_init(struct bsp_picture *picture,
		      const struct bsp_report_output *out);
void bsp_picture_clear(struct bsp_picture *picture);

/* Counts the next extent. */
void bsp_picture_add(struct bsp_picture *picture,
		     const struct bsp_extent *extent);

/* In pixels, all that is drawn. */
int bsp_picture_height(const struct bsp_report_output *out);

/* Draws all, when the totals of out are complete. */
void bsp_picture_draw(const struct bsp_picture *picture,
		      const struct bsp_report_output *out,
		      struct bsp_canvas *canvas);

#endif
