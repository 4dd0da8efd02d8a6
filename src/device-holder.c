/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who has a device, when the kernel says no more than "busy"? Looked for where
 * the kernel tells: /proc/self/mountinfo (proc(5)), /proc/swaps, and in sysfs
 * the devices that are made of it (holders) and its partitions, which hold the
 * disk when they are held themselves.
 */
#include "device.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "device-loop.h"
#include "device-sysfs.h"

/* Takes the backslash-octal escapes of /proc out of a field. */
static char *unescaped(const char *field)
{
	return g_strcompress(field);
}

static bool is_node(const char *path, dev_t rdev)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISBLK(st.st_mode) &&
	       st.st_rdev == rdev;
}

/* Is the node one of the paths that list may begin with? Each may have commas
 * in it. */
static bool begins_with_node(const char *list, dev_t rdev)
{
	size_t len = strcspn(list, ",");

	for (;;) {
		g_autofree char *path = g_strndup(list, len);

		if (is_node(path, rdev))
			return true;
		if (list[len] == '\0')
			return false;
		len += 1 + strcspn(list + len + 1, ",");
	}
}

/* One of the devices of a mount of blksparsefs, whose source is the list of
 * their paths, or the beginning of that. */
static bool is_source(const char *sources, dev_t rdev)
{
	g_autofree char *text = unescaped(sources);
	const char *next = text;

	do {
		if (begins_with_node(next == text ? next : next + 1, rdev))
			return true;
		next = strstr(next + 1, ",/");
	} while (next);
	return false;
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
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;

	if (!g_file_get_contents("/proc/swaps", &text, NULL, NULL))
		return NULL;
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		g_auto(GStrv) fields = g_strsplit(*line, " ", 2);
		g_autofree char *path = fields[0] ? unescaped(fields[0]) : NULL;

		if (path && is_node(path, rdev))
			return g_strdup_printf(
				"is used as swap; swapoff %s first", path);
	}
	return NULL;
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
				 "which); end that first");
}

/* A loop device that has a folder in sysfs: is it over that file? */
static bool is_over(const char *name, dev_t dev, ino_t ino)
{
	g_autofree char *path = g_build_filename("/sys/block", name, NULL);
	int folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct bsp_loop_backing backing;
	dev_t rdev;

	if (folder < 0)
		return false;
	rdev = bsp_sysfs_rdev(folder);
	close(folder);
	return bsp_loop_backing_of(rdev, &backing) == 0 && backing.dev == dev &&
	       backing.ino == ino;
}

char *bsp_image_holder(dev_t dev, ino_t ino)
{
	g_autoptr(GDir) dir = g_dir_open("/sys/block", 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		if (g_str_has_prefix(name, "loop") && is_over(name, dev, ino))
			return g_strdup_printf("is attached to /dev/%s; "
					       "losetup -d /dev/%s first",
					       name, name);
	}
	return NULL;
}
