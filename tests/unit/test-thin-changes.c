/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The comparison of two thin volumes. Their tables, counters and trees, and the
 * commits of the pool, are this file's. A change that is missing here would be
 * missing in a copy.
 */
#include "device/thin-changes.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "device/dm-table.h"
#include "device/known-thin.h"
#include "device/sysfs.h"
#include "device/thin-tree.h"
#include "unit.h"

enum {
	MAJOR = 253,
	POOL = 9, /* minor numbers: volumes have their index */
	BLOCK = 64 << 10,
	BLOCKS = 20,
	SIZE = BLOCKS * BLOCK - 4096,
};

static struct volume {
	struct bsp_device dev;
	const char *type, *params; /* params: NULL for no table */
	uint64_t start, number, root, writes;
	bool counted, writable, open;
} volume[2]; /* the new one, the old one */

static bool differ[BLOCKS];
static const char *pool_params;
static unsigned commits, opens, closed;
static int64_t committed; /* everything up to that time */
static int commit_results[4], open_results[4];
static unsigned stale; /* openings during which the pool commits */
static int current_result, compare_result;
static void (*at_second_commit)(struct volume *volume);
static struct volume *victim;
static dev_t looked_at;

/* --- The volumes --- */

static struct volume *volume_of(dev_t rdev)
{
	assert_int_equal(major(rdev), MAJOR);
	assert_int_in_range(minor(rdev), 0, 1);
	return &volume[minor(rdev)];
}

static void content(struct bsp_device *dev, struct bsp_content *ret_content)
{
	const struct volume *v = (const struct volume *)dev;

	*ret_content = (struct bsp_content){ .value = { v->writes },
					     .counted = v->counted,
					     .settled = true };
}

static void close_device(struct bsp_device *dev)
{
	struct volume *v = (struct volume *)dev;

	assert_true(v->open);
	v->open = false;
	closed++;
}

static const struct bsp_device_ops ops = {
	.content = content,
	.close = close_device,
};

static int set_up(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		volume[i] = (struct volume){
			.dev = { .ops = &ops,
				 .path = g_strdup(i ? "old" : "new"),
				 .info = { .size = SIZE, .is_block = true },
				 .stat.st_rdev = makedev(MAJOR, i) },
			.type = "thin",
			.params = i ? "253:9 7" : "253:9 5",
			.number = i ? 7 : 5,
			.root = 100 + i,
			.counted = true,
			.open = true,
		};
		pthread_mutex_init(&volume[i].dev.through_lock, NULL);
	}
	memset(differ, 0, sizeof(differ));
	pool_params = "253:3 253:4 128 0 0";
	commits = opens = closed = stale = 0;
	committed = 0;
	memset(commit_results, 0, sizeof(commit_results));
	memset(open_results, 0, sizeof(open_results));
	current_result = 1;
	compare_result = 0;
	at_second_commit = NULL;
	return 0;
}

static int tear_down(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		if (volume[i].open)
			bsp_device_close(&volume[i].dev);
	}
	return 0;
}

/* --- In place of the device mapper and sysfs --- */

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
struct bsp_device *__wrap_bsp_device_open(const char *path, GError **error);
int __wrap_bsp_sysfs_open(dev_t rdev);
uint64_t __wrap_bsp_sysfs_read_number(int folder, const char *name);
GArray *__wrap_bsp_dm_targets(int control, dev_t rdev, uint64_t *ret_hash);
int __wrap_bsp_thin_commit(int control, dev_t pool, int64_t since);
int __wrap_bsp_thin_open_metadata(const char *params);
int __wrap_bsp_thin_tree_open(struct bsp_thin_tree *tree, uint64_t number);
int __wrap_bsp_thin_tree_is_current(struct bsp_thin_tree *tree);
int __wrap_bsp_thin_tree_compare(struct bsp_thin_tree *a,
				 struct bsp_thin_tree *b, uint64_t block,
				 struct bsp_thin_difference *ret_difference);

int __wrap_open64(const char *path, int flags, ...)
{
	if (strcmp(path, "/dev/mapper/control") == 0)
		path = "/dev/null";
	return __real_open64(path, flags);
}

struct bsp_device *__wrap_bsp_device_open(const char *path, GError **error)
{
	assert_string_equal(path, "old");
	return &volume[1].dev;
}

int __wrap_bsp_sysfs_open(dev_t rdev)
{
	looked_at = rdev;
	return __real_open64("/dev/null", O_RDONLY | O_CLOEXEC);
}

uint64_t __wrap_bsp_sysfs_read_number(int folder, const char *name)
{
	assert_string_equal(name, "ro");
	return !volume_of(looked_at)->writable;
}

static void clear_target(void *target)
{
	g_free(((struct bsp_dm_target *)target)->params);
}

GArray *__wrap_bsp_dm_targets(int control, dev_t rdev, uint64_t *ret_hash)
{
	bool is_pool = minor(rdev) == POOL;
	const struct volume *v = is_pool ? NULL : volume_of(rdev);
	const char *params = is_pool ? pool_params : v->params;
	struct bsp_dm_target target = { .start = is_pool ? 0 : v->start };
	GArray *targets = g_array_new(FALSE, FALSE, sizeof(target));

	g_array_set_clear_func(targets, clear_target);
	if (!params) {
		g_array_unref(targets);
		return NULL;
	}
	(void)g_strlcpy(target.type, is_pool ? "thin-pool" : v->type,
			sizeof(target.type));
	target.params = g_strdup(params);
	g_array_append_val(targets, target);
	if (ret_hash)
		*ret_hash = 1 + g_str_hash(params);
	return targets;
}

int __wrap_bsp_thin_commit(int control, dev_t pool, int64_t since)
{
	unsigned i = commits++;

	assert_int_equal(pool, makedev(MAJOR, POOL));
	assert_true(since <= g_get_monotonic_time());
	if (i == 1 && at_second_commit)
		at_second_commit(victim);
	if (i < G_N_ELEMENTS(commit_results) && commit_results[i])
		return commit_results[i];
	committed = since;
	return 0;
}

/* --- In place of the metadata --- */

int __wrap_bsp_thin_open_metadata(const char *params)
{
	return strcmp(params, "253:3 253:4 128 0 0") == 0
		       ? __real_open64("/dev/null", O_RDONLY | O_CLOEXEC)
		       : -1;
}

int __wrap_bsp_thin_tree_open(struct bsp_thin_tree *tree, uint64_t number)
{
	unsigned i = opens++;

	assert_true(committed > 0);
	for (unsigned j = 0; j < 2; j++) {
		if (volume[j].number == number)
			tree->root = volume[j].root;
	}
	tree->block_size = BLOCK;
	return i < G_N_ELEMENTS(open_results) ? open_results[i] : 0;
}

int __wrap_bsp_thin_tree_is_current(struct bsp_thin_tree *tree)
{
	if (!stale)
		return current_result;
	stale--;
	return 0;
}

/* The last run ends past the volumes. */
int __wrap_bsp_thin_tree_compare(struct bsp_thin_tree *a,
				 struct bsp_thin_tree *b, uint64_t block,
				 struct bsp_thin_difference *ret_difference)
{
	uint64_t end = block;

	assert_true(block < BLOCKS);
	assert_int_equal(a->root, volume[0].root);
	assert_int_equal(b->root, volume[1].root);
	while (end < BLOCKS && differ[end] == differ[block])
		end++;
	*ret_difference =
		(struct bsp_thin_difference){ differ[block],
					      end < BLOCKS ? end : UINT64_MAX };
	return compare_result;
}

/* --- The tests --- */

static struct bsp_changes *new_changes(void)
{
	struct bsp_changes *changes = bsp_changes_new(SIZE);

	assert_non_null(changes);
	return changes;
}

/* Compares the volumes, and checks that this succeeds. */
static struct bsp_changes *read_changes(void)
{
	struct bsp_changes *changes = new_changes();
	g_autoptr(GError) error = NULL;

	if (!bsp_thin_changes_read(&volume[0].dev, "old", changes, &error))
		fail_msg("%s", error->message);
	return changes;
}

/* Checks that the comparison fails with that text in its message. */
static void assert_refused(const char *text)
{
	struct bsp_changes *changes = new_changes();
	g_autoptr(GError) error = NULL;

	assert_false(
		bsp_thin_changes_read(&volume[0].dev, "old", changes, &error));
	assert_non_null(error);
	if (!strstr(error->message, text))
		fail_msg("\"%s\" is not in: %s", text, error->message);
	bsp_changes_free(changes);
	assert_int_equal(closed, 1);
	closed = 0;
}

static void assert_next(const struct bsp_changes *changes, uint64_t *at,
			uint64_t from, uint64_t to)
{
	uint64_t off, end;

	assert_true(bsp_changes_find(changes, *at, 4096, &off, &end));
	assert_int_equal(off, from);
	assert_int_equal(end, to);
	*at = end;
}

static void changes_are_the_blocks_that_differ(void **state)
{
	struct bsp_changes *changes;
	uint64_t at = 0, off, end;

	differ[0] = differ[3] = differ[4] = differ[BLOCKS - 1] = true;
	changes = read_changes();
	assert_next(changes, &at, 0, BLOCK);
	assert_next(changes, &at, 3 * BLOCK, 5 * BLOCK);
	assert_next(changes, &at, (BLOCKS - 1) * BLOCK, SIZE);
	assert_false(bsp_changes_find(changes, at, 4096, &off, &end));
	assert_int_equal(commits, 2);
	bsp_changes_free(changes);
	assert_int_equal(closed, 1);
}

static void equal_trees_have_no_changes(void **state)
{
	struct bsp_changes *changes = read_changes();

	assert_int_equal(bsp_changes_bytes(changes), 0);
	bsp_changes_free(changes);
}

/* Sets up anew, without what the last comparison left. */
static struct volume *again(void **state, unsigned i)
{
	(void)tear_down(state);
	(void)set_up(state);
	return &volume[i];
}

static void only_read_only_thin_volumes_are_compared(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		again(state, i)->type = "linear";
		assert_refused("is not a thin volume");
		again(state, i)->start = 8;
		assert_refused("is not a thin volume");
		again(state, i)->params = NULL;
		assert_refused("is not a thin volume");
		again(state, i)->dev.info.is_block = false;
		assert_refused("is not a thin volume");
		again(state, i)->params = "253:9";
		assert_refused("has a table that is not known");
		again(state, i)->params = "253:9 5 253:8";
		assert_refused("has an external origin");
		again(state, i)->writable = true;
		assert_refused("can be written");
		again(state, i)->counted = false;
		assert_refused("does not count writes");
	}
	again(state, 1)->params = "253:8 7";
	assert_refused("is in another pool");
	again(state, 1)->dev.info.size = SIZE + 4096;
	assert_refused("has another size");
	assert_int_equal(opens, 0);
}

static void the_pool_commits_before_its_trees_are_read(void **state)
{
	int64_t before = g_get_monotonic_time();

	commit_results[0] = commit_results[1] = -EAGAIN;
	bsp_changes_free(read_changes());
	assert_int_equal(commits, 4);
	assert_true(committed >= before);
}

static void a_pool_that_cannot_commit_is_an_error(void **state)
{
	commit_results[0] = -EROFS;
	assert_refused("commit the pool of new: Read-only file system");
	assert_int_equal(opens, 0);
	again(state, 0);
	commit_results[1] = -EROFS;
	assert_refused("commit the pool of new: Read-only file system");
}

static void metadata_that_cannot_be_opened_is_an_error(void **state)
{
	pool_params = "253:7 253:4 128 0 0";
	assert_refused("metadata of the pool of new cannot be read");
	again(state, 0);
	pool_params = NULL;
	assert_refused("metadata of the pool of new cannot be read");
}

static void a_tree_that_the_pool_replaced_is_opened_again(void **state)
{
	stale = 3;
	open_results[0] = -EPROTO;
	open_results[1] = -ENOENT;
	bsp_changes_free(read_changes());
	assert_int_equal(opens, 2 + 3 + 2);

	again(state, 0);
	stale = UINT_MAX;
	assert_refused("read the metadata of the pool of new");
}

static void a_broken_tree_is_an_error(void **state)
{
	open_results[0] = -EPROTO;
	assert_refused("read the metadata of the pool of new: Protocol error");
	again(state, 0);
	open_results[1] = -EIO;
	assert_refused("read the metadata of the pool of new: Input/output");
	assert_int_equal(opens, 2);
	again(state, 0);
	current_result = -EIO;
	assert_refused("read the metadata of the pool of new: Input/output");
	again(state, 0);
	open_results[3] = -EIO;
	assert_refused("read the metadata of the pool of new: Input/output");
	again(state, 0);
	compare_result = -EPROTO;
	assert_refused("read the metadata of the pool of new: Protocol error");
}

static void change_root(struct volume *v)
{
	v->root = 200;
}

static void count_write(struct volume *v)
{
	v->writes++;
}

static void make_writable(struct volume *v)
{
	v->writable = true;
}

static void replace_table(struct volume *v)
{
	v->params = "253:9 8";
}

static void lose_table(struct volume *v)
{
	v->params = NULL;
}

static void (*const mischief[])(struct volume *v) = {
	change_root, count_write, make_writable, replace_table, lose_table,
};

static void a_volume_that_changes_meanwhile_is_an_error(void **state)
{
	for (size_t i = 0; i < G_N_ELEMENTS(mischief); i++) {
		for (unsigned j = 0; j < 2; j++) {
			victim = again(state, j);
			at_second_commit = mischief[i];
			assert_refused(j ? "old was changed meanwhile"
					 : "new was changed meanwhile");
		}
	}
}

static void changes_end_to_hold_when_a_volume_changes(void **state)
{
	for (size_t i = 0; i < G_N_ELEMENTS(mischief); i++) {
		for (unsigned j = 0; j < 2; j++) {
			struct volume *v = again(state, j);
			struct bsp_changes *changes = read_changes();
			g_autoptr(GError) error = NULL;

			assert_true(bsp_changes_check(changes, &error));
			mischief[i](v);
			assert_false(bsp_changes_check(changes, &error));
			assert_non_null(error);
			bsp_changes_free(changes);
		}
	}
}

static bool is_due(void *data)
{
	unsigned *left = data;

	return *left == 0 || --*left == 0;
}

static void an_interrupt_ends_the_comparison(void **state)
{
	for (unsigned i = 1; i < 6; i++) {
		unsigned left = i;
		struct bsp_interrupt before = bsp_interrupt_swap(
			(struct bsp_interrupt){ is_due, &left });

		differ[1] = differ[3] = differ[5] = true;
		assert_refused("interrupted");
		(void)bsp_interrupt_swap(before);
		again(state, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			changes_are_the_blocks_that_differ, set_up, tear_down),
		cmocka_unit_test_setup_teardown(equal_trees_have_no_changes,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			only_read_only_thin_volumes_are_compared, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			the_pool_commits_before_its_trees_are_read, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			a_pool_that_cannot_commit_is_an_error, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			metadata_that_cannot_be_opened_is_an_error, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			a_tree_that_the_pool_replaced_is_opened_again, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(a_broken_tree_is_an_error,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_volume_that_changes_meanwhile_is_an_error, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			changes_end_to_hold_when_a_volume_changes, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			an_interrupt_ends_the_comparison, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
