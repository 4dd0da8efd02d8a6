/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "inode.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "watch.h"

enum {
	/* Tools read in units of st_blksize, and punch in them. */
	BLKSIZE_MAX = 65536,
	READ_BITS = 0444,
};

/* --- Life ---------------------------------------------------------------- */

static bool open_file(struct file *file, const struct source *source,
		      const struct options *options, GError **error)
{
	struct bsp_device *dev = bsp_device_open(source->path, error);

	if (!dev)
		return false;
	file->sparse = bsp_sparse_new(dev, &options->sparse, error);
	if (!file->sparse) {
		bsp_device_close(dev);
		if (options->sizes)
			g_prefix_error(error, "-o %s: ", options->sizes);
		return false;
	}
	file->name = source->name;
	file->watch = watch_new(file->sparse, source->path, file->ino);
	return true;
}

static void fill_root(struct stat *root)
{
	root->st_ino = FUSE_ROOT_ID;
	root->st_mode = S_IFDIR | 0555;
	root->st_nlink = 2;
	root->st_uid = getuid();
	root->st_gid = getgid();
	clock_gettime(CLOCK_REALTIME, &root->st_mtim);
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

void tree_close(struct tree *tree)
{
	for (size_t i = 0; i < tree->n_files; i++) {
		bsp_sparse_free(tree->files[i].sparse);
		watch_free(tree->files[i].watch);
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

static void stat_file(const struct file *file, struct stat *ret)
{
	uint32_t granule = bsp_sparse_granule(file->sparse);
	struct bsp_device_info info;
	struct bsp_stat st;

	bsp_sparse_get_info(file->sparse, &info);
	bsp_sparse_stat(file->sparse, &st);
	memset(ret, 0, sizeof(*ret));
	ret->st_ino = file->ino;
	ret->st_mode = S_IFREG | (info.mode & READ_BITS);
	ret->st_nlink = 1;
	ret->st_uid = info.uid;
	ret->st_gid = info.gid;
	ret->st_size = (off_t)st.size;
	ret->st_blocks = (blkcnt_t)st.blocks;
	ret->st_blksize = granule < BLKSIZE_MAX ? granule : BLKSIZE_MAX;
	ret->st_mtim = st.mtime;
	ret->st_atim = st.mtime;
	ret->st_ctim = st.mtime;
}

bool tree_stat(const struct tree *tree, fuse_ino_t ino, struct stat *ret)
{
	const struct file *file = tree_find(tree, ino);

	if (file) {
		stat_file(file, ret);
		return true;
	}
	if (ino == FUSE_ROOT_ID)
		*ret = tree->root;
	return ino == FUSE_ROOT_ID;
}
