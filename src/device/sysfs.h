/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Block devices in sysfs. No other file knows paths below /sys/dev/block,
 * /sys/class/block or /sys/block.
 *
 * A folder is a descriptor (O_PATH) of a device's folder, to be closed by the
 * caller. Names are relative to it and may have slashes ("queue/iostats"). The
 * kernel formats these files when they are read, from its own memory: no read
 * waits for the device.
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

/* Opens the folder of a device. Returns -1 if there is none. */
int bsp_sysfs_open(dev_t rdev);

/* Opens the folder of the disk of a partition, or of the device itself if it is
 * not a partition. Returns -1 if there is none. */
int bsp_sysfs_open_disk(dev_t rdev, bool *ret_partition);

/* Opens the folder of a device or partition by the kernel's name. Returns -1 if
 * there is none. */
int bsp_sysfs_open_named(const char *name);

/* Gets the kernel's name of a device. Returns false if there is none, or if it
 * has more than size bytes with its final NUL. */
bool bsp_sysfs_name(dev_t rdev, char *name, size_t size);

/* Opens a folder below another. Returns -1 if there is none. */
int bsp_sysfs_open_below(int folder, const char *name);

/* Whether a folder has such a file or folder. False for folder -1. */
bool bsp_sysfs_has(int folder, const char *name);

/* Opens a folder below another (or ".") for bsp_sysfs_next(); to be closed by
 * closedir(3). Returns NULL if there is none. */
DIR *bsp_sysfs_list(int folder, const char *name);

/* Does the same for the folder of all disks. */
DIR *bsp_sysfs_list_disks(void);

/* Does the same for the folder of all disks and partitions. */
DIR *bsp_sysfs_list_devices(void);

/* Returns the name of the next entry, but never "." or ".."; it is valid until
 * the next call. Returns NULL at the end, and for a NULL dir. */
const char *bsp_sysfs_next(DIR *dir);

/* Reads the first line of a file. Returns false, and an empty line, if it
 * cannot be read. */
bool bsp_sysfs_read_line(int folder, const char *name, char *line, size_t size);

/* Reads all of a file but its last newline: the text itself may have others, as
 * the name of a file. */
bool bsp_sysfs_read_text(int folder, const char *name, char *text, size_t size);

/* Reads a number from a file. Returns 0 if it cannot be read. */
uint64_t bsp_sysfs_read_number(int folder, const char *name);

/* Returns the number of the device of a folder; 0 if it cannot be read. */
dev_t bsp_sysfs_rdev(int folder);

enum {
	BSP_NODE_SIZE =
		264, /* the longest path of a node, with its final NUL */
};

/* Gets the path of the node in /dev, by the kernel's name of the device of a
 * folder. Returns false, and an empty path, if it cannot be read. */
bool bsp_sysfs_node(int folder, char path[BSP_NODE_SIZE]);

/* Opens a node for reading. Returns -1, and errno, if it cannot be opened or is
 * a node of another device. Async-signal-safe. */
int bsp_sysfs_open_path(const char *node, dev_t rdev);

/* Opens the node of the device of a folder for reading. */
int bsp_sysfs_open_node(int folder);

#endif
