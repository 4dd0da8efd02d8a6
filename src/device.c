/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening: which kind of device is it, and what is it like? All that differs
 * between the kinds is in device-block.c and device-file.c.
 */
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"

int bsp_device_drop_pages(struct bsp_device *dev, uint64_t from)
{
	return dev->ops->drop_pages ? dev->ops->drop_pages(dev, from) : 0;
}

int bsp_device_reopen(int fd, int flags)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

bool bsp_device_open_zeroing(const char *path, int fd, bool writable,
			     int *ret_fd, GError **error)
{
	*ret_fd = writable ? bsp_device_reopen(fd, O_RDWR) : -1;
	if (writable && *ret_fd < 0)
		return bsp_error_set_errno(
			error, errno, "open %s a second time, through /proc",
			path);
	return true;
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

static struct bsp_device *open_kind(const char *path, int fd, bool writable,
				    GError **error)
{
	struct bsp_device_info info = { .writable = writable };
	struct stat st;

	if (fstat(fd, &st) < 0) {
		bsp_error_set_errno(error, errno, "stat %s", path);
		return NULL;
	}
	info.uid = st.st_uid;
	info.gid = st.st_gid;
	info.mode = bsp_device_mode(fd, st.st_mode & 07777);
	info.is_block = S_ISBLK(st.st_mode);
	if (S_ISBLK(st.st_mode)) {
		clock_gettime(CLOCK_REALTIME, &info.mtime);
		return bsp_device_block_new(path, fd, &info, error);
	}
	info.mtime = st.st_mtim;
	info.size = (uint64_t)st.st_size;
	return bsp_device_file_new(path, fd, &info, error);
}

/* Looked at before it is opened: opening a pipe or a terminal would wait, or
 * have effects. */
static bool check_kind(const char *path, struct stat *st, GError **error)
{
	if (stat(path, st) < 0)
		return open_failed(path, errno, error);
	if (!S_ISBLK(st->st_mode) && !S_ISREG(st->st_mode))
		return bsp_error_set(
			error, BSP_ERROR_FAILED,
			"%s is %s; give a block device or an image file", path,
			kind_of(st->st_mode));
	return true;
}

struct bsp_device *bsp_device_open(const char *path, GError **error)
{
	struct bsp_device *dev;
	struct stat st;
	int fd;

	if (!check_kind(path, &st, error))
		return NULL;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0) {
		open_failed(path, errno, error);
		return NULL;
	}
	dev = open_kind(path, fd, false, error);
	if (!dev)
		close(fd);
	return dev;
}

static bool is_read_only(int fd)
{
	int read_only = 0;

	return ioctl(fd, BLKROGET, &read_only) == 0 && read_only;
}

static bool path_is_read_only(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	bool read_only;

	if (fd < 0)
		return false;
	read_only = is_read_only(fd);
	close(fd);
	return read_only;
}

/* Why a device could not be opened for writing, and what to do. */
static bool open_writable_failed(const char *path, const struct stat *st,
				 int errnum, GError **error)
{
	g_autofree char *holder = NULL;

	if (S_ISBLK(st->st_mode) && errnum == EBUSY) {
		holder = bsp_device_holder(st->st_rdev);
		return bsp_error_set(error, BSP_ERROR_FAILED,
				     "%s %s (until then it can only be read)",
				     path, holder);
	}
	if (errnum == EROFS ||
	    (S_ISBLK(st->st_mode) && path_is_read_only(path)))
		return bsp_error_set(error, BSP_ERROR_FAILED,
				     "%s is read-only: it can only be read",
				     path);
	return open_failed(path, errnum, error);
}

/* An image file: nobody else may have a lock on any byte of it, and no loop
 * device, which takes none, may have it. */
static bool take_image(const char *path, int fd, const struct stat *st,
		       GError **error)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	g_autofree char *holder = bsp_image_holder(st->st_dev, st->st_ino);

	if (holder)
		return bsp_error_set(error, BSP_ERROR_FAILED,
				     "%s %s (until then it can only be read)",
				     path, holder);
	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return true;
	if (errno == EAGAIN || errno == EACCES)
		return bsp_error_set(
			error, BSP_ERROR_FAILED,
			"%s is locked by another program (lslocks tells which); end that first (until then it can only be read)",
			path);
	return bsp_error_set_errno(error, errno, "lock %s", path);
}

struct bsp_device *bsp_device_open_writable(const char *path, GError **error)
{
	struct bsp_device *dev = NULL;
	struct stat st;
	bool block;
	int fd;

	if (!check_kind(path, &st, error))
		return NULL;
	block = S_ISBLK(st.st_mode);
	/* O_EXCL without O_CREAT: open(2), for block devices. */
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | (block ? O_EXCL : 0));
	if (fd < 0) {
		open_writable_failed(path, &st, errno, error);
		return NULL;
	}
	/* Drivers, and set_disk_ro(), may let it be opened all the same. */
	if (block && is_read_only(fd))
		open_writable_failed(path, &st, EROFS, error);
	else if (block ? bsp_device_check_stack(path, st.st_rdev, error)
		       : take_image(path, fd, &st, error))
		dev = open_kind(path, fd, true, error);
	if (!dev)
		close(fd);
	return dev;
}

void bsp_device_close(struct bsp_device *dev)
{
	char *path;

	if (!dev)
		return;
	path = dev->path;
	pthread_mutex_destroy(&dev->through_lock);
	dev->ops->close(dev);
	g_free(path);
}

/* Would a file at path stand among the device nodes, for a mistyped one? */
static bool is_among_devices(const char *path)
{
	g_autofree char *folder = g_path_get_dirname(path);
	struct stat st, dev;

	return stat(folder, &st) == 0 && stat("/dev", &dev) == 0 &&
	       st.st_dev == dev.st_dev;
}

/* Empties it, and makes it size bytes long. */
static bool make_hole(const char *path, int fd, uint64_t size, GError **error)
{
	if (size > INT64_MAX || ftruncate(fd, 0) < 0 ||
	    ftruncate(fd, (off_t)size) < 0)
		return bsp_error_set_errno(
			error, size > INT64_MAX ? EFBIG : errno,
			"make %s %" G_GUINT64_FORMAT " bytes long", path, size);
	return true;
}

struct bsp_device *bsp_device_create_image(const char *path, uint64_t size,
					   GError **error)
{
	struct bsp_device *dev = NULL;
	struct stat st;
	int fd;

	if (size == 0) {
		bsp_error_set(error, BSP_ERROR_USAGE,
			      "%s cannot be made an image of 0 bytes", path);
		return NULL;
	}
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
		bsp_error_set(error, BSP_ERROR_FAILED,
			      "%s is %s; give a regular file", path,
			      S_ISBLK(st.st_mode) ? "a block device"
						  : kind_of(st.st_mode));
		return NULL;
	}
	if (is_among_devices(path)) {
		bsp_error_set(
			error, BSP_ERROR_FAILED,
			"there is no device %s (lsblk lists the devices there are)",
			path);
		return NULL;
	}
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);
	if (fd < 0) {
		open_failed(path, errno, error);
		return NULL;
	}
	if (fstat(fd, &st) < 0)
		bsp_error_set_errno(error, errno, "stat %s", path);
	else if (take_image(path, fd, &st, error) &&
		 make_hole(path, fd, size, error))
		dev = open_kind(path, fd, true, error);
	if (!dev)
		close(fd);
	return dev;
}

void *bsp_buffer_new(size_t size)
{
	enum { LARGE_PAGE = 2 << 20 };
	void *buffer;

	if (posix_memalign(&buffer,
			   size < LARGE_PAGE ? BSP_BUFFER_ALIGN : LARGE_PAGE,
			   size))
		return NULL;
	if (size >= LARGE_PAGE)
		(void)madvise(buffer, size, MADV_HUGEPAGE);
	return buffer;
}

ssize_t bsp_device_read_all(struct bsp_device *dev, void *buf, size_t len,
			    uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = dev->ops->read(dev, (char *)buf + done, len - done,
					   off + done);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t bsp_device_write_all(struct bsp_device *dev, const void *buf,
			     size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = dev->ops->write(dev, (const char *)buf + done,
					    len - done, off + done);

		if (n <= 0 && done == 0)
			return n ? n : -EIO;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
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
