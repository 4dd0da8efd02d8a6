/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"

enum { LEAF = 16384 }; /* granules of a leaf; tests look at its edges */

static void learned(struct bsp_map *map, uint64_t from, uint64_t to, bool zero)
{
	assert_int_equal(
		bsp_map_learned(map, bsp_map_generation(map), from, to, zero),
		0);
}

static void a_new_map_is_unknown(void **state)
{
	struct bsp_map *map = bsp_map_new(LEAF + 5);
	uint64_t totals[BSP_STATES];
	enum bsp_state last;

	bsp_map_totals(map, LEAF + 4, totals, &last);
	assert_int_equal(totals[BSP_UNKNOWN], LEAF + 5);
	assert_int_equal(last, BSP_UNKNOWN);
	assert_int_equal(bsp_map_get(map, 0), BSP_UNKNOWN);
	assert_int_equal(
		bsp_map_next(map, BSP_IN_ALL & ~BSP_IN_UNKNOWN, 0, LEAF + 5),
		LEAF + 5);
	bsp_map_free(map);
}

static void learning_changes_unknown_granules_only(void **state)
{
	struct bsp_map *map = bsp_map_new(100);

	learned(map, 10, 20, true);
	learned(map, 15, 30, false);
	assert_int_equal(bsp_map_get(map, 9), BSP_UNKNOWN);
	assert_int_equal(bsp_map_get(map, 10), BSP_HOLE);
	assert_int_equal(bsp_map_get(map, 19), BSP_HOLE);
	assert_int_equal(bsp_map_get(map, 20), BSP_DATA);
	learned(map, 0, 100, true);
	assert_int_equal(bsp_map_get(map, 29), BSP_DATA);
	assert_int_equal(bsp_map_get(map, 30), BSP_HOLE);
	bsp_map_free(map);
}

static void each_event_changes_states_as_the_table_says(void **state)
{
	/* The new states of an unknown granule, of data, a hole, a marker. */
	static const struct {
		enum bsp_event event;
		enum bsp_state to[BSP_STATES];
	} rows[] = {
		{ BSP_WRITTEN, { BSP_DATA, BSP_DATA, BSP_DATA, BSP_DATA } },
		{ BSP_WRITE_FAILED,
		  { BSP_DATA, BSP_DATA, BSP_DATA, BSP_MARKER } },
		{ BSP_PUNCHED,
		  { BSP_MARKER, BSP_MARKER, BSP_HOLE, BSP_MARKER } },
		{ BSP_ZEROS_LOST,
		  { BSP_UNKNOWN, BSP_DATA, BSP_MARKER, BSP_MARKER } },
		{ BSP_ZEROED, { BSP_UNKNOWN, BSP_DATA, BSP_HOLE, BSP_HOLE } },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct bsp_map *map = bsp_map_new(BSP_STATES);

		learned(map, BSP_DATA, BSP_DATA + 1, false);
		learned(map, BSP_HOLE, BSP_HOLE + 1, true);
		assert_int_equal(bsp_map_event(map, BSP_PUNCHED, BSP_MARKER,
					       BSP_MARKER + 1),
				 0);
		assert_int_equal(
			bsp_map_event(map, rows[i].event, 0, BSP_STATES), 0);
		for (unsigned from = 0; from < BSP_STATES; from++)
			assert_int_equal(bsp_map_get(map, from),
					 rows[i].to[from]);
		bsp_map_free(map);
	}
}

static void forgetting_keeps_markers(void **state)
{
	struct bsp_map *map = bsp_map_new(100);

	assert_int_equal(bsp_map_event(map, BSP_PUNCHED, 10, 20), 0);
	bsp_map_forget(map, 0, UINT64_MAX);
	assert_int_equal(bsp_map_get(map, 9), BSP_UNKNOWN);
	assert_int_equal(bsp_map_get(map, 10), BSP_MARKER);
	bsp_map_free(map);
}

static void a_read_that_began_before_a_forget_is_not_learned(void **state)
{
	struct bsp_map *map = bsp_map_new(100);
	uint64_t before = bsp_map_generation(map);

	bsp_map_forget(map, 50, 51);
	assert_int_equal(bsp_map_learned(map, before, 0, 10, true), 0);
	assert_int_equal(bsp_map_get(map, 0), BSP_UNKNOWN);
	learned(map, 0, 10, true);
	assert_int_equal(bsp_map_get(map, 0), BSP_HOLE);
	before = bsp_map_generation(map);
	assert_int_equal(bsp_map_resize(map, 200), 0);
	assert_int_equal(bsp_map_learned(map, before, 20, 30, true), 0);
	assert_int_equal(bsp_map_get(map, 20), BSP_UNKNOWN);
	bsp_map_free(map);
}

static void uniform_leaves_take_no_memory(void **state)
{
	const uint64_t granules = (UINT64_C(16) << 40) >> 12;
	const size_t bound = 8 << 20;
	struct bsp_map *map = bsp_map_new(granules);
	uint64_t chunk = 256;
	size_t uniform = bsp_map_memory(map);

	assert_true(uniform < bound);
	/* A few leaves, chunk by chunk, as the scan learns them. */
	for (uint64_t at = 0; at < 8 * LEAF; at += chunk)
		learned(map, at, at + chunk, at % (2 * LEAF) < LEAF);
	assert_int_equal(bsp_map_memory(map), uniform);
	learned(map, 0, granules, true);
	assert_true(bsp_map_memory(map) < bound);
	assert_int_equal(bsp_map_next(map, BSP_IN_UNKNOWN, 0, granules),
			 granules);
	assert_int_equal(bsp_map_get(map, LEAF), BSP_DATA);
	assert_int_equal(bsp_map_get(map, 2 * LEAF), BSP_HOLE);
	bsp_map_free(map);
}

static void the_worst_case_takes_two_bits_and_a_percent(void **state)
{
	const uint64_t granules = 64 * LEAF;
	struct bsp_map *map = bsp_map_new(granules);

	for (uint64_t at = 0; at < granules; at += 2)
		learned(map, at, at + 1, true);
	learned(map, 0, granules, false);
	assert_true(bsp_map_memory(map) <= granules / 4 * 101 / 100);
	bsp_map_free(map);
}

static void growing_keeps_states_and_adds_unknown_granules(void **state)
{
	struct bsp_map *map = bsp_map_new(100);
	uint64_t totals[BSP_STATES];
	enum bsp_state last;

	learned(map, 0, 100, true); /* one uniform, partial leaf */
	assert_int_equal(bsp_map_resize(map, 3 * LEAF + 7), 0);
	assert_int_equal(bsp_map_get(map, 99), BSP_HOLE);
	assert_int_equal(bsp_map_get(map, 100), BSP_UNKNOWN);
	bsp_map_totals(map, 99, totals, &last);
	assert_int_equal(totals[BSP_HOLE], 100);
	assert_int_equal(totals[BSP_UNKNOWN], 3 * LEAF + 7 - 100);
	learned(map, 0, 3 * LEAF + 7, false);
	bsp_map_totals(map, 3 * LEAF + 6, totals, &last);
	assert_int_equal(totals[BSP_UNKNOWN], 0);
	assert_int_equal(last, BSP_DATA);
	bsp_map_free(map);
}

static void shrinking_drops_granules_past_the_end(void **state)
{
	struct bsp_map *map = bsp_map_new(3 * LEAF);
	uint64_t totals[BSP_STATES];
	enum bsp_state last;

	learned(map, 0, 3 * LEAF, true);
	assert_int_equal(bsp_map_resize(map, LEAF + 10), 0);
	bsp_map_totals(map, LEAF + 9, totals, &last);
	assert_int_equal(totals[BSP_HOLE], LEAF + 10);
	assert_int_equal(totals[BSP_UNKNOWN], 0);
	assert_int_equal(bsp_map_resize(map, 3 * LEAF), 0);
	assert_int_equal(bsp_map_get(map, LEAF + 9), BSP_HOLE);
	assert_int_equal(bsp_map_next(map, BSP_IN_UNKNOWN, 0, 3 * LEAF),
			 LEAF + 10);
	assert_int_equal(bsp_map_next(map, BSP_IN_HOLE, LEAF + 10, 3 * LEAF),
			 3 * LEAF);
	bsp_map_free(map);
}

/* --- Without memory --- */

static bool no_memory;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

/* The linker replaces calloc() in the map by this (--wrap). */
void *__wrap_calloc(size_t n, size_t size)
{
	return no_memory ? NULL : __real_calloc(n, size);
}

static int event(struct bsp_map *map, enum bsp_event event, uint64_t from,
		 uint64_t to)
{
	int r;

	no_memory = true;
	r = bsp_map_event(map, event, from, to);
	no_memory = false;
	return r;
}

static void is_all(struct bsp_map *map, enum bsp_state state, uint64_t from,
		   uint64_t to)
{
	assert_int_equal(
		bsp_map_next(map, BSP_IN_ALL & ~(1U << state), from, to), to);
}

static void shrinking_needs_no_memory(void **state)
{
	struct bsp_map *map = bsp_map_new(3 * LEAF);
	uint64_t totals[BSP_STATES];
	enum bsp_state last;

	learned(map, 0, 3 * LEAF, true);
	learned(map, LEAF + 5, LEAF + 6, false);
	bsp_map_forget(map, 2 * LEAF + 7, 2 * LEAF + 8);
	no_memory = true;
	assert_int_equal(bsp_map_resize(map, 2 * LEAF + 20), 0);
	assert_int_equal(bsp_map_resize(map, LEAF + 10), 0);
	no_memory = false;
	bsp_map_totals(map, LEAF + 9, totals, &last);
	assert_int_equal(totals[BSP_HOLE], LEAF + 10);
	assert_int_equal(totals[BSP_UNKNOWN], 0);
	/* Granules that are gained again are unknown, even in a leaf that was
	 * uniform. */
	assert_int_equal(bsp_map_resize(map, 2 * LEAF), 0);
	is_all(map, BSP_HOLE, 0, LEAF + 10);
	is_all(map, BSP_UNKNOWN, LEAF + 10, 2 * LEAF);
	bsp_map_totals(map, 0, totals, &last);
	assert_int_equal(totals[BSP_HOLE], LEAF + 10);
	assert_int_equal(totals[BSP_UNKNOWN], LEAF - 10);
	bsp_map_free(map);
}

static void growing_without_memory_changes_nothing(void **state)
{
	struct bsp_map *map = bsp_map_new(100);
	uint64_t totals[BSP_STATES];
	enum bsp_state last;

	learned(map, 0, 100, true);
	no_memory = true;
	assert_int_equal(bsp_map_resize(map, 3 * LEAF), -ENOMEM);
	assert_int_equal(bsp_map_resize(map, 200), -ENOMEM);
	no_memory = false;
	bsp_map_totals(map, 0, totals, &last);
	assert_int_equal(totals[BSP_HOLE], 100);
	assert_int_equal(totals[BSP_UNKNOWN], 0);
	assert_int_equal(bsp_map_resize(map, 3 * LEAF), 0);
	is_all(map, BSP_HOLE, 0, 100);
	is_all(map, BSP_UNKNOWN, 100, 3 * LEAF);
	bsp_map_free(map);
}

static void holes_without_memory_become_markers(void **state)
{
	static const enum bsp_event events[] = { BSP_WRITTEN, BSP_WRITE_FAILED,
						 BSP_ZEROS_LOST };

	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		struct bsp_map *map = bsp_map_new(2 * LEAF);

		learned(map, 0, 2 * LEAF, true);
		assert_int_equal(event(map, events[i], 3, 4),
				 events[i] == BSP_ZEROS_LOST ? 0 : -ENOMEM);
		is_all(map, BSP_MARKER, 0, LEAF);
		is_all(map, BSP_HOLE, LEAF, 2 * LEAF);
		bsp_map_free(map);
	}
}

static void markers_stay_without_memory(void **state)
{
	static const enum bsp_event events[] = { BSP_WRITTEN, BSP_WRITE_FAILED,
						 BSP_ZEROED };

	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		struct bsp_map *map = bsp_map_new(2 * LEAF);

		assert_int_equal(bsp_map_event(map, BSP_PUNCHED, 0, 2 * LEAF),
				 0);
		assert_int_equal(event(map, events[i], 3, 4),
				 events[i] == BSP_WRITE_FAILED ? 0 : -ENOMEM);
		is_all(map, BSP_MARKER, 0, 2 * LEAF);
		bsp_map_free(map);
	}
}

static void one_granule_is_forgotten_or_none(void **state)
{
	struct bsp_map *map = bsp_map_new(LEAF);
	uint64_t before = bsp_map_generation(map);

	learned(map, 0, LEAF, true);
	no_memory = true;
	assert_int_equal(bsp_map_forget_one(map, 3), -ENOMEM);
	no_memory = false;
	is_all(map, BSP_HOLE, 0, LEAF);
	assert_int_equal(bsp_map_forget_one(map, 3), 0);
	assert_int_equal(bsp_map_next(map, BSP_IN_UNKNOWN, 0, LEAF), 3);
	is_all(map, BSP_HOLE, 4, LEAF);
	assert_int_not_equal(bsp_map_generation(map), before);
	bsp_map_free(map);
}

/* --- Against a plain array --- */

enum { MODEL = 3 * LEAF + 77, MODEL_MAX = 5 * LEAF };

struct model {
	struct bsp_map *map;
	unsigned char state[MODEL_MAX];
	uint64_t granules;
	unsigned seed;
};

static uint64_t pick(struct model *m, uint64_t below)
{
	/* Often at the edges of words and leaves, where mistakes are likely. */
	static const uint64_t edges[] = { 0, 31, 32, LEAF - 1, LEAF, LEAF + 1 };
	uint64_t n = (uint64_t)rand_r(&m->seed);

	if (n % 4 == 0)
		n = edges[(n >> 8) % 6] + (n >> 16) % 3 * LEAF;
	else
		n >>= 2;
	return n % below;
}

static void model_set(struct model *m, unsigned set, uint64_t from, uint64_t to,
		      unsigned char state)
{
	for (uint64_t i = from; i < to && i < m->granules; i++)
		if (set & (1U << m->state[i]))
			m->state[i] = state;
}

static void model_resize(struct model *m, uint64_t granules)
{
	for (uint64_t i = granules; i < m->granules; i++)
		m->state[i] = BSP_UNKNOWN;
	m->granules = granules;
	assert_int_equal(bsp_map_resize(m->map, granules), 0);
}

static void model_step(struct model *m)
{
	uint64_t from = pick(m, m->granules);
	uint64_t to = from + 1 + pick(m, m->granules - from);
	unsigned what = (unsigned)rand_r(&m->seed) % (3 * BSP_EVENTS + 1);
	enum bsp_event event = what % BSP_EVENTS;

	if (what == 3 * BSP_EVENTS) {
		model_resize(m, 1 + pick(m, MODEL_MAX - 1));
		return;
	}
	if (event == BSP_FORGOTTEN)
		bsp_map_forget(m->map, from, to);
	else if (event == BSP_LEARNED_DATA || event == BSP_LEARNED_HOLE)
		learned(m->map, from, to, event == BSP_LEARNED_HOLE);
	else
		assert_int_equal(bsp_map_event(m->map, event, from, to), 0);
	model_set(m, bsp_transitions[event].from, from, to,
		  (unsigned char)bsp_transitions[event].to);
}

static uint64_t model_next(const struct model *m, unsigned set, uint64_t from,
			   uint64_t to)
{
	while (from < to && !(set & (1U << m->state[from])))
		from++;
	return from;
}

static void model_check(struct model *m)
{
	uint64_t totals[BSP_STATES], want[BSP_STATES] = { 0 };
	enum bsp_state last;
	uint64_t from = pick(m, m->granules);
	uint64_t to = from + 1 + pick(m, m->granules - from);
	unsigned set = (unsigned)rand_r(&m->seed) & BSP_IN_ALL;

	to = to > m->granules ? m->granules : to;
	assert_int_equal(bsp_map_next(m->map, set, from, to),
			 model_next(m, set, from, to));
	assert_int_equal(bsp_map_get(m->map, from), m->state[from]);
	for (uint64_t i = 0; i < m->granules; i++)
		want[m->state[i]]++;
	bsp_map_totals(m->map, m->granules - 1, totals, &last);
	assert_memory_equal(totals, want, sizeof(want));
	assert_int_equal(last, m->state[m->granules - 1]);
}

static void random_events_leave_the_states_of_a_plain_array(void **state)
{
	for (unsigned seed = 1; seed <= 10; seed++) {
		struct model *m = calloc(1, sizeof(*m));

		assert_non_null(m);
		m->map = bsp_map_new(MODEL);
		m->granules = MODEL;
		m->seed = seed;
		for (int step = 0; step < 300; step++) {
			model_step(m);
			model_check(m);
		}
		for (uint64_t i = 0; i < m->granules; i++)
			assert_int_equal(bsp_map_get(m->map, i), m->state[i]);
		bsp_map_free(m->map);
		free(m);
	}
}

/* --- Lookups beside changes --- */

struct lookups {
	struct bsp_map *map;
	atomic_bool stop;
	bool found;
};

static void *look_for_markers(void *data)
{
	struct lookups *lookups = data;

	while (!atomic_load(&lookups->stop))
		if (bsp_map_next(lookups->map, BSP_IN_MARKER, 0, LEAF) < LEAF)
			lookups->found = true;
	return NULL;
}

/* Fills memory that was just freed with what would be markers in a leaf. */
static void fill_freed_memory(void)
{
	enum { OF_A_LEAF = LEAF / 4 + 24 };
	void *memory = malloc(OF_A_LEAF);

	assert_non_null(memory);
	memset(memory, 0xff, OF_A_LEAF);
	__asm__ volatile("" : : "r"(memory) : "memory");
	free(memory);
}

static void a_leaf_lives_as_long_as_a_lookup_uses_it(void **state)
{
	struct lookups lookups = { .map = bsp_map_new(LEAF) };
	pthread_t thread;

	assert_int_equal(
		pthread_create(&thread, NULL, look_for_markers, &lookups), 0);
	for (int i = 0; i < 20000; i++) {
		(void)bsp_map_event(lookups.map, BSP_WRITTEN, 0, 1);
		(void)bsp_map_event(lookups.map, BSP_WRITTEN, 1, LEAF);
		fill_freed_memory();
		bsp_map_forget(lookups.map, 0, LEAF);
	}
	atomic_store(&lookups.stop, true);
	pthread_join(thread, NULL);
	assert_false(lookups.found);
	bsp_map_free(lookups.map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_map_is_unknown),
		cmocka_unit_test(learning_changes_unknown_granules_only),
		cmocka_unit_test(each_event_changes_states_as_the_table_says),
		cmocka_unit_test(forgetting_keeps_markers),
		cmocka_unit_test(
			a_read_that_began_before_a_forget_is_not_learned),
		cmocka_unit_test(uniform_leaves_take_no_memory),
		cmocka_unit_test(the_worst_case_takes_two_bits_and_a_percent),
		cmocka_unit_test(
			growing_keeps_states_and_adds_unknown_granules),
		cmocka_unit_test(shrinking_drops_granules_past_the_end),
		cmocka_unit_test(shrinking_needs_no_memory),
		cmocka_unit_test(growing_without_memory_changes_nothing),
		cmocka_unit_test(holes_without_memory_become_markers),
		cmocka_unit_test(markers_stay_without_memory),
		cmocka_unit_test(one_granule_is_forgotten_or_none),
		cmocka_unit_test(
			random_events_leave_the_states_of_a_plain_array),
		cmocka_unit_test(a_leaf_lives_as_long_as_a_lookup_uses_it),
	};

	return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
