/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asking lseek(2) for holes, and the layer of a block device whose driver
 * answers it.
 *
 * The kernels that exist call a block device data from its beginning to its
 * end. Patches of 2024 let the drivers of loop devices and of the device mapper
 * (linear, thin) report holes; no release has them. So a device gets this layer
 * only if the kernel reports a hole somewhere: then SEEK_HOLE from 0 ends
 * before the device does. That is one call. A device without layers is probed
 * once a generation.
 *
 * The layer is used only if all layers are asked (BSP_KNOWN_ALL), and only for
 * a device of which no other layer knows: no such kernel could be tested with
 * real devices, and the driver of a loop device would pass on the answer of any
 * file system, also of one that is not trusted. Nor is it used for a device
 * that is written: the rest of a new block may hold old bytes then, as with
 * some thin pools, and the driver does not say so.
 *
 * The layer sees no dirty pages of the node; sampling the device's content
 * writes them back. It has no stamp. So what it knows is right only as long as
 * the counters of the device do not move, as is the content that was read. A
 * device without counters is no exception: each of its samples differs from the
 * one before, so that each check forgets all that was learned.
 *
 * A partition is asked by the node of its disk: it has the same holes, and the
 * patches left open from where a partition counts. Another medium, or another
 * size, counts as another layer.
 */
#include "device/known-lseek.h"

#include <errno.h>
#include <glib.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/range.h"
#include "device/sysfs.h"

struct bsp_known_answer bsp_known_lseek(int fd, uint64_t size, uint64_t start,
					uint64_t off, uint64_t limit)
{
	struct bsp_known_answer answer = { .end = limit };
	off_t from = (off_t)(start + off), data, hole;

	if (size <= start + off)
		return answer;
	size -= start;
	data = lseek(fd, from, SEEK_DATA);
	if (data < 0) {
		/* ENXIO: no data follows; other errors: nothing is known. */
		answer.zeros = errno == ENXIO;
		answer.end = answer.zeros ? bsp_min(limit, size) : limit;
		return answer;
	}
	answer.zeros = data > from;
	if (answer.zeros) {
		answer.end = bsp_min((uint64_t)data - start, size);
	} else {
		hole = lseek(fd, from, SEEK_HOLE);
		if (hole > from)
			answer.end = (uint64_t)hole - start;
	}
	answer.end = bsp_min(answer.end, limit);
	return answer;
}

/* --- The layer --- */

struct lseek_layer {
	struct bsp_layer layer;
	int fd; /* the device's node */
	/* When this was made; sequence is 0 if the kernel has none. */
	uint64_t size, sequence;
};

static struct lseek_layer *to_lseek(struct bsp_layer *layer)
{
	return (struct lseek_layer *)layer;
}

static uint64_t node_size(int fd)
{
	uint64_t size = 0;

	return ioctl(fd, BLKGETSIZE64, &size) < 0 ? 0 : size;
}

static uint64_t node_sequence(int fd)
{
	uint64_t sequence = 0;

	return ioctl(fd, BLKGETDISKSEQ, &sequence) < 0 ? 0 : sequence;
}

static struct bsp_known_answer lseek_ask(struct bsp_layer *layer, uint64_t off,
					 uint64_t limit)
{
	int fd = to_lseek(layer)->fd;
	struct bsp_known_answer answer =
		bsp_known_lseek(fd, node_size(fd), 0, off, limit);

	answer.layer = layer->path;
	return answer;
}

static bool lseek_is_same(struct bsp_layer *layer, enum bsp_depth depth)
{
	const struct lseek_layer *l = to_lseek(layer);

	return node_size(l->fd) == l->size &&
	       node_sequence(l->fd) == l->sequence;
}

static void lseek_free(struct bsp_layer *layer)
{
	close(to_lseek(layer)->fd);
	g_free(layer->name);
	g_free(to_lseek(layer));
}

static const struct bsp_layer_ops lseek_ops = {
	.ask = lseek_ask,
	.is_same = lseek_is_same,
	.free = lseek_free,
	.answers = true,
};

static bool has_hole(int fd, uint64_t size)
{
	off_t hole = lseek(fd, 0, SEEK_HOLE);

	return hole >= 0 && (uint64_t)hole < size;
}

struct bsp_layer *bsp_layer_lseek_new(dev_t rdev)
{
	int folder = bsp_sysfs_open(rdev);
	int fd = folder < 0 ? -1 : bsp_sysfs_open_node(folder);
	uint64_t size = fd < 0 ? 0 : node_size(fd);
	g_autofree char *name = NULL;
	struct lseek_layer *l;

	if (folder >= 0)
		close(folder);
	if (fd < 0 || !has_hole(fd, size)) {
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	name = bsp_layer_device_name(rdev);
	l = g_new0(struct lseek_layer, 1);
	l->layer.ops = &lseek_ops;
	l->layer.name = g_strdup_printf("%s (SEEK_HOLE)", name);
	l->fd = fd;
	l->size = size;
	l->sequence = node_sequence(fd);
	return &l->layer;
}
