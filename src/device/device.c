/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parts of a device that do not depend on its kind: closing, buffers, and
 * reads and writes of a whole range.
 *
 * The loops keep the difference between an error and the end of the device: a
 * read that returns 0 has reached the end, and a write that returns 0 without
 * an error counts as EIO, so that no caller loops for ever.
 */
#include "device/device.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

void bsp_device_begin_change(struct bsp_device *dev)
{
	if (dev->ops->begin_change)
		dev->ops->begin_change(dev);
}

void bsp_device_end_change(struct bsp_device *dev, bool changed)
{
	if (dev->ops->end_change)
		dev->ops->end_change(dev, changed);
}

int bsp_device_drop_pages(struct bsp_device *dev, uint64_t from)
{
	return dev->ops->drop_pages ? dev->ops->drop_pages(dev, from) : 0;
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

void bsp_device_count_failure(struct bsp_device *dev,
			      enum bsp_failing operation, uint64_t off,
			      ssize_t r)
{
	/* An interrupt ends a wait for a server. */
	if (r >= 0 || r == -EINTR)
		return;
	atomic_store(&dev->counts.failed[operation].off, off);
	atomic_store(&dev->counts.failed[operation].error, (int)r);
	/* The last one: a reader that sees the count finds the others set. */
	atomic_fetch_add(&dev->counts.failed[operation].n, 1);
}

void bsp_device_count_read(struct bsp_device *dev, uint64_t off, ssize_t n)
{
	if (n > 0)
		bsp_count(&dev->counts.read, (uint64_t)n);
	bsp_device_count_failure(dev, BSP_FAILING_READ, off, n);
}

void bsp_device_count_write(struct bsp_device *dev, uint64_t off, ssize_t n)
{
	if (n > 0)
		bsp_count(&dev->counts.written, (uint64_t)n);
	bsp_device_count_failure(dev, BSP_FAILING_WRITE, off, n);
}

ssize_t bsp_device_read_through(struct bsp_device *dev, uint64_t off, void *buf,
				size_t len)
{
	ssize_t n = dev->ops->read_through(dev, off, buf, len);

	if (n > 0)
		bsp_count(&dev->counts.read_through, (uint64_t)n);
	bsp_device_count_failure(dev, BSP_FAILING_READ, off, n);
	return n;
}

ssize_t bsp_device_read(struct bsp_device *dev, uint64_t off, void *buf,
			size_t len)
{
	ssize_t n = dev->ops->read(dev, off, buf, len);

	bsp_device_count_read(dev, off, n);
	return n;
}

ssize_t bsp_device_read_all(struct bsp_device *dev, uint64_t off, void *buf,
			    size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = bsp_device_read(dev, off + done, (char *)buf + done,
					    len - done);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t bsp_device_write_all(struct bsp_device *dev, uint64_t off,
			     const void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = dev->ops->write(
			dev, off + done, (const char *)buf + done, len - done);

		bsp_device_count_write(dev, off + done, n);
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
