/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The policy of scanning ahead. It has no threads and does no I/O, so a test
 * says which seeks, reads and scans happened, in order, and asserts exactly
 * what is scanned next and which callers are woken. Positions are granules of
 * 4096 bytes: 256 of them are 1 MiB.
 */
#include "unit.h"

#include <errno.h>
#include <stdlib.h>

#include "sparse/scan-window.h"

enum {
	SHIFT = 12,
	MIB = (1 << 20) >> SHIFT,
	GRANULES = 64 * MIB,
	SMALLEST = BSP_SCAN_WINDOW_MIN >> SHIFT,
	LARGEST = 8 * MIB, /* the largest window of these tests */
	KNOWN_MAX = BSP_SCAN_KNOWN_MAX >> SHIFT,
	/* Of a caller that waits for the next hole, or for data. */
	FOR_HOLE = BSP_IN_ZERO,
	FOR_DATA = BSP_IN_DATA,
};

struct policy {
	struct bsp_scan_view view;
	struct bsp_scan_window window;
	struct bsp_scan_position pos; /* of the scan */
};

static int setup(void **state)
{
	struct policy *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->view = (struct bsp_scan_view){
		.map = bsp_map_new(GRANULES),
		.shift = SHIFT,
		.granules = GRANULES,
		.kept = true,
	};
	assert_non_null(p->view.map);
	bsp_scan_window_init(&p->window, SHIFT, (uint64_t)LARGEST << SHIFT);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct policy *p = *state;

	bsp_map_free(p->view.map);
	free(p);
	return 0;
}

static void learn(struct policy *p, uint64_t from, uint64_t to, bool zero)
{
	assert_int_equal(bsp_map_learned(p->view.map,
					 bsp_map_generation(p->view.map), from,
					 to, zero),
			 0);
}

static void seek_data(struct policy *p, uint64_t granule)
{
	bsp_scan_window_seek_ended(&p->window, granule, true);
}

static void seek_hole(struct policy *p, uint64_t granule)
{
	bsp_scan_window_seek_ended(&p->window, granule, false);
}

static bool has_work(struct policy *p)
{
	return bsp_scan_window_has_work(&p->window, &p->view);
}

static uint64_t plan(struct policy *p)
{
	return bsp_scan_window_plan(&p->window, &p->view, &p->pos, false);
}

/* The scan reads, and learns, up to that granule. */
static void scan_to(struct policy *p, uint64_t granule)
{
	(void)plan(p);
	if (p->pos.cursor < granule)
		learn(p, p->pos.cursor, granule, false);
	p->pos.cursor = granule;
	bsp_scan_window_report(&p->window, &p->pos, granule);
}

/* All is known to be data, in runs of 1 MiB between holes of the same size. */
static void know_all(struct policy *p)
{
	for (uint64_t at = 0; at < GRANULES; at += 2 * MIB) {
		learn(p, at, at + MIB, false);
		learn(p, at + MIB, at + 2 * MIB, true);
	}
}

/* --- The window --- */

static void nothing_is_scanned_before_the_first_seek(void **state)
{
	assert_false(has_work(*state));
}

static void first_seek_opens_the_smallest_window_where_it_ended(void **state)
{
	struct policy *p = *state;

	seek_data(p, 10 * MIB);
	assert_true(has_work(p));
	assert_int_equal(plan(p), 10 * MIB + SMALLEST);
	assert_int_equal(p->pos.cursor, 10 * MIB);
}

static void window_grows_to_twice_the_distance_of_the_seeks(void **state)
{
	struct policy *p = *state;

	seek_data(p, 0);
	seek_data(p, MIB / 2);
	assert_int_equal(plan(p), MIB / 2 + SMALLEST);
	seek_data(p, 3 * MIB);
	assert_int_equal(plan(p), 3 * MIB + 6 * MIB);
	seek_data(p, 10 * MIB);
	assert_int_equal(plan(p), 10 * MIB + LARGEST);
}

static void window_asked_for_may_be_less_than_the_smallest(void **state)
{
	struct policy *p = *state;

	bsp_scan_window_init(&p->window, SHIFT, 64 << SHIFT);
	seek_data(p, 0);
	seek_data(p, 64);
	assert_int_equal(plan(p), 128);
}

static void seek_backwards_begins_a_new_run(void **state)
{
	struct policy *p = *state;

	seek_data(p, 8 * MIB);
	seek_data(p, 12 * MIB);
	seek_data(p, 7 * MIB);
	assert_int_equal(plan(p), 7 * MIB + SMALLEST);
	assert_int_equal(p->pos.cursor, 7 * MIB);
}

static void only_a_seek_beyond_the_largest_window_begins_a_new_run(void **state)
{
	struct policy *p = *state;

	seek_data(p, 0);
	seek_data(p, LARGEST);
	assert_int_equal(plan(p), 2 * LARGEST);
	seek_data(p, 2 * LARGEST + 1);
	assert_int_equal(plan(p), 2 * LARGEST + 1 + SMALLEST);
}

static void long_holes_do_not_count_in_a_window(void **state)
{
	struct policy *p = *state;

	/* One hole is as long as the smallest window, one is shorter. */
	learn(p, MIB, MIB + SMALLEST, true);
	learn(p, 30 * MIB, 30 * MIB + SMALLEST - 1, true);
	seek_data(p, 0);
	assert_int_equal(plan(p), MIB + SMALLEST + SMALLEST - MIB);
	seek_data(p, 29 * MIB);
	assert_int_equal(plan(p), 29 * MIB + SMALLEST);
}

static void few_long_holes_are_skipped_at_a_time(void **state)
{
	struct policy *p = *state;

	for (unsigned i = 0; i < 6; i++)
		learn(p, i * 10 * MIB + 1, (i + 1) * 10 * MIB, true);
	seek_data(p, 0);
	assert_int_equal(plan(p), 40 * MIB + SMALLEST - 4);
}

static void a_run_of_seeks_goes_on_past_a_long_hole(void **state)
{
	struct policy *p = *state;

	seek_data(p, 0);
	seek_data(p, 3 * MIB);
	bsp_scan_window_read(&p->window, 3 * MIB);
	learn(p, 4 * MIB, 20 * MIB, true);
	scan_to(p, 21 * MIB);
	seek_data(p, 20 * MIB);
	/* As long as twice the distance before the hole. */
	assert_int_equal(plan(p), 20 * MIB + 6 * MIB);
	assert_true(p->window.following);
	/* The scan has not come so far. */
	seek_data(p, 40 * MIB);
	assert_int_equal(plan(p), 40 * MIB + SMALLEST);
	assert_false(p->window.following);
}

static void window_ends_with_the_file(void **state)
{
	struct policy *p = *state;

	seek_data(p, GRANULES - 3);
	assert_int_equal(plan(p), GRANULES);
	/* It shrinks: the seek position is past its end now. */
	p->view.granules = GRANULES - 3;
	assert_false(has_work(p));
	assert_int_equal(plan(p), GRANULES - 3);
	p->view.granules = GRANULES / 2;
	assert_false(has_work(p));
}

static void known_window_is_no_work(void **state)
{
	struct policy *p = *state;

	learn(p, 0, SMALLEST, false);
	seek_data(p, 0);
	assert_false(has_work(p));
	seek_data(p, 1);
	assert_true(has_work(p));
}

/* --- The position of the scan --- */

static void scan_goes_on_while_it_is_inside_the_window(void **state)
{
	struct policy *p = *state;

	seek_data(p, 0);
	scan_to(p, SMALLEST);
	assert_false(has_work(p));
	seek_data(p, MIB);
	assert_true(has_work(p));
	assert_int_equal(plan(p), MIB + SMALLEST);
	assert_int_equal(p->pos.cursor, SMALLEST);
}

static void scan_restarts_at_a_seek_that_passed_it(void **state)
{
	struct policy *p = *state;

	seek_data(p, 0);
	scan_to(p, SMALLEST);
	seek_data(p, 5 * MIB);
	(void)plan(p);
	assert_int_equal(p->pos.cursor, 5 * MIB);
}

static void scan_restarts_where_it_is_beyond_the_window(void **state)
{
	struct policy *p = *state;

	seek_data(p, 20 * MIB);
	scan_to(p, 20 * MIB + SMALLEST);
	seek_data(p, 4 * MIB);
	assert_true(has_work(p));
	(void)plan(p);
	assert_int_equal(p->pos.cursor, 4 * MIB);
}

static void resumed_scan_starts_at_its_last_report(void **state)
{
	struct policy *p = *state;
	struct bsp_scan_position pos = { 0 };

	seek_data(p, 0);
	scan_to(p, 77);
	bsp_scan_window_resume(&p->window, &pos);
	assert_int_equal(pos.cursor, 77);
	(void)bsp_scan_window_plan(&p->window, &p->view, &pos, false);
	assert_int_equal(pos.cursor, 77);
}

/* A caller waits for a granule that was read and forgotten again. */
static void scan_goes_back_for_a_forgotten_granule(void **state)
{
	struct policy *p = *state;
	struct bsp_wait_request request = { FOR_DATA, 10, 20 };

	seek_data(p, 10);
	scan_to(p, 100);
	bsp_map_forget(p->view.map, 0, GRANULES);
	/* While no caller waits the scan goes on where it is. */
	(void)plan(p);
	assert_int_equal(p->pos.cursor, 100);
	/* Of all that the window covers only this granule is unknown. */
	learn(p, 0, 10, false);
	learn(p, 11, 10 + SMALLEST, false);
	assert_false(has_work(p));
	bsp_scan_window_add_request(&p->window, &request);
	assert_true(has_work(p));
	/* While a read of it is in flight there is no need. */
	(void)bsp_scan_window_plan(&p->window, &p->view, &p->pos, true);
	assert_int_equal(p->pos.cursor, 100);
	(void)plan(p);
	assert_int_equal(p->pos.cursor, 10);
	bsp_scan_window_remove_request(&p->window);
}

/* --- Where results are not kept, or reads fail --- */

static void only_waiting_callers_are_served_where_nothing_is_kept(void **state)
{
	struct policy *p = *state;
	struct bsp_wait_request request = { FOR_DATA, 8 * MIB, GRANULES };

	p->view.kept = false;
	seek_data(p, 0);
	seek_data(p, 8 * MIB);
	assert_false(has_work(p));
	bsp_scan_window_add_request(&p->window, &request);
	assert_true(has_work(p));
	assert_int_equal(plan(p), 8 * MIB + SMALLEST);
	bsp_scan_window_remove_request(&p->window);
	assert_false(has_work(p));
}

static void failing_device_is_read_a_granule_at_a_time(void **state)
{
	struct policy *p = *state;
	struct bsp_wait_request request = { FOR_DATA, 5, GRANULES };

	seek_data(p, 5);
	p->window.failing = true;
	assert_false(has_work(p));
	bsp_scan_window_add_request(&p->window, &request);
	assert_int_equal(plan(p), 6);
	p->window.failing = false;
	assert_int_equal(plan(p), 5 + SMALLEST);
	bsp_scan_window_remove_request(&p->window);
}

/* --- Credit of a reader --- */

static void known_data_is_not_read_for_a_program_that_only_seeks(void **state)
{
	struct policy *p = *state;

	know_all(p);
	for (uint64_t at = 0; at < 20 * MIB; at += 2 * MIB) {
		seek_data(p, at);
		seek_hole(p, at + MIB);
		assert_false(has_work(p));
		(void)plan(p);
		assert_false(p->pos.known);
		assert_int_equal(p->pos.known_left, 0);
	}
}

static void reader_gets_credit_that_doubles_at_each_read(void **state)
{
	struct policy *p = *state;
	uint64_t credit = BSP_SCAN_CREDIT_MIN;

	know_all(p);
	seek_data(p, 0);
	for (unsigned i = 0; i < 8; i++) {
		assert_true(bsp_scan_window_read(&p->window, 0));
		assert_true(has_work(p));
		(void)plan(p);
		assert_true(p->pos.known);
		assert_int_equal(p->pos.known_left, credit);
		credit *= 2;
		if (credit > BSP_SCAN_CREDIT_MAX)
			credit = BSP_SCAN_CREDIT_MAX;
	}
}

static void used_credit_is_gone_until_the_next_read(void **state)
{
	struct policy *p = *state;

	know_all(p);
	seek_data(p, 0);
	assert_true(bsp_scan_window_read(&p->window, 0));
	(void)plan(p);
	p->pos.known_left -= 4096;
	p->pos.cursor = 1;
	bsp_scan_window_report(&p->window, &p->pos, 1);
	(void)plan(p);
	assert_int_equal(p->pos.known_left, BSP_SCAN_CREDIT_MIN - 4096);
	p->pos.known_left = 0;
	p->pos.cursor = MIB / 2;
	bsp_scan_window_report(&p->window, &p->pos, MIB / 2);
	assert_false(has_work(p));
	assert_true(bsp_scan_window_read(&p->window, 0));
	assert_true(has_work(p));
}

/* The reader reads while the scan uses the credit of before. */
static void credit_that_is_renewed_during_a_scan_is_charged_once(void **state)
{
	struct policy *p = *state;

	know_all(p);
	seek_data(p, 0);
	assert_true(bsp_scan_window_read(&p->window, 0));
	(void)plan(p);
	p->pos.known_left = 0;
	p->pos.cursor = MIB / 2;
	assert_true(bsp_scan_window_read(&p->window, 0));
	bsp_scan_window_report(&p->window, &p->pos, MIB / 2);
	bsp_scan_window_report(&p->window, &p->pos, MIB / 2);
	(void)plan(p);
	assert_int_equal(p->pos.known_left, BSP_SCAN_CREDIT_MIN);
}

/* A new run takes the credit away before the scan reports what it used. */
static void credit_never_falls_below_zero(void **state)
{
	struct policy *p = *state;

	know_all(p);
	seek_data(p, 0);
	assert_true(bsp_scan_window_read(&p->window, 0));
	(void)plan(p);
	p->pos.known_left = 0;
	seek_data(p, GRANULES / 2);
	bsp_scan_window_report(&p->window, &p->pos, 0);
	assert_int_equal(p->window.credit, 0);
	assert_false(has_work(p));
}

static void reads_elsewhere_give_no_credit(void **state)
{
	struct policy *p = *state;

	know_all(p);
	seek_data(p, 2 * MIB);
	seek_hole(p, 3 * MIB);
	assert_false(bsp_scan_window_read(&p->window, 2 * MIB - 1));
	assert_false(bsp_scan_window_read(&p->window, 3 * MIB + 1));
	assert_false(has_work(p));
	assert_true(bsp_scan_window_read(&p->window, 2 * MIB));
	assert_true(bsp_scan_window_read(&p->window, 3 * MIB));
}

static void program_that_goes_back_must_show_again_that_it_reads(void **state)
{
	struct policy *p = *state;

	know_all(p);
	seek_data(p, 0);
	seek_hole(p, MIB);
	seek_data(p, 2 * MIB);
	seek_hole(p, 3 * MIB);
	assert_true(bsp_scan_window_read(&p->window, 2 * MIB));
	assert_true(has_work(p));
	seek_data(p, 2 * MIB);
	assert_false(has_work(p));
	/* And its credit starts small. */
	assert_true(bsp_scan_window_read(&p->window, 2 * MIB));
	assert_int_equal(p->window.credit, BSP_SCAN_CREDIT_MIN);
}

static void reader_that_stops_reading_is_no_longer_followed(void **state)
{
	struct policy *p = *state;

	know_all(p);
	seek_data(p, 0);
	assert_true(bsp_scan_window_read(&p->window, 0));
	(void)plan(p);
	p->pos.known_left = 0;
	p->pos.cursor = MIB / 2;
	bsp_scan_window_report(&p->window, &p->pos, MIB / 2);
	/* The reader may still read the delivered data. */
	seek_hole(p, MIB / 2);
	assert_true(p->window.following);
	seek_hole(p, MIB);
	assert_false(p->window.following);
}

static void reader_with_credit_left_may_seek_past_the_scan(void **state)
{
	struct policy *p = *state;

	know_all(p);
	seek_data(p, 0);
	assert_true(bsp_scan_window_read(&p->window, 0));
	seek_hole(p, MIB);
	assert_true(p->window.following);
	assert_int_equal(p->window.credit, BSP_SCAN_CREDIT_MIN);
}

/* Known data before the cursor was not delivered: the scan starts over. */
static void new_reader_gets_the_known_data_that_the_scan_skipped(void **state)
{
	struct policy *p = *state;

	know_all(p);
	seek_data(p, 0);
	(void)plan(p);
	p->pos.cursor = p->pos.delivered_from = SMALLEST;
	bsp_scan_window_report(&p->window, &p->pos, SMALLEST);
	(void)plan(p);
	assert_int_equal(p->pos.cursor, SMALLEST);
	assert_true(bsp_scan_window_read(&p->window, 0));
	(void)plan(p);
	assert_int_equal(p->pos.cursor, 0);
	assert_int_equal(p->pos.delivered_from, 0);
}

static void long_runs_of_known_data_are_skipped(void **state)
{
	struct policy *p = *state;
	uint64_t second = KNOWN_MAX + 1 + MIB, third = second + KNOWN_MAX + MIB;

	learn(p, 0, KNOWN_MAX + 1, false);
	learn(p, KNOWN_MAX + 1, second, true);
	learn(p, second, second + KNOWN_MAX, false);
	learn(p, second + KNOWN_MAX, third, true);
	assert_int_equal(bsp_scan_next(&p->view, true, 0, GRANULES), second);
	assert_int_equal(bsp_scan_next(&p->view, true, second + 5, GRANULES),
			 second + 5);
	assert_int_equal(bsp_scan_next(&p->view, false, 0, GRANULES), third);
	assert_int_equal(bsp_scan_next(&p->view, false, 0, second), second);
}

/* --- Waiting callers --- */

static void request_is_met_at_the_first_granule_of_its_set(void **state)
{
	struct policy *p = *state;
	struct bsp_wait_request request = { FOR_HOLE, 0, 100 };

	assert_false(bsp_scan_window_is_met(&p->view, &request));
	learn(p, 0, 30, false);
	assert_false(bsp_scan_window_is_met(&p->view, &request));
	assert_int_equal(request.granule, 30);
	learn(p, 30, 40, true);
	assert_true(bsp_scan_window_is_met(&p->view, &request));
	assert_int_equal(request.granule, 30);
}

static void request_is_met_when_all_of_it_is_known(void **state)
{
	struct policy *p = *state;
	struct bsp_wait_request request = { FOR_HOLE, 0, 100 };

	learn(p, 0, 99, false);
	assert_false(bsp_scan_window_is_met(&p->view, &request));
	/* The file shrinks: nothing is left to wait for. */
	p->view.granules = 99;
	assert_true(bsp_scan_window_is_met(&p->view, &request));
}

static void single_waiting_caller_moves_the_window_and_sleeps_on(void **state)
{
	struct policy *p = *state;
	struct bsp_wait_request request = { FOR_HOLE, 0, GRANULES };

	bsp_scan_window_add_request(&p->window, &request);
	bsp_scan_window_demand(&p->window, 0);
	scan_to(p, SMALLEST);
	assert_false(bsp_scan_window_serve(&p->window, &p->view));
	assert_int_equal(p->window.demand, SMALLEST);
	/* The distance that it was scanned for it makes the window grow. */
	assert_int_equal(plan(p), SMALLEST + 2 * SMALLEST);
	learn(p, SMALLEST, SMALLEST + 1, true);
	assert_true(bsp_scan_window_serve(&p->window, &p->view));
	bsp_scan_window_remove_request(&p->window);
	assert_false(bsp_scan_window_serve(&p->window, &p->view));
}

static void caller_that_gave_up_no_longer_moves_the_window(void **state)
{
	struct policy *p = *state;
	struct bsp_wait_request request = { FOR_HOLE, 9 * MIB, GRANULES };

	bsp_scan_window_add_request(&p->window, &request);
	bsp_scan_window_remove_request(&p->window);
	seek_data(p, 3 * MIB);
	assert_false(bsp_scan_window_serve(&p->window, &p->view));
	assert_int_equal(p->window.demand, 3 * MIB);
}

static void all_of_several_waiting_callers_are_woken(void **state)
{
	struct policy *p = *state;
	struct bsp_wait_request a = { FOR_HOLE, 0, GRANULES };
	struct bsp_wait_request b = { FOR_HOLE, 9 * MIB, GRANULES };

	bsp_scan_window_add_request(&p->window, &a);
	bsp_scan_window_add_request(&p->window, &b);
	bsp_scan_window_demand(&p->window, 9 * MIB);
	assert_true(bsp_scan_window_serve(&p->window, &p->view));
	/* None of them is served in the place of the other. */
	assert_int_equal(p->window.demand, 9 * MIB);
	bsp_scan_window_remove_request(&p->window);
	assert_true(bsp_scan_window_serve(&p->window, &p->view));
	bsp_scan_window_remove_request(&p->window);
	assert_false(bsp_scan_window_serve(&p->window, &p->view));
}

static void error_of_the_scan_wakes_and_a_new_caller_tries_again(void **state)
{
	struct policy *p = *state;
	struct bsp_wait_request a = { FOR_HOLE, 0, GRANULES };

	bsp_scan_window_add_request(&p->window, &a);
	bsp_scan_window_demand(&p->window, 0);
	assert_false(bsp_scan_window_serve(&p->window, &p->view));
	p->window.error = -ENOMEM;
	assert_true(bsp_scan_window_serve(&p->window, &p->view));
	bsp_scan_window_remove_request(&p->window);
	bsp_scan_window_add_request(&p->window, &a);
	assert_int_equal(p->window.error, 0);
	assert_false(bsp_scan_window_serve(&p->window, &p->view));
	bsp_scan_window_remove_request(&p->window);
}

/* --- Waiting for delivery --- */

/* A reader that is followed: it read once. */
static void follow(struct policy *p)
{
	know_all(p);
	seek_data(p, 0);
	assert_true(bsp_scan_window_read(&p->window, 0));
	(void)plan(p);
}

static void there_is_no_wait_for_data_that_is_not_about_to_come(void **state)
{
	struct policy *p = *state;

	know_all(p);
	seek_data(p, 0);
	/* No reader is followed. */
	assert_false(bsp_scan_window_add_delivery(&p->window, 0, MIB));
	assert_true(bsp_scan_window_read(&p->window, 0));
	/* Runs that are so long are not delivered. */
	assert_false(
		bsp_scan_window_add_delivery(&p->window, 0, KNOWN_MAX + 1));
	assert_true(bsp_scan_window_add_delivery(&p->window, 0, KNOWN_MAX));
	bsp_scan_window_remove_delivery(&p->window);
}

static void data_is_delivered_when_no_read_before_its_end_is_left(void **state)
{
	struct policy *p = *state;

	follow(p);
	assert_true(bsp_scan_window_add_delivery(&p->window, 0, 100));
	assert_false(bsp_scan_window_is_delivered(&p->window, &p->view, 100));
	p->pos.cursor = 128;
	bsp_scan_window_report(&p->window, &p->pos, 64);
	/* All of it was requested, and half of it is in flight. */
	assert_false(bsp_scan_window_serve(&p->window, &p->view));
	assert_false(bsp_scan_window_is_delivered(&p->window, &p->view, 100));
	bsp_scan_window_report(&p->window, &p->pos, 100);
	assert_true(bsp_scan_window_serve(&p->window, &p->view));
	assert_true(bsp_scan_window_is_delivered(&p->window, &p->view, 100));
	bsp_scan_window_remove_delivery(&p->window);
	assert_false(bsp_scan_window_serve(&p->window, &p->view));
}

static void wait_for_delivery_ends_with_the_credit(void **state)
{
	struct policy *p = *state;

	follow(p);
	assert_true(bsp_scan_window_add_delivery(&p->window, 0, MIB));
	p->pos.cursor = MIB / 2;
	p->pos.known_left = 0;
	bsp_scan_window_report(&p->window, &p->pos, MIB / 2);
	/* The second half will not be requested. */
	assert_true(bsp_scan_window_is_delivered(&p->window, &p->view, MIB));
	assert_true(bsp_scan_window_serve(&p->window, &p->view));
	bsp_scan_window_remove_delivery(&p->window);
}

/* --- The rest of the device --- */

static void rest_is_scanned_once_after_each_window_if_wanted(void **state)
{
	struct policy *p = *state;

	assert_false(bsp_scan_window_take_rest(&p->window));
	bsp_scan_window_finished(&p->window);
	assert_false(bsp_scan_window_take_rest(&p->window));
	bsp_scan_window_set_background(&p->window, true);
	assert_true(bsp_scan_window_take_rest(&p->window));
	assert_false(bsp_scan_window_take_rest(&p->window));
	bsp_scan_window_finished(&p->window);
	assert_true(bsp_scan_window_take_rest(&p->window));
	bsp_scan_window_finished(&p->window);
	bsp_scan_window_set_background(&p->window, false);
	assert_false(bsp_scan_window_take_rest(&p->window));
}

static void scan_of_the_rest_reads_to_the_end_and_delivers_nothing(void **state)
{
	struct policy *p = *state;

	follow(p);
	p->pos.cursor = 7;
	assert_int_equal(bsp_scan_window_plan_rest(&p->view, &p->pos),
			 GRANULES);
	assert_int_equal(p->pos.cursor, 7);
	assert_false(p->pos.known);
	assert_int_equal(p->pos.known_left, 0);
	/* The file shrinks below the scan. */
	p->view.granules = 5;
	assert_int_equal(bsp_scan_window_plan_rest(&p->view, &p->pos), 5);
	assert_int_equal(p->pos.cursor, 0);
}

#define TEST(function)                                                         \
	cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_is_scanned_before_the_first_seek),
		TEST(first_seek_opens_the_smallest_window_where_it_ended),
		TEST(window_grows_to_twice_the_distance_of_the_seeks),
		TEST(window_asked_for_may_be_less_than_the_smallest),
		TEST(seek_backwards_begins_a_new_run),
		TEST(only_a_seek_beyond_the_largest_window_begins_a_new_run),
		TEST(long_holes_do_not_count_in_a_window),
		TEST(few_long_holes_are_skipped_at_a_time),
		TEST(a_run_of_seeks_goes_on_past_a_long_hole),
		TEST(window_ends_with_the_file),
		TEST(known_window_is_no_work),
		TEST(scan_goes_on_while_it_is_inside_the_window),
		TEST(scan_restarts_at_a_seek_that_passed_it),
		TEST(scan_restarts_where_it_is_beyond_the_window),
		TEST(resumed_scan_starts_at_its_last_report),
		TEST(scan_goes_back_for_a_forgotten_granule),
		TEST(only_waiting_callers_are_served_where_nothing_is_kept),
		TEST(failing_device_is_read_a_granule_at_a_time),
		TEST(known_data_is_not_read_for_a_program_that_only_seeks),
		TEST(reader_gets_credit_that_doubles_at_each_read),
		TEST(used_credit_is_gone_until_the_next_read),
		TEST(credit_that_is_renewed_during_a_scan_is_charged_once),
		TEST(credit_never_falls_below_zero),
		TEST(reads_elsewhere_give_no_credit),
		TEST(program_that_goes_back_must_show_again_that_it_reads),
		TEST(reader_that_stops_reading_is_no_longer_followed),
		TEST(reader_with_credit_left_may_seek_past_the_scan),
		TEST(new_reader_gets_the_known_data_that_the_scan_skipped),
		TEST(long_runs_of_known_data_are_skipped),
		TEST(request_is_met_at_the_first_granule_of_its_set),
		TEST(request_is_met_when_all_of_it_is_known),
		TEST(single_waiting_caller_moves_the_window_and_sleeps_on),
		TEST(caller_that_gave_up_no_longer_moves_the_window),
		TEST(all_of_several_waiting_callers_are_woken),
		TEST(error_of_the_scan_wakes_and_a_new_caller_tries_again),
		TEST(there_is_no_wait_for_data_that_is_not_about_to_come),
		TEST(data_is_delivered_when_no_read_before_its_end_is_left),
		TEST(wait_for_delivery_ends_with_the_credit),
		TEST(rest_is_scanned_once_after_each_window_if_wanted),
		TEST(scan_of_the_rest_reads_to_the_end_and_delivers_nothing),
	};

	return cmocka_run_group_tests_name("scan-window", tests, NULL, NULL);
}
