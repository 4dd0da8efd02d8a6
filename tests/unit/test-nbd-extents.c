/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Zeros that a server knows (device/nbd-extents.h), with a server that answers
 * as it likes.
 */
#include "unit.h"

#include <errno.h>
#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/interrupt.h"
#include "base/range.h"
#include "blksparse-thread.h"
#include "device/nbd-extents.h"
#include "nbd-server.h"

enum { HOLE = 1, ZERO = 2, MIB = 1 << 20 };

struct fixture {
	struct nbd_server *server;
	struct bsp_nbd_pool *pool;
	struct bsp_nbd_extents *extents;
	uint64_t size;
};

static void set_up(struct fixture *f, uint64_t size, nbd_extents_fn answer)
{
	const struct nbd_export export = { .size = size, .flags = NBD_ALL };

	f->size = size;
	f->server = nbd_server_new(&export);
	nbd_server_extents(f->server, answer, NULL);
	f->pool =
		bsp_nbd_pool_new(nbd_server_uri(f->server), false, NULL, NULL);
	assert_non_null(f->pool);
	f->extents = bsp_nbd_extents_new(f->pool);
}

static void tear_down(struct fixture *f)
{
	bsp_nbd_pool_free(f->pool);
	bsp_nbd_extents_free(f->extents);
	nbd_server_free(f->server);
}

/* Asks about all. Returns the bytes that are zero. */
static uint64_t zeros_of(struct fixture *f, uint64_t generation)
{
	uint64_t off = 0, zeros = 0;

	while (off < f->size) {
		struct bsp_known_answer answer = bsp_nbd_extents_ask(
			f->extents, generation, off, f->size);

		assert_true(answer.end > off);
		assert_true(answer.end <= f->size);
		if (answer.zeros)
			zeros += answer.end - off;
		off = answer.end;
	}
	return zeros;
}

/* --- Answers --- */

/* Every other MiB is zero. The answer is about one MiB alone. */
static size_t short_answer(void *data, const struct nbd_command *command,
			   uint32_t *entries, size_t max)
{
	uint64_t mib = command->off / MIB;

	entries[0] = (uint32_t)((mib + 1) * MIB - command->off);
	entries[1] = mib % 2 ? ZERO : 0;
	return 1;
}

static void answers_may_be_short(void **state)
{
	struct fixture f;

	set_up(&f, 64 * MIB, short_answer);
	assert_int_equal(zeros_of(&f, 1), 32 * MIB);
	tear_down(&f);
}

static size_t states_in_turn(void *data, const struct nbd_command *command,
			     uint32_t *entries, size_t max)
{
	for (unsigned i = 0; i < 4; i++) {
		entries[2 * i] = MIB;
		entries[2 * i + 1] = i; /* of HOLE and ZERO */
	}
	return 4;
}

static void the_flag_of_holes_promises_nothing(void **state)
{
	struct fixture f;
	struct bsp_known_answer answer;

	set_up(&f, 4 * MIB, states_in_turn);
	answer = bsp_nbd_extents_ask(f.extents, 1, 0, f.size);
	assert_false(answer.zeros);
	assert_int_equal(answer.end, 2 * MIB);
	answer = bsp_nbd_extents_ask(f.extents, 1, 2 * MIB, f.size);
	assert_true(answer.zeros);
	assert_int_equal(answer.end, 4 * MIB);
	/* One answer was for both. */
	assert_int_equal(nbd_server_count(f.server, NBD_STATUS), 1);
	tear_down(&f);
}

static size_t all_zero(void *data, const struct nbd_command *command,
		       uint32_t *entries, size_t max)
{
	entries[0] = (uint32_t)command->len;
	entries[1] = HOLE | ZERO;
	return 1;
}

/* Small reads get a connection of their own, which tells no extents. */
static void extents_are_told_beside_small_reads(void **state)
{
	char buf[512];
	struct fixture f;

	set_up(&f, 4 * MIB, all_zero);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(bsp_nbd_pool_run(f.pool, BSP_NBD_READ, 0, 0,
						  buf, sizeof(buf)),
				 0);
	assert_false(nbd_server_command(f.server, NBD_READ, 99).structured);
	assert_int_equal(zeros_of(&f, 1), 4 * MIB);
	assert_true(nbd_server_command(f.server, NBD_STATUS, 0).structured);
	tear_down(&f);
}

static void long_exports_need_few_questions(void **state)
{
	const uint64_t size = (UINT64_C(16) << 40) + 1234;
	struct fixture f;
	unsigned n;

	set_up(&f, size, all_zero);
	assert_true(zeros_of(&f, 1) == size);
	n = nbd_server_count(f.server, NBD_STATUS);
	assert_int_in_range(n, 4097, 4100);
	for (unsigned i = 0; i < 3; i++) {
		struct nbd_command question =
			nbd_server_command(f.server, NBD_STATUS, i);

		assert_true(question.off + question.len <= size);
	}
	tear_down(&f);
}

static void the_largest_size_does_not_overflow(void **state)
{
	const uint64_t size = INT64_MAX;
	struct fixture f;
	struct bsp_known_answer answer;

	set_up(&f, size, all_zero);
	answer = bsp_nbd_extents_ask(f.extents, 1, size - 5000, size);
	assert_true(answer.zeros);
	assert_true(answer.end == size);
	tear_down(&f);
}

/* --- Lies --- */

static size_t no_progress(void *data, const struct nbd_command *command,
			  uint32_t *entries, size_t max)
{
	entries[0] = 0;
	entries[1] = ZERO;
	entries[2] = MIB;
	entries[3] = ZERO;
	return 2;
}

static size_t nothing(void *data, const struct nbd_command *command,
		      uint32_t *entries, size_t max)
{
	return 0;
}

static size_t beyond(void *data, const struct nbd_command *command,
		     uint32_t *entries, size_t max)
{
	for (size_t i = 0; i < max; i++) {
		entries[2 * i] = UINT32_MAX;
		entries[2 * i + 1] = ZERO;
	}
	return max;
}

static size_t stops_halfway(void *data, const struct nbd_command *command,
			    uint32_t *entries, size_t max)
{
	entries[0] = MIB;
	entries[1] = ZERO;
	entries[2] = 0;
	entries[3] = ZERO;
	return 2;
}

static void nonsense_means_that_nothing_is_known(void **state)
{
	struct fixture f;

	set_up(&f, 16 * MIB, no_progress);
	assert_int_equal(zeros_of(&f, 1), 0);
	nbd_server_extents(f.server, nothing, NULL);
	assert_int_equal(zeros_of(&f, 2), 0);
	tear_down(&f);
}

static size_t twelve_mib(void *data, const struct nbd_command *command,
			 uint32_t *entries, size_t max)
{
	entries[0] = 12 * MIB;
	entries[1] = ZERO;
	return 1;
}

static void an_answer_is_cut_at_its_question(void **state)
{
	struct fixture f;
	struct bsp_known_answer answer;

	set_up(&f, 64 * MIB, twelve_mib);
	answer = bsp_nbd_extents_ask(f.extents, 1, 0, 8 * MIB);
	assert_true(answer.zeros);
	assert_int_equal(answer.end, 8 * MIB);
	/* The rest of the answer is not kept. */
	answer = bsp_nbd_extents_ask(f.extents, 1, 8 * MIB, f.size);
	assert_true(answer.zeros);
	assert_int_equal(answer.end, 20 * MIB);
	assert_int_equal(nbd_server_count(f.server, NBD_STATUS), 2);
	tear_down(&f);
}

/* libnbd 1.14 passes on such an answer as it is; 1.24 cuts it at the end of the
 * export, with the error EPROTO, and nothing is known then (libnbd,
 * generator/states-reply-structured.c, RECV_BS_ENTRIES). zeros_of() asserts
 * that no answer reaches past the end. */
static void an_answer_past_the_export_is_cut_or_refused(void **state)
{
	struct fixture f;
	uint64_t zeros;

	set_up(&f, 16 * MIB, beyond);
	zeros = zeros_of(&f, 1);
	assert_true(zeros == 0 || zeros == 16 * MIB);
	tear_down(&f);
}

static void the_part_before_nonsense_is_used(void **state)
{
	struct fixture f;
	struct bsp_known_answer answer;

	set_up(&f, 16 * MIB, stops_halfway);
	answer = bsp_nbd_extents_ask(f.extents, 1, 0, f.size);
	assert_true(answer.zeros);
	assert_int_equal(answer.end, MIB);
	tear_down(&f);
}

static int fail_questions(void *data, const struct nbd_command *command)
{
	return command->type == NBD_STATUS ? NBD_FAIL + NBD_EIO : NBD_SERVE;
}

static void an_error_means_that_nothing_is_known(void **state)
{
	struct fixture f;

	set_up(&f, 16 * MIB, all_zero);
	nbd_server_script(f.server, fail_questions, NULL);
	assert_int_equal(zeros_of(&f, 1), 0);
	tear_down(&f);
}

static int answer_and_fail(void *data, const struct nbd_command *command)
{
	return command->type == NBD_STATUS ? NBD_ANSWER_FAIL : NBD_SERVE;
}

/* An error may come after the answer, or after a part of it. */
static void an_answer_that_ends_with_an_error_is_not_believed(void **state)
{
	struct fixture f;

	set_up(&f, 16 * MIB, all_zero);
	nbd_server_script(f.server, answer_and_fail, NULL);
	assert_int_equal(zeros_of(&f, 1), 0);
	assert_int_equal(nbd_server_count(f.server, NBD_STATUS), 1);
	nbd_server_extents(f.server, short_answer, NULL);
	assert_int_equal(zeros_of(&f, 2), 0);
	/* The server goes on. */
	nbd_server_script(f.server, NULL, NULL);
	assert_int_equal(zeros_of(&f, 3), 8 * MIB);
	tear_down(&f);
}

/* --- Generations --- */

/* Every other run is zero; as many as an answer may have. */
static size_t short_runs(void *data, const struct nbd_command *command,
			 uint32_t *entries, size_t max)
{
	const uint32_t *len = data;
	size_t n = MIN(max, command->len / *len);

	for (size_t i = 0; i < n; i++) {
		entries[2 * i] = *len;
		entries[2 * i + 1] = i % 2 ? ZERO : 0;
	}
	return n;
}

/* More runs than are kept of an answer. */
static void many_runs_are_used_only_if_they_are_granules(void **state)
{
	struct fixture f;
	uint32_t len = 512;

	set_up(&f, 256 * MIB, NULL);
	nbd_server_extents(f.server, short_runs, &len);
	assert_int_equal(zeros_of(&f, 1), 0);
	assert_int_equal(nbd_server_count(f.server, NBD_STATUS), 1);
	tear_down(&f);

	len = 4096;
	set_up(&f, UINT64_C(2048) * MIB, NULL);
	nbd_server_extents(f.server, short_runs, &len);
	assert_int_equal(zeros_of(&f, 1), UINT64_C(1024) * MIB);
	assert_int_equal(nbd_server_count(f.server, NBD_STATUS), 4);
	tear_down(&f);
}

static void each_generation_is_asked_anew(void **state)
{
	struct fixture f;

	set_up(&f, 16 * MIB, all_zero);
	assert_int_equal(zeros_of(&f, 1), 16 * MIB);
	assert_int_equal(zeros_of(&f, 1), 16 * MIB);
	assert_int_equal(nbd_server_count(f.server, NBD_STATUS), 1);
	nbd_server_extents(f.server, nothing, NULL);
	assert_int_equal(zeros_of(&f, 2), 0);
	tear_down(&f);
}

static void without_a_connection_no_server_was_asked(void **state)
{
	struct fixture f;
	struct bsp_known_answer answer;

	set_up(&f, 16 * MIB, all_zero);
	bsp_nbd_pool_cancel(f.pool);
	answer = bsp_nbd_extents_ask(f.extents, 1, MIB, f.size);
	assert_false(answer.zeros);
	assert_int_equal(answer.end, MIB);
	tear_down(&f);
}

/* --- Interruptions --- */

struct asker {
	struct fixture *f;
	atomic_bool interrupted;
	struct bsp_known_answer answer;
	pthread_t thread;
};

static bool is_set(void *data)
{
	return atomic_load((atomic_bool *)data);
}

static void *ask(void *data)
{
	struct asker *asker = data;

	bsp_interrupt_set(is_set, &asker->interrupted);
	asker->answer =
		bsp_nbd_extents_ask(asker->f->extents, 2, 0, asker->f->size);
	return NULL;
}

static int hold_questions(void *data, const struct nbd_command *command)
{
	return command->type == NBD_STATUS ? NBD_HOLD : NBD_SERVE;
}

static void start(struct asker *asker, struct fixture *f)
{
	asker->f = f;
	assert_int_equal(bsp_thread_start(&asker->thread, ask, asker), 0);
}

static void interrupt(struct asker *asker)
{
	atomic_store(&asker->interrupted, true);
	assert_int_equal(pthread_join(asker->thread, NULL), 0);
	assert_false(asker->answer.zeros);
	assert_int_equal(asker->answer.end, 0);
}

/* AddressSanitizer finds what they leak or use. */
static void late_answers_are_harmless(void **state)
{
	for (int comes = 0; comes < 2; comes++) {
		struct fixture f;
		struct asker asker = { 0 };

		set_up(&f, UINT64_C(1) << 40, all_zero);
		/* Several questions at once from now on. */
		assert_true(zeros_of(&f, 1) == f.size);
		nbd_server_script(f.server, hold_questions, NULL);
		start(&asker, &f);
		assert_true(nbd_server_wait_held(f.server, 2));
		interrupt(&asker);
		if (comes) {
			nbd_server_script(f.server, NULL, NULL);
			nbd_server_release(f.server, true);
			assert_true(zeros_of(&f, 2) == f.size);
		}
		tear_down(&f);
	}
}

static void the_wait_for_another_thread_can_be_interrupted(void **state)
{
	struct fixture f;
	struct asker first = { 0 }, second = { 0 };

	set_up(&f, 16 * MIB, all_zero);
	nbd_server_script(f.server, hold_questions, NULL);
	start(&first, &f);
	assert_true(nbd_server_wait_held(f.server, 1));
	start(&second, &f);
	interrupt(&second);
	interrupt(&first);
	tear_down(&f);
}

static bool always(void *data)
{
	return true;
}

static int hold_writes(void *data, const struct nbd_command *command)
{
	return command->type == NBD_WRITE ? NBD_HOLD : NBD_SERVE;
}

struct writer {
	struct bsp_nbd_pool *pool;
	uint64_t off;
	int r;
};

static void *write_and_leave(void *data)
{
	struct writer *writer = data;
	char buf[512] = "";

	bsp_interrupt_set(always, NULL);
	writer->r = bsp_nbd_pool_run(writer->pool, BSP_NBD_WRITE, 0,
				     writer->off, buf, sizeof(buf));
	return NULL;
}

/* Leaves a write at the server. */
static void leave_write(struct fixture *f, uint64_t off)
{
	struct writer writer = { f->pool, off, 0 };
	pthread_t thread;

	nbd_server_script(f->server, hold_writes, NULL);
	assert_int_equal(bsp_thread_start(&thread, write_and_leave, &writer),
			 0);
	assert_true(nbd_server_wait_held(f->server, 1));
	pthread_join(thread, NULL);
	assert_int_equal(writer.r, -EINTR);
}

static void a_question_waits_for_no_write_elsewhere(void **state)
{
	struct fixture f;

	set_up(&f, UINT64_C(1) << 40, all_zero);
	leave_write(&f, UINT64_C(12) << 30);
	assert_true(bsp_nbd_extents_ask(f.extents, 1, 0, f.size).zeros);
	tear_down(&f);
}

/* The answer may be that of before the write. */
static void a_question_waits_for_an_interrupted_write(void **state)
{
	struct fixture f;
	struct asker asker = { 0 };

	set_up(&f, 64 * MIB, short_answer);
	leave_write(&f, 0);
	start(&asker, &f);
	g_usleep(50000);
	assert_int_equal(nbd_server_count(f.server, NBD_STATUS), 0);
	nbd_server_release(f.server, false);
	pthread_join(asker.thread, NULL);
	assert_int_equal(nbd_server_count(f.server, NBD_STATUS), 1);
	tear_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(extents_are_told_beside_small_reads),
		cmocka_unit_test(answers_may_be_short),
		cmocka_unit_test(the_flag_of_holes_promises_nothing),
		cmocka_unit_test(long_exports_need_few_questions),
		cmocka_unit_test(the_largest_size_does_not_overflow),
		cmocka_unit_test(nonsense_means_that_nothing_is_known),
		cmocka_unit_test(an_answer_is_cut_at_its_question),
		cmocka_unit_test(an_answer_past_the_export_is_cut_or_refused),
		cmocka_unit_test(the_part_before_nonsense_is_used),
		cmocka_unit_test(an_error_means_that_nothing_is_known),
		cmocka_unit_test(
			an_answer_that_ends_with_an_error_is_not_believed),
		cmocka_unit_test(many_runs_are_used_only_if_they_are_granules),
		cmocka_unit_test(each_generation_is_asked_anew),
		cmocka_unit_test(without_a_connection_no_server_was_asked),
		cmocka_unit_test(late_answers_are_harmless),
		cmocka_unit_test(a_question_waits_for_no_write_elsewhere),
		cmocka_unit_test(a_question_waits_for_an_interrupted_write),
		cmocka_unit_test(
			the_wait_for_another_thread_can_be_interrupted),
	};

	return cmocka_run_group_tests_name("nbd-extents", tests, NULL, NULL);
}
