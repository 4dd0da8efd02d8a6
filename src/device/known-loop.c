/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A loop device knows the holes of the file below it.
 *
 * Only the driver knows for certain which file that is. The name in sysfs may
 * end in " (deleted)", and it may lead to another file: in this mount
 * namespace, or because a file system is mounted over it by now. That one may
 * be the mount that asks here, or one that hangs. So the search must not ask
 * any file system. The kernel keeps the names of a file that is in use in its
 * cache, together with all folders above, and RESOLVE_CACHED finds those alone.
 * The file is used only if it has the device and inode numbers that the driver
 * reports; AT_STATX_DONT_SYNC takes them from the cache, too.
 *
 * The cache may lack the access list of a folder that belongs to another user,
 * the root may be a file system that checks its cache (overlayfs over a network
 * file system), and kernels before Linux 5.12 cannot search the cache alone.
 * Then an ordinary search follows, if no mount on the path but the root is of a
 * kind that may have to wait for a server.
 *
 * The layer keeps the file open. A file that is moved, deleted or hidden later
 * is still the one below the device, as long as the driver reports its numbers.
 *
 * LOOP_SET_STATUS64 can move the offset of a device that is in use, and the
 * kernel sends no event. So each sample of the identity asks the driver again.
 *
 * Nothing is known of a loop device over a block device: the driver goes
 * through the page cache of that device's node, and a layer below would not see
 * its dirty pages.
 */
#include "device/known.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "blksparse-mountinfo.h"
#include "device/loop.h"
#include "device/open.h"
#include "device/sysfs.h"

enum {
	TRIES = 8, /* searches while other programs change the cache */
};

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

/* --- The file --- */

/* Opens a path with O_PATH. The kernel's path of a file has no symbolic links.
 * Returns -1, and errno, on failure. */
static int open_path(const char *path, uint64_t resolve)
{
	const struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_NO_SYMLINKS | resolve,
	};

	return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
}

static bool is_without_server(const char *type)
{
	static const char *const types[] = {
		"ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs", "overlay", NULL
	};

	return g_strv_contains(types, type);
}

/* Whether a search for the path asks only file systems without a server. The
 * root is not looked at: without it no program runs. */
static bool is_path_local(const char *path)
{
	g_autoptr(GPtrArray) mounts = bsp_mountinfo_read(BSP_MOUNTINFO_SELF);

	for (guint i = 0; mounts && i < mounts->len; i++) {
		const struct bsp_mount *mount = mounts->pdata[i];

		if (strcmp(mount->where, "/") != 0 &&
		    bsp_mount_is_above(mount, path) &&
		    !is_without_server(mount->type))
			return false;
	}
	return mounts != NULL;
}

/* Opens a path with O_PATH, but asks no file system that may have to wait for a
 * server. Returns -1 on failure. */
static int open_at_once(const char *path)
{
	int fd = -1;

	for (unsigned i = 0; i < TRIES && fd < 0; i++) {
		fd = open_path(path, RESOLVE_CACHED);
		if (fd < 0 && errno != EAGAIN)
			break;
	}
	if (fd < 0 && (errno == EAGAIN || errno == EINVAL) &&
	    is_path_local(path))
		fd = open_path(path, 0);
	return fd;
}

/* Whether fd is open on the file below the loop device, and that is a regular
 * file. Asks no file system. */
static bool is_backing(int fd, const struct bsp_loop_backing *backing)
{
	struct statx st;

	return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
		     STATX_TYPE | STATX_INO, &st) == 0 &&
	       S_ISREG(st.stx_mode) && st.stx_ino == backing->ino &&
	       makedev(st.stx_dev_major, st.stx_dev_minor) == backing->dev;
}

/* Opens the file below a loop device for reading. Returns -1 on failure, or if
 * its file system is not trusted: opening may have effects there. */
static int open_file(const char *path, const struct bsp_loop_backing *backing,
		     enum bsp_known_trust trust)
{
	int at = open_at_once(path), fd = -1;

	if (at < 0)
		return -1;
	if (is_backing(at, backing) && bsp_known_file_system(at, trust))
		fd = bsp_device_reopen(at, path, O_RDONLY);
	close(at);
	return fd;
}

/* --- The layer --- */

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
	       now.size_limit == loop->backing.size_limit && !now.encrypted;
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

/* --- Life --- */

/* Makes the layer of an open loop device. On success fd belongs to it. */
static struct bsp_layer *new_layer(int fd, const struct bsp_loop *description,
				   enum bsp_known_trust trust)
{
	struct bsp_loop_backing backing;
	struct bsp_layer *file = NULL;
	struct loop_layer *loop;
	int file_fd;

	if (bsp_loop_ask_driver(fd, &backing) < 0 || backing.encrypted)
		return NULL;
	file_fd = open_file(description->file, &backing, trust);
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

/* Describes a loop device, and opens its node. Returns -1, and errno, on
 * failure. */
static int open_node(dev_t rdev, struct bsp_loop *ret_description)
{
	int folder = bsp_sysfs_open(rdev), fd = -1;

	errno = ENXIO;
	if (folder < 0)
		return -1;
	if (bsp_loop_describe(folder, ret_description))
		fd = bsp_sysfs_open_path(ret_description->node, rdev);
	close(folder);
	return fd;
}

struct bsp_layer *bsp_layer_loop_new(dev_t rdev, enum bsp_known_trust trust)
{
	struct bsp_layer *layer = NULL;
	struct bsp_loop description;
	int fd = open_node(rdev, &description);

	if (fd >= 0)
		layer = new_layer(fd, &description, trust);
	if (fd >= 0 && !layer)
		close(fd);
	return layer;
}

/* --- Reasons --- */

static char *reason_of_file(GString *path, const char *name,
			    const struct bsp_loop_backing *backing)
{
	g_autofree char *file = NULL;
	char *reason = NULL;
	const char *kind;
	int at, fd = -1;

	if (backing->rdev)
		return g_strdup("it shows a block device, not a file");
	at = open_at_once(name);
	if (at < 0 || !is_backing(at, backing)) {
		if (at >= 0)
			close(at);
		return g_strdup("its file is not found under its name");
	}
	kind = bsp_known_file_system(at, BSP_KNOWN_ALL);
	file = bsp_layer_file_name(name, kind ? kind : "unknown");
	bsp_layer_append_path(path, file);
	if (bsp_known_file_system(at, BSP_KNOWN_AUTO))
		fd = bsp_device_reopen(at, name, O_RDONLY);
	else
		reason = bsp_layer_file_reason(at);
	if (!reason)
		reason = g_strdup(fd < 0 ? g_strerror(errno)
					 : "it cannot be asked");
	if (fd >= 0)
		close(fd);
	close(at);
	return reason;
}

char *bsp_layer_loop_reason(GString *path, dev_t rdev)
{
	struct bsp_loop_backing backing;
	struct bsp_loop description;
	int fd = open_node(rdev, &description);
	int r;

	if (fd < 0)
		return g_strdup(g_strerror(errno));
	r = bsp_loop_ask_driver(fd, &backing);
	close(fd);
	if (r < 0)
		return g_strdup(g_strerror(-r));
	return reason_of_file(path, description.file, &backing);
}
