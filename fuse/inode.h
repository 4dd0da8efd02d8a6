/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the mount shows: a folder with one file for each device, or, mounted
 * onto a regular file, one device as the root itself. All is fixed from
 * tree_open() on, but for what struct bsp_sparse and struct watch guard
 * themselves, so nothing here needs a lock.
 */
#ifndef BLKSPARSEFS_INODE_H
#define BLKSPARSEFS_INODE_H

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "blksparse.h"
#include "options.h"

struct watch;

struct file {
	fuse_ino_t ino;
	const char *name;
	struct bsp_sparse *sparse;
	struct watch *watch;
};

struct tree {
	struct file *files;
	size_t n_files; /* those that are open; all after tree_open() */
	bool root_is_file;
	struct stat root; /* of the folder */
};

/* Opens the devices. On failure the tree is empty, and error says with which
 * device. options must outlive the tree. */
bool tree_open(struct tree *tree, const struct options *options,
	       bool root_is_file, GError **error);

/* Closes them; an empty tree is fine. */
void tree_close(struct tree *tree);

/* NULL if ino, or name, is no file. */
struct file *tree_find(const struct tree *tree, fuse_ino_t ino);
struct file *tree_lookup(const struct tree *tree, const char *name);

/* The attributes as of now. False if there is no such inode. */
bool tree_stat(const struct tree *tree, fuse_ino_t ino, struct stat *ret);

#endif
