/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cells: a fixed number of parts of an object, each with the number of its
 * bytes of each type. A picture of any number of extents is made of them, so
 * that it takes no more memory than a picture of one.
 */
#ifndef BSP_REPORT_CELLS_H
#define BSP_REPORT_CELLS_H

#include "report/report.h"

struct bsp_cells {
	unsigned n;
	unsigned at;	  /* where the last extent ended */
	uint64_t *bounds; /* n + 1: cell i is [bounds[i], bounds[i + 1]) */
	uint64_t (*bytes)[BSP_EXTENT_TYPES];
};

/* Divides [0, size) into n cells of the same size, give or take a byte. If
 * size is less than n, some are empty. */
void bsp_cells_init(struct bsp_cells *cells, uint64_t size, unsigned n);

/* Divides [0, size) into n cells of step bytes. The last ones have less bytes
 * or none, if size is not n * step. */
void bsp_cells_init_steps(struct bsp_cells *cells, uint64_t size, uint64_t step,
			  unsigned n);

/* Makes cell 2 * i of each mark i, and the others of the gaps after them. A
 * mark is cut where the one before it or the object of this size ends. */
void bsp_cells_init_marks(struct bsp_cells *cells, const struct bsp_mark *marks,
			  uint64_t n_marks, uint64_t size);

void bsp_cells_clear(struct bsp_cells *cells);

/* Counts an extent. Extents come in order. */
void bsp_cells_add(struct bsp_cells *cells, const struct bsp_extent *extent);

/* How a cell is drawn. The first and the last level are exact: not a byte of a
 * cell of BSP_LEVEL_NONE is used, and each byte of one of BSP_LEVEL_FULL. The
 * levels between them are sixths. */
enum {
	BSP_LEVEL_NONE = 0,
	BSP_LEVEL_FULL = 7,
	BSP_LEVELS = BSP_LEVEL_FULL + 1,
	BSP_LEVEL_EMPTY = BSP_LEVELS, /* there is no byte */
};

struct bsp_shade {
	unsigned level; /* of all that is no hole */
	enum bsp_extent_type
		type; /* unknown if any byte is, or data, or hole */
};

struct bsp_shade bsp_cells_shade(const struct bsp_cells *cells, unsigned i);

#endif
