/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening: which kind of device is it, and what is it like? All that differs
 * between the kinds is in device-block.c and device-file.c.
 */
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"

bool bsp_stamp_equal(const struct bsp_stamp *a, const struct bsp_stamp *b)
{
	return a->counted && b->counted &&
	       memcmp(a->value, b->value, sizeof(a->value)) == 0;
}

static const char *kind_of(mode_t mode)
{
	if (S_ISDIR(mode))
		return "a directory";
	if (S_ISCHR(mode))
		return "a character device";
	if (S_ISFIFO(mode))
		return "a pipe";
	if (S_ISSOCK(mode))
		return "a socket";
	return "something else";
}

/* What to do about a path that cannot be opened. */
static const char *advice(int errnum)
{
	switch (errnum) {
	case EACCES:
	case EPERM:
		return " (reading it needs root, or membership of the group that owns it)";
	case ENOENT:
		return " (lsblk lists the devices there are)";
	case ENOMEDIUM:
		return " (insert a medium first)";
	case ENXIO:
	case ENODEV:
		return " (there is no such hardware now; lsblk lists what there is)";
	default:
		return "";
	}
}

static bool open_failed(const char *path, int errnum, GError **error)
{
	return bsp_error_set(error, BSP_ERROR_FAILED, "open %s: %s%s", path,
			     g_strerror(errnum), advice(errnum));
}

static struct bsp_device *open_kind(const char *path, int fd, GError **error)
{
	struct bsp_device_info info = { 0 };
	struct stat st;

	if (fstat(fd, &st) < 0) {
		bsp_error_set_errno(error, errno, "stat %s", path);
		return NULL;
	}
	info.uid = st.st_uid;
	info.gid = st.st_gid;
	info.mode = st.st_mode & 07777;
	info.is_block = S_ISBLK(st.st_mode);
	if (S_ISBLK(st.st_mode)) {
		clock_gettime(CLOCK_REALTIME, &info.mtime);
		return bsp_device_block_new(path, fd, &info, error);
	}
	info.mtime = st.st_mtim;
	info.size = (uint64_t)st.st_size;
	return bsp_device_file_new(path, fd, &info, error);
}

struct bsp_device *bsp_device_open(const char *path, GError **error)
{
	struct bsp_device *dev;
	struct stat st;
	int fd;

	/* Looked at before it is opened: opening a pipe or a terminal would
	 * wait, or have effects. */
	if (stat(path, &st) < 0) {
		open_failed(path, errno, error);
		return NULL;
	}
	if (!S_ISBLK(st.st_mode) && !S_ISREG(st.st_mode)) {
		bsp_error_set(error, BSP_ERROR_FAILED,
			      "%s is %s; give a block device or an image file",
			      path, kind_of(st.st_mode));
		return NULL;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0) {
		open_failed(path, errno, error);
		return NULL;
	}
	dev = open_kind(path, fd, error);
	if (!dev)
		close(fd);
	return dev;
}

void bsp_device_close(struct bsp_device *dev)
{
	g_autofree char *path = dev ? dev->path : NULL;

	if (dev)
		dev->ops->close(dev);
}

const char *bsp_device_path(const struct bsp_device *dev)
{
	return dev->path;
}

void bsp_device_get_info(const struct bsp_device *dev,
			 struct bsp_device_info *ret_info)
{
	*ret_info = dev->info;
}
