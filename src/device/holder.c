/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finding the holder of a device, when the kernel returns EBUSY alone. It may
 * be a mount (/proc/self/mountinfo, proc(5)), swap space (/proc/swaps), a
 * device that this one is a part of (holders in sysfs), or the holder of a
 * partition: a disk cannot be opened exclusively while one of its partitions is
 * held.
 *
 * Of an image file, the holder may be a loop device, which takes no lock on the
 * file.
 *
 * A path in these lists, or the file of a loop device, may lie on a file system
 * that hangs. This program must not wait for it: a child process asks (ask.h).
 */
#include "device/holder.h"

#include <errno.h>
#include <linux/dm-ioctl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "blksparse-mountinfo.h"
#include "device/ask.h"
#include "device/loop.h"
#include "device/sysfs.h"

/* For a loop device that may have an image, after BSP_ASK_PATIENCE_MS. */
enum { LONG_PATIENCE_MS = 15000 };

/* Returns the first of the paths (char *) that is a node of the device, or
 * NULL. A path may lie on a file system that does not answer. */
static const char *find_node(const GPtrArray *paths, dev_t rdev)
{
	g_autofree struct bsp_answer *answers =
		g_new0(struct bsp_answer, paths->len);

	bsp_ask_in_child(bsp_ask_path, paths->pdata, paths->len,
			 BSP_ASK_PATIENCE_MS, answers);
	for (guint i = 0; i < paths->len; i++) {
		if (answers[i].r == 0 && answers[i].rdev == rdev)
			return g_ptr_array_index(paths, i);
	}
	return NULL;
}

enum {
	COMMAS_MAX = 4, /* in a path that is found in a list */
	/* Of a list. Any user can mount a FUSE file system, of any type and
	 * source: 4 KiB of commas must not take gigabytes of paths. */
	PATHS_MAX = 1024,
};

/* Adds the paths that list may begin with: a path may have commas in it. */
static void add_prefixes(GPtrArray *paths, const char *list)
{
	size_t len = strcspn(list, ",");

	g_ptr_array_add(paths, g_strndup(list, len));
	for (unsigned i = 0; i < COMMAS_MAX && list[len] != '\0'; i++) {
		len += 1 + strcspn(list + len + 1, ",");
		g_ptr_array_add(paths, g_strndup(list, len));
	}
}

/* Whether a device is one of those that a mount of blksparsefs shows. The
 * source of such a mount is the list of their paths, or the beginning of that
 * list. */
static bool sources_have(const char *sources, dev_t rdev)
{
	g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
	const char *next = sources;

	while (*next && paths->len < PATHS_MAX) {
		add_prefixes(paths, next);
		next = strstr(next + 1, ",/");
		next = next ? next + 1 : "";
	}
	return find_node(paths, rdev) != NULL;
}

static char *describe_mount(const struct bsp_mount *mount, const char *device,
			    dev_t rdev)
{
	if (strcmp(mount->device, device) == 0)
		return g_strdup_printf("is mounted on %s; unmount it first",
				       mount->where);
	if (strcmp(mount->type, "fuse.blksparsefs") == 0 &&
	    sources_have(mount->source, rdev))
		return g_strdup_printf("is mounted on %s by blksparsefs; "
				       "unmount it first",
				       mount->where);
	return NULL;
}

static char *mounted_on(dev_t rdev)
{
	g_autoptr(GPtrArray) mounts = bsp_mountinfo_read(BSP_MOUNTINFO_SELF);
	g_autofree char *device =
		g_strdup_printf("%u:%u", major(rdev), minor(rdev));
	char *found = NULL;

	for (guint i = 0; mounts && i < mounts->len && !found; i++)
		found = describe_mount(g_ptr_array_index(mounts, i), device,
				       rdev);
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
			g_ptr_array_add(paths, g_strcompress(field));
	}
	path = find_node(paths, rdev);
	return path ? g_strdup_printf("is used as swap; swapoff %s first", path)
		    : NULL;
}

/* Names the device of LVM, RAID, dm-crypt or the like that this one is a part
 * of. */
static char *member_of(int folder)
{
	DIR *dir = bsp_sysfs_list(folder, "holders");
	const char *name = bsp_sysfs_next(dir);
	char *found = NULL, label[DM_NAME_LEN + 1];
	g_autofree char *path =
		g_build_filename(name ? name : "", "dm", "name", NULL);

	if (name && bsp_sysfs_read_line(dirfd(dir), path, label, sizeof(label)))
		found = g_strdup_printf(
			"is part of /dev/%s (%s); remove it from there first",
			name, label);
	else if (name)
		found = g_strdup_printf(
			"is part of /dev/%s; remove it from there first", name);
	if (dir)
		(void)closedir(dir);
	return found;
}

static char *holder_of(dev_t rdev);

/* Returns the device number of a partition, by its name in the disk's folder; 0
 * if it is not a partition. */
static dev_t partition_rdev(int disk, const char *name)
{
	int folder = bsp_sysfs_open_below(disk, name);
	dev_t rdev = 0;

	if (bsp_sysfs_has(folder, "partition"))
		rdev = bsp_sysfs_rdev(folder);
	if (folder >= 0)
		close(folder);
	return rdev;
}

/* Names a partition that is held, and its holder. */
static char *partition_held(int disk)
{
	DIR *dir = bsp_sysfs_list(disk, ".");
	char *found = NULL;
	const char *name;

	while (!found && (name = bsp_sysfs_next(dir))) {
		dev_t rdev = partition_rdev(disk, name);
		g_autofree char *holder = rdev ? holder_of(rdev) : NULL;

		if (holder)
			found = g_strdup_printf(
				"is in use: its partition /dev/%s %s", name,
				holder);
	}
	if (dir)
		(void)closedir(dir);
	return found;
}

static char *holder_of(dev_t rdev)
{
	int folder = bsp_sysfs_open(rdev);
	char *holder = mounted_on(rdev);

	if (!holder)
		holder = swapped_on(rdev);
	if (!holder)
		holder = member_of(folder);
	if (!holder)
		holder = partition_held(folder);
	if (folder >= 0)
		close(folder);
	return holder;
}

char *bsp_holder_of_device(dev_t rdev)
{
	char *holder = holder_of(rdev);

	return holder ? holder
		      : g_strdup("is in use by another program (fuser -v shows "
				 "which); stop it, or wait until it ends");
}

/* --- Image files --- */

/* Returns the loop devices of the machine that have a file: struct bsp_loop. */
static GArray *find_loops(void)
{
	GArray *loops = g_array_new(FALSE, FALSE, sizeof(struct bsp_loop));
	DIR *dir = bsp_sysfs_list_disks();
	const char *name;

	while ((name = bsp_sysfs_next(dir))) {
		int folder = bsp_sysfs_open_below(dirfd(dir), name);
		struct bsp_loop loop;

		if (folder < 0)
			continue;
		if (bsp_loop_describe(folder, &loop))
			g_array_append_val(loops, loop);
		close(folder);
	}
	if (dir)
		(void)closedir(dir);
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

/* Returns the device number of the file system that a path lies on; NULL if it
 * is not known. Compares text, because following the path might hang. */
static char *file_system_of(const char *path)
{
	g_autoptr(GPtrArray) mounts = bsp_mountinfo_read(BSP_MOUNTINFO_SELF);

	return g_strdup(bsp_mount_device_of(mounts, path));
}

/*
 * Whether a loop device that does not answer may have the open image. The
 * image's file system answered when the image was opened, a moment ago. The
 * loop device waits for the file system of its own file. If that is another
 * file system, by the file's name, the file is not the image, even if the image
 * has other names as well. If it is the same one, or cannot be found out, the
 * file may be the image.
 */
static bool may_use_image(const struct bsp_loop *loop, int image)
{
	g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", image);
	g_autofree char *path = g_file_read_link(link, NULL);
	g_autofree char *ours = path ? file_system_of(path) : NULL;
	g_autofree char *theirs = file_system_of(loop->file);

	return g_strcmp0(ours, theirs) == 0 || !ours || !theirs;
}

/*
 * On a busy machine, a healthy loop device may take seconds to answer. One that
 * may have the open image is asked again, because without an answer the image
 * is refused. Others are not waited for.
 */
static void ask_again(const GArray *loops, int image,
		      struct bsp_answer *answers)
{
	g_autoptr(GArray) silent =
		g_array_new(FALSE, FALSE, sizeof(struct bsp_loop));
	g_autofree guint *at = g_new(guint, loops->len);
	g_autofree struct bsp_answer *later =
		g_new0(struct bsp_answer, loops->len);

	for (guint i = 0; i < loops->len; i++) {
		const struct bsp_loop *loop =
			&g_array_index(loops, struct bsp_loop, i);

		if (answers[i].r != -ETIMEDOUT || !may_use_image(loop, image))
			continue;
		at[silent->len] = i;
		g_array_append_val(silent, *loop);
	}
	bsp_ask_in_child(ask_loop, silent->data, silent->len, LONG_PATIENCE_MS,
			 later);
	for (guint i = 0; i < silent->len; i++)
		answers[at[i]] = later[i];
}

/* Says how loop, which gave the answer, has the open image. Returns NULL if it
 * does not have it. */
static char *describe_loop(const struct bsp_loop *loop,
			   const struct bsp_answer *answer, int image,
			   const struct stat *st)
{
	if (answer->r == 0 && answer->dev == st->st_dev &&
	    answer->ino == st->st_ino)
		return g_strdup_printf("is attached to %s; losetup -d %s first",
				       loop->node, loop->node);
	if (answer->r == -ETIMEDOUT && may_use_image(loop, image))
		return g_strdup_printf(
			"may be attached to %s, which does not answer; losetup -d %s first, or try again when it answers",
			loop->node, loop->node);
	return NULL;
}

char *bsp_holder_of_image(int fd, const struct stat *st)
{
	g_autoptr(GArray) loops = find_loops();
	g_autofree struct bsp_answer *answers =
		g_new0(struct bsp_answer, loops->len);
	char *holder = NULL;

	bsp_ask_in_child(ask_loop, loops->data, loops->len, BSP_ASK_PATIENCE_MS,
			 answers);
	ask_again(loops, fd, answers);
	for (guint i = 0; i < loops->len && !holder; i++)
		holder =
			describe_loop(&g_array_index(loops, struct bsp_loop, i),
				      &answers[i], fd, st);
	return holder;
}
