/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A trace of a device's operations (base/trace.h).
 *
 * With a trace, an opened device gets a table of operations of its own. Each
 * operation in it calls the one of the device's kind and writes a line with the
 * result. An operation that the kind lacks is missing from this table, too, so
 * callers behave the same. Without a trace the device keeps the table of its
 * kind, so that the trace costs nothing.
 *
 * Not traced: sizes, which are asked all the time and of the kernel alone, and
 * the medium. Reads that a queue makes with a descriptor are traced by the
 * queue.
 */
#include "device/device.h"

#include <stdlib.h>

#include "base/trace.h"

struct traced {
	struct bsp_device_ops ops; /* first: a device points to it */
	const struct bsp_device_ops *kind;
};

static const struct bsp_device_ops *kind_of(const struct bsp_device *dev)
{
	return ((const struct traced *)dev->ops)->kind;
}

static int64_t end(const struct bsp_device *dev, uint64_t started,
		   const char *operation, uint64_t off, uint64_t len,
		   int64_t result)
{
	bsp_trace_end(started, operation, dev->path, off, len, result);
	return result;
}

/* --- Operations of one shape --- */

static ssize_t read_op(struct bsp_device *dev, const char *operation,
		       ssize_t (*read)(struct bsp_device *dev, uint64_t off,
				       void *buf, size_t len),
		       uint64_t off, void *buf, size_t len)
{
	uint64_t started = bsp_trace_start();

	return end(dev, started, operation, off, len, read(dev, off, buf, len));
}

static ssize_t write_op(struct bsp_device *dev, const char *operation,
			ssize_t (*write)(struct bsp_device *dev, uint64_t off,
					 const void *buf, size_t len),
			uint64_t off, const void *buf, size_t len)
{
	uint64_t started = bsp_trace_start();

	return end(dev, started, operation, off, len,
		   write(dev, off, buf, len));
}

static int range_op(struct bsp_device *dev, const char *operation,
		    int (*run)(struct bsp_device *dev, uint64_t off,
			       uint64_t len),
		    uint64_t off, uint64_t len)
{
	uint64_t started = bsp_trace_start();

	return (int)end(dev, started, operation, off, len, run(dev, off, len));
}

/* --- The operations --- */

static ssize_t traced_read(struct bsp_device *dev, uint64_t off, void *buf,
			   size_t len)
{
	return read_op(dev, "device.read", kind_of(dev)->read, off, buf, len);
}

static ssize_t traced_read_through(struct bsp_device *dev, uint64_t off,
				   void *buf, size_t len)
{
	return read_op(dev, "device.read-through", kind_of(dev)->read_through,
		       off, buf, len);
}

static ssize_t traced_write(struct bsp_device *dev, uint64_t off,
			    const void *buf, size_t len)
{
	return write_op(dev, "device.write", kind_of(dev)->write, off, buf,
			len);
}

static ssize_t traced_write_through(struct bsp_device *dev, uint64_t off,
				    const void *buf, size_t len)
{
	return write_op(dev, "device.write-through",
			kind_of(dev)->write_through, off, buf, len);
}

static int traced_wait_written(struct bsp_device *dev, uint64_t off,
			       uint64_t len)
{
	return range_op(dev, "device.wait-written", kind_of(dev)->wait_written,
			off, len);
}

static int traced_punch(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return range_op(dev, "device.punch", kind_of(dev)->punch, off, len);
}

static int traced_zero_out(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return range_op(dev, "device.zero-out", kind_of(dev)->zero_out, off,
			len);
}

static int traced_unmap(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return range_op(dev, "device.unmap", kind_of(dev)->unmap, off, len);
}

static int traced_discard(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return range_op(dev, "device.discard", kind_of(dev)->discard, off, len);
}

static void traced_write_back(struct bsp_device *dev, uint64_t off,
			      uint64_t len)
{
	uint64_t started = bsp_trace_start();

	kind_of(dev)->write_back(dev, off, len);
	end(dev, started, "device.write-back", off, len, 0);
}

static int traced_flush(struct bsp_device *dev)
{
	uint64_t started = bsp_trace_start();

	return (int)end(dev, started, "device.flush", 0, 0,
			kind_of(dev)->flush(dev));
}

static int traced_resize(struct bsp_device *dev, uint64_t size)
{
	uint64_t started = bsp_trace_start();

	return (int)end(dev, started, "device.resize", size, 0,
			kind_of(dev)->resize(dev, size));
}

static void traced_content(struct bsp_device *dev,
			   struct bsp_content *ret_content)
{
	uint64_t started = bsp_trace_start();

	kind_of(dev)->content(dev, ret_content);
	end(dev, started, "device.content", 0, 0, 0);
}

static int traced_drop_pages(struct bsp_device *dev, uint64_t from)
{
	uint64_t started = bsp_trace_start();

	return (int)end(dev, started, "device.drop-pages", from, 0,
			kind_of(dev)->drop_pages(dev, from));
}

static struct bsp_known_answer traced_known(struct bsp_device *dev,
					    uint64_t generation, bool may_build,
					    uint64_t off, uint64_t limit)
{
	uint64_t started = bsp_trace_start();
	struct bsp_known_answer answer =
		kind_of(dev)->known(dev, generation, may_build, off, limit);

	end(dev, started, answer.zeros ? "device.known-zeros" : "device.known",
	    off, answer.end - off, 0);
	return answer;
}

static void traced_set_trust(struct bsp_device *dev, enum bsp_known_trust trust)
{
	kind_of(dev)->set_trust(dev, trust);
}

static void traced_close(struct bsp_device *dev)
{
	struct traced *traced = (struct traced *)dev->ops;

	traced->kind->close(dev);
	free(traced);
}

/* --- The table --- */

static const struct bsp_device_ops all = {
	.read = traced_read,
	.content = traced_content,
	.drop_pages = traced_drop_pages,
	.known = traced_known,
	.set_trust = traced_set_trust,
	.write = traced_write,
	.read_through = traced_read_through,
	.write_through = traced_write_through,
	.wait_written = traced_wait_written,
	.punch = traced_punch,
	.zero_out = traced_zero_out,
	.unmap = traced_unmap,
	.discard = traced_discard,
	.write_back = traced_write_back,
	.flush = traced_flush,
	.resize = traced_resize,
	.close = traced_close,
};

/* Takes an operation into the table unless the kind lacks it. */
#define TAKE(ops, kind, op) ((ops)->op = (kind)->op ? all.op : NULL)

void bsp_device_trace(struct bsp_device *dev)
{
	const struct bsp_device_ops *kind = dev->ops;
	struct traced *traced;
	struct bsp_device_ops *ops;

	if (!bsp_trace_enabled)
		return;
	traced = calloc(1, sizeof(*traced));
	if (!traced)
		return;
	traced->kind = kind;
	ops = &traced->ops;
	*ops = *kind; /* those that are not traced */
	TAKE(ops, kind, read);
	TAKE(ops, kind, content);
	TAKE(ops, kind, drop_pages);
	TAKE(ops, kind, known);
	TAKE(ops, kind, set_trust);
	TAKE(ops, kind, write);
	TAKE(ops, kind, read_through);
	TAKE(ops, kind, write_through);
	TAKE(ops, kind, wait_written);
	TAKE(ops, kind, punch);
	TAKE(ops, kind, zero_out);
	TAKE(ops, kind, unmap);
	TAKE(ops, kind, discard);
	TAKE(ops, kind, write_back);
	TAKE(ops, kind, flush);
	TAKE(ops, kind, resize);
	TAKE(ops, kind, close);
	dev->ops = ops;
}
