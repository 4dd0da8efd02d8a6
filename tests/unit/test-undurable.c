/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The record of zeros that are not durable, compared with plain arrays: random
 * operations change both, and after each one they must agree. Other tests have
 * the cases that need a certain order, or memory that fails.
 */
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sparse/undurable.h"

enum { SHIFT = 4, GRANULE = 1 << SHIFT, GRANULES = 40, LEAF = 16384 };
enum { BYTES = GRANULES * GRANULE };

/* The state of each byte or granule: written before the flush in progress
 * began, or since, or perhaps lost. */
enum { NONE, FLUSHING, WRITTEN, LOST };

struct model {
	struct bsp_undurable u;
	unsigned char bytes[BYTES];
	unsigned char granules[GRANULES];
	bool flushing;
	unsigned failed_flushes;
	unsigned seed;
};

static unsigned pick(struct model *m, unsigned below)
{
	return (unsigned)rand_r(&m->seed) % below;
}

static void replace(unsigned char *in, size_t n, unsigned char what,
		    unsigned char by)
{
	for (size_t i = 0; i < n; i++)
		if (in[i] == what)
			in[i] = by;
}

static void begin(struct model *m)
{
	bsp_undurable_begin_flush(&m->u);
	replace(m->bytes, BYTES, WRITTEN, FLUSHING);
	replace(m->granules, GRANULES, WRITTEN, FLUSHING);
	m->flushing = true;
}

/* As bsp_sparse_flush() does: after a failed flush no granule is left. */
static void end(struct model *m, bool failed)
{
	uint64_t from = 0, to = GRANULES;

	bsp_undurable_end_flush(&m->u, failed);
	m->flushing = false;
	if (!failed) {
		replace(m->bytes, BYTES, FLUSHING, NONE);
		replace(m->granules, GRANULES, FLUSHING, NONE);
		return;
	}
	m->failed_flushes++;
	replace(m->bytes, BYTES, FLUSHING, LOST);
	replace(m->bytes, BYTES, WRITTEN, LOST);
	while (bsp_undurable_next(&m->u, &from, &to)) {
		for (uint64_t i = from; i < to; i++)
			assert_int_not_equal(m->granules[i], NONE);
		bsp_undurable_remove(&m->u, from, to);
		memset(m->granules + from, NONE, to - from);
		from = to;
		to = GRANULES;
	}
	for (size_t i = 0; i < GRANULES; i++)
		assert_int_equal(m->granules[i], NONE);
	bsp_undurable_markers_made(&m->u);
}

/* Zeroes the lost pieces again, but for some. */
static void restore(struct model *m)
{
	uint64_t at = 0, from, to;

	while (bsp_undurable_lost_piece(&m->u, at, &from, &to)) {
		for (uint64_t i = from; i < to; i++)
			assert_int_equal(m->bytes[i], LOST);
		if (pick(m, 4)) {
			bsp_undurable_zeroed(&m->u, from, to,
					     m->failed_flushes);
			memset(m->bytes + from, WRITTEN, to - from);
		}
		at = to;
	}
	bsp_undurable_recheck_lost(&m->u);
}

static void step(struct model *m)
{
	uint64_t granule = pick(m, GRANULES);
	uint64_t from = pick(m, GRANULE), to = from + 1 + pick(m, GRANULE);
	uint64_t end_of = granule + 1 + pick(m, (unsigned)(GRANULES - granule));
	unsigned late;

	to = to > GRANULE ? GRANULE : to;
	switch (pick(m, 8)) {
	case 0:
	case 1:
	case 2:
		from += granule * GRANULE;
		to += granule * GRANULE;
		late = m->failed_flushes && pick(m, 8) == 0;
		bsp_undurable_zeroed(&m->u, from, to, m->failed_flushes - late);
		memset(m->bytes + from, late ? LOST : WRITTEN, to - from);
		break;
	case 3:
		from += granule * GRANULE;
		to = from + 1 + pick(m, (unsigned)(BYTES - from));
		bsp_undurable_written(&m->u, from, to);
		memset(m->bytes + from, NONE, to - from);
		break;
	case 4:
	case 5:
		assert_int_equal(bsp_undurable_add(&m->u, granule, end_of,
						   m->failed_flushes),
				 0);
		for (uint64_t i = granule; i < end_of; i++)
			m->granules[i] = WRITTEN;
		break;
	case 6:
		if (!m->flushing)
			restore(m);
		break;
	default:
		if (m->flushing)
			end(m, pick(m, 3) == 0);
		else
			begin(m);
		break;
	}
}

static void check(struct model *m)
{
	unsigned char zeroed[BYTES] = { 0 };
	uint64_t at = 0, from, to;
	bool lost = false;

	while (bsp_undurable_piece(&m->u, at, &from, &to)) {
		assert_true(from >= at && to > from && to <= BYTES);
		assert_int_equal(from / GRANULE, (to - 1) / GRANULE);
		memset(zeroed + from, 1, to - from);
		at = to;
	}
	for (size_t i = 0; i < BYTES; i++) {
		assert_int_equal(zeroed[i], m->bytes[i] != NONE);
		lost |= m->bytes[i] == LOST;
	}
	for (size_t i = 0; i < GRANULES; i++)
		assert_int_equal(bsp_undurable_has(&m->u, i),
				 m->granules[i] != NONE);
	assert_true(bsp_undurable_lost(&m->u) || !lost);
	bsp_undurable_recheck_lost(&m->u);
	assert_int_equal(bsp_undurable_lost(&m->u), lost);
}

static void record_agrees_with_plain_arrays(void **state)
{
	for (unsigned seed = 1; seed <= 30; seed++) {
		struct model *m = calloc(1, sizeof(*m));

		assert_non_null(m);
		m->seed = seed;
		assert_true(bsp_undurable_init(&m->u, GRANULES, SHIFT));
		for (int i = 0; i < 500; i++) {
			step(m);
			check(m);
		}
		bsp_undurable_done(&m->u);
		free(m);
	}
}

static void granules_zeroed_before_a_failed_flush_are_refused(void **state)
{
	struct bsp_undurable u;
	unsigned failed;

	assert_true(bsp_undurable_init(&u, GRANULES, SHIFT));
	failed = bsp_undurable_failed_flushes(&u);
	bsp_undurable_begin_flush(&u);
	bsp_undurable_end_flush(&u, true);
	assert_int_equal(bsp_undurable_add(&u, 3, 4, failed), -EIO);
	assert_false(bsp_undurable_has(&u, 3));
	assert_int_equal(bsp_undurable_add(&u, 3, 4, failed + 1), 0);
	assert_true(bsp_undurable_has(&u, 3));
	/* A granule is refused until the holes of the failed flush are
	 * markers. */
	bsp_undurable_zeroed(&u, 3, 5, failed + 1);
	assert_true(bsp_undurable_lost(&u));
	bsp_undurable_written(&u, 3, 5);
	bsp_undurable_recheck_lost(&u);
	bsp_undurable_markers_made(&u);
	bsp_undurable_zeroed(&u, 3, 5, failed + 1);
	assert_false(bsp_undurable_lost(&u));
	bsp_undurable_zeroed(&u, 7, 8, failed);
	assert_true(bsp_undurable_lost(&u));
	bsp_undurable_done(&u);
}

static void shrinking_removes_granules_past_the_end(void **state)
{
	struct bsp_undurable u;
	uint64_t from = 0, to = UINT64_MAX;

	assert_true(bsp_undurable_init(&u, 3 * LEAF, SHIFT));
	assert_int_equal(bsp_undurable_add(&u, 10, 3 * LEAF, 0), 0);
	bsp_undurable_begin_flush(&u);
	assert_int_equal(bsp_undurable_add(&u, 2 * LEAF, 3 * LEAF, 0), 0);
	assert_int_equal(bsp_undurable_resize(&u, LEAF + 7), 0);
	assert_int_equal(bsp_undurable_resize(&u, 2 * LEAF), 0);
	assert_true(bsp_undurable_next(&u, &from, &to));
	assert_int_equal(from, 10);
	assert_int_equal(to, LEAF + 7);
	from = to;
	to = UINT64_MAX;
	assert_false(bsp_undurable_next(&u, &from, &to));
	bsp_undurable_done(&u);
}

/* --- Without memory --- */

static bool no_memory;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

/* The linker sends the library's calls here (--wrap). */
void *__wrap_calloc(size_t n, size_t size)
{
	return no_memory ? NULL : __real_calloc(n, size);
}

static void without_memory_no_granule_is_lost(void **state)
{
	struct bsp_undurable u;

	assert_true(bsp_undurable_init(&u, 2 * LEAF, SHIFT));
	no_memory = true;
	assert_int_equal(bsp_undurable_add(&u, 3, 4, 0), -ENOMEM);
	assert_int_equal(bsp_undurable_add(&u, 0, 2 * LEAF, 0), 0);
	bsp_undurable_remove(&u, 5, 6);
	for (uint64_t i = 0; i < 2 * LEAF; i++)
		assert_true(bsp_undurable_has(&u, i));
	bsp_undurable_begin_flush(&u);
	bsp_undurable_end_flush(&u, false);
	no_memory = false;
	for (uint64_t i = 0; i < 2 * LEAF; i++)
		assert_false(bsp_undurable_has(&u, i));
	bsp_undurable_done(&u);
}

/* They cannot be removed as they should be after the first flush. */
static void granules_stay_through_two_failed_flushes(void **state)
{
	struct bsp_undurable u;

	assert_true(bsp_undurable_init(&u, 2 * LEAF, SHIFT));
	assert_int_equal(bsp_undurable_add(&u, 0, LEAF, 0), 0);
	bsp_undurable_begin_flush(&u);
	bsp_undurable_end_flush(&u, true);
	no_memory = true;
	bsp_undurable_remove(&u, 0, 5);
	no_memory = false;
	bsp_undurable_markers_made(&u);
	assert_int_equal(bsp_undurable_add(&u, LEAF, LEAF + 1, 1), 0);
	bsp_undurable_begin_flush(&u);
	assert_true(bsp_undurable_has(&u, 3));
	bsp_undurable_end_flush(&u, true);
	assert_true(bsp_undurable_has(&u, 3));
	assert_true(bsp_undurable_has(&u, LEAF));
	bsp_undurable_done(&u);
}

static void room_for_pieces_is_limited(void **state)
{
	const unsigned rounds = BSP_PIECES_MAX / BSP_PIECES_RESERVED;
	struct bsp_undurable u;
	uint64_t at = 0;

	assert_true(bsp_undurable_init(&u, GRANULES, SHIFT));
	for (unsigned i = 0; i < rounds; i++) {
		assert_true(bsp_undurable_reserve(&u));
		for (unsigned j = 0; j < BSP_PIECES_RESERVED; j++, at += 2)
			bsp_undurable_zeroed(&u, at, at + 1, 0);
		bsp_undurable_release(&u);
	}
	assert_false(bsp_undurable_reserve(&u));
	bsp_undurable_begin_flush(&u);
	assert_false(bsp_undurable_reserve(&u));
	bsp_undurable_end_flush(&u, false);
	assert_true(bsp_undurable_reserve(&u));
	bsp_undurable_release(&u);
	bsp_undurable_done(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(record_agrees_with_plain_arrays),
		cmocka_unit_test(
			granules_zeroed_before_a_failed_flush_are_refused),
		cmocka_unit_test(shrinking_removes_granules_past_the_end),
		cmocka_unit_test(without_memory_no_granule_is_lost),
		cmocka_unit_test(granules_stay_through_two_failed_flushes),
		cmocka_unit_test(room_for_pieces_is_limited),
	};

	return cmocka_run_group_tests_name("undurable", tests, NULL, NULL);
}
