/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The file below a loop device, and the part of it that the device shows.
 *
 * The driver is asked, by an ioctl on the node. The file's name in sysfs is
 * used only if the node cannot be opened: the name may be gone, or may lead to
 * another file by now or in another mount namespace.
 *
 * Threads: any.
 */
#ifndef BSP_DEVICE_LOOP_H
#define BSP_DEVICE_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "device/sysfs.h"

struct bsp_loop_backing {
	dev_t dev; /* st_dev and st_ino of the file, as of stat(2) */
	ino_t ino;
	dev_t rdev; /* st_rdev, if the file is a block device; otherwise 0 */
	uint64_t offset;     /* in the file, at which the device begins */
	uint64_t size_limit; /* the most bytes of the device; 0: no limit */
	bool encrypted; /* the device shows other bytes than the file (before
			   Linux 5.16) */
};

/* A loop device with a file, as sysfs describes it. Reading this does not wait
 * for the file system that holds the file. */
struct bsp_loop {
	dev_t rdev;
	char node[BSP_NODE_SIZE];
	char file[4096]; /* a name of the file; empty if sysfs has none */
	uint64_t offset; /* as in struct bsp_loop_backing */
	uint64_t size_limit;
};

/* Describes the loop device of a folder of sysfs. Returns false if it is not a
 * loop device, or has no file. */
bool bsp_loop_describe(int folder, struct bsp_loop *ret_loop);

/*
 * Finds the file below a loop device. Returns 0; -ENXIO if the device has no
 * file any more; or -errno. May wait for the file system that holds the file,
 * for ever if that hangs (ask.h). Async-signal-safe.
 */
int bsp_loop_ask(const struct bsp_loop *loop,
		 struct bsp_loop_backing *ret_backing);

/* The same by an open descriptor of its node, without asking the file system.
 * Async-signal-safe. */
int bsp_loop_ask_driver(int fd, struct bsp_loop_backing *ret_backing);

/* Does the same for a loop device or a partition of one; returns -ENXIO if the
 * device is neither. */
int bsp_loop_backing_of(dev_t rdev, struct bsp_loop_backing *ret_backing);

#endif
