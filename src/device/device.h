/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Devices: what holds the bytes, behind one small table of operations. Only
 * the files device*.c make system calls on them.
 *
 * Threads: all operations may run side by side, but for close.
 */
#ifndef BSP_DEVICE_DEVICE_H
#define BSP_DEVICE_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "blksparse.h"
#include "device/identity.h"

enum {
	/* What buffers should be aligned to, so that no copy is needed. */
	BSP_BUFFER_ALIGN = 4096,
};

struct bsp_device_ops {
	/*
	 * Reads like pread(2): a count, which may be short, 0 at the end, or
	 * -errno. Any offset, length and buffer; the aligned are faster.
	 */
	ssize_t (*read)(struct bsp_device *dev, uint64_t off, void *buf,
			size_t len);

	/*
	 * A descriptor that reads the same when offset, length and buffer are
	 * aligned to blocks, or -1; what it refuses with EINVAL, read may
	 * still read. NULL if this kind has none.
	 */
	int (*read_fd)(struct bsp_device *dev);

	/* The size now, bytes. Returns 0, or -errno if the device is gone. */
	int (*size)(struct bsp_device *dev, uint64_t *ret_size);

	/* The same, as far as the kernel knows it, so that it never waits: an
	 * image's server may not answer. NULL if size() never waits. */
	int (*cached_size)(struct bsp_device *dev, uint64_t *ret_size);

	/*
	 * Samples the medium, as deep as told; fields that cannot be had are 0.
	 * NULL if this kind never has another one.
	 */
	void (*medium)(struct bsp_device *dev, enum bsp_depth depth,
		       struct bsp_medium *ret_medium);

	/*
	 * Pushes out what this host has written to the device but still holds
	 * in memory, then samples the content. One call at a time.
	 */
	void (*content)(struct bsp_device *dev,
			struct bsp_content *ret_content);

	/*
	 * Drops the pages that the kernel has of the device, if reads may find
	 * them: they are of before. Dirty ones are written first. Returns 0, or
	 * -EBUSY if a page at or past from is still there: then nothing past it
	 * can be relied on. Below from a page may stay that is in use just now.
	 * No write to the device may be under way. NULL if this kind's pages
	 * are always right.
	 */
	int (*drop_pages)(struct bsp_device *dev, uint64_t from);

	/*
	 * Up to which offset, from off on, the device is known to hold zeros
	 * without reading them; off itself if nothing is known. NULL if this
	 * kind of device never knows.
	 */
	uint64_t (*known_zeros)(struct bsp_device *dev, uint64_t off);

	/* The rest is for writable devices only. */

	/*
	 * Writes like pwrite(2): a count, which may be short, or -errno. Any
	 * offset and length.
	 */
	ssize_t (*write)(struct bsp_device *dev, uint64_t off, const void *buf,
			 size_t len);

	/*
	 * The same two for zeroing: they read what the device itself holds, as
	 * far as this host can tell (a layer below may have a cache of its
	 * own), and when wait_written returns for a range that was written, it
	 * is known whether that failed. Data may be written back later, and a
	 * failure be told by flush alone; but zeros make a marker a hole, and
	 * after that nobody would try again. wait_written is NULL where
	 * write_through itself does not return before. Call
	 * bsp_device_write_through(): a failure is told only once, and
	 * through_lock has to be held from the first write to wait_written.
	 */
	ssize_t (*read_through)(struct bsp_device *dev, uint64_t off, void *buf,
				size_t len);
	ssize_t (*write_through)(struct bsp_device *dev, uint64_t off,
				 const void *buf, size_t len);
	int (*wait_written)(struct bsp_device *dev, uint64_t off, uint64_t len);

	/*
	 * Ways to make [off, off + len), in multiples of the logical block,
	 * zero without sending zeros; bsp_device_zero() chooses among them.
	 * 0, or -errno; -EOPNOTSUPP if this device has not that way. Either
	 * may be NULL.
	 *
	 * punch gives the space back, and the device promises zeros. zero_out
	 * keeps it. unmap gives it back and promises nothing: whoever uses it
	 * looks afterwards, which makes sense only where what was looked at
	 * cannot change by itself.
	 */
	int (*punch)(struct bsp_device *dev, uint64_t off, uint64_t len);
	int (*zero_out)(struct bsp_device *dev, uint64_t off, uint64_t len);
	int (*unmap)(struct bsp_device *dev, uint64_t off, uint64_t len);

	/* Gives [off, off + len) back; what it holds then is open. */
	int (*discard)(struct bsp_device *dev, uint64_t off, uint64_t len);

	/* Begins to write back what is only in the kernel's cache of the range;
	 * waits for nothing, and leaves it to flush to tell what failed. NULL
	 * if this kind has none. */
	void (*write_back)(struct bsp_device *dev, uint64_t off, uint64_t len);

	/* Makes what was written durable. */
	int (*flush)(struct bsp_device *dev);

	/* Makes it size bytes long; NULL if this kind has the size it has. */
	int (*resize)(struct bsp_device *dev, uint64_t size);

	/* Frees what is the kind's own, and the structure. */
	void (*close)(struct bsp_device *dev);
};

/* Each kind has this at the head of its own structure. */
struct bsp_device {
	const struct bsp_device_ops *ops;
	char *path;
	struct bsp_device_info info;  /* fixed after opening */
	struct stat stat;	      /* which file it is; as of opening */
	pthread_mutex_t through_lock; /* for write_through */
	atomic_uint zero_ways;	/* to zero: what is known of them (zeroing.c) */
	atomic_bool past_cache; /* write, where it is aligned, goes past the
				 * kernel's page cache, if this kind can */
};

/* Has the operations of a device that was just opened traced (base/trace.h),
 * where a trace is asked for. */
void bsp_device_trace(struct bsp_device *dev);

/* The drop_pages of a device, or 0. */
int bsp_device_drop_pages(struct bsp_device *dev, uint64_t from);

/*
 * A buffer for direct I/O, to be freed by free(); NULL if there is no memory. A
 * large one takes large pages where it can: the kernel pins each page of a
 * direct read, which took more time than all else that a scan does.
 */
void *bsp_buffer_new(size_t size);

/* Reads all of [off, off + len); short, as a count, only at the end. */
ssize_t bsp_device_read_all(struct bsp_device *dev, uint64_t off, void *buf,
			    size_t len);

/*
 * Writes [off, off + len). Returns the count, which is short if an error
 * struck after some of it, or -errno.
 */
ssize_t bsp_device_write_all(struct bsp_device *dev, uint64_t off,
			     const void *buf, size_t len);

#endif
