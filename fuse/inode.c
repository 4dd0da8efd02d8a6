/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Attributes come from three places: size, blocks and times from the device
 * (through the watch on a read-only mount, so that a stat never waits long),
 * owner and mode from the device node at mounting, and everything that chmod,
 * chown, utimes or a write changed from struct file. The last kind lasts as
 * long as the mount.
 *
 * Files are few and never added or removed, so that a list without a lock is
 * enough to find one.
 */
#include "inode.h"

#include <string.h>
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
	file->watch = watch_new(file->sparse, file->path, file->ino);
	return true;
}

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

bool tree_open(struct tree *tree, const struct options *options,
	       bool root_is_file, GError **error)
{
	memset(tree, 0, sizeof(*tree));
	tree->root_is_file = root_is_file;
	fill_root(&tree->root);
	tree->files = g_new0(struct file, options->sources->len);
	for (guint i = 0; i < options->sources->len; i++) {
		struct file *file = &tree->files[i];

		file->ino = FUSE_ROOT_ID + i + (root_is_file ? 0 : 1);
		if (!open_file(file, g_ptr_array_index(options->sources, i),
			       options, error)) {
			tree_close(tree);
			return false;
		}
		tree->n_files++;
	}
	return true;
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
	memset(tree, 0, sizeof(*tree));
}

/* --- Lookup and attributes ----------------------------------------------- */

struct file *tree_find(const struct tree *tree, fuse_ino_t ino)
{
	for (size_t i = 0; i < tree->n_files; i++) {
		if (tree->files[i].ino == ino)
			return &tree->files[i];
	}
	return NULL;
}

struct file *tree_lookup(const struct tree *tree, const char *name)
{
	for (size_t i = 0; i < tree->n_files; i++) {
		if (strcmp(tree->files[i].name, name) == 0)
			return &tree->files[i];
	}
	return NULL;
}

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
