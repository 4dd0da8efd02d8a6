/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The block devices of this host, and the links to them in /dev, as sysfs and
 * /dev show them at the moment of the call. Nothing here opens a device. Not
 * installed: see blksparse-mount.h.
 *
 * Threads: any.
 */
#ifndef BLKSPARSE_BLOCKS_H
#define BLKSPARSE_BLOCKS_H

#include <dirent.h>
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

G_BEGIN_DECLS

enum {
	BSP_BLOCK_NAME_SIZE = 256,
	BSP_BLOCK_NODE_SIZE = 264,
};

struct bsp_block {
	/* The kernel's name, such as "sda1". The node may have '/' where this
	 * has '!'. */
	char name[BSP_BLOCK_NAME_SIZE];
	char node[BSP_BLOCK_NODE_SIZE]; /* the path in /dev */
	dev_t rdev;
	/* The disk sequence number (Linux 5.15): another disk under the same
	 * name has another one. 0: not known. */
	uint64_t sequence;
	uint64_t size; /* bytes, more than 0 */
	uid_t uid;     /* of the node */
	gid_t gid;
	mode_t mode; /* permission bits only */
	/* A value that changes when the kernel has counted a write or discard
	 * of the disk; counted: it does count them. Other programs' writes
	 * count when the kernel has written them out of its cache. A write to
	 * the file below a loop device does not count, so it is not counted. */
	uint64_t writes;
	bool counted;
};

/* Opens the list of the devices' names, for bsp_block_next() and closedir(3).
 * Returns NULL, and errno, on failure. */
DIR *bsp_block_list(void);

/* Opens the list of the links in a folder of /dev, such as "disk/by-id" or
 * "mapper". Returns NULL, and errno, on failure. */
DIR *bsp_block_list_links(const char *folder);

/* Returns the next name of either list, valid until the next call; NULL at the
 * end, and for a NULL list. */
const char *bsp_block_next(DIR *list);

/* Finds a device by its kernel's name. Returns 0; -ENOENT if there is no such
 * device, if it has no node or no medium, or if this process may not read it.
 */
int bsp_block_find(const char *name, struct bsp_block *ret);

/* Finds the device that a link or node in a folder of /dev leads to, and gives
 * its kernel's name. Returns 0 or -ENOENT. */
int bsp_block_follow(const char *folder, const char *link,
		     char ret_name[BSP_BLOCK_NAME_SIZE]);

/*
 * Whether a device, or a device that it is made of, is a loop device over a
 * file of a file system, given as "major:minor" of st_dev. That file may also
 * lie on a file system whose device is made so. The path of the file decides,
 * as the kernel tells it; it is not followed. A server, such as qemu-nbd, that
 * shows a file as a device cannot be looked through.
 */
bool bsp_block_lies_on(dev_t rdev, const char *file_system);

G_END_DECLS

#endif
