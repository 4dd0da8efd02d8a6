/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The files that the mount shows: a directory with one file for each device or,
 * if the mount point is a regular file, one device as the root itself. The tree
 * is fixed while requests run, but with --all, where all.c enters the devices
 * as they are looked up. Each field says what protects it; struct bsp_sparse
 * and struct watch have locks of their own.
 */
#ifndef BLKSPARSEFS_INODE_H
#define BLKSPARSEFS_INODE_H

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "blksparse.h"
#include "blksparse-blocks.h"
#include "gate.h"
#include "on-demand.h"
#include "options.h"
#include "table.h"
#include "watch.h"

struct file {
	/* Fixed. */
	fuse_ino_t ino;
	const char *name;
	bool on_demand; /* of a mount with --all */
	bool writable;

	/* Fixed after tree_open(); if on_demand, there while the file is open.
	 */
	const char *path; /* of the device */
	struct bsp_sparse *sparse;
	struct watch *watch;

	struct watch_lines lines; /* used by the watch alone */

	/* Used if on_demand. */
	struct on_demand opening; /* has its own lock */
	const char *identity;	  /* of the device; fixed */

	struct gate gate; /* has its own lock */
	bool hangs;	  /* used by hangs.c alone */

	pthread_mutex_t lock;
	/* Protected by lock. Set by chmod, chown, utimes and writes; if
	 * on_demand, the last that were known. */
	struct stat attr;
	bool has_times;
	/* Used if on_demand: the writes that st_mtim of attr accounts for, and
	 * the time of the device that is no news, since it is that of the
	 * opening. */
	uint64_t writes;
	struct timespec old_mtime;
};

enum {
	IDENTITY_SIZE = 64,
};

struct tree {
	struct file *files;
	size_t n_files; /* open files; all of them after tree_open() */
	bool root_is_file;
	struct stat root; /* of the directory */

	/* With --all, instead of files; NULL otherwise. */
	struct table *devices; /* of struct file */
	const struct options *options;
	struct fuse_session *se; /* fixed before the loop */
};

/* Opens the devices. On failure the tree is empty and error names the device.
 * options must outlive the tree. */
bool tree_open(struct tree *tree, const struct options *options,
	       bool root_is_file, GError **error);

/* The same for --all: no file is there yet. Returns false without memory. */
bool tree_open_all(struct tree *tree, const struct options *options);

/* Flushes all files and handles their tails. False if that failed for a file,
 * which is logged. No other thread may use the files any more. */
bool tree_finish(struct tree *tree, enum bsp_tail tail);

/* Closes all files. An empty tree is fine. */
void tree_close(struct tree *tree);

/* NULL if there is no such file. With --all the inode must be pinned, as by a
 * lookup. */
struct file *tree_find(const struct tree *tree, fuse_ino_t ino);
struct file *tree_lookup(const struct tree *tree, const char *name);

/* Keeps the file of a request while the handler uses it after the reply. */
void tree_pin(const struct tree *tree, fuse_ino_t ino);
void tree_unpin(const struct tree *tree, fuse_ino_t ino);

/* Calls fn for each file whose device is open. */
void tree_each(const struct tree *tree, void (*fn)(struct file *, void *data),
	       void *data);

/* Open and close the device with the first and last handle of a file of a mount
 * with --all; nothing is to do for others. Returns 0 or -errno; -ESTALE if the
 * name is another device's by now, so that the kernel looks it up once more. */
int file_open(const struct tree *tree, struct file *file);
void file_close(struct file *file);

/* Writes a text that tells the device from others of its name. */
void file_identity(const struct bsp_block *block, char ret[IDENTITY_SIZE]);

/* Attributes of a file of a mount with --all, whose device is block; NULL: it
 * is gone. Returns 0; -ENODEV if nothing is known any more. Does not open it.
 */
int file_stat_block(struct file *file, const struct bsp_block *block,
		    struct stat *ret);

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
