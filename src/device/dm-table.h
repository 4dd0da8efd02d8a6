/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The targets of a device of the device mapper, by ioctls on its control node
 * (linux/dm-ioctl.h). Only root can ask.
 *
 * Threads: any.
 */
#ifndef BSP_DEVICE_DM_TABLE_H
#define BSP_DEVICE_DM_TABLE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct bsp_dm_target {
	uint64_t start, len; /* sectors of 512 bytes */
	char type[17];	     /* "linear", "thin" ... */
	char *params;	     /* of the table, or of the status */
};

/*
 * Returns the targets of a device's table in order, as struct bsp_dm_target.
 * NULL, and errno, on failure. ret_hash may be NULL; otherwise it gets a hash
 * of the table, 0 if the table has no targets.
 */
GArray *bsp_dm_targets(int control, dev_t rdev, uint64_t *ret_hash);

/* Does the same with the status of each target in params. A thin pool that is
 * writable and not suspended commits its metadata first (pool_status() in
 * drivers/md/dm-thin.c). */
GArray *bsp_dm_status(int control, dev_t rdev);

/* Whether a device is suspended, or cannot be asked. */
bool bsp_dm_is_suspended(int control, dev_t rdev);

/* Whether a target is a thin pool that does not zero new blocks. Takes a target
 * of bsp_dm_targets(). */
bool bsp_dm_skips_zeroing(const struct bsp_dm_target *target);

#endif
