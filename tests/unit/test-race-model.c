/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The race rules, model-checked: all interleavings of a few operations on one
 * granule, each taken apart into the steps between which others can come. The
 * map's transitions are the map's own table; the order of steps and locks is
 * that of write.c, carry.c and scanner.c.
 *
 * The granule has two halves, so that partial writes and torn reads exist. For
 * each half the model knows which values a read may give: that of the last
 * completed operation, and those of operations that overlap it in time. After
 * every step it reads both halves as bsp_sparse_read() would, and compares.
 */
#include "unit.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <glib.h>

#include "map.h"

/* Values, as sets. */
enum { ZERO = 1, OLD = 2, NEW = 4, NEWER = 8 };

enum kind {
	WRITE_NEW, /* all of the granule */
	WRITE_NEWER,
	WRITE_PART, /* the first half, not zero */
	ZERO_PART,  /* the first half, zeros */
	PUNCH,	    /* zeros for all of it */
	FLUSH,
	SCAN,
	KINDS,
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SIDE_BY_SIDE = 3 }; /* sanitizers make it ten times slower */
#else
enum { SIDE_BY_SIDE = 4 };
#endif

enum { OPS_MAX = 4, IDLE = 0, DONE = 100 };

struct op {
	unsigned char kind;
	unsigned char pc;
	unsigned char seen[2];	  /* what a scan read */
	unsigned char overlap[2]; /* values of operations beside it */
	unsigned char failed;
};

/* No padding matters: it is compared and hashed as bytes, zeroed before. */
struct world {
	unsigned char state;
	unsigned char device[2];
	unsigned char may[2];
	unsigned char shared; /* holders of the range lock */
	unsigned char exclusive;
	unsigned char ops;
	struct op op[OPS_MAX];
};

struct model {
	const struct bsp_transition *transitions;
	GHashTable *seen;
	GQueue todo;
	bool locks; /* false: nobody takes any, to see that it matters */
	size_t wrong;
};

static unsigned char value_of(enum kind kind, int half)
{
	switch (kind) {
	case WRITE_NEW:
		return NEW;
	case WRITE_NEWER:
		return NEWER;
	case WRITE_PART:
		return half == 0 ? NEW : 0;
	case ZERO_PART:
		return half == 0 ? ZERO : 0;
	case PUNCH:
		return ZERO;
	default:
		return 0;
	}
}

static void happens(const struct model *m, struct world *w,
		    enum bsp_event event)
{
	if (m->transitions[event].from & (1U << w->state))
		w->state = (unsigned char)m->transitions[event].to;
}

/* --- Begin and end, for what may be read --- */

static bool is_running(const struct op *op)
{
	return op->pc != IDLE && op->pc != DONE;
}

static void begin(struct world *w, struct op *op)
{
	for (int half = 0; half < 2; half++) {
		unsigned char value = value_of(op->kind, half);

		w->may[half] |= value;
		for (int i = 0; i < w->ops; i++) {
			struct op *other = &w->op[i];

			if (other == op || !is_running(other))
				continue;
			other->overlap[half] |= value;
			op->overlap[half] |= value_of(other->kind, half);
		}
	}
	op->pc = 1;
}

static void end(struct world *w, struct op *op)
{
	for (int half = 0; half < 2; half++) {
		unsigned char value = value_of(op->kind, half);

		if (value && !op->failed)
			w->may[half] = value | op->overlap[half];
	}
	op->pc = DONE;
}

/* --- Steps --- */

static bool can_lock(const struct model *m, const struct world *w,
		     bool exclusive)
{
	return !m->locks || (!w->exclusive && (!exclusive || !w->shared));
}

static void lock(struct world *w, bool exclusive)
{
	if (exclusive)
		w->exclusive++;
	else
		w->shared++;
}

static void unlock(struct world *w, bool exclusive)
{
	if (exclusive)
		w->exclusive--;
	else
		w->shared--;
}

static void visit(struct model *m, const struct world *w);

/* The device's write of both halves: done, or failed after the first. */
static void device_write(struct model *m, const struct world *from, int i,
			 unsigned char first, unsigned char second,
			 unsigned char next_pc)
{
	for (int failed = 0; failed < 3; failed++) {
		struct world w = *from;

		if (failed < 2 && first)
			w.device[0] = first;
		if (failed < 1 && second)
			w.device[1] = second;
		w.op[i].failed = failed > 0;
		w.op[i].pc = next_pc;
		visit(m, &w);
	}
}

/* Each step leads to one or several worlds, which are visited. */

static void step_write(struct model *m, struct world w, int i)
{
	struct op *op = &w.op[i];
	unsigned char value = value_of(op->kind, 0);

	switch (op->pc) {
	case 1:
		if (!can_lock(m, &w, true))
			return;
		lock(&w, true);
		op->pc = 2;
		break;
	case 2:
		device_write(m, &w, i, value, value, 3);
		return;
	case 3:
		happens(m, &w, op->failed ? BSP_SPOILT : BSP_WRITTEN);
		op->pc = 4;
		break;
	default:
		unlock(&w, true);
		end(&w, op);
		break;
	}
	visit(m, &w);
}

static void step_part(struct model *m, struct world w, int i)
{
	struct op *op = &w.op[i];
	bool zero = op->kind == ZERO_PART;
	unsigned char value = zero ? ZERO : NEW;
	bool reads_zero = w.state == BSP_HOLE || w.state == BSP_MARKER;

	switch (op->pc) {
	case 1: /* shared, and a look */
		if (!can_lock(m, &w, false))
			return;
		lock(&w, false);
		op->pc = 2;
		break;
	case 2:
		if (zero && reads_zero)
			op->pc = 9;
		else if (w.state == BSP_MARKER)
			op->pc = 3;
		else
			op->pc = 7;
		break;
	case 3:
		unlock(&w, false);
		op->pc = 4;
		break;
	case 4: /* exclusive, and another look */
		if (!can_lock(m, &w, true))
			return;
		lock(&w, true);
		op->pc = w.state == BSP_MARKER ? 5 : 10;
		break;
	case 5: /* fill the marker */
		device_write(m, &w, i, value, ZERO, 6);
		return;
	case 6:
		if (!op->failed)
			happens(m, &w, BSP_WRITTEN);
		op->pc = 12;
		break;
	case 7: /* the piece alone */
	case 10:
		device_write(m, &w, i, value, 0, op->pc + 1);
		return;
	case 8:
	case 11:
		happens(m, &w, BSP_WRITTEN);
		op->pc = op->pc == 8 ? 9 : 12;
		break;
	case 9:
		unlock(&w, false);
		end(&w, op);
		break;
	default:
		unlock(&w, true);
		end(&w, op);
		break;
	}
	visit(m, &w);
}

static void step_punch(struct model *m, struct world w, int i)
{
	struct op *op = &w.op[i];

	switch (op->pc) {
	case 1:
		if (!can_lock(m, &w, true))
			return;
		lock(&w, true);
		op->pc = 2;
		break;
	case 2:
		happens(m, &w, BSP_PUNCHED);
		op->pc = 3;
		break;
	default:
		unlock(&w, true);
		end(&w, op);
		break;
	}
	visit(m, &w);
}

static void step_flush(struct model *m, struct world w, int i)
{
	struct op *op = &w.op[i];

	switch (op->pc) {
	case 1:
		op->pc = w.state == BSP_MARKER ? 2 : DONE;
		break;
	case 2:
		if (!can_lock(m, &w, true))
			return;
		lock(&w, true);
		op->pc = w.state == BSP_MARKER ? 3 : 5;
		break;
	case 3:
		device_write(m, &w, i, ZERO, ZERO, 4);
		return;
	case 4:
		if (!op->failed)
			happens(m, &w, BSP_CARRIED);
		op->pc = 5;
		break;
	default:
		unlock(&w, true);
		end(&w, op);
		break;
	}
	visit(m, &w);
}

static void step_scan(struct model *m, struct world w, int i)
{
	struct op *op = &w.op[i];

	switch (op->pc) {
	case 1:
	case 2: /* one half after the other */
		op->seen[op->pc - 1] = w.device[op->pc - 1];
		op->pc++;
		break;
	default:
		happens(m, &w,
			op->seen[0] == ZERO && op->seen[1] == ZERO
				? BSP_LEARNED_HOLE
				: BSP_LEARNED_DATA);
		end(&w, op);
		break;
	}
	visit(m, &w);
}

static void step(struct model *m, const struct world *from, int i)
{
	struct world w = *from;

	if (w.op[i].pc == IDLE) {
		begin(&w, &w.op[i]);
		visit(m, &w);
		return;
	}
	switch (w.op[i].kind) {
	case WRITE_NEW:
	case WRITE_NEWER:
		step_write(m, w, i);
		break;
	case WRITE_PART:
	case ZERO_PART:
		step_part(m, w, i);
		break;
	case PUNCH:
		step_punch(m, w, i);
		break;
	case FLUSH:
		step_flush(m, w, i);
		break;
	default:
		step_scan(m, w, i);
		break;
	}
}

/* --- What must hold in every world --- */

static bool is_right(const struct world *w)
{
	bool reads_zero = w->state == BSP_HOLE || w->state == BSP_MARKER;
	bool idle = !w->shared && !w->exclusive;

	for (int half = 0; half < 2; half++) {
		unsigned char value = reads_zero ? ZERO : w->device[half];

		if (!(w->may[half] & value))
			return false;
		/* A hole is promised to be zero on the device. */
		if (idle && w->state == BSP_HOLE && w->device[half] != ZERO)
			return false;
	}
	return true;
}

static guint world_hash(gconstpointer key)
{
	const unsigned char *bytes = key;
	guint hash = 2166136261U;

	for (size_t i = 0; i < sizeof(struct world); i++)
		hash = (hash ^ bytes[i]) * 16777619U;
	return hash;
}

static gboolean world_equal(gconstpointer a, gconstpointer b)
{
	return memcmp(a, b, sizeof(struct world)) == 0;
}

static void visit(struct model *m, const struct world *w)
{
	struct world *copy;

	if (g_hash_table_contains(m->seen, w))
		return;
	copy = g_memdup2(w, sizeof(*w));
	g_hash_table_add(m->seen, copy);
	if (!is_right(w))
		m->wrong++;
	else
		g_queue_push_tail(&m->todo, copy);
}

/* All worlds that can come of these operations; how many of them are wrong. */
static size_t explore(const struct bsp_transition *transitions, bool locks,
		      const struct world *start, size_t *ret_worlds)
{
	struct model m = {
		.transitions = transitions,
		.locks = locks,
		.seen = g_hash_table_new_full(world_hash, world_equal, g_free,
					      NULL),
	};
	struct world *w;

	g_queue_init(&m.todo);
	visit(&m, start);
	while ((w = g_queue_pop_head(&m.todo)))
		for (int i = 0; i < w->ops; i++)
			if (w->op[i].pc != DONE)
				step(&m, w, i);
	*ret_worlds += g_hash_table_size(m.seen);
	g_hash_table_destroy(m.seen);
	return m.wrong;
}

static struct world start_in(enum bsp_state state, unsigned char device)
{
	struct world w = { .state = (unsigned char)state,
			   .device = { device, device },
			   .may = { device, device } };

	if (state == BSP_MARKER)
		w.may[0] = w.may[1] = ZERO;
	return w;
}

/* Every choice of n operations, from every state a granule can be in. */
static size_t explore_all(const struct bsp_transition *transitions, bool locks,
			  int n, size_t *ret_worlds)
{
	const struct world starts[] = {
		start_in(BSP_UNKNOWN, OLD), start_in(BSP_UNKNOWN, ZERO),
		start_in(BSP_DATA, OLD),    start_in(BSP_DATA, ZERO),
		start_in(BSP_HOLE, ZERO),   start_in(BSP_MARKER, OLD),
	};
	int kinds[OPS_MAX] = { 0 };
	size_t wrong = 0;

	for (;;) {
		int i;

		for (size_t s = 0; s < G_N_ELEMENTS(starts); s++) {
			struct world w = starts[s];

			w.ops = (unsigned char)n;
			for (i = 0; i < n; i++)
				w.op[i].kind = (unsigned char)kinds[i];
			wrong += explore(transitions, locks, &w, ret_worlds);
		}
		/* The next multiset: kinds never decrease. */
		for (i = n - 1; i >= 0 && kinds[i] == KINDS - 1; i--)
			;
		if (i < 0)
			return wrong;
		kinds[i]++;
		for (int j = i + 1; j < n; j++)
			kinds[j] = kinds[i];
	}
}

static void no_interleaving_is_wrong(void **state)
{
	size_t worlds = 0;

	assert_int_equal(
		explore_all(bsp_transitions, true, SIDE_BY_SIDE, &worlds), 0);
	assert_true(worlds > 100000);
}

/* The model must be able to see what it looks for. */
static void rules_that_are_wrong_are_found_out(void **state)
{
	static const struct {
		enum bsp_event event;
		unsigned from;
	} mistakes[] = {
		{ BSP_LEARNED_HOLE, BSP_IN_ALL }, /* scanners set blindly */
		{ BSP_LEARNED_HOLE, BSP_IN_UNKNOWN | BSP_IN_DATA },
		{ BSP_SPOILT, BSP_IN_ALL },	 /* stale bytes come up */
		{ BSP_WRITTEN, BSP_IN_UNKNOWN }, /* holes stay */
		{ BSP_PUNCHED, BSP_IN_UNKNOWN }, /* data stays */
	};
	size_t worlds = 0;

	for (size_t i = 0; i < G_N_ELEMENTS(mistakes); i++) {
		struct bsp_transition wrong[BSP_EVENTS];

		memcpy(wrong, bsp_transitions, sizeof(wrong));
		wrong[mistakes[i].event].from = mistakes[i].from;
		assert_true(explore_all(wrong, true, 2, &worlds) > 0);
	}
	/* And so must locks. */
	assert_true(explore_all(bsp_transitions, false, 2, &worlds) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_interleaving_is_wrong),
		cmocka_unit_test(rules_that_are_wrong_are_found_out),
	};

	return cmocka_run_group_tests_name("race-model", tests, NULL, NULL);
}
