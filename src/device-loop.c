/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device-loop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "device-sysfs.h"

/* How the kernel puts a device's number into 64 bits: huge_encode_dev() in
 * include/linux/kdev_t.h. */
static dev_t decode_dev(uint64_t dev)
{
	return makedev((unsigned)(dev & 0xfff00) >> 8,
		       (unsigned)((dev & 0xff) | ((dev >> 12) & 0xfff00)));
}

/* The folder of the loop device in sysfs, also of a partition of it; -1 if that
 * is no loop device, or has no file. */
static int open_loop_folder(dev_t rdev)
{
	bool partition;
	int folder = bsp_sysfs_open_disk(rdev, &partition);

	if (folder >= 0 && faccessat(folder, "loop/backing_file", F_OK, 0)) {
		close(folder);
		return -1;
	}
	return folder;
}

static int ask_driver(int fd, struct bsp_loop_backing *ret_backing)
{
	struct loop_info64 info;

	if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
		return -errno;
	*ret_backing = (struct bsp_loop_backing){
		.dev = decode_dev(info.lo_device),
		.ino = (ino_t)info.lo_inode,
		.rdev = decode_dev(info.lo_rdevice),
		.offset = info.lo_offset,
		.size_limit = info.lo_sizelimit,
	};
	return 0;
}

static int ask_sysfs(int folder, struct bsp_loop_backing *ret_backing)
{
	char path[4096];
	struct stat st;

	if (!bsp_sysfs_read_line(folder, "loop/backing_file", path,
				 sizeof(path)))
		return -ENXIO;
	if (stat(path, &st) < 0)
		return -errno;
	*ret_backing = (struct bsp_loop_backing){
		.dev = st.st_dev,
		.ino = st.st_ino,
		.rdev = S_ISBLK(st.st_mode) ? st.st_rdev : 0,
		.offset = bsp_sysfs_read_number(folder, "loop/offset"),
		.size_limit = bsp_sysfs_read_number(folder, "loop/sizelimit"),
	};
	return 0;
}

int bsp_loop_backing(int fd, struct bsp_loop_backing *ret_backing)
{
	struct stat st;
	int folder;

	if (fstat(fd, &st) < 0)
		return -errno;
	/* The device mapper passes the question on to a device below it
	 * (dm_blk_ioctl() in drivers/md/dm.c). */
	folder = S_ISBLK(st.st_mode) ? open_loop_folder(st.st_rdev) : -1;
	if (folder < 0)
		return -ENXIO;
	close(folder);
	return ask_driver(fd, ret_backing);
}

int bsp_loop_backing_of(dev_t rdev, struct bsp_loop_backing *ret_backing)
{
	int folder = open_loop_folder(rdev);
	int r, fd;

	if (folder < 0)
		return -ENXIO;
	fd = bsp_sysfs_open_node(folder);
	if (fd >= 0) {
		r = ask_driver(fd, ret_backing);
		close(fd);
	} else {
		r = ask_sysfs(folder, ret_backing);
	}
	close(folder);
	return r;
}
