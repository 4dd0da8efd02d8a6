/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The race rules, model-checked: all interleavings of a few operations on one
 * granule. Each operation is taken apart into steps, between which other
 * operations can come. The map's transitions are the map's own table; the order
 * of steps and locks is that of write.c, flush.c and scan.c.
 *
 * The granule has two halves, so that partial writes and torn reads exist. For
 * each half the model knows which values a read may give: that of the last
 * completed operation, and those of operations that overlap it in time. After
 * every step it reads both halves as bsp_sparse_read() would, and compares.
 *
 * A flush of the device may fail, and then lose the writes since the last good
 * flush. The writer of lost data is told of it. But zeros must not be lost:
 * neither a granule's, nor those of a half beside data, which are recorded as
 * pieces (undurable.h). They read as zeros at any time, and when the next flush
 * succeeds, they are durable.
 *
 * The layers below the device may be asked whether the granule is zero
 * (device/known.h). They see the bytes that were written back before they were
 * built, and may see later ones. So an answer can lack a write of our own.
 */
#include "unit.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <glib.h>

#include "base/map.h"

/* Values, as sets. */
enum { ZERO = 1, OLD = 2, NEW = 4, NEWER = 8 };

enum kind {
	WRITE_NEW, /* all of the granule */
	WRITE_NEWER,
	WRITE_PART,    /* the first half, not zero */
	ZERO_PART,     /* the first half, zeros */
	PUNCH,	       /* zeros for all of it */
	FLUSH_MARKERS, /* markers, as by close */
	SCAN,
	FLUSH,	/* flushes markers, then the device */
	ASK,	/* asks the layers, and learns */
	FORGET, /* as for another table of the device mapper */
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
	unsigned char
		seen[2]; /* the bytes that a scan read; the lost version */
	unsigned char overlap[2]; /* values of operations beside it */
	unsigned char failed;
	unsigned char old;   /* pieces that its flush has taken (bits) */
	unsigned char fills; /* it is beside zeros that are not durable */
	unsigned char generation;
	unsigned char zeros; /* the layers' answer */
};

/* Worlds are compared and hashed as bytes, so padding is zeroed before. */
struct world {
	unsigned char state;
	unsigned char device[2];
	unsigned char durable[2]; /* as of the last good flush */
	unsigned char may[2];
	unsigned char zeroed; /* markers that were flushed since the last flush
				 began */
	unsigned char taken;  /* or before it, and it has not ended */
	unsigned char pieces; /* halves of zeros, not durable yet (bits), */
	unsigned char lost;   /* and those that must be zeroed again */
	unsigned char
		marking; /* granules that a flush lost are not markers yet */
	unsigned char losses;	/* flushes that failed */
	unsigned char flushing; /* holds the lock of flushes */
	unsigned char shaken;	/* a flush lost zeros, and has not ended */
	unsigned char untold;	/* a flush succeeded although zeros are lost */
	unsigned char generation; /* of the map */
	unsigned char built;  /* the layers, for a generation, which is one less
			       */
	unsigned char view;   /* the granule was zero when they were built */
	unsigned char shared; /* holders of the range lock */
	unsigned char exclusive;
	unsigned char ops;
	struct op op[OPS_MAX];
};

struct model {
	const struct bsp_transition *transitions;
	GHashTable *seen;
	GQueue todo;
	bool locks; /* false: no locks are taken; the model must see errors */
	bool records_granules; /* false: flushed markers are not recorded */
	bool notes;	       /* false: zeros beside data are not recorded */
	bool counts;	       /* false: failed flushes are not compared */
	bool generations;      /* false: what is out of date is learned */
	bool builds_again;     /* false: the layers are built only once */
	bool writes_back;      /* false: they may lack writes before that */
	size_t worlds;
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

/* --- Begin and end: the values that a read may give --- */

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
		/* Data may be lost before its writer has ended. */
		if (value && value != ZERO && w->shaken)
			w->may[half] |= w->device[half];
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

static bool has(const struct world *w)
{
	return w->zeroed || w->taken;
}

/* Records that halves (bits) are zeros; op took the number of failed flushes
 * before it zeroed them. */
static void note(const struct model *m, struct world *w, const struct op *op,
		 unsigned halves)
{
	if (!m->notes)
		return;
	w->pieces |= (unsigned char)halves;
	w->lost &= (unsigned char)~halves;
	if (m->counts && (w->marking || op->seen[0] != w->losses))
		w->lost |= (unsigned char)halves;
	for (int i = 0; i < w->ops; i++)
		w->op[i].old &= (unsigned char)~halves;
}

static void forget_pieces(struct world *w, unsigned halves)
{
	w->pieces &= (unsigned char)~halves;
	w->lost &= (unsigned char)~halves;
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
		if (op->failed && has(&w))
			happens(m, &w, BSP_ZEROS_LOST);
		happens(m, &w, op->failed ? BSP_WRITE_FAILED : BSP_WRITTEN);
		if (!op->failed)
			forget_pieces(&w, 3);
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
	case 1: /* a shared lock, and a look at the state */
		if (!can_lock(m, &w, false))
			return;
		lock(&w, false);
		op->pc = 2;
		break;
	case 2:
		if (zero && reads_zero)
			op->pc = 9;
		else if (zero || w.state == BSP_MARKER ||
			 (w.state == BSP_HOLE && has(&w)))
			op->pc = 3;
		else
			op->pc = 7;
		break;
	case 3:
		unlock(&w, false);
		op->pc = 4;
		break;
	case 4: /* an exclusive lock, and another look */
		if (!can_lock(m, &w, true))
			return;
		lock(&w, true);
		op->seen[0] = w.losses;
		op->fills = w.state == BSP_HOLE && has(&w);
		if (zero && reads_zero)
			op->pc = 12;
		else
			op->pc = w.state == BSP_MARKER ? 5 : 10;
		break;
	case 5: /* fill the marker */
		device_write(m, &w, i, value, ZERO, 6);
		return;
	case 6:
		if (!op->failed) {
			forget_pieces(&w, 1);
			note(m, &w, op, 2);
		}
		op->pc = op->failed ? 12 : 13;
		break;
	case 13:
		happens(m, &w, BSP_WRITTEN);
		op->pc = 12;
		break;
	case 7: /* the part alone */
	case 10:
		device_write(m, &w, i, value, 0, op->pc + 1);
		return;
	case 8:
		if (!op->failed)
			forget_pieces(&w, 1);
		happens(m, &w, BSP_WRITTEN);
		op->pc = 9;
		break;
	case 11:
		if (!op->failed)
			forget_pieces(&w, 1);
		if (op->fills)
			note(m, &w, op, op->failed ? 3 : 2);
		else if (zero && !op->failed)
			note(m, &w, op, 1);
		op->pc = 13;
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
		if (w.pieces)
			happens(m, &w, BSP_ZEROS_LOST);
		forget_pieces(&w, 3);
		op->pc = 3;
		break;
	default:
		unlock(&w, true);
		end(&w, op);
		break;
	}
	visit(m, &w);
}

/* The steps of flushing markers are first to first + 4; then comes next. */
static void step_flush_markers(struct model *m, struct world w, int i,
			       unsigned char first, unsigned char next)
{
	struct op *op = &w.op[i];

	switch (op->pc - first) {
	case 0:
		op->pc = w.state == BSP_MARKER ? first + 1 : next;
		break;
	case 1:
		if (!can_lock(m, &w, true))
			return;
		lock(&w, true);
		op->seen[0] = w.losses;
		op->pc = w.state == BSP_MARKER ? first + 2 : first + 4;
		break;
	case 2:
		device_write(m, &w, i, ZERO, ZERO, first + 3);
		return;
	case 3:
		op->failed |= op->seen[0] != w.losses;
		if (!op->failed) {
			w.zeroed = m->records_granules;
			happens(m, &w, BSP_ZEROED);
		}
		op->pc = first + 4;
		break;
	default:
		unlock(&w, true);
		op->pc = next;
		break;
	}
	if (op->pc == DONE)
		end(&w, op);
	visit(m, &w);
}

/* The device's flush: done, or failed, with all of it lost or nothing. */
static void device_flush(struct model *m, const struct world *from, int i,
			 unsigned char done_pc, unsigned char failed_pc)
{
	struct world w = *from;

	memcpy(w.durable, w.device, sizeof(w.durable));
	w.op[i].pc = done_pc;
	visit(m, &w);

	w = *from;
	w.op[i].failed = 1;
	w.op[i].pc = failed_pc;
	visit(m, &w);

	for (int half = 0; half < 2; half++) {
		unsigned char value = w.durable[half];

		w.device[half] = value;
		/* Lost data leaves the bytes of before. */
		if (w.may[half] != ZERO)
			w.may[half] |= value;
		for (int j = 0; j < w.ops; j++)
			if (is_running(&w.op[j]) &&
			    value_of(w.op[j].kind, half) > ZERO)
				w.op[j].overlap[half] |= value;
	}
	w.shaken = 1;
	visit(m, &w);
}

static void step_flush(struct model *m, struct world w, int i)
{
	struct op *op = &w.op[i];

	switch (op->pc) {
	case 1:
		if (m->locks && w.flushing)
			return;
		w.flushing++;
		op->pc = w.lost ? 14 : 2;
		break;
	case 14:
		if (!can_lock(m, &w, true))
			return;
		lock(&w, true);
		op->seen[0] = w.losses;
		op->fills = w.lost;
		op->pc = 15;
		break;
	case 15:
		device_write(m, &w, i, op->fills & 1 ? ZERO : 0,
			     op->fills & 2 ? ZERO : 0, 16);
		return;
	case 16:
		if (!op->failed)
			note(m, &w, op, op->fills);
		unlock(&w, true);
		op->pc = 2;
		break;
	case 7:
		if (!w.taken) {
			w.taken = w.zeroed;
			w.zeroed = 0;
		}
		op->old = w.pieces & (unsigned char)~w.lost;
		op->pc = 8;
		break;
	case 8:
		device_flush(m, &w, i, 17, 9);
		return;
	case 17:
		w.taken = 0;
		forget_pieces(&w, op->old);
		op->pc = 13;
		break;
	case 9:
		w.losses++;
		w.marking = 1;
		w.lost = w.pieces;
		op->old = 0;
		op->pc = has(&w) ? 10 : 18;
		break;
	case 10:
		if (!can_lock(m, &w, true))
			return;
		lock(&w, true);
		op->pc = 11;
		break;
	case 11:
		happens(m, &w, BSP_ZEROS_LOST);
		w.zeroed = w.taken = 0;
		op->pc = 12;
		break;
	case 12:
		unlock(&w, true);
		op->pc = 18;
		break;
	case 18:
		w.marking = 0;
		op->pc = 13;
		break;
	case 13:
		for (int half = 0; half < 2 && !op->failed && !w.lost; half++)
			if (w.may[half] == ZERO && !op->overlap[half] &&
			    w.durable[half] != ZERO)
				w.untold = 1;
		if (op->failed)
			w.shaken = 0;
		w.flushing--;
		end(&w, op);
		break;
	default:
		step_flush_markers(m, w, i, 2, 7);
		return;
	}
	visit(m, &w);
}

/* --- Steps of learning and forgetting --- */

static void learn(const struct model *m, struct world *w, const struct op *op,
		  enum bsp_event event)
{
	if (!m->generations || op->generation == w->generation)
		happens(m, w, event);
}

static void step_scan(struct model *m, struct world w, int i)
{
	struct op *op = &w.op[i];

	switch (op->pc) {
	case 1:
		op->generation = w.generation;
		op->pc = 2;
		break;
	case 2:
	case 3: /* one half after the other */
		op->seen[op->pc - 2] = w.device[op->pc - 2];
		op->pc++;
		break;
	default:
		learn(m, &w, op,
		      op->seen[0] == ZERO && op->seen[1] == ZERO
			      ? BSP_LEARNED_HOLE
			      : BSP_LEARNED_DATA);
		end(&w, op);
		break;
	}
	visit(m, &w);
}

static bool is_zero(const unsigned char halves[2])
{
	return halves[0] == ZERO && halves[1] == ZERO;
}

static void build(const struct model *m, struct world *w, const struct op *op)
{
	if (w->built && (!m->builds_again || w->built > op->generation))
		return;
	w->built = (unsigned char)(op->generation + 1);
	w->view = is_zero(m->writes_back ? w->device : w->durable);
}

static void step_ask(struct model *m, struct world w, int i)
{
	struct op *op = &w.op[i];

	switch (op->pc) {
	case 1: /* only what is unknown is asked for */
		op->generation = w.generation;
		op->pc = 2;
		if (w.state != BSP_UNKNOWN)
			end(&w, op);
		break;
	case 2:
		build(m, &w, op);
		op->pc = 3;
		break;
	case 3: /* the answer, as of now or as of the building */
		op->pc = 4;
		op->zeros = is_zero(w.device);
		visit(m, &w);
		op->zeros = w.view;
		break;
	default:
		if (op->zeros)
			learn(m, &w, op, BSP_LEARNED_HOLE);
		end(&w, op);
		break;
	}
	visit(m, &w);
}

static void step_forget(struct model *m, struct world w, int i)
{
	struct op *op = &w.op[i];

	switch (op->pc) {
	case 1: /* no writer, punch or flush of markers is under way */
		if (!can_lock(m, &w, true))
			return;
		lock(&w, true);
		op->pc = 2;
		break;
	case 2:
		if (has(&w))
			happens(m, &w, BSP_ZEROS_LOST);
		w.zeroed = w.taken = 0;
		op->pc = 3;
		break;
	case 3:
		happens(m, &w, BSP_FORGOTTEN);
		w.generation++;
		op->pc = 4;
		break;
	default:
		unlock(&w, true);
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
	case FLUSH_MARKERS:
		step_flush_markers(m, w, i, 1, DONE);
		break;
	case FLUSH:
		step_flush(m, w, i);
		break;
	case ASK:
		step_ask(m, w, i);
		break;
	case FORGET:
		step_forget(m, w, i);
		break;
	default:
		step_scan(m, w, i);
		break;
	}
}

/* --- Conditions that hold in every world --- */

static bool is_right(const struct world *w)
{
	bool reads_zero = w->state == BSP_HOLE || w->state == BSP_MARKER;
	bool idle = !w->shared && !w->exclusive && !w->shaken;

	if (w->untold)
		return false;
	for (int half = 0; half < 2; half++) {
		bool zero = reads_zero || (w->pieces & 1U << half);
		unsigned char value = zero ? ZERO : w->device[half];

		if (!(w->may[half] & value))
			return false;
		/* A hole must be zero on the device, or be zeroed again. */
		if (idle && w->state == BSP_HOLE && w->device[half] != ZERO &&
		    !(w->lost & 1U << half))
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

/* Visits all worlds that these operations can lead to; returns how many are
 * wrong. */
static void explore(struct model *m, const struct world *start)
{
	struct world *w;

	m->seen = g_hash_table_new_full(world_hash, world_equal, g_free, NULL);
	g_queue_init(&m->todo);
	visit(m, start);
	while ((w = g_queue_pop_head(&m->todo)))
		for (int i = 0; i < w->ops; i++)
			if (w->op[i].pc != DONE)
				step(m, w, i);
	m->worlds += g_hash_table_size(m->seen);
	g_hash_table_destroy(m->seen);
}

static struct world start_in(enum bsp_state state, unsigned char device)
{
	struct world w = { .state = (unsigned char)state,
			   .device = { device, device },
			   .durable = { device, device },
			   .may = { device, device } };

	if (state == BSP_MARKER)
		w.may[0] = w.may[1] = ZERO;
	return w;
}

/*
 * Tries every choice of n operations of the first kinds beside the fixed ones,
 * from every state that a granule can have. Returns how many worlds were wrong.
 */
static size_t explore_beside(struct model *m, const enum kind *fixed,
			     int fixed_n, int kinds_n, int n)
{
	const struct world starts[] = {
		start_in(BSP_UNKNOWN, OLD), start_in(BSP_UNKNOWN, ZERO),
		start_in(BSP_DATA, OLD),    start_in(BSP_DATA, ZERO),
		start_in(BSP_HOLE, ZERO),   start_in(BSP_MARKER, OLD),
	};
	int kinds[OPS_MAX] = { 0 };

	for (;;) {
		int i;

		for (size_t s = 0; s < G_N_ELEMENTS(starts); s++) {
			struct world w = starts[s];

			w.ops = (unsigned char)(n + fixed_n);
			for (i = 0; i < n; i++)
				w.op[i].kind = (unsigned char)kinds[i];
			for (i = 0; i < fixed_n; i++)
				w.op[n + i].kind = (unsigned char)fixed[i];
			explore(m, &w);
		}
		/* The next multiset: kinds never decrease. */
		for (i = n - 1; i >= 0 && kinds[i] == kinds_n - 1; i--)
			;
		if (i < 0)
			return m->wrong;
		kinds[i]++;
		for (int j = i + 1; j < n; j++)
			kinds[j] = kinds[i];
	}
}

static size_t explore_all(struct model *m, int kinds_n, int n)
{
	return explore_beside(m, NULL, 0, kinds_n, n);
}

static struct model right_model(void)
{
	return (struct model){ .transitions = bsp_transitions,
			       .locks = true,
			       .records_granules = true,
			       .notes = true,
			       .counts = true,
			       .generations = true,
			       .builds_again = true,
			       .writes_back = true };
}

static void no_interleaving_gives_wrong_bytes(void **state)
{
	struct model m = right_model();

	assert_int_equal(explore_all(&m, FLUSH, SIDE_BY_SIDE), 0);
	assert_true(m.worlds > 100000);
}

static void no_interleaving_with_flushes_gives_wrong_bytes(void **state)
{
	struct model m = right_model();

	assert_int_equal(explore_all(&m, KINDS, 3), 0);
	assert_true(m.worlds > 100000);
}

/* A question beside writes, punches, scans and flushes, and while the map
 * forgets. */
static void no_question_gives_a_false_hole(void **state)
{
	const enum kind fixed[] = { ASK, FORGET };
	struct model m = right_model();

	assert_int_equal(explore_beside(&m, fixed, 2, KINDS, SIDE_BY_SIDE - 2),
			 0);
	assert_true(m.worlds > 10000);
}

static void model_finds_each_broken_rule_of_questions(void **state)
{
	const enum kind fixed[] = { ASK, FORGET, ASK };
	struct model m = right_model();

	m.generations = false;
	assert_true(explore_beside(&m, fixed, 2, KINDS, 1) > 0);
	m = right_model();
	m.builds_again = false;
	assert_true(explore_beside(&m, fixed, 3, KINDS, 1) > 0);
	m = right_model();
	m.writes_back = false;
	assert_true(explore_beside(&m, fixed, 2, KINDS, 1) > 0);
}

/* The model must find the error if a rule is broken. */
static void model_finds_each_broken_rule(void **state)
{
	static const struct {
		enum bsp_event event;
		unsigned from;
	} mistakes[] = {
		{ BSP_LEARNED_HOLE,
		  BSP_IN_ALL }, /* scans overwrite any state */
		{ BSP_LEARNED_HOLE, BSP_IN_UNKNOWN | BSP_IN_DATA },
		{ BSP_WRITE_FAILED, BSP_IN_ALL }, /* stale bytes appear */
		{ BSP_WRITTEN, BSP_IN_UNKNOWN },  /* holes stay */
		{ BSP_PUNCHED, BSP_IN_UNKNOWN },  /* data stays */
		{ BSP_ZEROS_LOST, 0 },		  /* lost zeros are forgotten */
	};
	struct model m;

	for (size_t i = 0; i < G_N_ELEMENTS(mistakes); i++) {
		struct bsp_transition wrong[BSP_EVENTS];

		memcpy(wrong, bsp_transitions, sizeof(wrong));
		wrong[mistakes[i].event].from = mistakes[i].from;
		m = right_model();
		m.transitions = wrong;
		assert_true(explore_all(&m, KINDS, 2) > 0);
	}
	/* The same for locks, and for the record of zeros that are not
	 * durable. */
	m = right_model();
	m.locks = false;
	assert_true(explore_all(&m, KINDS, 2) > 0);
	m = right_model();
	m.records_granules = false;
	assert_true(explore_all(&m, KINDS, 2) > 0);
	m = right_model();
	m.notes = false;
	assert_true(explore_all(&m, KINDS, 2) > 0);
	m = right_model();
	m.counts = false;
	assert_true(explore_all(&m, KINDS, 3) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_interleaving_gives_wrong_bytes),
		cmocka_unit_test(
			no_interleaving_with_flushes_gives_wrong_bytes),
		cmocka_unit_test(no_question_gives_a_false_hole),
		cmocka_unit_test(model_finds_each_broken_rule),
		cmocka_unit_test(model_finds_each_broken_rule_of_questions),
	};

	return cmocka_run_group_tests_name("race-model", tests, NULL, NULL);
}
