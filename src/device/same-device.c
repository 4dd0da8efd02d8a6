/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The check that a source and a target share no bytes. A copy of a disk onto
 * its own partition, or of an image onto a loop device of it, would overwrite
 * the bytes that it has yet to read.
 *
 * Each of the two is an extent of a device or a file. It is followed down,
 * through partitions and loop devices, to the extents of the devices and files
 * below. The two share bytes if any extent of the one overlaps an extent of the
 * other. So two partitions of a disk do not, nor do two loop devices over parts
 * of one image that do not overlap.
 */
#include "device/same-device.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "device/device.h"
#include "device/loop.h"
#include "device/nbd-uri.h"
#include "device/sysfs.h"

enum {
	SECTOR = 512,
	DEPTH_MAX = 16,
};

/* Bytes [from, to) of a block device or of a file. */
struct extent {
	bool block;
	dev_t dev; /* st_dev; of a block device its own number, and ino is 0 */
	ino_t ino;
	uint64_t from, to;
};

/* Returns the extent of all of a file or device. */
static struct extent whole_extent(const struct stat *st)
{
	bool block = S_ISBLK(st->st_mode);
	struct extent extent = { .block = block,
				 .dev = block ? st->st_rdev : st->st_dev,
				 .ino = block ? 0 : st->st_ino,
				 .to = INT64_MAX };
	int folder = block ? bsp_sysfs_open(st->st_rdev) : -1;

	if (folder >= 0) {
		uint64_t sectors = bsp_sysfs_read_number(folder, "size");

		if (sectors)
			extent.to = sectors * SECTOR;
		close(folder);
	}
	return extent;
}

/* Replaces *extent by its extent of the device or file below. Returns false if
 * there is none below. */
static bool to_lower_extent(struct extent *extent)
{
	struct bsp_loop_backing backing;
	bool partition = false;
	uint64_t start = 0;
	dev_t disk = 0;
	int folder;

	if (!extent->block)
		return false;
	folder = bsp_sysfs_open_disk(extent->dev, &partition);
	if (partition && folder >= 0)
		disk = bsp_sysfs_rdev(folder);
	if (folder >= 0)
		close(folder);
	if (disk) {
		folder = bsp_sysfs_open(extent->dev);
		if (folder >= 0) {
			start = bsp_sysfs_read_number(folder, "start") * SECTOR;
			close(folder);
		}
		extent->dev = disk;
	} else if (bsp_loop_backing_of(extent->dev, &backing) == 0) {
		start = backing.offset;
		extent->block = backing.rdev != 0;
		extent->dev = backing.rdev ? backing.rdev : backing.dev;
		extent->ino = backing.rdev ? 0 : backing.ino;
	} else {
		return false;
	}
	extent->from += start;
	extent->to += start;
	return true;
}

/* Finds the extents of a file or device, and of all below it, from the top
 * down.
 */
static unsigned find_extents(const struct stat *st, struct extent *extents)
{
	unsigned n = 0;

	extents[n++] = whole_extent(st);
	for (struct extent extent = extents[0];
	     n < DEPTH_MAX && to_lower_extent(&extent);)
		extents[n++] = extent;
	return n;
}

static bool overlap(const struct extent *a, const struct extent *b)
{
	return a->block == b->block && a->dev == b->dev && a->ino == b->ino &&
	       a->from < b->to && b->from < a->to;
}

/* Says how the source, a levels above extent, and the target, b levels above
 * it, share it. */
static const char *describe(const struct extent *extent, unsigned a, unsigned b)
{
	if (a && b)
		return "show the same bytes of one image or disk";
	if (!a && !b)
		return extent->block ? "are the same device"
				     : "are the same file";
	if (extent->block)
		return "are a disk and a part of it";
	return a ? "are a loop device and its image"
		 : "are an image and a loop device of it";
}

bool bsp_check_not_same_file(const char *from, const struct stat *from_stat,
			     const char *to, const struct stat *to_stat,
			     GError **error)
{
	struct extent a[DEPTH_MAX], b[DEPTH_MAX];
	unsigned n_a = find_extents(from_stat, a);
	unsigned n_b = find_extents(to_stat, b);

	for (unsigned i = 0; i < n_a; i++) {
		for (unsigned j = 0; j < n_b; j++) {
			if (overlap(&a[i], &b[j]))
				return bsp_error_set(
					error, BSP_ERROR_USAGE,
					"%s and %s %s: copying would destroy the source",
					from, to, describe(&a[i], i, j));
		}
	}
	return true;
}

/* Two exports may be one, or lie on the same disk, in ways that only their
 * servers know. */
static bool check_not_same_export(const char *from, const char *to,
				  GError **error)
{
	g_autofree char *shown = NULL;

	if (strcmp(from, to) != 0)
		return true;
	shown = bsp_nbd_uri_redact(from);
	return bsp_error_set(
		error, BSP_ERROR_USAGE,
		"%s is the source and the target: copying would destroy the source",
		shown);
}

bool bsp_check_not_same_device(const char *from, const char *to, GError **error)
{
	struct stat a, b;

	if (bsp_is_nbd_uri(from) || bsp_is_nbd_uri(to))
		return check_not_same_export(from, to, error);

	if (stat(from, &a) < 0 || stat(to, &b) < 0)
		return true;
	return bsp_check_not_same_file(from, &a, to, &b, error);
}

bool bsp_device_check_not_same(const struct bsp_device *from,
			       const struct bsp_device *to, GError **error)
{
	if (bsp_is_nbd_uri(from->path) || bsp_is_nbd_uri(to->path))
		return check_not_same_export(from->path, to->path, error);
	return bsp_check_not_same_file(from->path, &from->stat, to->path,
				       &to->stat, error);
}
