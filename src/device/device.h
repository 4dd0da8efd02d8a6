/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A device: a block device or an image file, behind one table of operations.
 * The kinds (block.c, file.c) fill the table; the files above this folder call
 * nothing else of a device. Only this folder makes system calls on devices.
 *
 * Operations return a count or 0, or -errno. Opening (open.h) returns a GError,
 * for it talks to a person.
 *
 * Threads: all operations may run at the same time, except where one says
 * otherwise, and except close.
 */
#ifndef BSP_DEVICE_DEVICE_H
#define BSP_DEVICE_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "base/changes.h"
#include "base/count.h"
#include "blksparse-mount.h"
#include "blksparse.h"
#include "device/identity.h"
#include "device/known.h"

enum {
	/* Buffers with this alignment are read and written without a copy. */
	BSP_BUFFER_ALIGN = 4096,
};

struct bsp_read_queue;

struct bsp_device_ops {
	/* --- Reading --- */

	/*
	 * Reads like pread(2). Returns a count, which may be short, 0 at the
	 * end, or -errno. Takes any offset, length and buffer; aligned ones are
	 * faster.
	 */
	ssize_t (*read)(struct bsp_device *dev, uint64_t off, void *buf,
			size_t len);

	/*
	 * Returns a descriptor that reads the same bytes when offset, length
	 * and buffer are aligned to blocks, or -1. It may refuse a read with
	 * EINVAL; read() then takes it. NULL if this kind has no descriptor.
	 */
	int (*read_fd)(struct bsp_device *dev);

	/* Makes a read queue of this kind's own (read-queue.h). NULL: the
	 * queue reads with read_fd() or read(). */
	struct bsp_read_queue *(*read_queue)(struct bsp_device *dev,
					     unsigned depth);

	/* Gets the size in bytes. Returns 0, or -errno if the device is
	 * gone. */
	int (*size)(struct bsp_device *dev, uint64_t *ret_size);

	/* Gets the size that the kernel has cached, and so never waits: the
	 * server of an image may not answer. NULL if size() never waits. */
	int (*cached_size)(struct bsp_device *dev, uint64_t *ret_size);

	/* --- Holes that are known without reading (known.h) --- */

	/*
	 * Asks the layers below whether [off, limit) reads as zeros. The caller
	 * learns the answer under that generation of the map. may_build is that
	 * of bsp_known_ask(). The answer's end is off if no layer was asked.
	 * NULL if this kind has no layers.
	 */
	struct bsp_known_answer (*known)(struct bsp_device *dev,
					 uint64_t generation, bool may_build,
					 uint64_t off, uint64_t limit);

	/* Sets the layers whose answers are used; at first BSP_KNOWN_AUTO. NULL
	 * as known. */
	void (*set_trust)(struct bsp_device *dev, enum bsp_known_trust trust);

	/* Lists the layers below, as bsp_known_list() does. NULL as known. */
	void (*layers)(struct bsp_device *dev, bsp_layer_fn fn, void *data);

	/* Adds what has changed, as the server tells. The device was opened
	 * with the name of these changes. NULL if this kind has no server. */
	bool (*changes)(struct bsp_device *dev, struct bsp_changes *changes,
			GError **error);

	/* --- Changes from outside (identity.h) --- */

	/*
	 * Samples the medium, to the given depth. Fields that the kernel cannot
	 * tell are 0. NULL if this kind never gets another medium.
	 */
	void (*medium)(struct bsp_device *dev, enum bsp_depth depth,
		       struct bsp_medium *ret_medium);

	/*
	 * Writes back the pages that programs of this host have written, so
	 * that the kernel counts these writes, then samples the content. One
	 * call at a time.
	 */
	void (*content)(struct bsp_device *dev,
			struct bsp_content *ret_content);

	/*
	 * Drops the pages that the kernel has cached of the device, if reads
	 * may use them: they are out of date. Dirty pages are written first.
	 * Returns 0, or -EBUSY if a page at or past from is still cached: then
	 * bytes past from cannot be relied on. A page below from may stay
	 * cached if it is in use at the moment. No write to the device may be
	 * under way; one call at a time. NULL if the cached pages of this kind
	 * are always right.
	 */
	int (*drop_pages)(struct bsp_device *dev, uint64_t from);

	/* Takes the content to be written by no other program. NULL if this
	 * kind can see other writers. */
	void (*set_unshared)(struct bsp_device *dev);

	/*
	 * For a kind that is on a network; otherwise NULL. After a connection
	 * was lost, all reads and writes fail, and the medium differs.
	 * is_connected() does not wait. reconnect() waits some seconds at most.
	 * Its caller has forgotten all that it knew of the content before a
	 * sample of the medium with that connection; it does nothing if another
	 * connection was lost since. cancel() ends all requests, of now and
	 * later, with an error. has_lost(): writes that were not flushed were
	 * lost with a connection, and all fails from then on; it counts as
	 * connected.
	 */
	bool (*is_connected)(struct bsp_device *dev);
	bool (*has_lost)(struct bsp_device *dev);
	void (*reconnect)(struct bsp_device *dev, uint64_t connection);
	void (*cancel)(struct bsp_device *dev);

	/* --- Writing; these, but for close, are for writable devices only ---
	 */

	/*
	 * Writes like pwrite(2). Returns a count, which may be short, or
	 * -errno. Takes any offset and length.
	 */
	ssize_t (*write)(struct bsp_device *dev, uint64_t off, const void *buf,
			 size_t len);

	/*
	 * Reading and writing for zeroing. read_through() returns the bytes
	 * that the device itself holds, as far as this host can tell: a layer
	 * below may have a cache of its own. write_through() writes with a
	 * descriptor of its own, and wait_written() waits for the writeback of
	 * a range that was written so, and returns its error. Data may be
	 * written back later, and flush() returns the error; but zeros turn a
	 * marker into a hole, and no later call would write them again.
	 *
	 * wait_written is NULL if write_through() itself waits for the device.
	 * Callers use bsp_device_write_through() instead of these two: the
	 * kernel tells an error only once, so through_lock has to be held from
	 * the first write_through() to wait_written().
	 */
	ssize_t (*read_through)(struct bsp_device *dev, uint64_t off, void *buf,
				size_t len);
	ssize_t (*write_through)(struct bsp_device *dev, uint64_t off,
				 const void *buf, size_t len);
	int (*wait_written)(struct bsp_device *dev, uint64_t off, uint64_t len);

	/*
	 * Commands that make [off, off + len) zero without sending zeros. Both
	 * are multiples of the logical block. bsp_device_zero() chooses among
	 * them. They return 0 or -errno; -EOPNOTSUPP if the device does not
	 * have the command. Each may be NULL.
	 *
	 * punch() unmaps the blocks, and the device promises zeros. zero_out()
	 * promises zeros and keeps the blocks mapped. unmap() unmaps them and
	 * promises nothing: the caller has to read the range afterwards. A kind
	 * offers it only if bytes of unmapped blocks do not change by
	 * themselves.
	 */
	int (*punch)(struct bsp_device *dev, uint64_t off, uint64_t len);
	int (*zero_out)(struct bsp_device *dev, uint64_t off, uint64_t len);
	int (*unmap)(struct bsp_device *dev, uint64_t off, uint64_t len);

	/* Unmaps [off, off + len). The range may hold any bytes afterwards. */
	int (*discard)(struct bsp_device *dev, uint64_t off, uint64_t len);

	/* Starts the writeback of the range's dirty pages. Does not wait, and
	 * takes no error from flush(). NULL if this kind has no such call. */
	void (*write_back)(struct bsp_device *dev, uint64_t off, uint64_t len);

	/*
	 * Between these two calls, the caller changes the content, or leaves
	 * out a write because the device holds its bytes already: these may be
	 * of an earlier write, by another program, that was not flushed.
	 * changed: it did one of the two. NULL if the device loses no writes
	 * but in a flush that fails.
	 */
	void (*begin_change)(struct bsp_device *dev);
	void (*end_change)(struct bsp_device *dev, bool changed);

	/* Waits for writes that their callers were interrupted in. Returns 0 or
	 * -EINTR. NULL if a write of this kind is over when it returns. */
	int (*settle)(struct bsp_device *dev);

	/* Makes all writes durable. */
	int (*flush)(struct bsp_device *dev);

	/* Sets the size. NULL if the size of this kind is fixed. */
	int (*resize)(struct bsp_device *dev, uint64_t size);

	/* --- The end --- */

	/* Frees the structure and all that the kind has added to it. */
	void (*close)(struct bsp_device *dev);
};

/*
 * Counts since the device was opened, for people. All are atomic, and updated
 * with bsp_count().
 */
struct bsp_device_counts {
	/* Bytes that were read, but for those of read_through(). */
	_Atomic uint64_t read;
	_Atomic uint64_t read_through; /* bytes */
	_Atomic uint64_t written;      /* bytes, with the zeros among them */
	_Atomic uint64_t zeroed;       /* bytes that a command zeroed */
	struct {
		_Atomic uint64_t n, off; /* off: of the last one */
		atomic_int error;
	} failed[BSP_FAILINGS];
};

/*
 * The first member of the structure of each kind. Fixed after opening, but for
 * the last four.
 */
struct bsp_device {
	const struct bsp_device_ops *ops;
	char *path;
	struct bsp_device_info info;
	struct stat stat; /* of the file that was opened, as of opening */
	/* Held from the first write_through() to wait_written(). */
	pthread_mutex_t through_lock;
	struct bsp_device_counts counts; /* atomic */
	/* Atomic: the ways of zeroing that the device refused (zero-range.c).
	 */
	atomic_uint zero_ways;
	/* Atomic: whether aligned writes bypass the page cache, if this kind
	 * can do that. Set by a copy. */
	atomic_bool past_cache;
	/* Atomic: whether flush() is to make the name of the file durable, too.
	 */
	atomic_bool is_new;
};

/* Traces the operations of a device that was just opened, if a trace is asked
 * for (base/trace.h). */
void bsp_device_trace(struct bsp_device *dev);

/* Call begin_change(), end_change() if the kind has them. */
void bsp_device_begin_change(struct bsp_device *dev);
void bsp_device_end_change(struct bsp_device *dev, bool changed);

/* Calls drop_pages() if the kind has it; otherwise returns 0. */
int bsp_device_drop_pages(struct bsp_device *dev, uint64_t from);

/*
 * Returns a buffer for direct I/O, to be freed by free(); NULL if there is no
 * memory. A large buffer gets large pages where the kernel has them: it pins
 * each page of a direct read, and with small pages that took more time than all
 * the rest of a scan.
 */
void *bsp_buffer_new(size_t size);

/* Counts a failure at off: r is -errno. An interrupt (-EINTR) is none, nor is a
 * result that is no error. */
void bsp_device_count_failure(struct bsp_device *dev,
			      enum bsp_failing operation, uint64_t off,
			      ssize_t r);

/* Counts the result of a read of the content at off. */
void bsp_device_count_read(struct bsp_device *dev, uint64_t off, ssize_t n);

/* Counts the result of a write at off: a number of bytes or -errno. */
void bsp_device_count_write(struct bsp_device *dev, uint64_t off, ssize_t n);

/* Calls read() and counts the bytes. */
ssize_t bsp_device_read(struct bsp_device *dev, uint64_t off, void *buf,
			size_t len);

/* Calls read_through() and counts the bytes. */
ssize_t bsp_device_read_through(struct bsp_device *dev, uint64_t off, void *buf,
				size_t len);

/* Reads all of [off, off + len). Returns a count, short only at the end of the
 * device, or -errno. */
ssize_t bsp_device_read_all(struct bsp_device *dev, uint64_t off, void *buf,
			    size_t len);

/*
 * Writes all of [off, off + len). Returns a count, short only if a later part
 * failed, or -errno.
 */
ssize_t bsp_device_write_all(struct bsp_device *dev, uint64_t off,
			     const void *buf, size_t len);

#endif
