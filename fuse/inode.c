/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Attributes come from three places: size, blocks and times from the device
 * (through the watch on a read-only mount, so that a stat never waits long),
 * owner and mode from the device node at mounting, and everything that chmod,
 * chown, utimes or a write changed from struct file. The last kind lasts as
 * long as the mount.
 *
 * Files are never added or removed, so that a list without a lock is enough to
 * find one.
 */
#include "inode.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "watch.h"

enum {
	/*
	 * Tools read and punch in units of st_blksize.
	 */
	BLKSIZE_MAX = 65536,
	RW_BITS = 0666,
	SECTOR = 512,
	FIRST_DEVICE = 64, /* inodes of --all; below are those of folders */
};

/* --- Life ---------------------------------------------------------------- */

static bool open_file(struct file *file, const struct source *source,
		      const struct options *options, GError **error)
{
	bool writable = options->writable;
	struct bsp_device *dev =
		writable ? bsp_device_open_writable(source->path, error)
			 : bsp_device_open(source->path, error);
	struct bsp_device_info info;

	if (!dev)
		return false;
	bsp_device_get_info(dev, &info);
	file->sparse = bsp_sparse_new(dev, &options->sparse, error);
	if (!file->sparse) {
		if (options->sizes)
			g_prefix_error(error, "-o %s: ", options->sizes);
		return false;
	}
	file->name = source->name;
	/* Without a password, which messages must not show. */
	file->path = bsp_device_path(dev);
	file->writable = writable;
	/* Write permission stays on a read-only mount, as on other file
	 * systems: the kernel answers EROFS whatever the mode is, and the owner
	 * can write to a copy that cp made. */
	file->attr.st_mode = S_IFREG | (info.mode & RW_BITS);
	file->attr.st_uid = info.uid;
	file->attr.st_gid = info.gid;
	pthread_mutex_init(&file->lock, NULL);
	gate_init(&file->gate);
	file->watch =
		watch_new(file->sparse, file->path, file->ino, &file->lines);
	return true;
}

/* --- Life with --all ----------------------------------------------------- */

void file_identity(const struct bsp_block *block, char ret[IDENTITY_SIZE])
{
	(void)snprintf(ret, IDENTITY_SIZE, "%u:%u %" G_GUINT64_FORMAT,
		       major(block->rdev), minor(block->rdev), block->sequence);
}

/* Finds the device of a file; false if the name is another's by now. */
static bool find_device(const struct file *file, struct bsp_block *ret)
{
	char identity[IDENTITY_SIZE];

	if (bsp_block_find(file->name, ret) < 0)
		return false;
	file_identity(ret, identity);
	return strcmp(identity, file->identity) == 0;
}

/* Part of struct table_ops. */
static void *make_file(void *data, uint64_t parent, uint64_t ino,
		       const char *name, const char *identity)
{
	struct file *file = calloc(1, sizeof(*file));

	if (!file)
		return NULL;
	file->ino = ino;
	file->name = name;
	file->identity = identity;
	file->on_demand = true;
	on_demand_init(&file->opening);
	gate_init(&file->gate);
	pthread_mutex_init(&file->lock, NULL);
	return file;
}

/* Closes the device. */
static void close_device(void *data)
{
	struct file *file = data;

	if (!file->sparse)
		return;
	watch_stop(file->watch);
	watch_join(file->watch);
	bsp_sparse_free(file->sparse);
	watch_free(file->watch);
	file->sparse = NULL;
	file->watch = NULL;
	file->path = NULL;
}

/* Part of struct table_ops. */
static void free_file(void *object)
{
	struct file *file = object;

	close_device(file);
	pthread_mutex_destroy(&file->lock);
	gate_done(&file->gate);
	on_demand_done(&file->opening);
	free(file);
}

struct opening {
	const struct tree *tree;
	struct file *file;
};

/* The error of a device that the library could not open: that of open(2), which
 * tells most of them. */
static int failure_of(const char *node)
{
	int fd = open(node, O_RDONLY | O_CLOEXEC | O_NONBLOCK), r = -EIO;

	if (fd < 0)
		r = -errno;
	else
		close(fd);
	return r;
}

/* Opens the device, whose name and node may become another's meanwhile. */
static struct bsp_device *open_block(struct file *file, int *ret_error)
{
	g_autoptr(GError) error = NULL;
	struct bsp_block before, after;
	struct bsp_device *dev;

	*ret_error = -ESTALE;
	if (!find_device(file, &before))
		return NULL;
	dev = bsp_device_open(before.node, &error);
	if (dev && find_device(file, &after))
		return dev;
	if (dev)
		bsp_device_close(dev);
	else
		*ret_error = failure_of(before.node);
	if (error)
		log_line(LOG_WARNING, "%s", error->message);
	return NULL;
}

/*
 * Opening a device is made for the start of a program: it uses GLib, which ends
 * the program if memory is short. That loses no data here, since such a mount
 * is read-only.
 */
static int open_device(void *data)
{
	const struct opening *opening = data;
	const struct options *options = opening->tree->options;
	struct file *file = opening->file;
	g_autoptr(GError) error = NULL;
	struct bsp_device *dev;
	struct bsp_stat st;
	int r;

	dev = open_block(file, &r);
	if (!dev)
		return r;
	file->sparse = bsp_sparse_new(dev, &options->sparse, &error);
	if (!file->sparse) {
		log_line(LOG_WARNING, "%s", error->message);
		return -EINVAL;
	}
	file->path = bsp_device_path(dev);
	file->watch =
		watch_new(file->sparse, file->path, file->ino, &file->lines);
	r = watch_start(file->watch, opening->tree->se, false,
			options->background);
	if (r) {
		close_device(file);
		return r;
	}
	(void)bsp_sparse_stat_nowait(file->sparse, &st);
	pthread_mutex_lock(&file->lock);
	file->old_mtime = st.mtime;
	pthread_mutex_unlock(&file->lock);
	return 0;
}

int file_open(const struct tree *tree, struct file *file)
{
	struct opening opening = { .tree = tree, .file = file };

	return file->on_demand
		       ? on_demand_open(&file->opening, open_device, &opening)
		       : 0;
}

void file_close(struct file *file)
{
	if (file->on_demand)
		on_demand_close(&file->opening, close_device, file);
}

/* --- The tree ------------------------------------------------------------ */

static void fill_root(struct stat *root)
{
	root->st_ino = FUSE_ROOT_ID;
	root->st_mode = S_IFDIR | 0555;
	root->st_nlink = 2;
	root->st_uid = getuid();
	root->st_gid = getgid();
	(void)clock_gettime(CLOCK_REALTIME, &root->st_mtim);
	root->st_atim = root->st_mtim;
	root->st_ctim = root->st_mtim;
}

/* The inode of the first file; the others follow. */
static fuse_ino_t first_ino(const struct tree *tree)
{
	return FUSE_ROOT_ID + (tree->root_is_file ? 0 : 1);
}

bool tree_open(struct tree *tree, const struct options *options,
	       bool root_is_file, GError **error)
{
	memset(tree, 0, sizeof(*tree));
	tree->root_is_file = root_is_file;
	fill_root(&tree->root);
	tree->files = g_new0(struct file, options->sources->len);
	for (guint i = 0; i < options->sources->len; i++) {
		struct file *file = &tree->files[i];

		file->ino = first_ino(tree) + i;
		if (!open_file(file, g_ptr_array_index(options->sources, i),
			       options, error)) {
			tree_close(tree);
			return false;
		}
		tree->n_files++;
	}
	return true;
}

bool tree_open_all(struct tree *tree, const struct options *options)
{
	static const struct table_ops ops = {
		.make = make_file,
		.free = free_file,
	};

	memset(tree, 0, sizeof(*tree));
	tree->options = options;
	fill_root(&tree->root);
	tree->devices = table_new(&ops, NULL, FIRST_DEVICE);
	return tree->devices != NULL;
}

bool tree_finish(struct tree *tree, enum bsp_tail tail)
{
	bool ok = true;

	for (size_t i = 0; i < tree->n_files; i++) {
		struct file *file = &tree->files[i];
		int r = file->writable ? bsp_sparse_finish(file->sparse, tail)
				       : 0;

		if (r == 0)
			continue;
		ok = false;
		log_line(
			LOG_ERR,
			"%s: some written data is not on the device: %s; write all data since the last successful sync again",
			file->path, g_strerror(-r));
	}
	return ok;
}

void tree_close(struct tree *tree)
{
	for (size_t i = 0; i < tree->n_files; i++) {
		bsp_sparse_free(tree->files[i].sparse);
		watch_free(tree->files[i].watch);
		pthread_mutex_destroy(&tree->files[i].lock);
		gate_done(&tree->files[i].gate);
	}
	g_free(tree->files);
	table_free(tree->devices);
	memset(tree, 0, sizeof(*tree));
}

/* --- Lookup -------------------------------------------------------------- */

struct file *tree_find(const struct tree *tree, fuse_ino_t ino)
{
	fuse_ino_t first = first_ino(tree);

	if (tree->devices)
		return table_find(tree->devices, ino);
	/* Each request comes by here. */
	return ino >= first && ino - first < tree->n_files
		       ? &tree->files[ino - first]
		       : NULL;
}

struct file *tree_lookup(const struct tree *tree, const char *name)
{
	for (size_t i = 0; i < tree->n_files; i++) {
		if (strcmp(tree->files[i].name, name) == 0)
			return &tree->files[i];
	}
	return NULL;
}

void tree_pin(const struct tree *tree, fuse_ino_t ino)
{
	if (tree->devices)
		(void)table_pin(tree->devices, ino);
}

void tree_unpin(const struct tree *tree, fuse_ino_t ino)
{
	if (tree->devices)
		table_forget(tree->devices, ino, 1);
}

struct each {
	void (*fn)(struct file *file, void *data);
	void *data;
};

static void call_if_open(void *object, void *data)
{
	const struct each *each = data;
	struct file *file = object;

	if (!on_demand_hold(&file->opening))
		return;
	each->fn(file, each->data);
	on_demand_drop(&file->opening);
}

void tree_each(const struct tree *tree, void (*fn)(struct file *, void *data),
	       void *data)
{
	struct each each = { .fn = fn, .data = data };

	if (tree->devices)
		table_each(tree->devices, call_if_open, &each);
	for (size_t i = 0; i < tree->n_files; i++)
		fn(&tree->files[i], data);
}

/* --- Attributes with --all ----------------------------------------------- */

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* Notes what sysfs and the node tell. lock held. */
static void note_block(struct file *file, const struct bsp_block *block)
{
	struct stat *attr = &file->attr;
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	/* Not twice within a second, so that a stat and the next one agree. */
	if (!attr->st_mode || block->writes != file->writes ||
	    (!block->counted && now.tv_sec - attr->st_mtim.tv_sec > 1))
		attr->st_mtim = now;
	file->writes = block->writes;
	attr->st_mode = S_IFREG | (block->mode & RW_BITS);
	attr->st_uid = block->uid;
	attr->st_gid = block->gid;
	attr->st_size = (off_t)block->size;
	/* As long as nothing is known: see bsp_stat.blocks. */
	attr->st_blocks = MAX((blkcnt_t)(block->size / SECTOR) -
				      BSP_GRANULE_DEFAULT / SECTOR,
			      1);
	attr->st_blksize = BSP_GRANULE_DEFAULT;
}

/* Notes what an open device tells. lock held. */
static void note_sparse(struct file *file, const struct bsp_stat *st)
{
	struct stat *attr = &file->attr;

	attr->st_size = (off_t)st->size;
	attr->st_blocks = (blkcnt_t)st->blocks;
	attr->st_blksize = MIN(bsp_sparse_granule(file->sparse), BLKSIZE_MAX);
	if (same_time(&st->mtime, &file->old_mtime))
		return;
	file->old_mtime = st->mtime;
	attr->st_mtim = st->mtime;
}

int file_stat_block(struct file *file, const struct bsp_block *block,
		    struct stat *ret)
{
	bool is_open = on_demand_hold(&file->opening);
	struct bsp_stat st;

	if (!is_open && !block)
		return -ENODEV;
	if (is_open) {
		watch_stat(file->watch, &st);
		watch_sized(file->watch, &st);
	}
	pthread_mutex_lock(&file->lock);
	if (block && (!is_open || !file->attr.st_mode))
		note_block(file, block);
	if (is_open)
		note_sparse(file, &st);
	*ret = file->attr;
	pthread_mutex_unlock(&file->lock);
	if (is_open)
		on_demand_drop(&file->opening);
	ret->st_ino = file->ino;
	ret->st_nlink = 1;
	ret->st_atim = ret->st_mtim;
	ret->st_ctim = ret->st_mtim;
	return 0;
}

/* --- Attributes ---------------------------------------------------------- */

static void stat_file(struct file *file, struct stat *ret)
{
	uint32_t granule = bsp_sparse_granule(file->sparse);
	struct bsp_stat st;

	if (file->writable)
		bsp_sparse_stat(file->sparse, &st);
	else
		watch_stat(file->watch, &st);
	watch_sized(file->watch, &st);
	pthread_mutex_lock(&file->lock);
	*ret = file->attr;
	if (!file->has_times) {
		ret->st_mtim = st.mtime;
		ret->st_atim = st.mtime;
		ret->st_ctim = st.mtime;
	}
	pthread_mutex_unlock(&file->lock);
	ret->st_ino = file->ino;
	ret->st_nlink = 1;
	ret->st_size = (off_t)st.size;
	ret->st_blocks = (blkcnt_t)st.blocks;
	ret->st_blksize = granule < BLKSIZE_MAX ? granule : BLKSIZE_MAX;
}

/* Until a time is set, all times are the device's. Copy them before the first
 * change. lock held. */
static void keep_own_times(struct file *file)
{
	struct bsp_stat st;

	if (file->has_times)
		return;
	bsp_sparse_stat(file->sparse, &st);
	file->attr.st_mtim = st.mtime;
	file->attr.st_atim = st.mtime;
	file->has_times = true;
}

void file_touch(struct file *file)
{
	pthread_mutex_lock(&file->lock);
	keep_own_times(file);
	(void)clock_gettime(CLOCK_REALTIME, &file->attr.st_mtim);
	file->attr.st_ctim = file->attr.st_mtim;
	pthread_mutex_unlock(&file->lock);
}

void file_set_attr(struct file *file, const struct stat *attr, int to_set)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	pthread_mutex_lock(&file->lock);
	keep_own_times(file);
	if (to_set & FUSE_SET_ATTR_MODE)
		file->attr.st_mode = S_IFREG | (attr->st_mode & 07777);
	if (to_set & FUSE_SET_ATTR_UID)
		file->attr.st_uid = attr->st_uid;
	if (to_set & FUSE_SET_ATTR_GID)
		file->attr.st_gid = attr->st_gid;
	if (to_set & FUSE_SET_ATTR_ATIME)
		file->attr.st_atim = attr->st_atim;
	if (to_set & FUSE_SET_ATTR_ATIME_NOW)
		file->attr.st_atim = now;
	if (to_set & FUSE_SET_ATTR_MTIME)
		file->attr.st_mtim = attr->st_mtim;
	if (to_set & (FUSE_SET_ATTR_MTIME_NOW | FUSE_SET_ATTR_SIZE))
		file->attr.st_mtim = now;
	file->attr.st_ctim = now;
	pthread_mutex_unlock(&file->lock);
}

bool tree_stat(const struct tree *tree, fuse_ino_t ino, struct stat *ret)
{
	struct file *file = tree_find(tree, ino);

	if (file) {
		stat_file(file, ret);
		return true;
	}
	if (ino == FUSE_ROOT_ID)
		*ret = tree->root;
	return ino == FUSE_ROOT_ID;
}

void tree_space(const struct tree *tree, uint64_t *ret_bytes,
		uint64_t *ret_free)
{
	*ret_bytes = 0;
	*ret_free = 0;
	for (size_t i = 0; i < tree->n_files; i++) {
		const struct file *file = &tree->files[i];
		struct bsp_stat st;

		(void)bsp_sparse_stat_nowait(file->sparse, &st);
		*ret_bytes += st.capacity;
		if (file->writable)
			*ret_free += st.capacity - st.data;
	}
}
