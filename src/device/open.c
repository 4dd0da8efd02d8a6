/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening a device: its kind, its size, owner and mode, and, for writing,
 * whether this program can have it alone.
 *
 * A path is followed once. It is opened with O_PATH first, which neither waits
 * nor has effects, and the file that this descriptor holds is looked at and
 * then opened, wherever the path leads by then. So a path that another program
 * changes meanwhile cannot make this one open a pipe or write to another disk.
 * (Without /proc the path has to be followed again, and must lead to the same
 * file.)
 *
 * Opening for writing takes a block device exclusively (O_EXCL), and locks an
 * image file against other programs. A new image is emptied only after all
 * checks were made on the open file.
 */
#include "device/open.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/trace.h"
#include "device/acl.h"
#include "device/dm.h"
#include "device/holder.h"
#include "device/nbd.h"
#include "device/nbd-uri.h"
#include "device/same-device.h"

/* --- Reopening ----------------------------------------------------------- */

static bool is_same_file(const struct stat *a, const struct stat *b)
{
	if (S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode))
		return a->st_rdev == b->st_rdev;
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Whether a path leads to this file. Sets errno if not. */
static bool path_leads_to(const char *path, const struct stat *what)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return false;
	errno = ESTALE;
	return is_same_file(&st, what);
}

int bsp_device_reopen(int fd, const char *path, int flags)
{
	char link[32];
	struct stat what, st;
	int again;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (fstat(fd, &what) < 0)
		return -1;
	if (lstat(link, &st) == 0)
		path = link;
	else if (!path_leads_to(path, &what))
		return -1;
	again = open(path, flags | O_CLOEXEC | O_NOCTTY);
	if (again >= 0 &&
	    (fstat(again, &st) < 0 || !is_same_file(&st, &what))) {
		close(again);
		errno = ESTALE;
		return -1;
	}
	return again;
}

bool bsp_device_open_again(const char *path, int fd, int flags, int *ret_fd,
			   GError **error)
{
	int errnum;

	*ret_fd = bsp_device_reopen(fd, path, flags);
	if (*ret_fd >= 0)
		return true;
	errnum = errno;
	return bsp_error_set(
		error, BSP_ERROR_FAILED, "open %s a second time: %s%s", path,
		errnum == ESTALE ? "it is another file now"
				 : g_strerror(errnum),
		access("/proc/self/fd", F_OK) == 0
			? ""
			: " (mount /proc, with which the path need not be followed again)");
}

/* --- Opening ------------------------------------------------------------- */

static const char *file_type_name(mode_t mode)
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

/* Returns the folder of a path, or the first above it, that does not exist, to
 * be freed; NULL if it exists. */
static char *missing_folder(const char *path)
{
	g_autofree char *folder = g_path_get_dirname(path);
	char *above;

	if (access(folder, F_OK) == 0 || errno != ENOENT)
		return NULL;
	above = missing_folder(folder);
	return above ? above : g_steal_pointer(&folder);
}

/* Tells how to mend that a path cannot be opened; to be freed. */
static char *advice_for_missing(const char *path)
{
	g_autofree char *folder = missing_folder(path);

	if (g_str_has_prefix(path, "/dev/"))
		return g_strdup(" (lsblk lists the devices)");
	return folder ? g_strdup_printf(" (there is no folder %s)", folder)
		      : g_strdup("");
}

static const char *advice_for(int errnum)
{
	switch (errnum) {
	case EACCES:
	case EPERM:
		return " (become root, or a user that its owner, group and mode allow)";
	case ENOMEDIUM:
		return " (insert a medium first)";
	case ENXIO:
	case ENODEV:
		return " (there is no such hardware now; lsblk lists the devices)";
	case ESTALE:
		return " (the path led to another file meanwhile; try again)";
	default:
		return "";
	}
}

static bool open_failed(const char *path, int errnum, GError **error)
{
	g_autofree char *missing =
		errnum == ENOENT ? advice_for_missing(path) : NULL;

	return bsp_error_set(error, BSP_ERROR_FAILED, "open %s: %s%s", path,
			     g_strerror(errnum),
			     missing ? missing : advice_for(errnum));
}

static struct bsp_device *device_new(const char *path, int fd, bool writable,
				     GError **error)
{
	struct bsp_device_info info = { .writable = writable };
	struct bsp_device *dev;
	struct stat st;

	if (fstat(fd, &st) < 0) {
		bsp_error_set_errno(error, errno, "stat %s", path);
		return NULL;
	}
	info.uid = st.st_uid;
	info.gid = st.st_gid;
	info.mode = bsp_acl_mode_of_file(fd, st.st_mode & 07777);
	info.is_block = S_ISBLK(st.st_mode);
	if (S_ISBLK(st.st_mode)) {
		(void)clock_gettime(CLOCK_REALTIME, &info.mtime);
		dev = bsp_device_block_new(path, fd, &info, error);
	} else {
		info.mtime = st.st_mtim;
		info.size = (uint64_t)st.st_size;
		dev = bsp_device_file_new(path, fd, &info, error);
	}
	if (!dev)
		return NULL;
	dev->stat = st;
	bsp_device_trace(dev);
	return dev;
}

/*
 * Opens the file at path with O_PATH: opening a pipe or a terminal for reading
 * could wait, or have effects. Returns -1, and errno, if there is no such file.
 */
static int open_path_fd(const char *path, struct stat *ret_stat)
{
	int fd;

	bsp_trace_init(); /* before any device has a descriptor */
	fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0 || fstat(fd, ret_stat) == 0)
		return fd;
	close(fd);
	return -1;
}

/* Does the same for a block device or a regular file. Returns -1, and an error,
 * for any other file. */
static int open_device_path_fd(const char *path, struct stat *ret_stat,
			       GError **error)
{
	int fd = open_path_fd(path, ret_stat);

	if (fd < 0) {
		open_failed(path, errno, error);
		return -1;
	}
	if (S_ISBLK(ret_stat->st_mode) || S_ISREG(ret_stat->st_mode))
		return fd;
	bsp_error_set(error, BSP_ERROR_FAILED,
		      "%s is %s; give a block device or an image file", path,
		      file_type_name(ret_stat->st_mode));
	close(fd);
	return -1;
}

static struct bsp_device *open_nbd(const char *uri, bool writable,
				   const char *changes, GError **error)
{
	struct bsp_device *dev;

	bsp_trace_init();
	dev = bsp_device_nbd_new(uri, writable, changes, error);
	if (dev)
		bsp_device_trace(dev);
	return dev;
}

struct bsp_device *bsp_device_open_nbd(const char *uri, const char *changes,
				       GError **error)
{
	if (bsp_is_nbd_uri(uri))
		return open_nbd(uri, false, changes, error);
	bsp_error_set(error, BSP_ERROR_USAGE,
		      "%s is not the URI of an NBD export, whose server could "
		      "know the changes",
		      uri);
	return NULL;
}

struct bsp_device *bsp_device_open(const char *path, GError **error)
{
	struct bsp_device *dev = NULL;
	struct stat st;
	int path_fd, fd;

	if (bsp_is_nbd_uri(path))
		return open_nbd(path, false, NULL, error);
	path_fd = open_device_path_fd(path, &st, error);
	if (path_fd < 0)
		return NULL;
	fd = bsp_device_reopen(path_fd, path, O_RDONLY);
	if (fd < 0)
		open_failed(path, errno, error);
	else
		dev = device_new(path, fd, false, error);
	if (!dev && fd >= 0)
		close(fd);
	close(path_fd);
	return dev;
}

static bool is_read_only(int fd)
{
	int read_only = 0;

	return ioctl(fd, BLKROGET, &read_only) == 0 && read_only;
}

static bool path_fd_is_read_only(int path_fd, const char *path)
{
	int fd = bsp_device_reopen(path_fd, path, O_RDONLY);
	bool read_only;

	if (fd < 0)
		return false;
	read_only = is_read_only(fd);
	close(fd);
	return read_only;
}

/* Says why the file could not be opened for writing, and what to do. */
static bool open_writable_failed(const char *path, int path_fd,
				 const struct stat *st, int errnum,
				 GError **error)
{
	g_autofree char *holder = NULL;

	if (S_ISBLK(st->st_mode) && errnum == EBUSY) {
		holder = bsp_holder_of_device(st->st_rdev);
		return bsp_error_set(error, BSP_ERROR_FAILED,
				     "%s %s (until then it can only be read)",
				     path, holder);
	}
	if (S_ISBLK(st->st_mode) &&
	    (errnum == EROFS || path_fd_is_read_only(path_fd, path)))
		return bsp_error_set(
			error, BSP_ERROR_FAILED,
			"%s is read-only; make it writable first (blockdev --setrw, or losetup without -r)",
			path);
	if (errnum == EROFS)
		return bsp_error_set(
			error, BSP_ERROR_FAILED,
			"%s is on a read-only file system; mount that writable first",
			path);
	return open_failed(path, errnum, error);
}

/* Locks all bytes of an image file. Fails if another program has a lock on any
 * of them, or if a loop device, which takes no lock, has the file. */
static bool lock_image(const char *path, int fd, const struct stat *st,
		       GError **error)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	g_autofree char *holder = bsp_holder_of_image(fd, st);

	if (holder)
		return bsp_error_set(error, BSP_ERROR_FAILED,
				     "%s %s (until then it can only be read)",
				     path, holder);
	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return true;
	if (errno == EAGAIN || errno == EACCES)
		return bsp_error_set(
			error, BSP_ERROR_FAILED,
			"%s is locked by another program (lslocks shows which); stop that program first (until then it can only be read)",
			path);
	return bsp_error_set_errno(error, errno, "lock %s", path);
}

/* Opens the file of path_fd for writing, for this program alone. */
static int open_exclusively(const char *path, int path_fd,
			    const struct stat *st, GError **error)
{
	bool block = S_ISBLK(st->st_mode);
	/* O_EXCL without O_CREAT is for block devices (open(2)). */
	int fd =
		bsp_device_reopen(path_fd, path, O_RDWR | (block ? O_EXCL : 0));

	if (fd < 0) {
		open_writable_failed(path, path_fd, st, errno, error);
		return -1;
	}
	/* A device may be read-only and yet open for writing, as by drivers
	 * that do not check, or after set_disk_ro(). */
	if (block && is_read_only(fd))
		open_writable_failed(path, path_fd, st, EROFS, error);
	else if (block ? bsp_dm_check_stack(path, st->st_rdev, error)
		       : lock_image(path, fd, st, error))
		return fd;
	close(fd);
	return -1;
}

struct bsp_device *bsp_device_open_writable(const char *path, GError **error)
{
	struct bsp_device *dev = NULL;
	struct stat st;
	int path_fd, fd;

	if (bsp_is_nbd_uri(path))
		return open_nbd(path, true, NULL, error);
	path_fd = open_device_path_fd(path, &st, error);
	if (path_fd < 0)
		return NULL;
	fd = open_exclusively(path, path_fd, &st, error);
	close(path_fd);
	if (fd >= 0)
		dev = device_new(path, fd, true, error);
	if (!dev && fd >= 0)
		close(fd);
	return dev;
}

/* Whether path lies in /dev, so that it is rather a mistyped name of a device
 * than that of a new file. */
static bool is_in_dev(const char *path)
{
	g_autofree char *folder = g_path_get_dirname(path);
	struct stat st, dev;

	return stat(folder, &st) == 0 && stat("/dev", &dev) == 0 &&
	       st.st_dev == dev.st_dev;
}

/* Sets the size of a file; empties it first, if it is to be one hole. */
static bool truncate_to(const char *path, int fd, uint64_t size, bool empty,
			GError **error)
{
	if (size > INT64_MAX || (empty && ftruncate(fd, 0) < 0) ||
	    ftruncate(fd, (off_t)size) < 0)
		return bsp_error_set_errno(
			error, size > INT64_MAX ? EFBIG : errno,
			"make %s %" G_GUINT64_FORMAT " bytes long", path, size);
	return true;
}

static bool check_regular(const char *path, const struct stat *st,
			  GError **error)
{
	if (S_ISREG(st->st_mode))
		return true;
	if (S_ISDIR(st->st_mode))
		return bsp_error_set(
			error, BSP_ERROR_FAILED,
			"%s is a directory; give the name of a file in it",
			path);
	return bsp_error_set(
		error, BSP_ERROR_FAILED, "%s is %s; give a regular file", path,
		S_ISBLK(st->st_mode) ? "a block device"
				     : file_type_name(st->st_mode));
}

/*
 * Creates an image file at a path where there was none, for this program alone.
 * By now there may be another file: it is checked before anything is done to
 * it. With O_NONBLOCK the opening of a pipe does not wait.
 */
static int create_file(const char *path, GError **error)
{
	int fd =
		open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
		     0666);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		open_failed(path, errno, error);
	else if (check_regular(path, &st, error) &&
		 lock_image(path, fd, &st, error))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Opens the regular file at path for this program alone, and creates it if it
 * is missing. Returns -1, and an error, on failure. */
static int open_or_create_image(const char *path, GError **error)
{
	struct stat st;
	int path_fd = open_path_fd(path, &st);
	int fd = -1;

	if (path_fd < 0 && errno != ENOENT)
		open_failed(path, errno, error);
	else if (path_fd >= 0 && !check_regular(path, &st, error))
		;
	else if (is_in_dev(path))
		bsp_error_set(error, BSP_ERROR_FAILED,
			      "there is no device %s (lsblk lists the devices)",
			      path);
	else if (path_fd >= 0)
		fd = open_exclusively(path, path_fd, &st, error);
	else
		fd = create_file(path, error);
	if (path_fd >= 0)
		close(path_fd);
	return fd;
}

/* Checks that the file of fd shares no byte with from, which may be NULL. */
static bool check_not_source(const char *path, int fd,
			     const struct bsp_device *from, GError **error)
{
	struct stat st;

	if (!from)
		return true;
	if (fstat(fd, &st) < 0)
		return bsp_error_set_errno(error, errno, "stat %s", path);
	return bsp_check_not_same_file(from->path, &from->stat, path, &st,
				       error);
}

static struct bsp_device *open_image(const char *path, uint64_t size,
				     const struct bsp_device *from, bool empty,
				     GError **error)
{
	struct bsp_device *dev = NULL;
	int fd;

	if (bsp_is_nbd_uri(path)) {
		g_autofree char *shown = bsp_nbd_uri_redact(path);

		bsp_error_set(error, BSP_ERROR_USAGE,
			      "%s is an NBD export, not a file to be created",
			      shown);
		return NULL;
	}
	if (size == 0) {
		bsp_error_set(error, BSP_ERROR_USAGE,
			      "%s cannot be made an image of 0 bytes", path);
		return NULL;
	}
	fd = open_or_create_image(path, error);
	if (fd >= 0 && check_not_source(path, fd, from, error) &&
	    truncate_to(path, fd, size, empty, error))
		dev = device_new(path, fd, true, error);
	/* One that was there may be new: the program that created it may have
	 * been killed. */
	if (dev)
		atomic_store(&dev->is_new, true);
	else if (fd >= 0)
		close(fd);
	return dev;
}

struct bsp_device *bsp_device_create_image(const char *path, uint64_t size,
					   const struct bsp_device *from,
					   GError **error)
{
	return open_image(path, size, from, true, error);
}

struct bsp_device *bsp_device_open_image(const char *path, uint64_t size,
					 const struct bsp_device *from,
					 GError **error)
{
	return open_image(path, size, from, false, error);
}
