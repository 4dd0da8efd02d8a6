/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A block device.
 *
 * A device that is only read is read with O_DIRECT, except where the driver
 * refuses it. Such a read returns what the device holds, even if a file system
 * mounted on it, or a program that uses the whole disk below it, wrote past the
 * page cache of this node; the kernel writes dirty pages of this node first
 * (block/fops.c). It also leaves the host's page cache to other programs.
 *
 * A writable device is read and written through the page cache: its node is
 * opened exclusively, and writes need no alignment there.
 *
 * Writers show in the kernel's counters (counters.h). These count requests, so
 * pages that a program dirtied are written back before: those of this node and,
 * if it can be opened, of the disk. Counters stand still while queue/iostats is
 * 0. But the device mapper always counts, and its iostats is 0 (Linux 6.1); and
 * some drivers count nothing, and their iostats is 1 (brd, NVMe multipath
 * before Linux 6.4). So the counters are trusted only after a direct read moved
 * them.
 */
#include "device/device.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/range.h"
#include "device/counters.h"
#include "device/dm.h"
#include "device/medium.h"
#include "device/open.h"
#include "device/pages.h"
#include "device/sysfs.h"
#include "device/zero-range.h"

enum {
	BOUNCE_MAX = 1 << 20,
	DROP_MIN = 1 << 20,
	/* The page cache has no larger page, and each page begins at a
	 * multiple of its size. */
	PAGE_MAX = 2 << 20,
	/* How long a driver may take to count a completed read. */
	COUNTED_MS = 100,
};

/* The result of probe_counters(). */
enum {
	PROBED_ON = 1 << 0, /* queue/iostats was 1 */
	MOVED_ON = 1 << 1,  /* a read moved the counters then */
	MOVED_OFF = 1 << 2, /* a read moved them while iostats was 0 */
};

struct block {
	struct bsp_device dev;
	/* Fixed after opening; -1 if there is none. */
	int fd;	       /* through the page cache */
	int direct_fd; /* O_DIRECT */
	int zero_fd;   /* through the page cache, for zeroing */
	int disk_fd;   /* of a partition: the node of its disk */
	int stat_fd;   /* the disk's counters in sysfs */
	int iostats_fd;
	int zero_out_max_fd; /* queue/write_zeroes_max_bytes */
	bool thin;	     /* a thin volume: unmapped blocks read as zeros */

	/* Used by content() alone, of which one call runs at a time. NULL if
	 * there are no counters. */
	struct bsp_counters *written;
	struct bsp_medium_source *source; /* fixed after opening */
	struct bsp_known *known; /* fixed after opening; NULL: no memory */
	/* No page past this offset can be cached. Used by drop_pages() alone,
	 * of which one call runs at a time. */
	uint64_t pages_end;
	atomic_uint counters; /* atomic: result of the last probe_counters() */
};

static struct block *to_block(struct bsp_device *dev)
{
	return (struct block *)dev;
}

/* --- Reading --- */

static ssize_t read_fd(int fd, uint64_t off, void *buf, size_t len)
{
	ssize_t n;

	do
		n = pread(fd, buf, len, (off_t)off);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static int fd_size(int fd, uint64_t *ret_size)
{
	uint64_t size;

	if (ioctl(fd, BLKGETSIZE64, &size) < 0)
		return -errno;
	*ret_size = size;
	return 0;
}

static int write_back_and_wait(int fd, uint64_t off, uint64_t len)
{
	int r = sync_file_range(fd, (off_t)off, (off_t)len,
				SYNC_FILE_RANGE_WAIT_BEFORE |
					SYNC_FILE_RANGE_WRITE |
					SYNC_FILE_RANGE_WAIT_AFTER);

	return r < 0 ? -errno : 0;
}

/*
 * The kernel returns the error of each failed writeback of the node once to
 * each descriptor that waits. So all that wait with direct_fd note it: a page
 * whose writeback failed may stay in the cache, and is not what the device
 * holds.
 */
static int note_writeback(struct block *block, int r)
{
	if (r && block->dev.info.writable)
		bsp_device_note_failure(&block->dev);
	return r;
}

/*
 * Reads through the page cache, after dropping the pages that may be out of
 * date. Dirty pages are written first. The range is enlarged to whole pages,
 * because the kernel keeps a page that lies in the range in part
 * (mm/fadvise.c); it also keeps pages that are mapped or that a file system
 * holds. The wait uses direct_fd, so that it takes no error that flush has to
 * return.
 */
static ssize_t read_after_drop(struct block *block, uint64_t off, void *buf,
			       size_t len)
{
	uint64_t from = off / PAGE_MAX * PAGE_MAX;
	uint64_t to = (off + len + PAGE_MAX - 1) / PAGE_MAX * PAGE_MAX;

	(void)note_writeback(
		block, write_back_and_wait(block->direct_fd, from, to - from));
	(void)posix_fadvise(block->fd, (off_t)from, (off_t)(to - from),
			    POSIX_FADV_DONTNEED);
	return read_fd(block->fd, off, buf, len);
}

/* Returns how many bytes of a range, which begins at a block, are whole blocks
 * of the device at its size of now. */
static size_t whole_blocks(const struct block *block, uint64_t off, size_t len)
{
	uint64_t size = 0;

	if (fd_size(block->fd, &size) < 0)
		return 0;
	len = (size_t)bsp_range_clamp(off, len, size);
	return len - len % block->dev.info.logical_block_size;
}

/*
 * Reads an aligned range that a direct read was refused for. The kernel cuts a
 * read at the device's end, and so refuses to read a last block that is not
 * whole (blkdev_read_iter() in block/fops.c). That block is read through the
 * page cache, and so is a range that was refused for another reason.
 */
static ssize_t read_refused(struct block *block, uint64_t off, void *buf,
			    size_t len)
{
	size_t whole = whole_blocks(block, off, len);
	ssize_t n = -EINVAL, rest;

	if (whole && whole < len)
		n = read_fd(block->direct_fd, off, buf, whole);
	if (n == -EINVAL)
		n = 0;
	else if (n < (ssize_t)whole)
		return n;
	rest = read_after_drop(block, off + (uint64_t)n, (char *)buf + n,
			       len - (size_t)n);
	if (rest < 0)
		return n ? n : rest;
	return n + rest;
}

static bool is_aligned(const struct bsp_device *dev, uint64_t off,
		       const void *buf, size_t len)
{
	return (off | len | (uintptr_t)buf) % dev->info.logical_block_size == 0;
}

/* Reads any range directly, by a bounce buffer. May be short. */
static ssize_t read_bounced(struct block *block, uint64_t off, void *buf,
			    size_t len)
{
	uint64_t unit = block->dev.info.logical_block_size;
	uint64_t skip = off % unit;
	uint64_t want = bsp_min(len, BOUNCE_MAX - unit);
	uint64_t whole = (skip + want + unit - 1) / unit * unit;
	void *bounce;
	ssize_t n;

	if (posix_memalign(&bounce, BSP_BUFFER_ALIGN, whole))
		return -ENOMEM;
	n = read_fd(block->direct_fd, off - skip, bounce, whole);
	if (n == -EINVAL)
		n = read_refused(block, off - skip, bounce, whole);
	if (n >= 0) {
		n = (ssize_t)bsp_min(want,
				     bsp_range_clamp(skip, want, (uint64_t)n));
		memcpy(buf, (char *)bounce + skip, (size_t)n);
	}
	free(bounce);
	return n;
}

static ssize_t read_direct(struct block *block, uint64_t off, void *buf,
			   size_t len)
{
	struct bsp_device *dev = &block->dev;
	ssize_t n = -EINVAL;

	if (is_aligned(dev, off, buf, len))
		n = read_fd(block->direct_fd, off, buf, len);
	if (n != -EINVAL)
		return n;
	/* A driver may require buffers aligned to more than a block. */
	if (!is_aligned(dev, off, buf, len) ||
	    (uintptr_t)buf % BSP_BUFFER_ALIGN)
		return read_bounced(block, off, buf, len);
	return read_refused(block, off, buf, len);
}

/*
 * Reads the bytes that the device holds, past the page cache of its node. The
 * kernel writes dirty pages of the range first. If the writeback of a page has
 * failed before, the reader must know: the page differs from the device, and
 * may be what other reads return. This flag alone waits for the pages of the
 * range that are under writeback, and starts none.
 */
static ssize_t block_read_through(struct bsp_device *dev, uint64_t off,
				  void *buf, size_t len)
{
	struct block *block = to_block(dev);
	ssize_t n = read_direct(block, off, buf, len);
	int r;

	if (!dev->info.writable)
		return n;
	r = sync_file_range(block->direct_fd, (off_t)off, (off_t)len,
			    SYNC_FILE_RANGE_WAIT_BEFORE);
	r = note_writeback(block, r < 0 ? -errno : 0);
	return n < 0 || !r ? n : r;
}

static ssize_t block_read(struct bsp_device *dev, uint64_t off, void *buf,
			  size_t len)
{
	if (dev->info.writable)
		return read_fd(to_block(dev)->fd, off, buf, len);
	return read_direct(to_block(dev), off, buf, len);
}

static int block_read_fd(struct bsp_device *dev)
{
	struct block *block = to_block(dev);

	return dev->info.writable ? block->fd : block->direct_fd;
}

/* A device that was detached, or lost its medium, has a size of 0. */
static int block_size(struct bsp_device *dev, uint64_t *ret_size)
{
	uint64_t size = 0;
	int r = fd_size(to_block(dev)->fd, &size);

	if (r)
		return r;
	if (size == 0)
		return -ENODEV;
	*ret_size = size;
	return 0;
}

/* --- Counters --- */

static int write_back_all(int fd)
{
	return fd < 0 ? 0 : write_back_and_wait(fd, 0, 0);
}

/* Reads a file of sysfs as a string. Returns false if it cannot be read. */
static bool read_text(int fd, char *text, size_t size)
{
	ssize_t n = fd < 0 ? -1 : pread(fd, text, size - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* Returns the number of completed reads; 0 if it cannot be read. */
static uint64_t read_count(int stat_fd)
{
	char text[512];
	uint64_t reads;

	if (!read_text(stat_fd, text, sizeof(text)) ||
	    sscanf(text, "%" SCNu64, &reads) != 1)
		return 0;
	return reads;
}

static bool is_iostats_on(const struct block *block)
{
	char iostats[8];

	return read_text(block->iostats_fd, iostats, sizeof(iostats)) &&
	       iostats[0] != '0';
}

/* Waits until more than reads reads are counted. Returns false if none is
 * counted in time. */
static bool wait_for_count(int stat_fd, uint64_t reads)
{
	const struct timespec moment = { .tv_nsec = 1000000 };

	for (int ms = 0; ms < COUNTED_MS; ms++) {
		if (read_count(stat_fd) > reads)
			return true;
		(void)nanosleep(&moment, NULL);
	}
	return false;
}

/*
 * Tests whether a direct read moves the counters. The block layer may count a
 * request just after the reader has its data (blk_mq_end_request() in
 * block/blk-mq.c). A driver that counts by itself, whatever iostats says,
 * counts before that.
 */
static void probe_counters(struct block *block)
{
	size_t len = block->dev.info.logical_block_size;
	bool on = is_iostats_on(block), moved = false;
	uint64_t reads = read_count(block->stat_fd);
	void *buf;

	if (!posix_memalign(&buf, BSP_BUFFER_ALIGN, len)) {
		(void)read_fd(block->direct_fd, 0, buf, len);
		free(buf);
		moved = on ? wait_for_count(block->stat_fd, reads)
			   : read_count(block->stat_fd) > reads;
	}
	atomic_store(&block->counters,
		     (on ? PROBED_ON : 0) | (!moved ? 0
					     : on   ? MOVED_ON
						    : MOVED_OFF));
}

/* Whether each write moves the counters now. */
static bool is_counting(struct block *block)
{
	bool on = is_iostats_on(block);

	/* iostats may have been switched on since the last probe. */
	if (on && !atomic_load(&block->counters))
		probe_counters(block);
	return atomic_load(&block->counters) &
	       (MOVED_OFF | (on ? MOVED_ON : 0));
}

static void block_content(struct bsp_device *dev,
			  struct bsp_content *ret_content)
{
	struct block *block = to_block(dev);
	struct bsp_content content = { .settled = true };

	(void)write_back_all(block->fd);
	(void)write_back_all(block->disk_fd);
	content.counted = block->written &&
			  bsp_counters_read(block->written, content.value) &&
			  is_counting(block);
	/* The counters do not see a program that writes to the file below a
	 * loop device. */
	if (block->known)
		content.value[BSP_CONTENT_VALUES - 1] =
			bsp_known_content(block->known, &content.young);
	*ret_content = content;
}

static void block_medium(struct bsp_device *dev, enum bsp_depth depth,
			 struct bsp_medium *ret_medium)
{
	struct block *block = to_block(dev);

	bsp_medium_ask(block->source, depth, ret_medium);
	if (block->known && depth >= BSP_DEPTH_CHEAP)
		ret_medium->layers = bsp_known_medium(block->known, depth) + 1;
}

/* --- Holes that are known without reading --- */

/*
 * The layers do not see dirty pages that this kernel has of the node. Sampling
 * the content writes them back, but a writable device is not sampled. So its
 * layers are built only by a question that has just written them back, even if
 * building becomes due after this question has looked.
 */
static struct bsp_known_answer block_known(struct bsp_device *dev,
					   uint64_t generation, bool may_build,
					   uint64_t off, uint64_t limit)
{
	struct block *block = to_block(dev);

	if (!block->known)
		return (struct bsp_known_answer){ false, limit };
	if (dev->info.writable && may_build) {
		may_build = bsp_known_is_due(block->known, generation);
		if (may_build) {
			(void)write_back_all(block->disk_fd);
			(void)note_writeback(block,
					     write_back_all(block->direct_fd));
		}
	}
	return bsp_known_ask(block->known, generation, may_build, off, limit);
}

static void block_set_trust(struct bsp_device *dev, enum bsp_known_trust trust)
{
	if (to_block(dev)->known)
		bsp_known_set_trust(to_block(dev)->known, trust);
}

static void block_layers(struct bsp_device *dev, bsp_layer_fn fn, void *data)
{
	if (to_block(dev)->known)
		bsp_known_list(to_block(dev)->known, fn, data);
}

/* --- Cached pages of the node --- */

/*
 * The kernel drops no page when a device grows or shrinks (set_capacity() in
 * block/genhd.c): pages past the end stay cached, and the page that the end
 * cuts has zeros behind it. A device that is only read is not read from them,
 * but a writable one is read and written through them.
 *
 * POSIX_FADV_DONTNEED skips pages that are locked, dirty, under writeback,
 * mapped, or part of a large folio that reaches out of the range
 * (mm/truncate.c). So the range is all of the device, and the kernel is asked
 * whether a page from an offset on is still cached. A page that is being read
 * is unlocked soon; hence the tries.
 */
static int block_drop_pages(struct bsp_device *dev, uint64_t from)
{
	enum { TRIES = 50, PAUSE_NS = 2000000 };
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	struct block *block = to_block(dev);
	uint64_t size = 0, end = bsp_max(block->pages_end, from);

	if (!dev->info.writable)
		return 0;
	for (int i = 0; i < TRIES; i++) {
		/* direct_fd takes no error that flush or wait_written has to
		 * return. */
		(void)note_writeback(block, write_back_all(block->direct_fd));
		(void)posix_fadvise(block->fd, 0, 0, POSIX_FADV_DONTNEED);
		if (from == UINT64_MAX)
			return 0;
		if (!bsp_pages_cached(block->fd, from, end)) {
			(void)fd_size(block->fd, &size);
			block->pages_end = bsp_max(end, size);
			return 0;
		}
		(void)nanosleep(&pause, NULL);
	}
	return -EBUSY;
}

/* --- Writing --- */

static ssize_t write_fd(int fd, uint64_t off, const void *buf, size_t len)
{
	ssize_t n;

	do
		n = pwrite(fd, buf, len, (off_t)off);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* Writes directly. Returns -EINVAL if the caller has to use the page cache. */
static ssize_t write_past_cache(struct block *block, uint64_t off,
				const void *buf, size_t len)
{
	struct bsp_device *dev = &block->dev;

	if (!atomic_load_explicit(&dev->past_cache, memory_order_relaxed) ||
	    !is_aligned(dev, off, buf, len))
		return -EINVAL;
	return write_fd(block->direct_fd, off, buf, len);
}

/*
 * Zeroing commands do not make these pages out of date: the kernel drops the
 * pages of a range that it zeroes or discards (block/fops.c, block/ioctl.c).
 */
static ssize_t block_write(struct bsp_device *dev, uint64_t off,
			   const void *buf, size_t len)
{
	struct block *block = to_block(dev);
	ssize_t n = write_past_cache(block, off, buf, len);

	return n != -EINVAL ? n : write_fd(block->fd, off, buf, len);
}

/*
 * Writes through the page cache as well. A direct write drops the pages of its
 * range, but not a dirty one. Pages may be larger than a granule: a writer
 * beside the range could dirty the page meanwhile and so keep the old bytes in
 * the cache, and writeback would bring them back
 * (kiocb_invalidate_post_direct_write() in mm/filemap.c). Writeback of a long
 * range starts here, while the caller writes its next part.
 */
static ssize_t block_write_through(struct bsp_device *dev, uint64_t off,
				   const void *buf, size_t len)
{
	struct block *block = to_block(dev);
	ssize_t n = write_past_cache(block, off, buf, len);

	if (n != -EINVAL)
		return n;
	n = write_fd(block->zero_fd, off, buf, len);
	if (n > 0)
		(void)sync_file_range(block->zero_fd, (off_t)off, n,
				      SYNC_FILE_RANGE_WRITE);
	return n;
}

/*
 * sync_file_range(2) does not flush the device's own cache. With these three
 * flags it returns a writeback error that this descriptor has not returned yet.
 * Zeros need not stay in the page cache: readers of a hole do not read the
 * device.
 */
static int block_wait_written(struct bsp_device *dev, uint64_t off,
			      uint64_t len)
{
	struct block *block = to_block(dev);

	if (sync_file_range(block->zero_fd, (off_t)off, (off_t)len,
			    SYNC_FILE_RANGE_WAIT_BEFORE |
				    SYNC_FILE_RANGE_WRITE |
				    SYNC_FILE_RANGE_WAIT_AFTER) < 0)
		return -errno;
	if (len >= DROP_MIN)
		(void)posix_fadvise(block->zero_fd, (off_t)off, (off_t)len,
				    POSIX_FADV_DONTNEED);
	return 0;
}

static int block_fallocate(struct block *block, int mode, uint64_t off,
			   uint64_t len)
{
	int r;

	do
		r = fallocate(block->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)off,
			      (off_t)len);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

/* The kernel zeroes the range, may unmap it, and never falls back to writing
 * (blkdev_fallocate() in block/fops.c). */
static int block_punch(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return block_fallocate(to_block(dev), FALLOC_FL_PUNCH_HOLE, off, len);
}

/* The kernel zeroes the range without unmapping it. Where the device has no
 * command for that, it would write zeros; so the limit is read first. */
static int block_zero_out(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	struct block *block = to_block(dev);
	char max[32];

	if (!read_text(block->zero_out_max_fd, max, sizeof(max)) ||
	    strtoull(max, NULL, 10) == 0)
		return -EOPNOTSUPP;
	return block_fallocate(block, FALLOC_FL_ZERO_RANGE, off, len);
}

static int block_discard(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	uint64_t range[2] = { off, len };

	return ioctl(to_block(dev)->fd, BLKDISCARD, range) < 0 ? -errno : 0;
}

static int block_unmap(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return to_block(dev)->thin ? block_discard(dev, off, len) : -EOPNOTSUPP;
}

/* Without the flags that wait, sync_file_range(2) does not take the error that
 * fsync(2) has to return (fs/sync.c). */
static void block_write_back(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	(void)sync_file_range(to_block(dev)->fd, (off_t)off, (off_t)len,
			      SYNC_FILE_RANGE_WRITE);
}

/*
 * A writeback error is pending in each descriptor that was open. After fsync
 * has returned it, zero_fd must not return it for zeros that are written later.
 * No zeros are being written while through_lock is held, so it has no other.
 */
static void forget_reported_error(struct block *block)
{
	pthread_mutex_lock(&block->dev.through_lock);
	(void)sync_file_range(block->zero_fd, 0, 1,
			      SYNC_FILE_RANGE_WAIT_BEFORE |
				      SYNC_FILE_RANGE_WRITE |
				      SYNC_FILE_RANGE_WAIT_AFTER);
	pthread_mutex_unlock(&block->dev.through_lock);
}

static int block_flush(struct bsp_device *dev)
{
	int r = fsync(to_block(dev)->fd) < 0 ? -errno : 0;

	if (r)
		forget_reported_error(to_block(dev));
	return r;
}

/* --- Opening --- */

static void open_counters(struct block *block, dev_t rdev)
{
	bool partition = false;
	int folder = bsp_sysfs_open_disk(rdev, &partition);

	if (folder < 0)
		return;
	block->stat_fd = openat(folder, "stat", O_RDONLY | O_CLOEXEC);
	block->iostats_fd =
		openat(folder, "queue/iostats", O_RDONLY | O_CLOEXEC);
	block->zero_out_max_fd = openat(folder, "queue/write_zeroes_max_bytes",
					O_RDONLY | O_CLOEXEC);
	if (partition)
		block->disk_fd = bsp_sysfs_open_node(folder);
	close(folder);
}

/*
 * Opens the device once more for direct I/O and, if it is writable, once more
 * for zeroing. The kernel returns a writeback error once to each open
 * descriptor: zeroing with a descriptor of its own does not consume the error
 * of data, which flush must return. Each block device takes O_DIRECT
 * (block/fops.c).
 */
static bool open_more_fds(struct block *block, int fd, GError **error)
{
	const char *path = block->dev.path;
	int flags = block->dev.info.writable ? O_RDWR : O_RDONLY;

	if (!bsp_device_open_again(path, fd, flags | O_DIRECT,
				   &block->direct_fd, error))
		return false;
	return !block->dev.info.writable ||
	       bsp_device_open_again(path, fd, flags, &block->zero_fd, error);
}

/*
 * Drops the cached pages of the node, before they are read or written in part.
 * They are out of date if another program wrote through the disk's node. Its
 * dirty pages there are written back first: the node does not show them, and
 * they would come over later writes.
 */
static void drop_node_pages(struct block *block)
{
	(void)write_back_all(block->disk_fd);
	(void)write_back_all(block->fd);
	(void)posix_fadvise(block->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void block_close(struct bsp_device *dev)
{
	struct block *block = to_block(dev);

	close_fd(block->direct_fd);
	close_fd(block->zero_fd);
	close_fd(block->disk_fd);
	close_fd(block->stat_fd);
	bsp_counters_free(block->written);
	bsp_medium_source_free(block->source);
	bsp_known_free(block->known);
	close_fd(block->iostats_fd);
	close_fd(block->zero_out_max_fd);
	close_fd(block->fd);
	g_free(block);
}

static const struct bsp_device_ops block_ops = {
	.read = block_read,
	.read_fd = block_read_fd,
	.size = block_size,
	.medium = block_medium,
	.known = block_known,
	.set_trust = block_set_trust,
	.layers = block_layers,
	.content = block_content,
	.drop_pages = block_drop_pages,
	.write = block_write,
	.read_through = block_read_through,
	.write_through = block_write_through,
	.wait_written = block_wait_written,
	.punch = block_punch,
	.zero_out = block_zero_out,
	.unmap = block_unmap,
	.discard = block_discard,
	.write_back = block_write_back,
	.flush = block_flush,
	.close = block_close,
};

struct bsp_device *bsp_device_block_new(const char *path, int fd,
					const struct bsp_device_info *info,
					GError **error)
{
	struct block *block;
	struct stat st;
	uint64_t size = 0;
	int sector;
	int r = fd_size(fd, &size);

	if (r || ioctl(fd, BLKSSZGET, &sector) < 0 || fstat(fd, &st) < 0) {
		bsp_error_set_errno(error, r ? -r : errno,
				    "ask %s for its size", path);
		return NULL;
	}
	if (size == 0) {
		bsp_error_set(
			error, BSP_ERROR_FAILED,
			"%s is empty (0 bytes); attach an image or insert a medium first",
			path);
		return NULL;
	}
	block = g_new0(struct block, 1);
	block->dev.ops = &block_ops;
	block->dev.path = g_strdup(path);
	block->dev.info = *info;
	pthread_mutex_init(&block->dev.through_lock, NULL);
	block->dev.info.size = size;
	block->dev.info.logical_block_size = (uint32_t)sector;
	block->fd = block->direct_fd = block->zero_fd = block->disk_fd = -1;
	block->stat_fd = block->iostats_fd = block->zero_out_max_fd = -1;
	if (!open_more_fds(block, fd, error)) {
		bsp_device_close(&block->dev);
		return NULL;
	}
	block->fd = fd;
	block->pages_end = size;
	open_counters(block, st.st_rdev);
	if (info->writable)
		drop_node_pages(block);
	block->written = bsp_counters_new(st.st_rdev);
	block->source = bsp_medium_source_new(fd, st.st_rdev);
	block->known = bsp_known_new(
		st.st_rdev,
		&(struct bsp_layer_use){ BSP_KNOWN_AUTO, info->writable });
	probe_counters(block);
	block->thin = info->writable && bsp_dm_is_thin(st.st_rdev);
	return &block->dev;
}
