/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The files that the mount shows: a directory with one file for each device or,
 * if the mount point is a regular file, one device as the root itself. The tree
 * is fixed while requests run. Each field says what protects it; struct
 * bsp_sparse and struct watch have locks of their own.
 */
#ifndef BLKSPARSEFS_INODE_H
#define BLKSPARSEFS_INODE_H

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "blksparse.h"
#include "gate.h"
#include "options.h"

struct watch;

struct file {
	/* Fixed after tree_open(). */
	fuse_ino_t ino;
	const char *name;
	const char *path; /* of the device */
	struct bsp_sparse *sparse;
	struct watch *watch;
	bool writable;

	struct gate gate; /* has its own lock */

	pthread_mutex_t lock;
	/* Set by chmod, chown, utimes and writes; protected by lock. */
	struct stat attr;
	bool has_times;
};

struct tree {
	struct file *files;
	size_t n_files; /* open files; all of them after tree_open() */
	bool root_is_file;
	struct stat root; /* of the directory */
};

/* Opens the devices. On failure the tree is empty and error names the device.
 * options must outlive the tree. */
bool tree_open(struct tree *tree, const struct options *options,
	       bool root_is_file, GError **error);

/* Flushes all files and handles their tails. False if that failed for a file,
 * which is logged. No other thread may use the files any more. */
bool tree_finish(struct tree *tree, enum bsp_tail tail);

/* Closes all files. An empty tree is fine. */
void tree_close(struct tree *tree);

/* NULL if there is no such file. */
struct file *tree_find(const struct tree *tree, fuse_ino_t ino);
struct file *tree_lookup(const struct tree *tree, const char *name);

/* The capacity of all devices, and how much of it is free: everything on
 * writable devices that is not known to hold data. Never waits for a device. */
void tree_space(const struct tree *tree, uint64_t *ret_bytes,
		uint64_t *ret_free);

/* Sets the times of a write. */
void file_touch(struct file *file);

/* Sets mode, owner and times as to_set (FUSE_SET_ATTR_...) selects them. They
 * last as long as the mount. */
void file_set_attr(struct file *file, const struct stat *attr, int to_set);

/* Current attributes. False if there is no such inode. */
bool tree_stat(const struct tree *tree, fuse_ino_t ino, struct stat *ret);

#endif
