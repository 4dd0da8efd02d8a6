/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The file below a loop device, and the part of it that the device shows.
 *
 * Asked of the driver, not of the file's name in sysfs: the name may be gone,
 * or lead to another file, in another mount namespace as well.
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
	uint64_t offset;     /* where in the file the device begins, bytes */
	uint64_t size_limit; /* the most bytes that it shows; 0: no limit */
};

/* A loop device that has a file, as sysfs tells without asking the file system
 * that holds it. */
struct bsp_loop {
	dev_t rdev;
	char node[BSP_NODE_SIZE];
	char file[4096]; /* a name of the file; empty if it has none */
	uint64_t offset; /* as in struct bsp_loop_backing */
	uint64_t size_limit;
};

/* Describes the loop device whose folder of sysfs this is; false if it is none,
 * or has no file. */
bool bsp_loop_describe(int folder, struct bsp_loop *ret_loop);

/*
 * The file below it. Where its node cannot be opened, as without the right to,
 * the file's name has to do. Returns 0; -ENXIO if it has no file any more; or
 * -errno. Asks the file system that holds the file, which may hang
 * (device-ask.h). Async-signal-safe.
 */
int bsp_loop_ask(const struct bsp_loop *loop,
		 struct bsp_loop_backing *ret_backing);

/* The same of the device with that number, a loop device or a partition of one;
 * -ENXIO if it is neither. */
int bsp_loop_backing_of(dev_t rdev, struct bsp_loop_backing *ret_backing);

#endif
