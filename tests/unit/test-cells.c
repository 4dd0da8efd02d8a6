/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cells count each byte of an extent in the cell that it lies in; their shades;
 * and the curve along which the cells of a square lie.
 */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "report/cells.h"
#include "report/hilbert.h"

#define DATA BSP_EXTENT_DATA
#define HOLE BSP_EXTENT_HOLE
#define UNKNOWN BSP_EXTENT_UNKNOWN

static void add(struct bsp_cells *cells, uint64_t off, uint64_t len,
		enum bsp_extent_type type)
{
	const struct bsp_extent extent = { off, len, type };

	bsp_cells_add(cells, &extent);
}

static void assert_cell(const struct bsp_cells *cells, unsigned i,
			uint64_t data, uint64_t hole, uint64_t unknown)
{
	assert_true(i < cells->n);
	assert_int_equal(cells->bytes[i][DATA], data);
	assert_int_equal(cells->bytes[i][HOLE], hole);
	assert_int_equal(cells->bytes[i][UNKNOWN], unknown);
}

static void extents_are_divided_at_the_edges(void **state)
{
	struct bsp_cells cells;

	bsp_cells_init(&cells, 40, 4);
	add(&cells, 0, 10, DATA);
	add(&cells, 10, 9, HOLE);
	add(&cells, 19, 2, DATA);
	add(&cells, 21, 1, UNKNOWN);
	add(&cells, 22, 18, HOLE);
	assert_cell(&cells, 0, 10, 0, 0);
	assert_cell(&cells, 1, 1, 9, 0);
	assert_cell(&cells, 2, 1, 8, 1);
	assert_cell(&cells, 3, 0, 10, 0);
	bsp_cells_clear(&cells);
}

static void an_extent_covers_many_cells(void **state)
{
	struct bsp_cells cells;

	bsp_cells_init(&cells, 1000, 100);
	add(&cells, 0, 5, HOLE);
	add(&cells, 5, 990, DATA);
	add(&cells, 995, 5, HOLE);
	assert_cell(&cells, 0, 5, 5, 0);
	for (unsigned i = 1; i < 99; i++)
		assert_cell(&cells, i, 10, 0, 0);
	assert_cell(&cells, 99, 5, 5, 0);
	bsp_cells_clear(&cells);
}

/* Against a count of each single byte. */
static void each_byte_is_counted_once(void **state)
{
	enum { SIZE = 2000 };
	enum bsp_extent_type truth[SIZE];

	srandom(1);
	for (unsigned n = 1; n < 3000; n = n * 3 / 2 + 1) {
		struct bsp_cells cells;

		bsp_cells_init(&cells, SIZE, n);
		for (unsigned off = 0; off < SIZE;) {
			unsigned len = 1 + (unsigned)random() % 60;
			enum bsp_extent_type type =
				(enum bsp_extent_type)(random() % 3);

			len = MIN(len, SIZE - off);
			add(&cells, off, len, type);
			for (unsigned i = off; i < off + len; i++)
				truth[i] = type;
			off += len;
		}
		assert_int_equal(cells.bounds[0], 0);
		assert_int_equal(cells.bounds[n], SIZE);
		for (unsigned i = 0; i < n; i++) {
			uint64_t bytes[BSP_EXTENT_TYPES] = { 0 };
			uint64_t from = cells.bounds[i];

			/* All have the same size, give or take a byte. */
			assert_int_in_range(cells.bounds[i + 1] - from,
					    SIZE / n, SIZE / n + 1);
			for (; from < cells.bounds[i + 1]; from++)
				bytes[truth[from]]++;
			assert_cell(&cells, i, bytes[DATA], bytes[HOLE],
				    bytes[UNKNOWN]);
		}
		bsp_cells_clear(&cells);
	}
}

static void the_last_cell_may_be_short(void **state)
{
	struct bsp_cells cells;

	bsp_cells_init_steps(&cells, 25, 10, 4);
	add(&cells, 0, 20, HOLE);
	add(&cells, 20, 5, DATA);
	assert_cell(&cells, 1, 0, 10, 0);
	assert_cell(&cells, 2, 5, 0, 0);
	assert_cell(&cells, 3, 0, 0, 0);
	assert_int_equal(bsp_cells_shade(&cells, 1).level, BSP_LEVEL_NONE);
	assert_int_equal(bsp_cells_shade(&cells, 2).level, BSP_LEVEL_FULL);
	assert_int_equal(bsp_cells_shade(&cells, 3).level, BSP_LEVEL_EMPTY);
	bsp_cells_clear(&cells);
}

static void the_largest_size_does_not_overflow(void **state)
{
	uint64_t sum = 0;
	struct bsp_cells cells;

	bsp_cells_init(&cells, UINT64_MAX, 16384);
	add(&cells, 0, UINT64_MAX, DATA);
	for (unsigned i = 0; i < cells.n; i++) {
		assert_true(cells.bytes[i][DATA] >= UINT64_MAX / 16384);
		sum += cells.bytes[i][DATA];
	}
	assert_int_equal(sum, UINT64_MAX);
	bsp_cells_clear(&cells);
	bsp_cells_init_steps(&cells, UINT64_MAX, UINT64_C(1) << 62, 5);
	add(&cells, 0, 1, HOLE);
	add(&cells, 1, UINT64_MAX - 1, DATA);
	assert_cell(&cells, 0, (UINT64_C(1) << 62) - 1, 1, 0);
	assert_cell(&cells, 3, (UINT64_C(1) << 62) - 1, 0, 0);
	assert_cell(&cells, 4, 0, 0, 0);
	bsp_cells_clear(&cells);
}

static void nothing_has_no_cells_with_bytes(void **state)
{
	struct bsp_cells cells;

	bsp_cells_init(&cells, 0, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(bsp_cells_shade(&cells, i).level,
				 BSP_LEVEL_EMPTY);
	bsp_cells_clear(&cells);
}

/* The level of a cell of 600 bytes with this much data. */
static unsigned level_of(uint64_t data)
{
	struct bsp_cells cells;
	unsigned level;

	bsp_cells_init(&cells, 600, 1);
	add(&cells, 0, data, DATA);
	add(&cells, data, 600 - data, HOLE);
	level = bsp_cells_shade(&cells, 0).level;
	bsp_cells_clear(&cells);
	return level;
}

static void the_first_and_last_level_are_exact(void **state)
{
	assert_int_equal(level_of(0), BSP_LEVEL_NONE);
	assert_int_equal(level_of(1), 1);
	assert_int_equal(level_of(599), BSP_LEVEL_FULL - 1);
	assert_int_equal(level_of(600), BSP_LEVEL_FULL);
	for (unsigned sixths = 1; sixths < 6; sixths++) {
		assert_int_equal(level_of(sixths * 100), sixths);
		assert_int_equal(level_of(sixths * 100 + 1), sixths + 1);
	}
}

static void one_unknown_byte_is_shown(void **state)
{
	struct bsp_cells cells;

	bsp_cells_init(&cells, 300, 3);
	add(&cells, 0, 99, DATA);
	add(&cells, 99, 1, UNKNOWN);
	add(&cells, 100, 1, UNKNOWN);
	add(&cells, 101, 100, HOLE);
	add(&cells, 201, 99, DATA);
	assert_int_equal(bsp_cells_shade(&cells, 0).type, UNKNOWN);
	assert_int_equal(bsp_cells_shade(&cells, 0).level, BSP_LEVEL_FULL);
	assert_int_equal(bsp_cells_shade(&cells, 1).type, UNKNOWN);
	assert_int_equal(bsp_cells_shade(&cells, 1).level, 1);
	assert_int_equal(bsp_cells_shade(&cells, 2).type, DATA);
	bsp_cells_clear(&cells);
}

static void marks_are_cut_where_they_overlap(void **state)
{
	static const struct bsp_mark marks[] = {
		{ .off = 10, .len = 20 },
		{ .off = 25, .len = 10 }, /* begins in the one before */
		{ .off = 12, .len = 5 },  /* is inside of it */
		{ .off = 80, .len = UINT64_MAX },
		{ .off = 200, .len = 1 }, /* is past the end */
	};
	static const uint64_t bounds[] = { 10, 30,  30,	 35,  35, 35,
					   80, 100, 100, 100, 100 };
	struct bsp_cells cells;

	bsp_cells_init_marks(&cells, marks, G_N_ELEMENTS(marks), 100);
	assert_int_equal(cells.n, 10);
	assert_memory_equal(cells.bounds, bounds, sizeof(bounds));
	add(&cells, 0, 12, DATA);
	add(&cells, 12, 20, HOLE);
	add(&cells, 32, 68, DATA);
	assert_cell(&cells, 0, 2, 18, 0);
	assert_cell(&cells, 2, 3, 2, 0);
	assert_cell(&cells, 4, 0, 0, 0);
	assert_cell(&cells, 5, 45, 0, 0);
	assert_cell(&cells, 6, 20, 0, 0);
	assert_cell(&cells, 8, 0, 0, 0);
	bsp_cells_clear(&cells);
}

static void the_curve_goes_through_all_cells(void **state)
{
	enum { SIDE = 128 };
	static bool seen[SIDE][SIDE];

	for (unsigned side = 1; side <= SIDE; side *= 2) {
		unsigned last_x = 0, last_y = 0, x = 0, y = 0;

		memset(seen, 0, sizeof(seen));
		for (unsigned i = 0; i < side * side; i++) {
			bsp_hilbert(side, i, &x, &y);
			assert_true(x < side && y < side && !seen[y][x]);
			seen[y][x] = true;
			/* Each step is to a neighbour; the first cell is the
			 * upper left one. */
			assert_int_equal(abs((int)x - (int)last_x) +
						 abs((int)y - (int)last_y),
					 i > 0);
			last_x = x;
			last_y = y;
		}
		assert_int_equal(x, side - 1);
		assert_int_equal(y, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(extents_are_divided_at_the_edges),
		cmocka_unit_test(an_extent_covers_many_cells),
		cmocka_unit_test(each_byte_is_counted_once),
		cmocka_unit_test(the_last_cell_may_be_short),
		cmocka_unit_test(the_largest_size_does_not_overflow),
		cmocka_unit_test(nothing_has_no_cells_with_bytes),
		cmocka_unit_test(the_first_and_last_level_are_exact),
		cmocka_unit_test(one_unknown_byte_is_shown),
		cmocka_unit_test(marks_are_cut_where_they_overlap),
		cmocka_unit_test(the_curve_goes_through_all_cells),
	};

	return cmocka_run_group_tests_name("cells", tests, NULL, NULL);
}
