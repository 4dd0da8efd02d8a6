/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A loop device knows the holes of the file below it.
 *
 * Only the driver knows for certain which file that is: the name in sysfs may
 * end in " (deleted)", or lead to another file in this mount namespace. So the
 * file is first opened with O_PATH, which asks no driver and no file system.
 * It is used only if it is a regular file with the device and inode numbers
 * that the driver reports.
 *
 * LOOP_SET_STATUS64 can move the offset of a device that is in use, and the
 * kernel sends no event. So each sample of the identity asks the driver again.
 */
#include "device/known.h"

#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/loop.h"
#include "device/sysfs.h"

struct loop_layer {
	struct bsp_layer layer;
	int fd;				 /* the device's node */
	struct bsp_loop_backing backing; /* when this was built */
	struct bsp_layer *file;
};

static struct loop_layer *to_loop(struct bsp_layer *layer)
{
	return (struct loop_layer *)layer;
}

/* Opens the file below a loop device for reading. Returns -1 on failure. */
static int open_file(const char *path, const struct bsp_loop_backing *backing)
{
	int at = open(path, O_PATH | O_CLOEXEC), fd = -1;
	char again[64];
	struct stat st;

	if (at < 0)
		return -1;
	if (fstat(at, &st) == 0 && S_ISREG(st.st_mode) &&
	    st.st_dev == backing->dev && st.st_ino == backing->ino) {
		(void)snprintf(again, sizeof(again), "/proc/self/fd/%d", at);
		fd = open(again, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	}
	close(at);
	return fd;
}

static struct bsp_known_answer loop_ask(struct bsp_layer *layer, uint64_t off,
					uint64_t limit)
{
	struct bsp_layer *file = to_loop(layer)->file;

	return file->ops->ask(file, off, limit);
}

static bool loop_is_same(struct bsp_layer *layer, enum bsp_depth depth)
{
	const struct loop_layer *loop = to_loop(layer);
	struct bsp_loop_backing now;

	return bsp_loop_ask_driver(loop->fd, &now) == 0 &&
	       now.dev == loop->backing.dev && now.ino == loop->backing.ino &&
	       now.offset == loop->backing.offset &&
	       now.size_limit == loop->backing.size_limit;
}

static uint64_t loop_content(struct bsp_layer *layer, uint64_t hash)
{
	struct bsp_layer *file = to_loop(layer)->file;

	return file->ops->content(file, hash);
}

static bool loop_settled(struct bsp_layer *layer)
{
	struct bsp_layer *file = to_loop(layer)->file;

	return file->ops->settled(file);
}

static bool loop_below(struct bsp_layer *layer, unsigned i,
		       struct bsp_layer_below *ret_below)
{
	*ret_below = (struct bsp_layer_below){ to_loop(layer)->file };
	return i == 0;
}

static void loop_free(struct bsp_layer *layer)
{
	bsp_layer_free(to_loop(layer)->file);
	close(to_loop(layer)->fd);
	g_free(layer->name);
	g_free(to_loop(layer));
}

static const struct bsp_layer_ops loop_ops = {
	.ask = loop_ask,
	.is_same = loop_is_same,
	.content = loop_content,
	.settled = loop_settled,
	.below = loop_below,
	.free = loop_free,
};

/* Makes the layer of an open loop device. On success fd belongs to it. */
static struct bsp_layer *new_layer(int fd, const struct bsp_loop *description,
				   enum bsp_known_trust trust)
{
	struct bsp_loop_backing backing;
	struct bsp_layer *file = NULL;
	struct loop_layer *loop;
	int file_fd;

	if (bsp_loop_ask_driver(fd, &backing) < 0)
		return NULL;
	file_fd = open_file(description->file, &backing);
	if (file_fd >= 0)
		file = bsp_layer_file_new(description->file, file_fd,
					  backing.offset, trust);
	if (!file)
		return NULL;
	loop = g_new0(struct loop_layer, 1);
	loop->layer.ops = &loop_ops;
	loop->layer.name = bsp_layer_device_name(description->rdev);
	loop->fd = fd;
	loop->backing = backing;
	loop->file = file;
	return &loop->layer;
}

struct bsp_layer *bsp_layer_loop_new(dev_t rdev, enum bsp_known_trust trust)
{
	int folder = bsp_sysfs_open(rdev), fd = -1;
	struct bsp_layer *layer = NULL;
	struct bsp_loop description;

	if (folder < 0)
		return NULL;
	if (bsp_loop_describe(folder, &description))
		fd = bsp_sysfs_open_path(description.node, rdev);
	close(folder);
	if (fd >= 0)
		layer = new_layer(fd, &description, trust);
	if (fd >= 0 && !layer)
		close(fd);
	return layer;
}
