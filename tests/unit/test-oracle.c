/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The library against an oracle: random operations on an object over a disk
 * that fails, loses its cache, changes its size, goes away and is exchanged,
 * with memory that runs out. All that happens follows from a seed. A failure
 * prints its seed, and all operations up to it:
 *
 *	BSP_SEED=n    only this seed
 *	BSP_BYTE=n    follows that byte through the operations
 *	BSP_SEEDS=n   so many seeds from 1 on
 */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "trial.h"

/* With one thread, ThreadSanitizer has nothing to find, and is slow. */
#ifdef __SANITIZE_THREAD__
enum { SEEDS = 50 };
#else
enum { SEEDS = 500 };
#endif

enum { STEPS = 120 };

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);

	return value ? g_ascii_strtoull(value, NULL, 10) : otherwise;
}

/* Returns false, and prints the log, if the trial found a mistake. */
static bool try_seed(uint64_t seed)
{
	struct trial *t = trial_new(seed);
	bool right;

	t->byte = number("BSP_BYTE", UINT64_MAX);
	for (unsigned i = 0; i < STEPS && !t->wrong; i++)
		trial_step(t);
	if (!t->wrong && t->writable && dice_chance(&t->dice, 100))
		trial_take_out(t);
	else if (!t->wrong)
		trial_finish(t);
	right = !t->wrong;
	if (!right)
		(void)fprintf(stderr, "%sBSP_SEED=%" PRIu64 ": %s\n",
			      t->log->str, seed, t->wrong);
	trial_free(t);
	return right;
}

static void every_byte_is_one_that_the_oracle_allows(void **state)
{
	uint64_t first = number("BSP_SEED", 1);
	uint64_t seeds = number("BSP_SEEDS", getenv("BSP_SEED") ? 1 : SEEDS);
	unsigned wrong = 0;

	for (uint64_t seed = first; seed < first + seeds; seed++)
		wrong += !try_seed(seed);
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_byte_is_one_that_the_oracle_allows),
	};

	return cmocka_run_group_tests_name("oracle", tests, NULL, NULL);
}
