/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the mount shows: a folder with one file for each device, or, mounted
 * onto a regular file, one device as the root itself. Each part says what
 * protects it; struct bsp_sparse and struct watch guard themselves.
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
	const char *path; /* the device's */
	struct bsp_sparse *sparse;
	struct watch *watch;
	bool writable;

	struct gate gate; /* guards itself */

	pthread_mutex_t lock;
	/* What it was given by chmod, chown and utimes, or got by being
	 * written; protected by lock. */
	struct stat attr;
	bool has_times;
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

/*
 * Ends the writing of all files: what is to be zero is, and all is durable.
 * False if that failed for one of them, which is logged. To be called when
 * nobody uses them any more.
 */
bool tree_finish(struct tree *tree, enum bsp_tail tail);

/* Closes them; an empty tree is fine. */
void tree_close(struct tree *tree);

/* NULL if ino, or name, is no file. */
struct file *tree_find(const struct tree *tree, fuse_ino_t ino);
struct file *tree_lookup(const struct tree *tree, const char *name);

/* What the devices hold in all, bytes, and how much of that can take data: of
 * those that can be written, all that is not known to hold data already. Never
 * waits for a device. */
void tree_space(const struct tree *tree, uint64_t *ret_bytes,
		uint64_t *ret_free);

/* The file was written now. */
void file_touch(struct file *file);

/* Sets mode, owner and times, as to_set (FUSE_SET_ATTR_...) says; they are
 * kept as long as the mount. */
void file_set_attr(struct file *file, const struct stat *attr, int to_set);

/* The attributes as of now. False if there is no such inode. */
bool tree_stat(const struct tree *tree, fuse_ino_t ino, struct stat *ret);

#endif
