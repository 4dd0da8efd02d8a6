/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "report/cells.h"

#include "base/range.h"

static void allocate(struct bsp_cells *cells, unsigned n)
{
	cells->n = n;
	cells->at = 0;
	cells->bounds = g_new0(uint64_t, n + 1);
	cells->bytes = g_malloc0_n(n, sizeof(*cells->bytes));
}

/* part * i / n without overflow; i and n are numbers of cells. */
static uint64_t fraction(uint64_t part, unsigned i, unsigned n)
{
	return part / n * i + part % n * i / n;
}

void bsp_cells_init(struct bsp_cells *cells, uint64_t size, unsigned n)
{
	allocate(cells, n);
	for (unsigned i = 0; i <= n; i++)
		cells->bounds[i] = fraction(size, i, n);
}

void bsp_cells_init_steps(struct bsp_cells *cells, uint64_t size, uint64_t step,
			  unsigned n)
{
	allocate(cells, n);
	for (unsigned i = 1; i <= n; i++)
		cells->bounds[i] = step > size / i ? size : step * i;
}

void bsp_cells_init_marks(struct bsp_cells *cells, const struct bsp_mark *marks,
			  uint64_t n_marks, uint64_t size)
{
	uint64_t last = 0;

	allocate(cells, (unsigned)n_marks * 2);
	for (uint64_t i = 0; i < n_marks; i++) {
		uint64_t end = bsp_add_sat(marks[i].off, marks[i].len);

		cells->bounds[i * 2] = MAX(last, bsp_min(marks[i].off, size));
		last = MAX(cells->bounds[i * 2], bsp_min(end, size));
		cells->bounds[i * 2 + 1] = last;
	}
	cells->bounds[n_marks * 2] = MAX(last, size);
}

void bsp_cells_clear(struct bsp_cells *cells)
{
	g_clear_pointer(&cells->bounds, g_free);
	g_clear_pointer(&cells->bytes, g_free);
}

void bsp_cells_add(struct bsp_cells *cells, const struct bsp_extent *extent)
{
	uint64_t end = bsp_add_sat(extent->off, extent->len);
	unsigned i = cells->at;

	while (i < cells->n && cells->bounds[i] < end) {
		uint64_t from = MAX(extent->off, cells->bounds[i]);
		uint64_t to = bsp_min(end, cells->bounds[i + 1]);

		if (to > from)
			cells->bytes[i][extent->type] += to - from;
		if (cells->bounds[i + 1] > end)
			break; /* the next extent begins in this cell */
		i++;
	}
	cells->at = i;
}

/* The level of a cell that is neither empty nor full. */
static unsigned level_of(uint64_t used, uint64_t total)
{
	enum { PARTS = BSP_LEVEL_FULL - 1 };
	unsigned level = 1;

	while (level < PARTS && used > fraction(total, level, PARTS))
		level++;
	return level;
}

struct bsp_shade bsp_cells_shade(const struct bsp_cells *cells, unsigned i)
{
	const uint64_t *bytes = cells->bytes[i];
	struct bsp_shade shade = { BSP_LEVEL_NONE, BSP_EXTENT_HOLE };
	uint64_t used = 0;

	for (unsigned type = 0; type < BSP_EXTENT_TYPES; type++) {
		if (type == BSP_EXTENT_HOLE || bytes[type] == 0)
			continue;
		used += bytes[type];
		/* The type that is known least counts most. */
		if (shade.type == BSP_EXTENT_HOLE || type > shade.type)
			shade.type = (enum bsp_extent_type)type;
	}
	if (used == 0)
		shade.level = bytes[BSP_EXTENT_HOLE] ? BSP_LEVEL_NONE
						     : BSP_LEVEL_EMPTY;
	else if (bytes[BSP_EXTENT_HOLE] == 0)
		shade.level = BSP_LEVEL_FULL;
	else
		shade.level = level_of(used, used + bytes[BSP_EXTENT_HOLE]);
	return shade;
}
