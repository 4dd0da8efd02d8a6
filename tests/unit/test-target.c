/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The target of a stream, on a fake device whose writes take long, fail and
 * finish out of order: the promise of its good part, and the pieces that have
 * to be written alone.
 */
#include "unit.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "dice.h"
#include "fake-device.h"
#include "stream/stream.h"
#include "transfer/target.h"

enum { G = 4096, MIB = 1 << 20, OLD = 0xaa };

struct fixture {
	struct fake *fake;
	struct bsp_target *target;
	struct bsp_transfer call;
	struct bsp_transfer_options options;
	bool interrupt;
	unsigned asked;		 /* how often, since then */
	sem_t *when_interrupted; /* is posted then */
	uint64_t size;
	unsigned char *content; /* that a good target has */
	bool go_on;		/* the target takes more pieces */
};

/* The target knows of an interrupt when it asks again. */
static bool is_interrupted(void *data)
{
	struct fixture *f = data;

	if (f->interrupt && ++f->asked == 2)
		sem_post(f->when_interrupted);
	return f->interrupt;
}

/* Makes a target that is full of old bytes. */
static struct fixture *open_new(uint64_t size, uint64_t granule)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->fake = fake_new(size);
	f->size = size;
	f->content = calloc(1, size);
	f->go_on = true;
	memset(fake_bytes(f->fake), OLD, size);
	fake_make_writable(f->fake, 1 << FAKE_PUNCH);
	f->options.interrupted = is_interrupted;
	f->options.data = f;
	assert_true(bsp_transfer_begin(&f->call, &f->options, NULL, NULL));
	f->target = bsp_target_new(&f->call);
	assert_non_null(f->target);
	bsp_target_begin(f->target, &(struct bsp_target_options){
					    .dev = fake_device(f->fake),
					    .granule = granule,
				    });
	return f;
}

static void close_it(struct fixture *f)
{
	bsp_target_free(f->target);
	bsp_device_close(fake_device(f->fake));
	free(f->content);
	free(f);
}

static void put_data(struct fixture *f, uint64_t off, size_t len, int byte)
{
	void *place;

	memset(f->content + off, byte, len);
	place = f->go_on ? bsp_target_room(f->target, len) : NULL;
	f->go_on = place != NULL;
	if (!place)
		return;
	memset(place, byte, len);
	f->go_on = bsp_target_data(f->target, off, place, len);
}

static void put_hole(struct fixture *f, uint64_t off, uint64_t len)
{
	if (f->go_on)
		f->go_on = bsp_target_hole(f->target, off, len);
}

static void skip_part(struct fixture *f, uint64_t off, uint64_t len)
{
	memset(f->content + off, OLD, len);
	if (f->go_on)
		f->go_on = bsp_target_skip(f->target, off, len);
}

static struct bsp_progress good(struct fixture *f)
{
	struct bsp_progress now = { 0 };

	bsp_target_good(f->target, &now);
	return now;
}

/* Asserts that the good part ends at end, of which that many bytes are holes,
 * and holds the content. */
static void good_is(struct fixture *f, uint64_t end, uint64_t hole)
{
	struct bsp_progress now = good(f);

	assert_int_equal(now.done, end);
	assert_int_equal(now.hole, hole);
	assert_int_equal(now.data, end - hole);
	assert_memory_equal(fake_bytes(f->fake), f->content, end);
}

/* --- Writes that finish out of order --- */

/* Holds the write at an offset until as many others have begun. */
struct gate {
	uint64_t held;
	sem_t open;
	atomic_uint others;
};

static void hold(void *data, uint64_t off)
{
	struct gate *gate = data;

	if (off != gate->held)
		atomic_fetch_add(&gate->others, 1);
	else
		while (sem_wait(&gate->open) < 0)
			;
}

static void wait_for_others(struct gate *gate, unsigned n)
{
	for (int i = 0; i < 20000 && atomic_load(&gate->others) < n; i++)
		g_usleep(1000);
	assert_true(atomic_load(&gate->others) >= n);
}

static void only_the_part_without_gaps_is_good(void **state)
{
	struct fixture *f = open_new(8 * MIB, G);
	struct gate gate = { .held = MIB + G };

	sem_init(&gate.open, 0, 0);
	fake_on_write(f->fake, hold, &gate);
	put_data(f, 0, MIB, 1);
	put_hole(f, MIB, G);
	for (unsigned i = 1; i < 6; i++)
		put_data(f, i * MIB + G, MIB, (int)i + 1);
	bsp_target_submit(f->target);
	wait_for_others(&gate, 5);
	/* Also the others may still be under way. */
	assert_true(good(f).done <= MIB + G);
	for (int i = 0; i < 20000 && good(f).done < MIB + G; i++)
		g_usleep(1000);
	good_is(f, MIB + G, G);
	sem_post(&gate.open);
	bsp_target_finish(f->target);
	good_is(f, 6 * MIB + G, G);
	assert_int_equal(bsp_target_error(f->target).error, 0);
	assert_true(f->go_on);
	sem_destroy(&gate.open);
	close_it(f);
}

/* Before any hole, among holes that wait, and at the end. */
static void a_part_that_is_skipped_stays_as_it_is(void **state)
{
	struct fixture *f = open_new(8 * MIB, G);

	skip_part(f, 0, MIB);
	good_is(f, MIB, MIB);
	put_data(f, MIB, G, 1);
	for (uint64_t at = MIB + G; at < 2 * MIB; at += 3 * G) {
		put_hole(f, at, G);
		skip_part(f, at + G, G);
		put_data(f, at + 2 * G, G, 2);
	}
	skip_part(f, 2 * MIB, MIB);
	bsp_target_finish(f->target);
	assert_true(f->go_on);
	good_is(f, 3 * MIB, 2 * MIB + 2 * 85 * G);
	close_it(f);
}

static void a_failed_write_ends_the_good_part(void **state)
{
	struct fixture *f = open_new(8 * MIB, G);
	struct gate gate = { .held = 0 };
	struct bsp_target_error error;

	sem_init(&gate.open, 0, 0);
	fake_on_write(f->fake, hold, &gate);
	/* In the middle of a granule. */
	fake_fail_writes(f->fake, 3 * MIB + 5 * G + 512, 512, ENOSPC);
	for (unsigned i = 0; i < 6; i++)
		put_data(f, i * MIB, MIB, (int)i + 1);
	bsp_target_submit(f->target);
	wait_for_others(&gate, 3);
	assert_int_equal(good(f).done, 0);
	sem_post(&gate.open);
	bsp_target_finish(f->target);
	error = bsp_target_error(f->target);
	assert_int_equal(error.error, -ENOSPC);
	assert_int_equal(error.off, 3 * MIB + 5 * G + 512);
	assert_string_equal(error.verb, "write");
	good_is(f, 3 * MIB + 5 * G, 0);
	put_data(f, 6 * MIB, MIB, 7);
	assert_false(f->go_on);
	sem_destroy(&gate.open);
	close_it(f);
}

static void the_lowest_of_several_errors_counts(void **state)
{
	struct fixture *f = open_new(8 * MIB, G);
	struct gate gate = { .held = MIB };
	struct bsp_target_error error;

	sem_init(&gate.open, 0, 0);
	fake_on_write(f->fake, hold, &gate);
	fake_fail_writes(f->fake, MIB + G, 5 * MIB, EIO);
	for (unsigned i = 0; i < 4; i++)
		put_data(f, i * MIB, MIB, (int)i + 1);
	bsp_target_submit(f->target);
	for (int i = 0; i < 20000 && !bsp_target_error(f->target).error; i++)
		g_usleep(1000);
	assert_true(bsp_target_error(f->target).off >= 2 * MIB);
	sem_post(&gate.open);
	bsp_target_finish(f->target);
	error = bsp_target_error(f->target);
	assert_int_equal(error.off, MIB + G);
	good_is(f, MIB + G, 0);
	sem_destroy(&gate.open);
	close_it(f);
}

/* --- Holes --- */

struct slow_hole {
	sem_t begun, open;
};

static void hold_zeroing(void *data)
{
	struct slow_hole *slow = data;

	sem_post(&slow->begun);
	while (sem_wait(&slow->open) < 0)
		;
}

static void a_hole_that_waits_ends_the_good_part(void **state)
{
	for (int interrupt = 0; interrupt < 2; interrupt++) {
		struct fixture *f = open_new(64 * MIB, G);
		struct slow_hole slow;

		sem_init(&slow.begun, 0, 0);
		sem_init(&slow.open, 0, 0);
		fake_on_zeroing(f->fake, hold_zeroing, &slow);
		put_data(f, 0, G, 1);
		/* The first step is 16 MiB. */
		put_hole(f, G, 32 * MIB);
		put_data(f, 32 * MIB + G, MIB, 2);
		bsp_target_submit(f->target);
		while (sem_wait(&slow.begun) < 0)
			;
		for (int i = 0; i < 20000 && good(f).done < G; i++)
			g_usleep(1000);
		good_is(f, G, 0);
		f->interrupt = interrupt;
		f->when_interrupted = &slow.open;
		for (int i = 0; i < 2 && !interrupt; i++)
			sem_post(&slow.open);
		bsp_target_finish(f->target);
		if (interrupt)
			good_is(f, 16 * MIB + G, 16 * MIB);
		else
			good_is(f, 33 * MIB + G, 32 * MIB);
		sem_destroy(&slow.open);
		sem_destroy(&slow.begun);
		close_it(f);
	}
}

static void a_hole_that_fails_ends_the_good_part(void **state)
{
	struct fixture *f = open_new(8 * MIB, G);
	struct bsp_target_error error;

	fake_fail_writes(f->fake, 2 * MIB, G, EIO);
	put_data(f, 0, MIB, 1);
	put_hole(f, MIB, 2 * MIB);
	put_data(f, 3 * MIB, MIB, 2);
	bsp_target_finish(f->target);
	error = bsp_target_error(f->target);
	assert_int_equal(error.error, -EIO);
	assert_string_equal(error.verb, "zero");
	assert_int_equal(error.off, MIB);
	good_is(f, MIB, 0);
	close_it(f);
}

static void small_holes_are_zeroed_together(void **state)
{
	enum { N = 3000 };
	struct fixture *f = open_new(2 * N * G, G);
	const struct fake_call *calls;
	size_t n, punches = 0;

	/* More than the ring has places for, side by side. */
	for (unsigned i = 0; i < N; i++)
		put_hole(f, (uint64_t)i * G, G);
	bsp_target_finish(f->target);
	good_is(f, (uint64_t)N * G, (uint64_t)N * G);
	n = fake_changes(f->fake, &calls);
	for (size_t i = 0; i < n; i++)
		punches += calls[i].kind == FAKE_PUNCH;
	assert_true(punches < N / 2);
	/* And apart. */
	for (unsigned i = N; i < 2 * N; i += 2) {
		put_hole(f, (uint64_t)i * G, G);
		put_data(f, (uint64_t)(i + 1) * G, G, 1);
	}
	bsp_target_finish(f->target);
	good_is(f, (uint64_t)2 * N * G, (uint64_t)(N + N / 2) * G);
	close_it(f);
}

static void known_zeros_are_not_zeroed_and_a_liar_is_named(void **state)
{
	for (int lie = 0; lie < 2; lie++) {
		struct fixture *f = open_new(8 * MIB, G);
		const struct fake_call *calls;
		struct bsp_target_error error;

		if (!lie)
			memset(fake_bytes(f->fake) + MIB, 0, 2 * MIB);
		fake_know_zeros(f->fake, MIB, 2 * MIB);
		put_data(f, 0, MIB, 1);
		put_hole(f, MIB, 2 * MIB);
		bsp_target_finish(f->target);
		error = bsp_target_error(f->target);
		if (lie) {
			assert_string_equal(error.liar, "fake");
			assert_int_equal(error.off, MIB);
			good_is(f, MIB, 0);
		} else {
			assert_int_equal(error.error, 0);
			good_is(f, 3 * MIB, 2 * MIB);
			assert_int_equal(fake_changes(f->fake, &calls), 1);
		}
		close_it(f);
	}
}

static void change_layers(void *data)
{
	fake_change_layers(data);
}

static void zeros_of_layers_that_were_exchanged_are_zeroed(void **state)
{
	struct fixture *f = open_new(8 * MIB, G);

	fake_know_zeros(f->fake, MIB, 2 * MIB);
	fake_on_question(f->fake, change_layers, f->fake);
	put_data(f, 0, MIB, 1);
	put_hole(f, MIB, 2 * MIB);
	bsp_target_finish(f->target);
	assert_int_equal(bsp_target_error(f->target).error, 0);
	good_is(f, 3 * MIB, 2 * MIB);
	close_it(f);
}

/* --- Pieces that are written alone --- */

struct crowd {
	struct fake *fake;
	atomic_int now;	   /* calls of the device under way */
	atomic_int beside; /* odd writes that were not alone */
};

static void enter(struct crowd *crowd, bool alone)
{
	int now = atomic_fetch_add(&crowd->now, 1) + 1;

	g_usleep(200);
	if (alone && (now != 1 || atomic_load(&crowd->now) != 1))
		atomic_fetch_add(&crowd->beside, 1);
	atomic_fetch_sub(&crowd->now, 1);
}

static void write_in_crowd(void *data, uint64_t off)
{
	enter(data, off % 512 != 0);
}

static void zero_in_crowd(void *data)
{
	enter(data, false);
}

static void a_part_of_a_block_is_written_alone(void **state)
{
	struct fixture *f = open_new(8 * MIB, 0);
	struct crowd crowd = { .fake = f->fake };
	uint64_t off = 0;

	fake_on_write(f->fake, write_in_crowd, &crowd);
	fake_on_zeroing(f->fake, zero_in_crowd, &crowd);
	for (unsigned i = 1; off < 6 * MIB; i++) {
		put_data(f, off, 512 * i + (i % 3 ? 0 : 100), (int)i % 255 + 1);
		off += 512 * i + (i % 3 ? 0 : 100);
		put_hole(f, off, 1024 * i + (i % 3 ? 0 : 300));
		off += 1024 * i + (i % 3 ? 0 : 300);
		put_hole(f, off, 112 * (i % 2));
		off += 112 * (i % 2);
	}
	bsp_target_finish(f->target);
	assert_true(f->go_on);
	assert_int_equal(good(f).done, off);
	assert_memory_equal(fake_bytes(f->fake), f->content, off);
	for (; off < f->size; off++)
		assert_int_equal(fake_bytes(f->fake)[off], OLD);
	assert_int_equal(atomic_load(&crowd.beside), 0);
	close_it(f);
}

/* A first write that takes long, and one of a part of a block. */
struct long_write {
	atomic_bool done;
	bool waited; /* the second one came after it */
};

static void take_long(void *data, uint64_t off)
{
	struct long_write *first = data;

	if (off == 0) {
		g_usleep(20000);
		atomic_store(&first->done, true);
	} else {
		first->waited = atomic_load(&first->done);
	}
}

static void a_part_of_a_block_waits_for_all_before_it(void **state)
{
	struct fixture *f = open_new(8 * MIB, 0);
	struct long_write first = { 0 };

	fake_on_write(f->fake, take_long, &first);
	put_data(f, 0, MIB, 1);
	bsp_target_submit(f->target);
	put_data(f, MIB, 100, 2);
	bsp_target_finish(f->target);
	assert_true(first.waited);
	good_is(f, MIB + 100, 0);
	close_it(f);
}

/* --- Anything --- */

static void dawdle(void *data, uint64_t off)
{
	uint64_t seed = off / 512 * 2654435761;

	g_usleep(seed >> 8 & 127);
}

static void dawdle_zeroing(void *data)
{
	g_usleep(50);
}

/* A stream of any pieces, whose target may fail somewhere. */
static void put_anything(struct fixture *f, struct dice *dice, uint64_t unit)
{
	uint64_t off = 0;

	while (off < f->size && f->go_on) {
		uint64_t len =
			(dice_below(dice, dice_below(dice, 2) ? 4 : 200) + 1) *
			unit;

		len = len < f->size - off ? len : f->size - off;
		if (dice_below(dice, 2)) {
			len = len < MIB ? len : MIB;
			put_data(f, off, len, (int)dice_below(dice, 255) + 1);
		} else {
			put_hole(f, off, len);
		}
		if (dice_below(dice, 20) == 0)
			bsp_target_submit(f->target);
		off += len;
	}
	bsp_target_finish(f->target);
}

static void the_good_part_is_good_whatever_fails(void **state)
{
	struct dice dice = { .state = 1 };

	for (int i = 0; i < 60; i++) {
		const uint64_t unit = i % 3 == 0 ? 500 : i % 3 == 1 ? 512 : G;
		struct fixture *f =
			open_new((dice_below(&dice, 6) + 1) * MIB + 512,
				 unit == G ? G : 0);
		uint64_t bad = dice_below(&dice, f->size / 512) * 512;
		struct bsp_progress now;

		fake_on_write(f->fake, dawdle, NULL);
		fake_on_zeroing(f->fake, dawdle_zeroing, NULL);
		if (i % 4)
			fake_fail_writes(f->fake, bad, 512, EIO);
		put_anything(f, &dice, unit);
		now = good(f);
		assert_memory_equal(fake_bytes(f->fake), f->content, now.done);
		assert_int_equal(now.data + now.hole, now.done);
		if (i % 4 == 0) {
			assert_int_equal(now.done, f->size);
		} else {
			assert_true(now.done <= bad);
			assert_int_equal(bsp_target_error(f->target).error,
					 -EIO);
		}
		if (unit == G)
			assert_int_equal(now.done % G, i % 4 ? 0 : 512);
		close_it(f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_the_part_without_gaps_is_good),
		cmocka_unit_test(a_part_that_is_skipped_stays_as_it_is),
		cmocka_unit_test(a_failed_write_ends_the_good_part),
		cmocka_unit_test(the_lowest_of_several_errors_counts),
		cmocka_unit_test(a_hole_that_waits_ends_the_good_part),
		cmocka_unit_test(a_hole_that_fails_ends_the_good_part),
		cmocka_unit_test(small_holes_are_zeroed_together),
		cmocka_unit_test(
			known_zeros_are_not_zeroed_and_a_liar_is_named),
		cmocka_unit_test(
			zeros_of_layers_that_were_exchanged_are_zeroed),
		cmocka_unit_test(a_part_of_a_block_is_written_alone),
		cmocka_unit_test(a_part_of_a_block_waits_for_all_before_it),
		cmocka_unit_test(the_good_part_is_good_whatever_fails),
	};

	return cmocka_run_group_tests_name("target", tests, NULL, NULL);
}
