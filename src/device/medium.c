/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sampling the medium: the disk sequence number, the file of a loop device and
 * the table of the device mapper (medium.h). Which of them a device has is
 * found out once, when it is opened; a sample then takes one system call for
 * each.
 */
#include "device/medium.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "device/dm.h"
#include "device/sysfs.h"

struct bsp_medium_source {
	/* Fixed. */
	int fd;
	dev_t rdev;
	bool loop;   /* a loop device with a file, or a partition of one */
	int control; /* the device mapper's control node; -1 if not needed */
};

struct bsp_medium_source *bsp_medium_source_new(int fd, dev_t rdev)
{
	struct bsp_medium_source *source = calloc(1, sizeof(*source));
	int folder;

	if (!source)
		return NULL;
	folder = bsp_sysfs_open(rdev);
	source->fd = fd;
	source->rdev = rdev;
	/* Only loop devices are asked for a file: the device mapper would pass
	 * the ioctl on to the device below it (dm_blk_ioctl() in
	 * drivers/md/dm.c). */
	source->loop = bsp_sysfs_has(folder, "loop") ||
		       (bsp_sysfs_has(folder, "partition") &&
			bsp_sysfs_has(folder, "../loop"));
	source->control =
		bsp_sysfs_has(folder, "dm")
			? open("/dev/mapper/control", O_RDWR | O_CLOEXEC)
			: -1;
	if (folder >= 0)
		close(folder);
	return source;
}

void bsp_medium_source_free(struct bsp_medium_source *source)
{
	if (source && source->control >= 0)
		close(source->control);
	free(source);
}

static void ask_loop_driver(int fd, struct bsp_medium *medium)
{
	struct loop_info64 info;

	if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
		return;
	medium->file_dev = info.lo_device;
	medium->file_ino = info.lo_inode;
	medium->file_off = info.lo_offset;
}

void bsp_medium_ask(const struct bsp_medium_source *source,
		    enum bsp_depth depth, struct bsp_medium *ret_medium)
{
	*ret_medium = (struct bsp_medium){ 0 };
	if (!source)
		return;
	if (ioctl(source->fd, BLKGETDISKSEQ, &ret_medium->sequence) < 0)
		ret_medium->sequence = 0;
	if (depth >= BSP_DEPTH_CHEAP && source->loop)
		ask_loop_driver(source->fd, ret_medium);
	if (depth >= BSP_DEPTH_ALL && source->control >= 0)
		ret_medium->table =
			bsp_dm_table_hash(source->control, source->rdev);
}
