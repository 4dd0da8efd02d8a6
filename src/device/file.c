/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An image file as a device. It is read and written through the page cache,
 * which is coherent for all programs that use the file. The file system knows
 * of zeros that need no read: the file's holes.
 *
 * Writers show in the file's change time, with two limits:
 *  - The time moves when a write begins, and its clock ticks no finer than the
 *    kernel's timer (10 ms at 100 Hz). A direct write may take seconds, and its
 *    bytes arrive some time after the change time has moved. So a recent change
 *    time is not settled (identity.h). If a write takes longer than
 *    BSP_SETTLE_SECONDS, bytes that were read before it ended stay in the map
 *    until the next write.
 *  - A store through a shared mapping moves the time only when a clean page
 *    becomes dirty. Writing dirty pages back makes them clean again, so that
 *    the next store shows. (On tmpfs, which has no writeback, such stores
 *    cannot be seen.)
 */
#include "device/device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/error.h"
#include "base/sync-name.h"
#include "device/open.h"

struct file {
	struct bsp_device dev;
	/* Fixed after opening. */
	int fd;
	int zero_fd; /* the file once more, for zeroing; -1 if read-only */
	struct bsp_layer *holes; /* NULL: its file system has no name */
	bool trusted;		 /* BSP_KNOWN_AUTO asks this file system */
	atomic_uint trust;	 /* an enum bsp_known_trust */
	/* Used by content() alone, of which one call runs at a time. */
	struct bsp_settling settling;
	atomic_bool dropped; /* atomic; the pages of before the opening */
};

static struct file *to_file(struct bsp_device *dev)
{
	return (struct file *)dev;
}

static ssize_t file_read(struct bsp_device *dev, uint64_t off, void *buf,
			 size_t len)
{
	ssize_t n;

	do
		n = pread(to_file(dev)->fd, buf, len, (off_t)off);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/*
 * Reads through the page cache: its clean pages are what the file system has,
 * unless their writeback failed before the file was opened, and another program
 * was told of that. So all clean pages are dropped once. Dirty pages stay, and
 * so do those whose writeback fails later: flush() returns that error.
 */
static ssize_t file_read_through(struct bsp_device *dev, uint64_t off,
				 void *buf, size_t len)
{
	struct file *file = to_file(dev);

	if (!atomic_exchange(&file->dropped, true))
		(void)posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
	return file_read(dev, off, buf, len);
}

static int file_size(struct bsp_device *dev, uint64_t *ret_size)
{
	struct stat st;

	if (fstat(to_file(dev)->fd, &st) < 0)
		return -errno;
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

/* AT_STATX_DONT_SYNC: the kernel answers from its cache (statx(2)). */
static int file_cached_size(struct bsp_device *dev, uint64_t *ret_size)
{
	struct statx st;

	if (statx(to_file(dev)->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
		  STATX_SIZE, &st) < 0)
		return -errno;
	*ret_size = st.stx_size;
	return 0;
}

static int64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	(void)clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void file_content(struct bsp_device *dev,
			 struct bsp_content *ret_content)
{
	struct file *file = to_file(dev);
	struct stat st = { 0 };
	int r;

	(void)sync_file_range(file->fd, 0, 0,
			      SYNC_FILE_RANGE_WAIT_BEFORE |
				      SYNC_FILE_RANGE_WRITE |
				      SYNC_FILE_RANGE_WAIT_AFTER);
	r = fstat(file->fd, &st);
	*ret_content = (struct bsp_content){
		.value = { (uint64_t)st.st_ctim.tv_sec,
			   (uint64_t)st.st_ctim.tv_nsec, (uint64_t)st.st_size },
		.counted = r == 0,
		.settled = bsp_settle(&file->settling, &st.st_ctim,
				      clock_ns(CLOCK_REALTIME),
				      clock_ns(CLOCK_BOOTTIME)),
	};
}

static bool asks_holes(struct file *file)
{
	unsigned trust = atomic_load(&file->trust);

	return file->holes && (trust == BSP_KNOWN_ALL ||
			       (trust == BSP_KNOWN_AUTO && file->trusted));
}

static struct bsp_known_answer file_known(struct bsp_device *dev,
					  uint64_t generation, bool may_build,
					  uint64_t off, uint64_t limit)
{
	struct file *file = to_file(dev);

	if (!asks_holes(file))
		return (struct bsp_known_answer){ false, limit };
	return file->holes->ops->ask(file->holes, off, limit);
}

static void file_set_trust(struct bsp_device *dev, enum bsp_known_trust trust)
{
	atomic_store(&to_file(dev)->trust, (unsigned)trust);
}

static void file_layers(struct bsp_device *dev, bsp_layer_fn fn, void *data)
{
	struct file *file = to_file(dev);
	g_autofree char *reason = NULL;

	if (!asks_holes(file))
		reason = atomic_load(&file->trust) == BSP_KNOWN_OFF
				 ? g_strdup("known=off")
				 : bsp_layer_file_reason(file->fd);
	fn(data, file->holes ? file->holes->path : dev->path, reason);
}

/* --- Writing --- */

static ssize_t file_write(struct bsp_device *dev, uint64_t off, const void *buf,
			  size_t len)
{
	ssize_t n;

	do
		n = pwrite(to_file(dev)->fd, buf, len, (off_t)off);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t file_write_through(struct bsp_device *dev, uint64_t off,
				  const void *buf, size_t len)
{
	const struct iovec iov = { (void *)buf, len };
	struct file *file = to_file(dev);
	ssize_t n;

	do
		n = pwritev2(file->zero_fd, &iov, 1, (off_t)off, RWF_DSYNC);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static int file_fallocate(struct bsp_device *dev, int mode, uint64_t off,
			  uint64_t len)
{
	int r;

	do
		r = fallocate(to_file(dev)->fd, mode | FALLOC_FL_KEEP_SIZE,
			      (off_t)off, (off_t)len);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static int file_punch(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return file_fallocate(dev, FALLOC_FL_PUNCH_HOLE, off, len);
}

static int file_zero_out(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return file_fallocate(dev, FALLOC_FL_ZERO_RANGE, off, len);
}

/* Without the flags that wait, sync_file_range(2) does not take the error that
 * fsync(2) has to return (fs/sync.c). */
static void file_write_back(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	(void)sync_file_range(to_file(dev)->fd, (off_t)off, (off_t)len,
			      SYNC_FILE_RANGE_WRITE);
}

/* The path may be a symbolic link to where the file was created. */
static int sync_name(struct bsp_device *dev)
{
	char *path = realpath(dev->path, NULL);
	int r = bsp_sync_name(path ? path : dev->path);

	free(path);
	if (!r)
		atomic_store(&dev->is_new, false);
	return r;
}

static int file_flush(struct bsp_device *dev)
{
	if (fsync(to_file(dev)->fd) < 0)
		return -errno;
	return atomic_load(&dev->is_new) ? sync_name(dev) : 0;
}

static int file_resize(struct bsp_device *dev, uint64_t size)
{
	return ftruncate(to_file(dev)->fd, (off_t)size) < 0 ? -errno : 0;
}

static void file_close(struct bsp_device *dev)
{
	if (to_file(dev)->zero_fd >= 0)
		close(to_file(dev)->zero_fd);
	bsp_layer_free(to_file(dev)->holes);
	close(to_file(dev)->fd);
	g_free(to_file(dev));
}

static const struct bsp_device_ops file_ops = {
	.read = file_read,
	.size = file_size,
	.cached_size = file_cached_size,
	.content = file_content,
	.known = file_known,
	.set_trust = file_set_trust,
	.layers = file_layers,
	.write = file_write,
	.read_through = file_read_through,
	.write_through = file_write_through,
	.punch = file_punch,
	.zero_out = file_zero_out,
	.discard = file_punch,
	.write_back = file_write_back,
	.flush = file_flush,
	.resize = file_resize,
	.close = file_close,
};

struct bsp_device *bsp_device_file_new(const char *path, int fd,
				       const struct bsp_device_info *info,
				       GError **error)
{
	struct file *file;
	int zero_fd = -1;

	if (info->size == 0) {
		bsp_error_set(error, BSP_ERROR_FAILED, "%s is empty (0 bytes)",
			      path);
		return NULL;
	}
	/* The kernel returns a writeback error once to each open descriptor:
	 * zeroing must not consume the error of data, which flush must
	 * return. */
	if (info->writable &&
	    !bsp_device_open_again(path, fd, O_RDWR, &zero_fd, error))
		return NULL;
	file = g_new0(struct file, 1);
	file->dev.ops = &file_ops;
	file->dev.path = g_strdup(path);
	file->dev.info = *info;
	pthread_mutex_init(&file->dev.through_lock, NULL);
	file->dev.info.logical_block_size = 512;
	file->fd = fd;
	file->zero_fd = zero_fd;
	atomic_init(&file->trust, BSP_KNOWN_AUTO);
	atomic_init(&file->dropped, false);
	file->trusted = bsp_known_file_system(fd, BSP_KNOWN_AUTO);
	file->holes = bsp_layer_file_new(path, fcntl(fd, F_DUPFD_CLOEXEC, 3), 0,
					 BSP_KNOWN_ALL);
	if (file->holes)
		bsp_layer_set_paths(file->holes, NULL);
	return &file->dev;
}
