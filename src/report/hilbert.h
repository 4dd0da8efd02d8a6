/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The Hilbert curve: a line through all cells of a square, such that cells that
 * are near each other on the line are near each other in the square. It begins
 * in the upper left corner and ends in the upper right one; its quarters are
 * the quarters of the square at the upper left, lower left, lower right and
 * upper right.
 */
#ifndef BSP_REPORT_HILBERT_H
#define BSP_REPORT_HILBERT_H

/* Finds cell i of a square of side cells, a power of two: the column *ret_x and
 * the row *ret_y. */
static inline void bsp_hilbert(unsigned side, unsigned i, unsigned *ret_x,
			       unsigned *ret_y)
{
	unsigned x = 0, y = 0;

	for (unsigned s = 1; s < side; s *= 2) {
		unsigned right = i / 2 & 1, down = (i ^ right) & 1;
		unsigned swap;

		if (down == 0) {
			if (right == 1) {
				x = s - 1 - x;
				y = s - 1 - y;
			}
			swap = x;
			x = y;
			y = swap;
		}
		x += s * right;
		y += s * down;
		i /= 4;
	}
	*ret_x = x;
	*ret_y = y;
}

#endif
