/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What lies below a loop device: which file, and which part of it.
 *
 * Asked of the driver, not of the file's name in sysfs: the name may be gone,
 * or lead to another file, in another mount namespace as well.
 *
 * Threads: any.
 */
#ifndef BSP_DEVICE_LOOP_H
#define BSP_DEVICE_LOOP_H

#include <stdint.h>
#include <sys/types.h>

struct bsp_loop_backing {
	dev_t dev; /* st_dev and st_ino of the file, as of stat(2) */
	ino_t ino;
	dev_t rdev; /* st_rdev, if the file is a block device; otherwise 0 */
	uint64_t offset;     /* where in the file the device begins, bytes */
	uint64_t size_limit; /* the most bytes that it shows; 0: no limit */
};

/*
 * The file below an open loop device, or below the one that an open partition
 * lies on. Returns 0; -ENXIO if it is no loop device, or has no file; or
 * -errno. The file system that holds the file is asked, and may be slow.
 */
int bsp_loop_backing(int fd, struct bsp_loop_backing *ret_backing);

/*
 * The same of the device with that number. Where its node in /dev cannot be
 * opened, as without the right to, the name in sysfs has to do.
 */
int bsp_loop_backing_of(dev_t rdev, struct bsp_loop_backing *ret_backing);

#endif
