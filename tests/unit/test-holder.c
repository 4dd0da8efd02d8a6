/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finding the mount of blksparsefs that holds a device, by the source of the
 * mount. The list of mounts is this file's, and so are the answers to stat(2).
 */
#include "device/holder.h"

#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "blksparse-mountinfo.h"
#include "device/ask.h"
#include "unit.h"

enum { MAJOR = 4000, MINOR = 1 }; /* no device has this number */

static const char *source; /* of the only mount */
static const char *node;   /* the path that leads to the device */
static size_t asked;	   /* paths */

GPtrArray *__wrap_bsp_mountinfo_read(const char *path);
void __wrap_bsp_ask_in_child(bsp_ask_fn ask, const void *questions, size_t n,
			     int patience_ms, struct bsp_answer *ret_answers);

GPtrArray *__wrap_bsp_mountinfo_read(const char *path)
{
	static struct bsp_mount mount;
	GPtrArray *mounts = g_ptr_array_new();

	mount = (struct bsp_mount){
		.id = (char *)"1",
		.parent = (char *)"0",
		.device = (char *)"0:99",
		.where = (char *)"/mnt",
		.type = (char *)"fuse.blksparsefs",
		.source = (char *)source,
	};
	g_ptr_array_add(mounts, &mount);
	return mounts;
}

void __wrap_bsp_ask_in_child(bsp_ask_fn ask, const void *questions, size_t n,
			     int patience_ms, struct bsp_answer *ret_answers)
{
	const char *const *paths = questions;

	asked += n;
	for (size_t i = 0; i < n; i++) {
		bool is = node && strcmp(paths[i], node) == 0;

		ret_answers[i] = (struct bsp_answer){
			.r = is ? 0 : -ENOENT,
			.rdev = is ? makedev(MAJOR, MINOR) : 0,
		};
	}
}

/* Asserts that the holder's text has this in it. */
static void assert_holder(const char *text)
{
	g_autofree char *holder = NULL;

	asked = 0;
	holder = bsp_holder_of_device(makedev(MAJOR, MINOR));
	assert_non_null(strstr(holder, text));
}

static void a_device_of_a_list_is_found(void **state)
{
	source = "/dev/a,/dev/b,/dev/c,and-3-more";
	node = "/dev/b";
	assert_holder("is mounted on /mnt by blksparsefs; unmount it first");
	node = "/dev/c";
	assert_holder("is mounted on /mnt by blksparsefs");
	node = "/dev/d";
	assert_holder("is in use by another program");
}

static void a_path_may_have_commas(void **state)
{
	source = "/dev/a,/dev/my,own,disk,/dev/b";
	node = "/dev/my,own,disk";
	assert_holder("is mounted on /mnt by blksparsefs");
	node = "/dev/b";
	assert_holder("is mounted on /mnt by blksparsefs");
}

/* 2,000 paths, of which each might go on to the end: two million texts. */
static void a_source_of_commas_gives_few_questions(void **state)
{
	g_autoptr(GString) list = g_string_new("/");

	while (list->len < 4000)
		g_string_append(list, ",/");
	source = list->str;
	node = NULL;
	assert_holder("is in use by another program");
	assert_int_in_range(asked, 100, 2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_of_a_list_is_found),
		cmocka_unit_test(a_path_may_have_commas),
		cmocka_unit_test(a_source_of_commas_gives_few_questions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
