/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The check for outside changes, model-checked: all interleavings of seeks, a
 * scan and another program that writes, over one granule that was zero. Each is
 * taken apart into steps, between which the others can come. The order of steps
 * and locks is that of refresh.c, scan.c and seek.c, the comparisons are those
 * of identity.c. A seek that begins after the write was acknowledged must not
 * find a hole.
 */
#include "unit.h"

#include <stdbool.h>
#include <string.h>

#include <glib.h>

#include "device/identity.h"
#include "base/map.h"

enum writer {
	TO_DEVICE, /* counted when it is done, before it is acknowledged */
	TO_IMAGE, /* its time moves when it begins, and settles after its end */
	TO_MEDIUM, /* another file below a loop device: a number, then the file
		    */
	WRITERS,
};

/* The actors that take steps. */
enum { WRITER, SCAN, SEEK, SEEKS = 2, ACTORS = SEEK + SEEKS };

enum { IDLE = 0, DONE = 100 };

/* Compared and hashed as bytes, zeroed before. */
struct world {
	unsigned char writer;
	unsigned char pc[ACTORS];
	bool written,
		told; /* the byte is on the device; the write is acknowledged */
	/* The values of a sample that is taken now. */
	unsigned char value, sequence, file;
	bool young;
	/* The object's. */
	unsigned char state, generation;
	unsigned char seen_value, seen_sequence, seen_file;
	bool seen_young;
	unsigned char locked; /* by this actor, plus 1 */
	/* Each actor's. */
	unsigned char own_generation[ACTORS];
	bool read_data[ACTORS];
	bool must_see[ACTORS];
	bool forgets[ACTORS];
	bool wrong;
};

/* Rules that can be left out: the model must find the error. */
struct rules {
	bool generations; /* reads begun before are not learned */
	bool settling;	  /* a young sample proves nothing */
	bool files;	  /* a loop device's file is asked for */
	bool locks;
};

struct model {
	struct rules rules;
	GHashTable *seen;
	GQueue todo;
	size_t worlds, wrong;
};

static void visit(struct model *m, const struct world *w)
{
	struct world *copy;

	if (g_hash_table_contains(m->seen, w))
		return;
	copy = g_memdup2(w, sizeof(*w));
	g_hash_table_add(m->seen, copy);
	m->wrong += w->wrong;
	g_queue_push_tail(&m->todo, copy);
}

/* --- The writer --- */

static void step_writer(struct model *m, struct world w)
{
	unsigned char pc = ++w.pc[WRITER];

	switch (pc) {
	case 1: /* it begins */
		if (w.writer == TO_IMAGE) {
			w.value++;
			w.young = true;
		}
		if (w.writer == TO_MEDIUM)
			w.sequence++;
		break;
	case 2:
		w.written = true;
		if (w.writer == TO_MEDIUM)
			w.file++;
		break;
	case 3:
		if (w.writer == TO_DEVICE)
			w.value++;
		break;
	case 4:
		w.told = true;
		break;
	default: /* time goes by */
		w.young = false;
		w.pc[WRITER] = DONE;
		break;
	}
	visit(m, &w);
}

/* --- Reading and learning --- */

static void learn(const struct model *m, struct world *w, int i)
{
	if (m->rules.generations && w->own_generation[i] != w->generation)
		return;
	if (w->state == BSP_UNKNOWN)
		w->state = w->read_data[i] ? BSP_DATA : BSP_HOLE;
}

/* Three steps from pc first on. */
static void step_read(const struct model *m, struct world *w, int i, int step)
{
	switch (step) {
	case 0:
		w->own_generation[i] = w->generation;
		break;
	case 1:
		w->read_data[i] = w->written;
		break;
	default:
		learn(m, w, i);
		break;
	}
}

static void step_scan(struct model *m, struct world w)
{
	int step = w.pc[SCAN]++;

	step_read(m, &w, SCAN, step);
	if (step == 2)
		w.pc[SCAN] = DONE;
	visit(m, &w);
}

/* --- A seek --- */

static bool differs(const struct model *m, const struct world *w)
{
	const struct bsp_content was = { .value = { w->seen_value },
					 .counted = true };
	const struct bsp_content now = { .value = { w->value },
					 .counted = true };
	const struct bsp_medium old = { 1U + w->seen_sequence, 1,
					m->rules.files ? 1U + w->seen_file : 0,
					0, 0 };
	const struct bsp_medium new = { 1U + w->sequence, 1,
					m->rules.files ? 1U + w->file : 0, 0,
					0 };

	return !bsp_content_equal(&was, &now) ||
	       bsp_medium_compare(&old, &new) != BSP_MEDIUM_SAME ||
	       (m->rules.settling && (w->young || w->seen_young));
}

static void step_seek(struct model *m, struct world w, int i)
{
	switch (w.pc[i]) {
	case IDLE:
		w.must_see[i] = w.told;
		w.pc[i] = 1;
		break;
	case 1:
		if (m->rules.locks && w.locked)
			return;
		w.locked = (unsigned char)(i + 1);
		w.pc[i] = 2;
		break;
	case 2: /* a sample, compared and kept */
		w.forgets[i] = differs(m, &w);
		w.seen_value = w.value;
		w.seen_sequence = w.sequence;
		w.seen_file = w.file;
		w.seen_young = w.young;
		w.pc[i] = 3;
		break;
	case 3:
		if (w.forgets[i]) {
			w.state = BSP_UNKNOWN;
			w.generation++;
		}
		w.locked = 0;
		w.pc[i] = 4;
		break;
	case 4: /* what does the map say? */
		w.wrong = w.state == BSP_HOLE && w.must_see[i];
		w.pc[i] = w.state == BSP_UNKNOWN ? 5 : DONE;
		break;
	default:
		step_read(m, &w, i, w.pc[i] - 5);
		w.pc[i] = w.pc[i] == 7 ? 4 : w.pc[i] + 1;
		break;
	}
	visit(m, &w);
}

static void step(struct model *m, const struct world *w, int i)
{
	if (w->pc[i] == DONE || w->wrong)
		return;
	if (i == WRITER)
		step_writer(m, *w);
	else if (i == SCAN)
		step_scan(m, *w);
	else
		step_seek(m, *w, i);
}

/* --- All of it --- */

static guint world_hash(gconstpointer key)
{
	uint64_t hash = bsp_hash(0, key, sizeof(struct world));

	return (guint)(hash ^ hash >> 32);
}

static gboolean world_equal(gconstpointer a, gconstpointer b)
{
	return memcmp(a, b, sizeof(struct world)) == 0;
}

/* Returns how many wrong worlds a writer can lead to. */
static size_t explore(struct rules rules, enum writer writer)
{
	struct model m = { .rules = rules };
	struct world start, *w;

	memset(&start, 0, sizeof(start));
	start.writer = (unsigned char)writer;
	m.seen = g_hash_table_new_full(world_hash, world_equal, g_free, NULL);
	g_queue_init(&m.todo);
	visit(&m, &start);
	while ((w = g_queue_pop_head(&m.todo)))
		for (int i = 0; i < ACTORS; i++)
			step(&m, w, i);
	m.worlds = g_hash_table_size(m.seen);
	g_hash_table_destroy(m.seen);
	assert_true(m.worlds > 1000);
	return m.wrong;
}

static const struct rules right = { true, true, true, true };

static void no_interleaving_finds_a_stale_hole(void **state)
{
	for (int writer = 0; writer < WRITERS; writer++)
		assert_int_equal(explore(right, (enum writer)writer), 0);
}

/* The model must find the error if a rule is missing. */
static void model_finds_each_missing_rule(void **state)
{
	struct rules rules = right;

	rules.generations = false;
	for (int writer = 0; writer < WRITERS; writer++)
		assert_true(explore(rules, (enum writer)writer) > 0);
	rules = right;
	rules.settling = false;
	assert_true(explore(rules, TO_IMAGE) > 0);
	rules = right;
	rules.files = false;
	assert_true(explore(rules, TO_MEDIUM) > 0);
	rules = right;
	rules.locks = false;
	assert_true(explore(rules, TO_DEVICE) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_interleaving_finds_a_stale_hole),
		cmocka_unit_test(model_finds_each_missing_rule),
	};

	return cmocka_run_group_tests_name("look-model", tests, NULL, NULL);
}
