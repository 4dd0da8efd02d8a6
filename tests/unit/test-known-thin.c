/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thin volume: of which only the status is known, because its metadata device
 * cannot be opened, and one with trees. The device mapper's answers are this
 * file's, and so are those of the trees.
 */
#include "device/known-thin.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "device/dm-table.h"
#include "device/dm.h"
#include "device/sysfs.h"
#include "device/thin-tree.h"
#include "unit.h"

enum { VOLUME = 1, BEHIND = 1 << 20, BLOCK = 64 << 10 };

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

/* --- The trees --- */

/* Blocks [0, 4) and [8, 12) of the volume are mapped. */
static struct {
	unsigned opened, walked, checked;
	int open_result, find_result;
	unsigned stale; /* walks during which the pool commits */
	bool known;	/* all nodes were read, and checked, before */
} trees;

int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);
int __wrap_bsp_sysfs_open(dev_t rdev);
int __wrap_bsp_sysfs_open_node(int folder);
int __wrap_bsp_thin_tree_open(struct bsp_thin_tree *tree, uint64_t volume);
int __wrap_bsp_thin_tree_find(struct bsp_thin_tree *tree, uint64_t block,
			      struct bsp_thin_run *ret_run);
int __wrap_bsp_thin_tree_is_current(struct bsp_thin_tree *tree);

/* The metadata device must be read past the page cache. */
int __wrap_fcntl64(int fd, int command, ...)
{
	va_list args;
	int flags;

	va_start(args, command);
	flags = va_arg(args, int);
	va_end(args);
	if (command != F_SETFL)
		return __real_fcntl64(fd, command, flags);
	assert_int_equal(flags, O_DIRECT);
	return 0;
}

int __wrap_bsp_sysfs_open(dev_t rdev)
{
	return open("/", O_PATH | O_CLOEXEC);
}

int __wrap_bsp_sysfs_open_node(int folder)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

int __wrap_bsp_thin_tree_open(struct bsp_thin_tree *tree, uint64_t volume)
{
	trees.opened++;
	tree->block_size = BLOCK;
	tree->fresh = true;
	return trees.open_result;
}

int __wrap_bsp_thin_tree_find(struct bsp_thin_tree *tree, uint64_t block,
			      struct bsp_thin_run *ret_run)
{
	trees.walked++;
	tree->fresh = !trees.known;
	*ret_run = (struct bsp_thin_run){
		block / 4 % 2 == 0 && block < 12,
		block < 12 ? (block / 4 + 1) * 4 : UINT64_MAX,
	};
	return trees.find_result;
}

int __wrap_bsp_thin_tree_is_current(struct bsp_thin_tree *tree)
{
	trees.checked++;
	if (!trees.stale) {
		tree->fresh = false;
		return 1;
	}
	trees.stale--;
	return 0;
}

static int set_up(void **state)
{
	memset(&trees, 0, sizeof(trees));
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

/* Makes and builds a layer with trees; 16 blocks are mapped by its status. */
static struct bsp_layer *new_layer_with_trees(void)
{
	struct bsp_layer *layer;

	pool_table = "253:3 253:4 128 0 0";
	volume_status = "1024 2047";
	layer = new_layer(false);
	assert_non_null(layer);
	assert_int_equal(build(layer), 0);
	assert_int_equal(trees.opened, 1);
	return layer;
}

static void asks(struct bsp_layer *layer, uint64_t off, uint64_t limit,
		 bool zeros, uint64_t end)
{
	struct bsp_known_answer answer = layer->ops->ask(layer, off, limit);

	assert_int_equal(answer.zeros, zeros);
	assert_int_equal(answer.end, end);
}

static void unmapped_runs_are_zeros(void **state)
{
	struct bsp_layer *layer = new_layer_with_trees();
	const uint64_t far = UINT64_C(1) << 40;

	asks(layer, 0, far, false, 4 * BLOCK);
	asks(layer, 4 * BLOCK - 1, far, false, 4 * BLOCK);
	asks(layer, 4 * BLOCK, far, true, 8 * BLOCK);
	asks(layer, 5 * BLOCK + 7, far, true, 8 * BLOCK);
	asks(layer, 8 * BLOCK, far, false, 12 * BLOCK);
	asks(layer, 12 * BLOCK, far, true, far);
	/* An answer goes no further than its question. */
	asks(layer, 4 * BLOCK, 6 * BLOCK + 512, true, 6 * BLOCK + 512);
	asks(layer, 4 * BLOCK, 8 * BLOCK, true, 8 * BLOCK);
	asks(layer, 4 * BLOCK, 8 * BLOCK + 512, true, 8 * BLOCK);
	assert_int_equal(trees.checked, trees.walked);
	bsp_layer_free(layer);
}

static void nodes_that_were_checked_are_not_checked_again(void **state)
{
	struct bsp_layer *layer = new_layer_with_trees();

	trees.known = true;
	asks(layer, 4 * BLOCK, BEHIND, true, 8 * BLOCK);
	assert_int_equal(trees.checked, 0);
	bsp_layer_free(layer);
}

static void a_walk_is_repeated_when_the_pool_commits(void **state)
{
	struct bsp_layer *layer = new_layer_with_trees();

	trees.stale = 3;
	asks(layer, 4 * BLOCK, BEHIND, true, 8 * BLOCK);
	assert_int_equal(trees.walked, 4);
	assert_int_equal(trees.opened, 4);
	bsp_layer_free(layer);
}

static void nothing_is_known_when_the_pool_commits_all_the_time(void **state)
{
	const uint64_t busy = 64 << 20, far = UINT64_C(1) << 40;
	struct bsp_layer *layer = new_layer_with_trees();

	trees.stale = UINT_MAX;
	asks(layer, 4 * BLOCK, far, false, 16 * BLOCK);
	assert_int_equal(trees.walked, 4);
	/* By its status nothing is mapped there. */
	asks(layer, 16 * BLOCK, far, true, far);
	volume_status = "1 1073741823";
	bsp_layer_free(layer);
	trees.opened = 0;
	layer = new_layer(false);
	assert_non_null(layer);
	assert_int_equal(build(layer), 0);
	asks(layer, 4 * BLOCK, far, false, 4 * BLOCK + busy);
	bsp_layer_free(layer);
}

static void a_broken_tree_leaves_the_status(void **state)
{
	struct bsp_layer *layer = new_layer_with_trees();

	trees.find_result = -EPROTO;
	asks(layer, 4 * BLOCK, BEHIND, false, BEHIND);
	asks(layer, 4 * BLOCK, 64 * BLOCK, false, 16 * BLOCK);
	asks(layer, 16 * BLOCK, 64 * BLOCK, true, 64 * BLOCK);
	/* The next question opens the tree again. */
	trees.find_result = 0;
	trees.opened = 0;
	asks(layer, 4 * BLOCK, BEHIND, true, 8 * BLOCK);
	assert_int_equal(trees.opened, 1);
	trees.open_result = -EIO;
	trees.stale = 1;
	asks(layer, 4 * BLOCK, 64 * BLOCK, false, 16 * BLOCK);
	bsp_layer_free(layer);
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
		cmocka_unit_test_setup(unmapped_runs_are_zeros, set_up),
		cmocka_unit_test_setup(
			nodes_that_were_checked_are_not_checked_again, set_up),
		cmocka_unit_test_setup(a_walk_is_repeated_when_the_pool_commits,
				       set_up),
		cmocka_unit_test_setup(
			nothing_is_known_when_the_pool_commits_all_the_time,
			set_up),
		cmocka_unit_test_setup(a_broken_tree_leaves_the_status, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
