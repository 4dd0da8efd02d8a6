/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asking sysfs and the loop driver about a loop device. bsp_loop_describe()
 * reads sysfs alone and never waits; bsp_loop_ask() may wait for a file system
 * that hangs, so it is also called in a child process (ask.h), where only
 * async-signal-safe functions are allowed.
 */
#include "device/loop.h"

#include <errno.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Decodes a device number as the kernel puts it into 64 bits: huge_encode_dev()
 * in include/linux/kdev_t.h. */
static dev_t decode_dev(uint64_t dev)
{
	return makedev((unsigned)(dev & 0xfff00) >> 8,
		       (unsigned)((dev & 0xff) | ((dev >> 12) & 0xfff00)));
}

int bsp_loop_ask_driver(int fd, struct bsp_loop_backing *ret_backing)
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
		.encrypted = info.lo_encrypt_type != LO_CRYPT_NONE,
	};
	return 0;
}

static int ask_name(const struct bsp_loop *loop,
		    struct bsp_loop_backing *ret_backing)
{
	struct stat st;

	if (stat(loop->file, &st) < 0)
		return -errno;
	*ret_backing = (struct bsp_loop_backing){
		.dev = st.st_dev,
		.ino = st.st_ino,
		.rdev = S_ISBLK(st.st_mode) ? st.st_rdev : 0,
		.offset = loop->offset,
		.size_limit = loop->size_limit,
	};
	return 0;
}

int bsp_loop_ask(const struct bsp_loop *loop,
		 struct bsp_loop_backing *ret_backing)
{
	int fd = bsp_sysfs_open_path(loop->node, loop->rdev);
	int r;

	if (fd < 0)
		return ask_name(loop, ret_backing);
	r = bsp_loop_ask_driver(fd, ret_backing);
	close(fd);
	return r;
}

bool bsp_loop_describe(int folder, struct bsp_loop *ret_loop)
{
	if (faccessat(folder, "loop/backing_file", F_OK, 0) < 0)
		return false;
	(void)bsp_sysfs_read_text(folder, "loop/backing_file", ret_loop->file,
				  sizeof(ret_loop->file));
	ret_loop->rdev = bsp_sysfs_rdev(folder);
	(void)bsp_sysfs_node(folder, ret_loop->node);
	ret_loop->offset = bsp_sysfs_read_number(folder, "loop/offset");
	ret_loop->size_limit = bsp_sysfs_read_number(folder, "loop/sizelimit");
	return true;
}

int bsp_loop_backing_of(dev_t rdev, struct bsp_loop_backing *ret_backing)
{
	bool partition, is_loop;
	int folder = bsp_sysfs_open_disk(rdev, &partition);
	struct bsp_loop loop;

	if (folder < 0)
		return -ENXIO;
	is_loop = bsp_loop_describe(folder, &loop);
	close(folder);
	return is_loop ? bsp_loop_ask(&loop, ret_backing) : -ENXIO;
}
