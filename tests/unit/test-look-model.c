/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The check for outside changes, model-checked: all interleavings of seeks, a
 * scan, an asker and another program that writes, over one granule that was
 * zero. Each is taken apart into steps, between which the others can come. The
 * order of steps and locks is that of refresh.c, scan.c, learn.c, known.c and
 * seek.c, the comparisons are those of identity.c. A seek that begins after the
 * write was acknowledged must not find a hole.
 *
 * The asker is a thread that asks the layers below whether the granule is zero
 * (device/known.h). Seeks ask, too, before they read. In a mount only the asker
 * builds the layers; in a tool, seeks do it as well. An answer is true of some
 * time between the building and the question: a pool shows the mappings that it
 * had committed when the layers were built, and may show later ones.
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
	TO_LAYER,  /* to that file: its time moves as that of an image, which is
		      part of the sample as the layers' stamp */
	WRITERS,
};

/* The actors that take steps. */
enum { WRITER, SCAN, ASKER, SEEK, SEEKS = 2, ACTORS = SEEK + SEEKS };

enum { IDLE = 0, DONE = 100 };

/* Compared and hashed as bytes, zeroed before. */
struct world {
	unsigned char writer;
	bool tool; /* seeks build the layers */
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
	/* The layers'. */
	bool built, built_written; /* the byte was there when they were built */
	unsigned char built_generation;
	unsigned char stamp, moves; /* of the last sample */
	bool stamp_young;
	/* Each actor's. */
	unsigned char own_generation[ACTORS], asked_generation[ACTORS];
	bool read_data[ACTORS];
	bool answered[ACTORS], zeros[ACTORS];
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
	bool asks_late;	     /* the question comes after the generation */
	bool builds_again;   /* for each generation */
	bool samples_stamps; /* not only when the layers are built */
	bool stamp_first;    /* then its age */
	bool ages;	     /* a stamp that settles is a change */
};

struct model {
	struct rules rules;
	GHashTable *seen;
	GQueue todo;
	bool wrong;
};

/* Clears an actor's values that no later step uses, so that fewer worlds
 * differ. */
static void tidy(struct world *w, int i)
{
	w->own_generation[i] = w->asked_generation[i] = 0;
	w->read_data[i] = w->answered[i] = w->zeros[i] = false;
	w->forgets[i] = false;
	if (w->pc[i] == DONE)
		w->must_see[i] = false;
}

static void visit(struct model *m, const struct world *w)
{
	struct world *copy;

	if (g_hash_table_contains(m->seen, w))
		return;
	copy = g_memdup2(w, sizeof(*w));
	g_hash_table_add(m->seen, copy);
	m->wrong |= w->wrong;
	g_queue_push_tail(&m->todo, copy);
}

/* --- The writer --- */

static void step_writer(struct model *m, struct world w)
{
	unsigned char pc = ++w.pc[WRITER];

	switch (pc) {
	case 1: /* it begins */
		if (w.writer == TO_IMAGE || w.writer == TO_LAYER) {
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

/* Three steps. */
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
	if (step == 2) {
		w.pc[SCAN] = DONE;
		tidy(&w, SCAN);
	}
	visit(m, &w);
}

/* --- Asking and learning --- */

enum { TAKE_GENERATION, BUILD, ASK, LEARN, ASK_STEPS };

static void build(const struct model *m, struct world *w, int i)
{
	bool may_build = i == ASKER || w->tool;
	bool is = w->built && (!m->rules.builds_again ||
			       w->built_generation >= w->asked_generation[i]);

	if (!is && may_build) {
		w->built = is = true;
		w->built_written = w->written;
		w->built_generation = w->asked_generation[i];
		if (!m->rules.samples_stamps) {
			w->stamp = w->value;
			w->stamp_young = w->young;
		}
	}
	w->answered[i] = is;
}

static void learn_zeros(struct world *w, int i)
{
	if (w->zeros[i] && w->asked_generation[i] == w->generation &&
	    w->state == BSP_UNKNOWN)
		w->state = BSP_HOLE;
}

/* The order of the steps, by turns. */
static int ask_step(const struct model *m, int turn)
{
	static const int early[ASK_STEPS] = { BUILD, ASK, TAKE_GENERATION,
					      LEARN };

	return m->rules.asks_late ? turn : early[turn];
}

/* ASK_STEPS steps. The world after each is visited with that pc. */
static void step_ask(struct model *m, struct world w, int i, int turn,
		     unsigned char next_pc)
{
	unsigned char own;

	w.pc[i] = next_pc;
	switch (ask_step(m, turn)) {
	case TAKE_GENERATION:
		w.asked_generation[i] = w.generation;
		break;
	case BUILD:
		build(m, &w, i);
		break;
	case ASK:
		w.zeros[i] = w.answered[i] && !w.written;
		visit(m, &w);
		/* Or as it was when the layers were built. */
		w.zeros[i] = w.answered[i] && !w.built_written;
		break;
	default:
		learn_zeros(&w, i);
		own = w.own_generation[i];
		tidy(&w, i);
		w.own_generation[i] = own;
		break;
	}
	visit(m, &w);
}

static void step_asker(struct model *m, struct world w)
{
	int turn = w.pc[ASKER];

	step_ask(m, w, ASKER, turn,
		 turn == ASK_STEPS - 1 ? DONE : (unsigned char)(turn + 1));
}

/* --- A seek --- */

/* The values of the samples, with their settling. A layer's stamp counts its
 * moves, and is always settled. */
static bool differs(const struct model *m, const struct world *w)
{
	bool counts = w->writer == TO_LAYER;
	const struct bsp_content was = { .value = { w->seen_value },
					 .counted = true };
	const struct bsp_content now = {
		.value = { counts ? w->moves : w->value }, .counted = true
	};
	const struct bsp_medium old = { 1U + w->seen_sequence, 1,
					m->rules.files ? 1U + w->seen_file : 0,
					0, 0 };
	const struct bsp_medium new = { 1U + w->sequence, 1,
					m->rules.files ? 1U + w->file : 0, 0,
					0 };

	return !bsp_content_equal(&was, &now) ||
	       bsp_medium_compare(&old, &new) != BSP_MEDIUM_SAME ||
	       (!counts && m->rules.settling && (w->young || w->seen_young));
}

/* The two looks at the layers for a sample: at the stamp, and at its age. */

static void look_at_stamp(struct world *w)
{
	if (w->stamp != w->value)
		w->moves++;
	w->stamp = w->value;
}

static void look_at_age(const struct model *m, struct world *w)
{
	if (m->rules.ages && w->stamp_young && !w->young)
		w->moves++;
	w->stamp_young = w->young;
}

static void look(const struct model *m, struct world *w, bool first)
{
	if (w->writer != TO_LAYER || (!m->rules.samples_stamps && !w->built))
		return;
	if (first == m->rules.stamp_first)
		look_at_stamp(w);
	else
		look_at_age(m, w);
}

enum {
	SAMPLE = 2,
	FORGET = 4,
	MAP,
	SEEK_READS, /* its generation comes before the question */
	SEEK_ASKS,
	SEEK_READS_ON = SEEK_ASKS + ASK_STEPS,
};

/* The check for changes, under its lock. */
static void step_check(const struct model *m, struct world *w, int i)
{
	switch (w->pc[i]++) {
	case SAMPLE:
		look(m, w, true);
		break;
	case SAMPLE + 1: /* compared and kept */
		look(m, w, false);
		w->forgets[i] = differs(m, w);
		w->seen_value = w->writer == TO_LAYER ? w->moves : w->value;
		w->seen_sequence = w->sequence;
		w->seen_file = w->file;
		w->seen_young = w->young;
		break;
	default:
		if (w->forgets[i]) {
			w->state = BSP_UNKNOWN;
			w->generation++;
		}
		w->locked = 0;
		w->forgets[i] = false;
		break;
	}
}

/* Whether a seek that begins now must see the write. A write to a layer may
 * move no time that is young, and shows when the time has settled. */
static bool is_visible(const struct world *w)
{
	return w->told && (w->writer != TO_LAYER || w->pc[WRITER] == DONE);
}

static void step_seek(struct model *m, struct world w, int i)
{
	unsigned char pc = w.pc[i];

	if (pc >= SEEK_ASKS && pc < SEEK_READS_ON) {
		step_ask(m, w, i, pc - SEEK_ASKS, (unsigned char)(pc + 1));
		return;
	}
	switch (pc) {
	case IDLE:
		w.must_see[i] = is_visible(&w);
		w.pc[i] = 1;
		break;
	case 1:
		if (m->rules.locks && w.locked)
			return;
		w.locked = (unsigned char)(i + 1);
		w.pc[i] = SAMPLE;
		break;
	case SAMPLE:
	case SAMPLE + 1:
	case FORGET:
		step_check(m, &w, i);
		break;
	case MAP: /* what does the map say? */
		w.wrong = w.state == BSP_HOLE && w.must_see[i];
		w.pc[i] = w.state == BSP_UNKNOWN ? SEEK_READS : DONE;
		tidy(&w, i);
		break;
	case SEEK_READS:
		step_read(m, &w, i, 0);
		w.pc[i] = SEEK_ASKS;
		break;
	case SEEK_READS_ON:
		if (w.state != BSP_UNKNOWN) {
			w.pc[i] = MAP;
			break;
		}
		step_read(m, &w, i, 1);
		w.pc[i]++;
		break;
	default:
		step_read(m, &w, i, 2);
		w.pc[i] = MAP;
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
	else if (i == ASKER)
		step_asker(m, *w);
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

/* Whether a writer can lead to a wrong world, in a mount or a tool. One actor
 * is absent: all at once would take too long. */
static bool explore_without(struct rules rules, enum writer writer, bool tool,
			    int absent)
{
	struct model m = { .rules = rules };
	struct world start, *w;

	memset(&start, 0, sizeof(start));
	start.writer = (unsigned char)writer;
	start.tool = tool;
	start.pc[absent] = DONE;
	m.seen = g_hash_table_new_full(world_hash, world_equal, g_free, NULL);
	g_queue_init(&m.todo);
	visit(&m, &start);
	while (!m.wrong && (w = g_queue_pop_head(&m.todo)))
		for (int i = 0; i < ACTORS; i++)
			step(&m, w, i);
	g_queue_clear(&m.todo);
	assert_true(m.wrong || g_hash_table_size(m.seen) > 1000);
	g_hash_table_destroy(m.seen);
	return m.wrong;
}

static bool is_wrong(struct rules rules, enum writer writer)
{
	static const int absent[] = { SCAN, ASKER, SEEK };

	for (size_t i = 0; i < G_N_ELEMENTS(absent); i++) {
		if (explore_without(rules, writer, false, absent[i]) ||
		    explore_without(rules, writer, true, absent[i]))
			return true;
	}
	return false;
}

static const struct rules right = {
	.generations = true,
	.settling = true,
	.files = true,
	.locks = true,
	.asks_late = true,
	.builds_again = true,
	.samples_stamps = true,
	.stamp_first = true,
	.ages = true,
};

static void no_interleaving_finds_a_stale_hole(void **state)
{
	for (int writer = 0; writer < WRITERS; writer++)
		assert_false(is_wrong(right, (enum writer)writer));
}

/* The model must find the error if a rule is missing. */
static void model_finds_each_missing_rule(void **state)
{
	struct rules rules = right;

	rules.generations = false;
	for (int writer = 0; writer < WRITERS; writer++)
		assert_true(is_wrong(rules, (enum writer)writer));
	rules = right;
	rules.settling = false;
	assert_true(is_wrong(rules, TO_IMAGE));
	rules = right;
	rules.files = false;
	assert_true(is_wrong(rules, TO_MEDIUM));
	rules = right;
	rules.locks = false;
	assert_true(is_wrong(rules, TO_DEVICE));
}

/* If the layers are asked before the sample that begins a generation, false
 * holes are learned in it. */
static void asking_before_the_sample_gives_false_holes(void **state)
{
	struct rules rules = right;

	rules.asks_late = false;
	for (int writer = 0; writer < WRITERS; writer++)
		assert_true(is_wrong(rules, (enum writer)writer));
	/* So does an answer of layers that were built before it. */
	rules = right;
	rules.builds_again = false;
	for (int writer = 0; writer < WRITERS; writer++)
		assert_true(is_wrong(rules, (enum writer)writer));
}

static void model_finds_each_missing_rule_of_stamps(void **state)
{
	struct rules rules = right;

	rules.samples_stamps = false;
	assert_true(is_wrong(rules, TO_LAYER));
	rules = right;
	rules.stamp_first = false;
	assert_true(is_wrong(rules, TO_LAYER));
	rules = right;
	rules.ages = false;
	assert_true(is_wrong(rules, TO_LAYER));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_interleaving_finds_a_stale_hole),
		cmocka_unit_test(model_finds_each_missing_rule),
		cmocka_unit_test(asking_before_the_sample_gives_false_holes),
		cmocka_unit_test(model_finds_each_missing_rule_of_stamps),
	};

	return cmocka_run_group_tests_name("look-model", tests, NULL, NULL);
}
