/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The targets of a device of the device mapper, asked through its control node
 * (linux/dm-ioctl.h), which takes root.
 *
 * Threads: any.
 */
#ifndef BSP_DEVICE_DM_TABLE_H
#define BSP_DEVICE_DM_TABLE_H

#include <glib.h>
#include <stdint.h>
#include <sys/types.h>

struct bsp_dm_target {
	uint64_t start, len; /* sectors of 512 bytes */
	char type[17];	     /* "linear", "thin" ... */
	char *params;	     /* of the table, or of the status */
};

/*
 * The targets of a device's table, as struct bsp_dm_target in order; NULL, and
 * errno, if they cannot be had. *ret_hash (may be NULL) is a hash of all of it,
 * 0 if it has no targets.
 */
GArray *bsp_dm_targets(int control, dev_t rdev, uint64_t *ret_hash);

/* The same with what each target says of its state. A thin pool commits its
 * metadata first (pool_status() in drivers/md/dm-thin.c). */
GArray *bsp_dm_status(int control, dev_t rdev);

#endif
