/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Find what uses a device, when the kernel says no more than "busy":
 * /proc/self/mountinfo (proc(5)), /proc/swaps, and in sysfs the devices that
 * are made of it (holders) and its partitions, which hold the disk when they
 * are held themselves.
 *
 * A path or a loop device of another mount may lie on a file system that hangs,
 * which must not keep this program: a child process asks about those.
 */
#include "device/device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "device/ask.h"
#include "device/loop.h"
#include "device/sysfs.h"

/* Takes the backslash-octal escapes of /proc out of a field. */
static char *unescaped(const char *field)
{
	return g_strcompress(field);
}

/* The first of the paths (char *) that is a node of the device, or NULL. Each
 * may lie on a file system that does not answer. */
static const char *find_node(const GPtrArray *paths, dev_t rdev)
{
	g_autofree struct bsp_answer *answers =
		g_new0(struct bsp_answer, paths->len);

	bsp_ask_in_child(bsp_ask_path, paths->pdata, paths->len, answers);
	for (guint i = 0; i < paths->len; i++) {
		if (answers[i].r == 0 && answers[i].rdev == rdev)
			return g_ptr_array_index(paths, i);
	}
	return NULL;
}

/* Adds the paths that list may begin with. Each may have commas in it. */
static void add_beginnings(GPtrArray *paths, const char *list)
{
	size_t len = strcspn(list, ",");

	g_ptr_array_add(paths, g_strndup(list, len));
	while (list[len] != '\0') {
		len += 1 + strcspn(list + len + 1, ",");
		g_ptr_array_add(paths, g_strndup(list, len));
	}
}

/* One of the devices of a mount of blksparsefs, whose source is the list of
 * their paths, or the beginning of that. */
static bool is_source(const char *sources, dev_t rdev)
{
	g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
	g_autofree char *text = unescaped(sources);
	const char *next = text;

	do {
		add_beginnings(paths, next == text ? next : next + 1);
		next = strstr(next + 1, ",/");
	} while (next);
	return find_node(paths, rdev) != NULL;
}

/* proc(5): ID PARENT MAJOR:MINOR ROOT WHERE OPTIONS [TAG...] - TYPE SOURCE */
static char *mount_of(const char *line, const char *want, dev_t rdev)
{
	const char *dash = strstr(line, " - ");
	g_auto(GStrv) fields = g_strsplit(line, " ", 6);
	g_auto(GStrv) type = g_strsplit(dash ? dash + 3 : "", " ", 3);
	g_autofree char *where = NULL;

	if (g_strv_length(fields) < 6 || g_strv_length(type) < 2)
		return NULL;
	where = unescaped(fields[4]);
	if (strcmp(fields[2], want) == 0)
		return g_strdup_printf("is mounted on %s; unmount it first",
				       where);
	if (strcmp(type[0], "fuse.blksparsefs") == 0 &&
	    is_source(type[1], rdev))
		return g_strdup_printf("is mounted on %s by blksparsefs; "
				       "unmount it first",
				       where);
	return NULL;
}

static char *mounted_on(dev_t rdev)
{
	g_autofree char *text = NULL, *want = NULL;
	g_auto(GStrv) lines = NULL;
	char *found = NULL;

	if (!g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL))
		return NULL;
	want = g_strdup_printf("%u:%u", major(rdev), minor(rdev));
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line && !found; line++)
		found = mount_of(*line, want, rdev);
	return found;
}

static char *swapped_on(dev_t rdev)
{
	g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;
	const char *path;

	if (!g_file_get_contents("/proc/swaps", &text, NULL, NULL))
		return NULL;
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		g_autofree char *field =
			g_strndup(*line, strcspn(*line, " \t"));

		if (g_str_has_prefix(field, "/"))
			g_ptr_array_add(paths, unescaped(field));
	}
	path = find_node(paths, rdev);
	return path ? g_strdup_printf("is used as swap; swapoff %s first", path)
		    : NULL;
}

/* The device that this one is a part of, as by LVM, RAID or dm-crypt. */
static char *part_of(const char *folder)
{
	g_autofree char *path = g_build_filename(folder, "holders", NULL);
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	const char *name = dir ? g_dir_read_name(dir) : NULL;
	g_autofree char *label = NULL, *label_path = NULL;

	if (!name)
		return NULL;
	label_path = g_build_filename(path, name, "dm", "name", NULL);
	if (g_file_get_contents(label_path, &label, NULL, NULL))
		return g_strdup_printf(
			"is part of /dev/%s (%s); take it out of there first",
			name, g_strstrip(label));
	return g_strdup_printf("is part of /dev/%s; take it out of there first",
			       name);
}

static char *holder_of(dev_t rdev);

/* A partition of it that is held. */
static char *partition_held(const char *folder)
{
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *mark =
			g_build_filename(folder, name, "partition", NULL);
		g_autofree char *path =
			g_build_filename(folder, name, "dev", NULL);
		g_autofree char *text = NULL, *holder = NULL;
		unsigned maj, min;

		if (!g_file_test(mark, G_FILE_TEST_EXISTS) ||
		    !g_file_get_contents(path, &text, NULL, NULL) ||
		    sscanf(text, "%u:%u", &maj, &min) != 2)
			continue;
		holder = holder_of(makedev(maj, min));
		if (holder)
			return g_strdup_printf(
				"is in use: its partition /dev/%s %s", name,
				holder);
	}
	return NULL;
}

static char *holder_of(dev_t rdev)
{
	g_autofree char *folder = g_strdup_printf("/sys/dev/block/%u:%u",
						  major(rdev), minor(rdev));
	char *holder = mounted_on(rdev);

	if (!holder)
		holder = swapped_on(rdev);
	if (!holder)
		holder = part_of(folder);
	if (!holder)
		holder = partition_held(folder);
	return holder;
}

char *bsp_device_holder(dev_t rdev)
{
	char *holder = holder_of(rdev);

	return holder ? holder
		      : g_strdup("is in use by another program (fuser -v tells "
				 "which); end it, or wait for its end");
}

/* --- Image files --- */

/* The loop devices of the machine that have a file: struct bsp_loop. */
static GArray *find_loops(void)
{
	GArray *loops = g_array_new(FALSE, FALSE, sizeof(struct bsp_loop));
	g_autoptr(GDir) dir = g_dir_open("/sys/block", 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *path =
			g_build_filename("/sys/block", name, NULL);
		int folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		struct bsp_loop loop;

		if (folder < 0)
			continue;
		if (bsp_loop_describe(folder, &loop))
			g_array_append_val(loops, loop);
		close(folder);
	}
	return loops;
}

static struct bsp_answer ask_loop(const void *loops, size_t i)
{
	struct bsp_loop_backing backing = { 0 };
	int r = bsp_loop_ask((const struct bsp_loop *)loops + i, &backing);

	return (struct bsp_answer){ .r = r,
				    .dev = backing.dev,
				    .ino = backing.ino };
}

static bool is_at_or_below(const char *path, const char *folder)
{
	size_t len = strlen(folder);

	return strncmp(path, folder, len) == 0 &&
	       (g_str_has_suffix(folder, "/") || path[len] == '/' ||
		path[len] == '\0');
}

/*
 * The number of the file system that a path lies on: of the last mount that is
 * nearest above it in mountinfo. NULL if that cannot be had. Compares text, for
 * to follow the path might hang.
 */
static char *file_system_of(const char *path)
{
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;
	char *found = NULL;
	size_t longest = 0;

	(void)g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL);
	lines = g_strsplit(text ? text : "", "\n", -1);
	for (char **line = lines; *line; line++) {
		g_auto(GStrv) fields = g_strsplit(*line, " ", 6);
		g_autofree char *where = NULL;

		if (g_strv_length(fields) < 6)
			continue;
		where = unescaped(fields[4]);
		if (strlen(where) < longest || !is_at_or_below(path, where))
			continue;
		longest = strlen(where);
		g_free(found);
		found = g_strdup(fields[2]);
	}
	return found;
}

/*
 * May a loop device that does not answer have the open image? To open and stat
 * the image asked its file system, and that answered a moment ago. The loop
 * device waits for the file system of its own file. If that is another one by
 * the file's name, the file is not the image, though the image may have names
 * beside the one that it was opened by. If it is the same, or cannot be told,
 * the file may be the image.
 */
static bool may_be_over(const struct bsp_loop *loop, int image)
{
	g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", image);
	g_autofree char *path = g_file_read_link(link, NULL);
	g_autofree char *ours = path ? file_system_of(path) : NULL;
	g_autofree char *theirs = file_system_of(loop->file);

	return g_strcmp0(ours, theirs) == 0 || !ours || !theirs;
}

/* How loop, which gave the answer, has the open image; NULL if it has not. */
static char *describe_loop(const struct bsp_loop *loop,
			   const struct bsp_answer *answer, int image,
			   const struct stat *st)
{
	if (answer->r == 0 && answer->dev == st->st_dev &&
	    answer->ino == st->st_ino)
		return g_strdup_printf("is attached to %s; losetup -d %s first",
				       loop->node, loop->node);
	if (answer->r == -ETIMEDOUT && may_be_over(loop, image))
		return g_strdup_printf(
			"may be attached to %s, which does not answer; losetup -d %s first, or try again when it does",
			loop->node, loop->node);
	return NULL;
}

char *bsp_image_holder(int fd, const struct stat *st)
{
	g_autoptr(GArray) loops = find_loops();
	g_autofree struct bsp_answer *answers =
		g_new0(struct bsp_answer, loops->len);
	char *holder = NULL;

	bsp_ask_in_child(ask_loop, loops->data, loops->len, answers);
	for (guint i = 0; i < loops->len && !holder; i++)
		holder =
			describe_loop(&g_array_index(loops, struct bsp_loop, i),
				      &answers[i], fd, st);
	return holder;
}
