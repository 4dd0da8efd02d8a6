/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parser of mountinfo, with lists of the form that proc(5) describes.
 */
#include "unit.h"

#include <glib/gstdio.h>
#include <unistd.h>

#include "blksparse-mountinfo.h"

/* Parses text as a list of mounts. */
static GPtrArray *parse(const char *text)
{
	g_autofree char *path = NULL;
	int fd = g_file_open_tmp("mountinfo-XXXXXX", &path, NULL);
	GPtrArray *mounts;

	assert_true(fd >= 0);
	assert_true(g_file_set_contents(path, text, -1, NULL));
	mounts = bsp_mountinfo_read(path);
	assert_non_null(mounts);
	close(fd);
	(void)g_unlink(path);
	return mounts;
}

static void a_line_gives_one_mount(void **state)
{
	g_autoptr(GPtrArray) mounts = parse(
		"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n");
	const struct bsp_mount *mount;

	assert_int_equal(mounts->len, 1);
	mount = g_ptr_array_index(mounts, 0);
	assert_string_equal(mount->id, "36");
	assert_string_equal(mount->parent, "35");
	assert_string_equal(mount->device, "98:0");
	assert_string_equal(mount->where, "/mnt2");
	assert_string_equal(mount->type, "ext3");
	assert_string_equal(mount->source, "/dev/root");
}

static void any_number_of_optional_fields_is_passed_over(void **state)
{
	g_autoptr(GPtrArray) mounts =
		parse("1 0 0:1 / /none rw - proc one rw\n"
		      "2 0 0:2 / /two rw shared:1 master:2 - tmpfs two rw\n");
	const struct bsp_mount *none, *two;

	assert_int_equal(mounts->len, 2);
	none = g_ptr_array_index(mounts, 0);
	two = g_ptr_array_index(mounts, 1);
	assert_string_equal(none->type, "proc");
	assert_string_equal(none->source, "one");
	assert_string_equal(two->type, "tmpfs");
	assert_string_equal(two->source, "two");
}

static void a_mount_is_above_the_paths_at_and_below_its_point(void **state)
{
	const struct bsp_mount root = { .where = (char *)"/" };
	const struct bsp_mount mount = { .where = (char *)"/a/b" };

	assert_true(bsp_mount_is_above(&root, "/"));
	assert_true(bsp_mount_is_above(&root, "/x"));
	assert_true(bsp_mount_is_above(&mount, "/a/b"));
	assert_true(bsp_mount_is_above(&mount, "/a/b/c"));
	assert_false(bsp_mount_is_above(&mount, "/a/bc"));
	assert_false(bsp_mount_is_above(&mount, "/a"));
	assert_false(bsp_mount_is_above(&mount, "/"));
}

static void escapes_of_the_kernel_are_decoded(void **state)
{
	g_autoptr(GPtrArray) mounts = parse(
		"1 0 0:1 / /a\\040b\\011c\\134d rw - fuse.blksparsefs /dev/x\\040y,/z ro\n");
	const struct bsp_mount *mount = g_ptr_array_index(mounts, 0);

	assert_string_equal(mount->where, "/a b\tc\\d");
	assert_string_equal(mount->source, "/dev/x y,/z");
}

static void a_source_may_be_empty(void **state)
{
	g_autoptr(GPtrArray) mounts = parse("1 0 0:1 / /a rw - tmpfs  rw\n");
	const struct bsp_mount *mount = g_ptr_array_index(mounts, 0);

	assert_string_equal(mount->source, "");
}

static void other_lines_are_skipped(void **state)
{
	g_autoptr(GPtrArray) mounts = parse("\n"
					    "1 0 0:1 / /a\n"
					    "1 0 0:1 / /a rw shared:1\n"
					    "1 0 0:1 / /a rw - proc\n"
					    "7 0 0:1 / /b rw - proc p rw\n");
	const struct bsp_mount *mount;

	assert_int_equal(mounts->len, 1);
	mount = g_ptr_array_index(mounts, 0);
	assert_string_equal(mount->id, "7");
}

static void a_list_that_cannot_be_read_is_null(void **state)
{
	assert_null(bsp_mountinfo_read("/nonexistent/mountinfo"));
}

static void the_mounts_of_this_process_are_found(void **state)
{
	g_autoptr(GPtrArray) mounts = bsp_mountinfo_read(BSP_MOUNTINFO_SELF);

	assert_non_null(mounts);
	assert_true(mounts->len > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_gives_one_mount),
		cmocka_unit_test(any_number_of_optional_fields_is_passed_over),
		cmocka_unit_test(
			a_mount_is_above_the_paths_at_and_below_its_point),
		cmocka_unit_test(escapes_of_the_kernel_are_decoded),
		cmocka_unit_test(a_source_may_be_empty),
		cmocka_unit_test(other_lines_are_skipped),
		cmocka_unit_test(a_list_that_cannot_be_read_is_null),
		cmocka_unit_test(the_mounts_of_this_process_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
