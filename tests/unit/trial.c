/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "trial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "failing-memory.h"
#include "base/range.h"
#include "sparse/sparse.h"

static const struct disk_mood well;

void trial_wrong(struct trial *t, const char *format, ...)
{
	va_list args;

	if (t->wrong)
		return;
	va_start(args, format);
	t->wrong = g_strdup_vprintf(format, args);
	va_end(args);
}

/* --- Events of the disk --- */

static bool any_touched(const struct trial *t, uint64_t granule)
{
	uint64_t off = granule * t->granule;
	uint64_t end = bsp_min(off + t->granule, t->o->size);

	return off < end && memchr(t->o->touched + off, true, end - off);
}

/* A marker in the granule that the device's old end cuts is flushed when the
 * device grows, by the call that finds the new size. */
static bool is_cut(const struct trial *t, uint64_t off, uint64_t end)
{
	uint64_t old = t->o->device;

	return t->writable && disk_size(t->disk) > old && end <= old &&
	       off >= old / t->granule * t->granule;
}

/* A disk_range_fn: may the operation change the disk there? */
static void changes(void *trial, uint64_t off, uint64_t len)
{
	struct trial *t = trial;
	uint64_t end = off + len;

	if (is_cut(t, off, end))
		return;
	if (off < t->change_from || end > t->change_to)
		trial_wrong(t,
			    "it changes [%" PRIu64 ", %" PRIu64
			    ") of the device, and may [%" PRIu64 ", %" PRIu64
			    ")",
			    off, end, t->change_from, t->change_to);
	for (uint64_t g = off / t->granule;
	     t->only_touched && !t->was_short && g * t->granule < end; g++)
		if (!any_touched(t, g))
			trial_wrong(t,
				    "it changes granule %" PRIu64
				    ", which was durable",
				    g);
}

static void lost(void *trial, uint64_t off, uint64_t len)
{
	struct trial *t = trial;

	oracle_lost(t->o, off, bsp_min(off + len, t->capacity));
	t->lost[off / DISK_SECTOR] = true;
}

/* A loss during an operation may have hit the bytes that it wrote. */
static void lose_again(struct trial *t)
{
	for (uint64_t off = 0; off < t->capacity; off += DISK_SECTOR) {
		if (t->lost[off / DISK_SECTOR])
			oracle_lost(t->o, off,
				    bsp_min(off + DISK_SECTOR, t->capacity));
		t->lost[off / DISK_SECTOR] = false;
	}
}

/* --- Life --- */

/* Nothing fails but writeback, now and then, of pages that stay. */
static void make_mood_of_pages(struct trial *t)
{
	struct disk_mood *mood = &t->mood;

	mood->fails_early = 20 + (unsigned)dice_below(&t->dice, 200);
	mood->writes_back = 0;
	mood->phantoms = mood->sticks = true;
	if (dice_chance(&t->dice, 500))
		mood->fails[DISK_FLUSH] = (unsigned)dice_below(&t->dice, 50);
	mood->loses = (unsigned)dice_below(&t->dice, 1001);
}

/* Sets the chances of all faults, or none, by the seed. */
static void make_mood(struct trial *t)
{
	struct disk_mood *mood = &t->mood;

	mood->writes_back = (unsigned)dice_below(&t->dice, 100);
	if (dice_chance(&t->dice, 250))
		return; /* a good disk */
	if (t->skips && dice_chance(&t->dice, 500)) {
		make_mood_of_pages(t);
		return;
	}
	for (int call = 0; call < DISK_CALLS; call++)
		if (dice_chance(&t->dice, 500))
			mood->fails[call] = (unsigned)dice_below(&t->dice, 200);
	if (dice_chance(&t->dice, 500))
		mood->shortens = (unsigned)dice_below(&t->dice, 100);
	if (dice_chance(&t->dice, 300))
		mood->fails_early = (unsigned)dice_below(&t->dice, 30);
	mood->loses = (unsigned)dice_below(&t->dice, 1001);
	mood->phantoms = dice_chance(&t->dice, 500);
	mood->deceives = dice_chance(&t->dice, 500);
	mood->sticks = !mood->deceives && dice_chance(&t->dice, 500);
	mood->evicts = (unsigned)dice_below(&t->dice, 100);
	if (dice_chance(&t->dice, 400))
		t->memory_chance = (unsigned)dice_below(&t->dice, 300);
}

uint64_t trial_any_size(struct trial *t)
{
	uint64_t size =
		t->capacity / 4 + dice_below(&t->dice, t->capacity * 3 / 4 + 1);

	return t->ragged ? size : size / t->block * t->block;
}

static void make_disk(struct trial *t)
{
	struct dice *dice = &t->dice;
	struct disk_options options = {
		.capacity = t->capacity,
		.size = dice_chance(dice, 500) ? t->capacity
					       : trial_any_size(t),
		.block = t->block,
		.writable = t->writable,
		.ragged = t->ragged,
		.waits_written = dice_chance(dice, 500),
		.direct = dice_chance(dice, 300),
		.counts = t->counts,
		.has_zeros = dice_chance(dice, 300),
		.refused = (unsigned)(dice_throw(dice) & dice_throw(dice)),
	};

	if (dice_chance(dice, 200))
		options.broken = (unsigned)dice_throw(dice);
	t->disk = disk_new(&options, &t->disk_dice);
	disk_watch(t->disk, changes, lost, t);
	t->o->size = t->o->device = options.size;
	oracle_loaded(t->o, 0, options.size, disk_seen(t->disk));
	for (int i = 0; i < 3 && dice_chance(dice, 150); i++)
		disk_make_bad(t->disk, dice_below(dice, options.size));
}

static void make_object(struct trial *t)
{
	struct dice *dice = &t->dice;
	struct bsp_sparse_options options = {
		.granule = t->granule,
		.lookahead = t->granule << dice_below(dice, 6),
		.budget_ms = UINT32_MAX / 2,
		.zero_mode = (enum bsp_zero_mode)dice_below(dice, 3),
		.minhole = t->minhole ? t->granule << dice_below(dice, 4) : 0,
		.skip_same = t->skips,
	};

	failing_memory(&t->memory_dice, t->memory_chance);
	t->sp = bsp_sparse_new(disk_device(t->disk), &options, NULL);
	failing_memory(NULL, 0);
	/* The seed has to repeat the reads, too. */
	if (t->sp)
		t->sp->spot_checks.random = 1;
}

/* Without memory for the object its disk is closed: makes the same again. */
static void make_disk_and_object(struct trial *t)
{
	struct dice dice = t->dice, disk_dice = t->disk_dice;

	do {
		t->dice = dice;
		t->disk_dice = disk_dice;
		make_disk(t);
		make_object(t);
	} while (!t->sp);
}

struct trial *trial_new(uint64_t seed)
{
	struct trial *t = g_new0(struct trial, 1);

	t->seed = seed;
	t->dice.state = seed * 3;
	t->disk_dice.state = seed * 3 + 1;
	t->memory_dice.state = seed * 3 + 2;
	t->log = g_string_new(NULL);
	t->writable = dice_chance(&t->dice, 750);
	t->granule = UINT64_C(4096) << dice_below(&t->dice, 3);
	t->capacity = bsp_min(t->granule * 24, 128 << 10);
	t->ragged = dice_chance(&t->dice, 200);
	t->block = t->ragged || dice_chance(&t->dice, 700) ? 512 : 4096;
	if (dice_chance(&t->dice, 400))
		t->capacity -= t->ragged ? 100 : t->block;
	t->resizes = dice_chance(&t->dice, 400);
	t->counts = dice_chance(&t->dice, 800);
	t->minhole = dice_chance(&t->dice, 150);
	t->skips = t->writable && dice_chance(&t->dice, 500);
	t->o = oracle_new(t->capacity, DISK_JUNK);
	t->buf = g_malloc(t->capacity);
	t->now = g_malloc(t->capacity);
	t->lost = g_new0(bool, t->capacity / DISK_SECTOR + 1);
	make_mood(t);
	make_disk_and_object(t);
	return t;
}

void trial_free(struct trial *t)
{
	disk_watch(t->disk, changes, lost, t);
	bsp_sparse_free(t->sp);
	oracle_free(t->o);
	g_free(t->buf);
	g_free(t->now);
	g_free(t->lost);
	g_free(t->wrong);
	g_string_free(t->log, TRUE);
	g_free(t);
}

/* --- An operation --- */

/* A disk_at_call() function: gives the device another size. */
static void resize_meanwhile(void *trial)
{
	struct trial *t = trial;
	uint64_t size = trial_any_size(t);

	disk_resize(t->disk, size, dice_chance(&t->dice, 700));
	g_string_append_printf(t->log, " [device: %" PRIu64 "]", size);
	t->unsteady = true;
}

void trial_may_be_held(struct trial *t, uint64_t off, uint64_t end)
{
	for (uint64_t at = off; at < end; at++)
		t->o->may[at] |= (uint16_t)(1U << disk_held(t->disk)[at]);
}

static void write_meanwhile(void *trial)
{
	struct trial *t = trial;
	uint64_t size = disk_size(t->disk);
	uint64_t off = dice_below(&t->dice, size);
	uint64_t len = 1 + dice_below(&t->dice, size - off);

	disk_write_outside(t->disk, off, len, dice_chance(&t->dice, 500));
	g_string_append_printf(t->log, " [outside: %" PRIu64 "+%" PRIu64 "]",
			       off, len);
	trial_may_be_held(t, off, off + len);
	t->outside = true;
}

static void go_meanwhile(void *trial)
{
	struct trial *t = trial;

	g_string_append(t->log, " [device: gone]");
	t->gone = t->unsteady = true;
	disk_set_gone(t->disk, true);
}

/* Chooses an event for the middle of the operation. */
static void plan(struct trial *t)
{
	unsigned calls = (unsigned)dice_below(&t->dice, 6);

	disk_at_call(t->disk, 0, NULL, NULL);
	if (t->resizes && !t->unsteady && dice_chance(&t->dice, 60))
		disk_at_call(t->disk, calls, resize_meanwhile, t);
	else if (t->resizes && !t->gone && dice_chance(&t->dice, 10))
		disk_at_call(t->disk, calls, go_meanwhile, t);
	else if (!t->writable && !t->looks && dice_chance(&t->dice, 60))
		disk_at_call(t->disk, calls, write_meanwhile, t);
}

void trial_begin(struct trial *t, uint64_t from, uint64_t to,
		 const char *format, ...)
{
	va_list args;

	va_start(args, format);
	g_string_append_vprintf(t->log, format, args);
	va_end(args);
	t->change_from = from;
	t->change_to = to;
	t->only_touched = false;
	t->interrupted = 0;
	t->unsteady = t->gone || disk_size(t->disk) != t->o->device;
	t->allocations = failed_allocations();
	plan(t);
	disk_forget_faults(t->disk);
	disk_set_mood(t->disk, &t->mood);
	failing_memory(&t->memory_dice, t->memory_chance);
}

static void log_result(struct trial *t, int64_t result)
{
	static const char *const names[] = { "reads", "writes", "zeroing",
					     "flushes" };

	g_string_append_printf(t->log, ": %" PRId64, result);
	for (unsigned call = 0; call < DISK_CALLS; call++)
		if (disk_faults(t->disk, (enum disk_call)call))
			g_string_append_printf(
				t->log, ", %s failed %u", names[call],
				disk_faults(t->disk, (enum disk_call)call));
	if (failed_allocations() != t->allocations)
		g_string_append(t->log, ", no memory");
	if (t->unsteady)
		g_string_append(t->log, ", unsteady");
	g_string_append_c(t->log, '\n');
}

void trial_end(struct trial *t, int64_t result)
{
	failing_memory(NULL, 0);
	disk_set_mood(t->disk, &well);
	disk_at_call(t->disk, 0, NULL, NULL);
	t->change_from = t->change_to = 0;
	t->only_touched = false;
	t->was_short |= failed_allocations() != t->allocations;
	log_result(t, result);
	if (disk_misuse(t->disk))
		trial_wrong(t, "%s", disk_misuse(t->disk));
}

void trial_explain(struct trial *t, int64_t result, unsigned kinds)
{
	if (t->unsteady)
		return;
	if ((result == -ENOMEM || result > 0) &&
	    failed_allocations() != t->allocations)
		return;
	for (unsigned call = 0; call < DISK_CALLS; call++)
		if (kinds & 1U << call &&
		    disk_faults(t->disk, (enum disk_call)call) &&
		    result != -ENOMEM)
			return;
	trial_wrong(t, "nothing explains the result %" PRId64, result);
}

bool trial_interrupted(void *trial)
{
	struct trial *t = trial;
	bool ends = dice_chance(&t->dice, 20);

	t->interrupted += ends;
	return ends;
}

void trial_opened(struct trial *t, uint64_t end)
{
	uint64_t from = end / t->granule * t->granule;

	end = bsp_min(end, t->o->size);
	if (from < end)
		oracle_touched(t->o, from, end);
}

void trial_resized(struct trial *t, uint64_t size)
{
	uint64_t old = t->o->size;

	oracle_resized(t->o, size);
	/* The granules at the two ends may have had data. */
	for (int i = 0; i < 2; i++) {
		uint64_t end = i ? old : size;
		uint64_t at = end / t->granule * t->granule;

		for (; at < end; at++)
			t->o->zeroed[at] = false;
	}
}

static void follow_growth(struct trial *t, uint64_t device)
{
	struct oracle *o = t->o;
	uint64_t old = o->device;

	o->device = device;
	trial_opened(t, old);
	if (o->size != old || bsp_sparse_size(t->sp) != device) {
		oracle_hidden(o, old, device);
		return;
	}
	o->size = device;
	oracle_loaded(o, old, device, disk_held(t->disk));
}

static void follow_reading(struct trial *t, uint64_t device)
{
	struct oracle *o = t->o;

	if (device > o->device)
		oracle_loaded(o, o->device, device, disk_held(t->disk));
	o->size = o->device = device;
	t->outside = true;
}

void trial_looked(struct trial *t, bool all)
{
	if (t->looks == LOOKED || (t->looks == ALL_UNLOOKED && !all))
		return;
	/* A writable object then forgets its holes. */
	if (t->looks && t->writable)
		memset(t->o->zeroed, false, t->capacity);
	t->looks = LOOKED;
	trial_follow(t);
}

void trial_follow(struct trial *t)
{
	uint64_t device = atomic_load(&t->sp->capacity);
	struct oracle *o = t->o;

	lose_again(t);
	if (device != o->device) {
		if (device != disk_size(t->disk))
			trial_wrong(t, "it takes the device for %" PRIu64,
				    device);
		if (!t->writable) {
			follow_reading(t, device);
		} else if (device > o->device) {
			follow_growth(t, device);
		} else {
			o->device = device;
			if (device < o->size)
				trial_resized(t, device);
		}
	}
	if (t->outside && !t->looks) {
		oracle_loaded(o, 0, bsp_min(o->size, disk_size(t->disk)),
			      disk_held(t->disk));
		t->outside = false;
	}
	if (bsp_sparse_size(t->sp) != o->size)
		trial_wrong(t,
			    "the file's size is %" PRIu64
			    ", and should be %" PRIu64,
			    bsp_sparse_size(t->sp), o->size);
}
