/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thin volume of which only the status is known, because its metadata device
 * cannot be opened. The device mapper's answers are this file's.
 */
#include "device/known-thin.h"

#include <errno.h>
#include <string.h>

#include "device/dm-table.h"
#include "device/dm.h"
#include "unit.h"

enum { VOLUME = 1, BEHIND = 1 << 20 };

static const char *pool_table, *pool_status, *volume_status;
static bool suspended;
/* A pool commits once a second at most, so each layer has another one. */
static dev_t pool = VOLUME;

GArray *__wrap_bsp_dm_targets(int control, dev_t rdev, uint64_t *ret_hash);
GArray *__wrap_bsp_dm_status(int control, dev_t rdev);
bool __wrap_bsp_dm_is_suspended(int control, dev_t rdev);

static void clear_target(void *target)
{
	g_free(((struct bsp_dm_target *)target)->params);
}

/* Returns one target; NULL for no params. */
static GArray *one_target(const char *type, const char *params)
{
	struct bsp_dm_target target = { .len = 4096 };
	GArray *targets = g_array_new(FALSE, FALSE, sizeof(target));

	if (!params) {
		g_array_unref(targets);
		return NULL;
	}
	g_array_set_clear_func(targets, clear_target);
	(void)g_strlcpy(target.type, type, sizeof(target.type));
	target.params = g_strdup(params);
	g_array_append_val(targets, target);
	return targets;
}

GArray *__wrap_bsp_dm_targets(int control, dev_t rdev, uint64_t *ret_hash)
{
	*ret_hash = 1;
	return one_target("thin-pool", pool_table);
}

GArray *__wrap_bsp_dm_status(int control, dev_t rdev)
{
	return rdev == pool ? one_target("thin-pool", pool_status)
			    : one_target("thin", volume_status);
}

bool __wrap_bsp_dm_is_suspended(int control, dev_t rdev)
{
	return suspended;
}

static int set_up(void **state)
{
	pool_table = "not a device";
	pool_status = "0 1/9 2/9 - rw discard_passdown";
	volume_status = "0 -";
	suspended = false;
	return 0;
}

static struct bsp_layer *new_layer(bool writable)
{
	const struct bsp_thin_volume volume = { .rdev = VOLUME,
						.pool = ++pool };

	return bsp_layer_thin_new(-1, &volume, writable);
}

static int build(struct bsp_layer *layer)
{
	return layer->ops->build(layer, g_get_monotonic_time());
}

static void assert_zeros_from(const char *status, uint64_t from)
{
	struct bsp_layer *layer = new_layer(false);
	struct bsp_known_answer answer;

	volume_status = status;
	assert_non_null(layer);
	assert_int_equal(build(layer), 0);
	if (from > 0) {
		answer = layer->ops->ask(layer, 0, BEHIND);
		assert_false(answer.zeros);
		assert_int_equal(answer.end, from);
	}
	answer = layer->ops->ask(layer, from, BEHIND);
	assert_true(answer.zeros);
	assert_int_equal(answer.end, BEHIND);
	bsp_layer_free(layer);
}

static void nothing_is_mapped_past_the_highest_sector(void **state)
{
	assert_zeros_from("0 -", 0);
	assert_zeros_from("128 127", 128 * 512);
	assert_zeros_from("128 1023", 1024 * 512);
}

static void nothing_is_known_of_another_status(void **state)
{
	static const char *const texts[] = {
		NULL,	   "",	      "-",
		"Fail",	   "Error",   "0",
		"0 Error", "8 -",     "0 - -",
		"8",	   "8 Error", "8 18446744073709551615",
		"- 8",	   "0 -\n",   "8 36028797018963968",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
		struct bsp_layer *layer = new_layer(false);

		assert_non_null(layer);
		volume_status = texts[i];
		assert_int_equal(build(layer), -EIO);
		bsp_layer_free(layer);
	}
}

static void a_pool_that_cannot_commit_ends_the_build(void **state)
{
	static const struct {
		const char *status;
		int error;
	} pools[] = {
		{ NULL, -EIO },
		{ "Fail", -EIO },
		{ "0 1/9 2/9 -", -EIO },
		{ "0 1/9 2/9 - ro discard_passdown", -EROFS },
		{ "0 1/9 2/9 - read_only", -EROFS },
		{ "0 1/9 9/9 - out_of_data_space", 0 },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(pools); i++) {
		struct bsp_layer *layer = new_layer(false);

		assert_non_null(layer);
		pool_status = pools[i].status;
		assert_int_equal(build(layer), pools[i].error);
		bsp_layer_free(layer);
	}
}

static void a_suspended_pool_is_tried_again(void **state)
{
	struct bsp_layer *layer = new_layer(false);

	assert_non_null(layer);
	suspended = true;
	assert_int_equal(build(layer), -EAGAIN);
	bsp_layer_free(layer);
}

static void a_writer_knows_nothing_of_a_pool_that_does_not_zero(void **state)
{
	struct bsp_layer *layer;

	pool_table = "x x 128 0 1 skip_block_zeroing";
	assert_null(new_layer(true));
	layer = new_layer(false);
	assert_non_null(layer);
	bsp_layer_free(layer);
	pool_table = NULL;
	assert_null(new_layer(false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(
			nothing_is_mapped_past_the_highest_sector, set_up),
		cmocka_unit_test_setup(nothing_is_known_of_another_status,
				       set_up),
		cmocka_unit_test_setup(a_pool_that_cannot_commit_ends_the_build,
				       set_up),
		cmocka_unit_test_setup(a_suspended_pool_is_tried_again, set_up),
		cmocka_unit_test_setup(
			a_writer_knows_nothing_of_a_pool_that_does_not_zero,
			set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
