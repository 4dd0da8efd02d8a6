/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The layers below a device: when they are made, built, stamped and dropped.
 *
 * The device's only layer is a fake that this file defines in place of the loop
 * device's. Its stamp, its age and its answers are variables.
 */
#include "device/known.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "unit.h"

enum { SIZE = 1 << 20 };

/* The layer as it is now. */
static struct {
	bool exists;
	bool other;	/* not the one that was made */
	uint64_t stamp; /* 0: cannot be read */
	bool young;
	int build_error;
	struct bsp_known_answer answer;
	void (*on_look)(void); /* called once, after the next look at it */
	void (*on_ask)(void);  /* called once, before the next answer */
	bool blocks;	       /* to build it takes until go_on is posted */
	unsigned made, freed, built, asked;
	int64_t since; /* of the last call to build it */
} fake;

static sem_t building, go_on;

static void looked(void)
{
	void (*hook)(void) = fake.on_look;

	fake.on_look = NULL;
	if (hook)
		hook();
}

static struct bsp_known_answer fake_ask(struct bsp_layer *layer, uint64_t off,
					uint64_t limit)
{
	void (*hook)(void) = fake.on_ask;

	fake.asked++;
	fake.on_ask = NULL;
	if (hook)
		hook();
	return fake.answer;
}

static int fake_build(struct bsp_layer *layer, int64_t since)
{
	fake.built++;
	fake.since = since;
	if (fake.blocks) {
		sem_post(&building);
		sem_wait(&go_on);
	}
	return fake.build_error;
}

static bool fake_is_same(struct bsp_layer *layer, enum bsp_depth depth)
{
	return !fake.other;
}

static uint64_t fake_content(struct bsp_layer *layer, uint64_t hash)
{
	uint64_t stamp = fake.stamp;

	looked();
	return stamp;
}

static bool fake_settled(struct bsp_layer *layer)
{
	bool settled = !fake.young;

	looked();
	return settled;
}

static void fake_free(struct bsp_layer *layer)
{
	fake.freed++;
	free(layer);
}

static char fake_name[] = "fake";

static const struct bsp_layer_ops fake_ops = {
	.build = fake_build,
	.ask = fake_ask,
	.is_same = fake_is_same,
	.content = fake_content,
	.settled = fake_settled,
	.free = fake_free,
	.answers = true,
};

/* --- In place of the kernel and of known-loop.c --- */

int __wrap_bsp_sysfs_open(dev_t rdev);
bool __wrap_bsp_sysfs_has(int folder, const char *name);
struct bsp_layer *__wrap_bsp_layer_loop_new(dev_t rdev,
					    enum bsp_known_trust trust);

int __wrap_bsp_sysfs_open(dev_t rdev)
{
	return open("/", O_PATH | O_CLOEXEC);
}

bool __wrap_bsp_sysfs_has(int folder, const char *name)
{
	return strcmp(name, "loop") == 0;
}

struct bsp_layer *__wrap_bsp_layer_loop_new(dev_t rdev,
					    enum bsp_known_trust trust)
{
	struct bsp_layer *layer;

	if (!fake.exists)
		return NULL;
	layer = calloc(1, sizeof(*layer));
	assert_non_null(layer);
	layer->ops = &fake_ops;
	layer->name = fake_name;
	fake.other = false;
	fake.made++;
	return layer;
}

/* --- The tests --- */

static struct bsp_known *known;

static int setup(void **state)
{
	memset(&fake, 0, sizeof(fake));
	sem_init(&building, 0, 0);
	sem_init(&go_on, 0, 0);
	fake.exists = true;
	fake.stamp = 1;
	fake.answer = (struct bsp_known_answer){ true, SIZE };
	known = bsp_known_new(
		1, &(struct bsp_layer_use){ .trust = BSP_KNOWN_AUTO });
	return known ? 0 : -1;
}

static int teardown(void **state)
{
	bsp_known_free(known);
	return fake.freed == fake.made ? 0 : -1;
}

static bool ask(uint64_t generation)
{
	return bsp_known_ask(known, generation, true, 0, SIZE).zeros;
}

/* A sample, as refresh.c takes it. Returns whether it differs from *was. */
struct sample {
	uint64_t medium, content;
	bool young;
};

static bool sample(struct sample *was)
{
	struct sample now = { bsp_known_medium(known, BSP_DEPTH_CHEAP) };
	bool differs;

	now.content = bsp_known_content(known, &now.young);
	differs = now.medium != was->medium || now.content != was->content;

	*was = now;
	return differs;
}

static void layers_are_built_once_a_generation(void **state)
{
	struct sample s = { 0 };

	(void)sample(&s);
	assert_true(bsp_known_is_due(known, 3));
	for (int i = 0; i < 5; i++)
		assert_true(ask(3));
	assert_int_equal(fake.built, 1);
	assert_false(bsp_known_is_due(known, 3));
	assert_true(bsp_known_is_due(known, 4));
	/* The map refuses the answer for the older one. */
	assert_true(ask(2));
	assert_int_equal(fake.built, 1);
	assert_true(ask(4));
	assert_int_equal(fake.built, 2);
	assert_int_equal(fake.made, 1);
	assert_int_equal(fake.asked, 7);
}

static void a_handler_never_builds(void **state)
{
	struct bsp_known_answer answer;
	struct sample s = { 0 };

	(void)sample(&s);
	answer = bsp_known_ask(known, 0, false, 4096, SIZE);
	assert_false(answer.zeros);
	assert_int_equal(answer.end, 4096); /* no layer was asked */
	assert_int_equal(fake.built + fake.asked, 0);
	assert_true(ask(0));
	answer = bsp_known_ask(known, 0, false, 4096, SIZE);
	assert_true(answer.zeros);
	answer = bsp_known_ask(known, 1, false, 4096, SIZE);
	assert_int_equal(answer.end, 4096);
	assert_int_equal(fake.built, 1);
}

static void a_pool_that_must_wait_is_asked_again(void **state)
{
	const struct timespec pause = { .tv_nsec = 10000000 };
	struct bsp_known_answer answer;
	int64_t first;

	fake.build_error = -EAGAIN;
	for (int i = 0; i < 3; i++) {
		answer = bsp_known_ask(known, 0, true, 0, SIZE);
		assert_false(answer.zeros);
		assert_int_equal(answer.end, 0);
	}
	first = fake.since;
	assert_true(first > 0 && first <= g_get_monotonic_time());
	fake.build_error = 0;
	while (!ask(0))
		(void)nanosleep(&pause, NULL);
	/* A commit since the first question is enough. */
	assert_int_equal(fake.since, first);
	assert_true(ask(1));
	assert_true(fake.since > first);
}

static void a_pool_that_fails_knows_nothing_for_a_generation(void **state)
{
	struct bsp_known_answer answer;

	fake.build_error = -EIO;
	for (int i = 0; i < 2; i++) {
		answer = bsp_known_ask(known, 0, true, 0, SIZE);
		assert_false(answer.zeros);
		assert_int_equal(answer.end, SIZE);
	}
	assert_int_equal(fake.built, 1);
	fake.build_error = 0;
	assert_false(ask(0));
	assert_true(ask(1));
}

static void a_stamp_that_moves_counts_once(void **state)
{
	struct sample s = { 0 };

	assert_false(sample(&s));
	assert_true(ask(0));
	assert_false(sample(&s));
	fake.stamp = 2;
	assert_true(sample(&s));
	assert_false(sample(&s));
	assert_true(ask(1));
	assert_false(sample(&s));
}

/* The sample is the one that the map's holes belong to, and they may have been
 * learned from reads before any question. */
static void a_write_between_sample_and_question_counts(void **state)
{
	struct sample s = { 0 };

	(void)sample(&s);
	fake.stamp = 2;
	assert_true(ask(0));
	assert_true(sample(&s));
	/* The same in a later generation. */
	fake.stamp = 3;
	assert_true(ask(1));
	assert_true(sample(&s));
	assert_false(sample(&s));
}

static void writes_count_without_any_question(void **state)
{
	struct sample s = { 0 };

	(void)sample(&s);
	fake.stamp = 2;
	assert_true(sample(&s));
	assert_int_equal(fake.built, 0);
}

static void a_sample_tells_whether_its_stamp_is_young(void **state)
{
	struct sample s = { 0 };

	fake.young = true;
	assert_false(sample(&s));
	assert_true(s.young);
	assert_true(ask(0));
	fake.young = false;
	assert_false(sample(&s));
	assert_false(s.young);
	/* A write makes it young again. */
	fake.young = true;
	fake.stamp = 2;
	assert_true(sample(&s));
	assert_true(s.young);
	assert_false(sample(&s));
	fake.young = false;
	assert_false(sample(&s));
	assert_false(s.young);
}

static void write_now(void)
{
	fake.stamp = 3;
	fake.young = true;
}

/* A sample looks twice, at the stamp and at its age. A second write in the same
 * tick of the clock moves neither. */
static void a_write_in_the_middle_of_a_sample_is_not_missed(void **state)
{
	struct sample s = { 0 };

	(void)sample(&s);
	fake.stamp = 2;
	fake.on_look = write_now;
	assert_true(sample(&s));
	assert_true(s.young);
	/* The second write is here, and the next sample is much later. */
	fake.young = false;
	assert_true(sample(&s));
	assert_false(s.young);
	assert_false(sample(&s));
}

static void other_layers_move_the_medium(void **state)
{
	struct sample s = { 0 };
	uint64_t medium;

	(void)sample(&s);
	assert_true(ask(0));
	medium = s.medium;
	fake.other = true;
	assert_true(sample(&s));
	assert_true(s.medium > medium);
	assert_int_equal(fake.made, 2);
	assert_int_equal(fake.freed, 1);
	/* Nothing of the old ones is used, in that generation either. */
	assert_true(bsp_known_is_due(known, 0));
	assert_true(ask(1));
	assert_int_equal(fake.built, 2);
	assert_false(sample(&s));
}

/* A table can change between the sample and the question. Granules that were
 * read before the change must be forgotten. */
static void other_layers_at_a_question_move_the_medium(void **state)
{
	struct sample s = { 0 };

	(void)sample(&s);
	fake.other = true;
	assert_true(ask(0));
	assert_int_equal(fake.made, 2);
	assert_true(sample(&s));
	assert_false(sample(&s));
}

static void replace_layers(void)
{
	struct sample s = { 0 };

	fake.other = true;
	(void)sample(&s);
}

static void an_answer_of_layers_that_were_replaced_does_not_count(void **state)
{
	struct bsp_known_answer answer;
	struct sample s = { 0 };

	(void)sample(&s);
	assert_true(ask(0));
	fake.on_ask = replace_layers;
	answer = bsp_known_ask(known, 0, true, 4096, SIZE);
	assert_false(answer.zeros);
	assert_int_equal(answer.end, 4096); /* may be asked again */
	assert_int_equal(fake.freed, 1);
	assert_true(sample(&s));
	assert_true(ask(1));
}

static void layers_that_appear_move_the_medium(void **state)
{
	struct sample s = { 0 };

	fake.exists = false;
	(void)sample(&s);
	assert_false(ask(0));
	assert_false(sample(&s));
	fake.exists = true;
	assert_false(sample(&s)); /* a look does not search again */
	assert_true(ask(1));
	assert_true(sample(&s));
	assert_false(sample(&s));
}

static void layers_without_a_stamp_are_not_asked(void **state)
{
	struct sample s = { 0 };

	(void)sample(&s);
	assert_true(ask(0));
	fake.stamp = 0;
	assert_true(sample(&s));
	assert_false(ask(1));
	assert_false(sample(&s));
	fake.stamp = 1;
	assert_true(ask(2));
	assert_true(sample(&s));
}

static void keep_reason(void *data, const char *path, const char *reason)
{
	*(const char **)data = g_intern_string(reason);
}

/* NULL if the layers are asked. */
static const char *reason_of_layers(void)
{
	const char *reason = "not called";

	bsp_known_list(known, keep_reason, &reason);
	return reason;
}

static void layers_that_are_not_trusted_answer_nothing(void **state)
{
	struct bsp_known_answer answer;
	struct sample s = { 0 };

	(void)sample(&s);
	assert_true(ask(0));
	bsp_known_set_trust(known, BSP_KNOWN_OFF);
	fake.asked = 0;
	for (unsigned generation = 0; generation < 2; generation++) {
		answer = bsp_known_ask(known, generation, generation == 0, 0,
				       SIZE);
		assert_false(answer.zeros);
		assert_int_equal(answer.end, SIZE);
	}
	assert_false(sample(&s));
	assert_int_equal(fake.asked, 0);
	assert_int_equal(fake.made, 1);
	assert_int_equal(fake.freed, 1);
	assert_string_equal(reason_of_layers(), "known=off");
}

static void an_answer_beyond_the_question_is_not_believed(void **state)
{
	static const struct bsp_known_answer lies[] = {
		{ true, 0 },	      { true, 4096 },  { true, 8193 },
		{ true, UINT64_MAX }, { false, 4095 }, { false, 8193 },
	};

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct bsp_known_answer answer;

		fake.answer = lies[i];
		answer = bsp_known_ask(known, 0, true, 4096, 8192);
		assert_false(answer.zeros);
		assert_int_equal(answer.end, 8192);
	}
	fake.answer.zeros = true;
	for (uint64_t end = 4097; end <= 8192; end += 4095) {
		struct bsp_known_answer answer;

		fake.answer.end = end;
		answer = bsp_known_ask(known, 0, true, 4096, 8192);
		assert_true(answer.zeros);
		assert_int_equal(answer.end, end);
	}
}

/* --- A question that takes long --- */

static struct bsp_known_answer slow_answer;

static void *ask_slowly(void *data)
{
	slow_answer = bsp_known_ask(known, 0, true, 0, SIZE);
	return NULL;
}

static pthread_t begin_slow_question(void)
{
	pthread_t thread;

	fake.blocks = true;
	assert_int_equal(pthread_create(&thread, NULL, ask_slowly, NULL), 0);
	sem_wait(&building);
	fake.blocks = false;
	return thread;
}

static void end_slow_question(pthread_t thread)
{
	sem_post(&go_on);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

/* A pool's metadata may be suspended for long. Without the bounds, this test
 * would not end. */
static void samples_and_handlers_do_not_wait_for_a_question(void **state)
{
	struct sample s = { 0 };
	struct bsp_known_answer answer;
	pthread_t thread;

	(void)sample(&s);
	thread = begin_slow_question();
	assert_false(sample(&s));
	assert_true(bsp_known_is_due(known, 0));
	answer = bsp_known_ask(known, 0, false, 0, SIZE);
	assert_int_equal(answer.end, 0); /* no layer was asked */
	end_slow_question(thread);
	assert_true(slow_answer.zeros);
	assert_int_equal(slow_answer.end, SIZE);
}

static void layers_dropped_during_a_question_are_not_used(void **state)
{
	struct sample s = { 0 };
	pthread_t thread;

	(void)sample(&s);
	thread = begin_slow_question();
	fake.other = true;
	assert_true(sample(&s));
	assert_int_equal(fake.made, 2);
	assert_int_equal(fake.freed, 0); /* the question still needs it */
	end_slow_question(thread);
	assert_int_equal(fake.freed, 1);
	assert_false(slow_answer.zeros);
	assert_int_equal(slow_answer.end, 0);
	assert_int_equal(fake.asked, 0);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(layers_are_built_once_a_generation),
		TEST(a_handler_never_builds),
		TEST(a_pool_that_must_wait_is_asked_again),
		TEST(a_pool_that_fails_knows_nothing_for_a_generation),
		TEST(a_stamp_that_moves_counts_once),
		TEST(a_write_between_sample_and_question_counts),
		TEST(writes_count_without_any_question),
		TEST(a_sample_tells_whether_its_stamp_is_young),
		TEST(a_write_in_the_middle_of_a_sample_is_not_missed),
		TEST(other_layers_move_the_medium),
		TEST(other_layers_at_a_question_move_the_medium),
		TEST(an_answer_of_layers_that_were_replaced_does_not_count),
		TEST(layers_that_appear_move_the_medium),
		TEST(layers_without_a_stamp_are_not_asked),
		TEST(layers_that_are_not_trusted_answer_nothing),
		TEST(an_answer_beyond_the_question_is_not_believed),
		TEST(samples_and_handlers_do_not_wait_for_a_question),
		TEST(layers_dropped_during_a_question_are_not_used),
	};

	return cmocka_run_group_tests_name("known", tests, NULL, NULL);
}
