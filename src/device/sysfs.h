/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The folders of block devices in sysfs.
 *
 * Threads: any.
 */
#ifndef BSP_DEVICE_SYSFS_H
#define BSP_DEVICE_SYSFS_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The folder of a device, to be closed; -1 if there is none. */
int bsp_sysfs_open(dev_t rdev);

/* The folder of the whole disk of a partition, or of the device itself, to be
 * closed; -1 if there is none. */
int bsp_sysfs_open_disk(dev_t rdev, bool *ret_partition);

/* A folder below another, to be closed; -1 if there is none. */
int bsp_sysfs_open_below(int folder, const char *name);

/* Is there such a file or folder in a folder? False for folder -1. */
bool bsp_sysfs_has(int folder, const char *name);

/* The entries of a folder below another (or "."), for bsp_sysfs_next() and
 * closedir(3); NULL if there is none. */
DIR *bsp_sysfs_list(int folder, const char *name);

/* The same of the folder of all disks. */
DIR *bsp_sysfs_list_disks(void);

/* The next entry's name, without "." and "..", until the next call; NULL at the
 * end, and for NULL. */
const char *bsp_sysfs_next(DIR *dir);

/* Reads the first line of a file in a folder; false, and an empty line, if it
 * cannot be had. */
bool bsp_sysfs_read_line(int folder, const char *name, char *line, size_t size);

/* A number in a folder; 0 if it cannot be had. */
uint64_t bsp_sysfs_read_number(int folder, const char *name);

/* The number of the device whose folder this is; 0 if it cannot be had. */
dev_t bsp_sysfs_rdev(int folder);

enum {
	BSP_NODE_SIZE = 264, /* the longest path of a node, and its end */
};

/* The path in /dev of the device whose folder this is, as the kernel names it;
 * false, and an empty path, if it cannot be had. */
bool bsp_sysfs_node(int folder, char path[BSP_NODE_SIZE]);

/* Opens a node, to be read; -1, and errno, if it cannot be, or if it is another
 * device. Async-signal-safe. */
int bsp_sysfs_open_path(const char *node, dev_t rdev);

/* The same of the device whose folder this is. */
int bsp_sysfs_open_node(int folder);

#endif
