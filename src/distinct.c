/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Are two paths two things? Copying a disk onto its own partition, or an image
 * onto the loop device that it is behind, would destroy what is being read.
 */
#include "device.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "device-loop.h"
#include "error.h"

static char *sysfs_folder(dev_t rdev)
{
	g_autofree char *path = g_strdup_printf("/sys/dev/block/%u:%u",
						major(rdev), minor(rdev));
	char *folder = realpath(path, NULL);

	return folder;
}

/* The folder of the whole disk, or its own; to be freed with free(). */
static char *disk_folder(dev_t rdev, bool *ret_partition)
{
	char *folder = sysfs_folder(rdev);
	g_autofree char *mark =
		folder ? g_build_filename(folder, "partition", NULL) : NULL;
	char *slash;

	*ret_partition = mark && g_file_test(mark, G_FILE_TEST_EXISTS);
	if (*ret_partition && (slash = strrchr(folder, '/')))
		*slash = '\0';
	return folder;
}

/* One is the whole disk of which the other is a partition. */
static bool is_disk_and_part(dev_t a, dev_t b)
{
	bool a_part, b_part;
	char *a_disk = disk_folder(a, &a_part);
	char *b_disk = disk_folder(b, &b_part);
	bool same = a_disk && b_disk && a_part != b_part &&
		    strcmp(a_disk, b_disk) == 0;

	free(a_disk);
	free(b_disk);
	return same;
}

/* The image is what a loop device shows. */
static bool is_image_of(const struct stat *image, dev_t loop)
{
	struct bsp_loop_backing backing;

	return bsp_loop_backing_of(loop, &backing) == 0 &&
	       backing.dev == image->st_dev && backing.ino == image->st_ino;
}

bool bsp_check_distinct(const char *from, const char *to, GError **error)
{
	const char *how = NULL;
	struct stat a, b;
	bool a_block, b_block;

	if (stat(from, &a) < 0 || stat(to, &b) < 0)
		return true;
	a_block = S_ISBLK(a.st_mode);
	b_block = S_ISBLK(b.st_mode);
	if (a.st_dev == b.st_dev && a.st_ino == b.st_ino)
		how = "are the same file";
	else if (a_block && b_block && a.st_rdev == b.st_rdev)
		how = "are the same device";
	else if (a_block && b_block && is_disk_and_part(a.st_rdev, b.st_rdev))
		how = "are a disk and a partition of it";
	else if (!a_block && b_block && is_image_of(&a, b.st_rdev))
		how = "are an image and a loop device of it";
	else if (a_block && !b_block && is_image_of(&b, a.st_rdev))
		how = "are a loop device and its image";
	if (!how)
		return true;
	return bsp_error_set(error, BSP_ERROR_USAGE,
			     "%s and %s %s: copying would destroy what is read",
			     from, to, how);
}
