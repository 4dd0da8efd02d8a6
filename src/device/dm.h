/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The device mapper: its tables, thin volumes, and stacks of devices.
 *
 * Threads: any.
 */
#ifndef BSP_DEVICE_DM_H
#define BSP_DEVICE_DM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "blksparse.h"

/* Whether all of a device is a thin volume. False if the device mapper cannot
 * be asked. */
bool bsp_dm_is_thin(dev_t rdev);

/*
 * Checks that a write beside zeros cannot turn them into other bytes. Returns
 * false, and an error, for a device on a thin pool that does not zero new
 * blocks: such a device can only be read.
 */
bool bsp_dm_check_stack(const char *path, dev_t rdev, GError **error);

/*
 * Returns a hash of the table of a device. control is a descriptor of the
 * device mapper's control node. Returns 0 if the device is not one of the
 * device mapper's, or cannot be asked (only root can).
 */
uint64_t bsp_dm_table_hash(int control, dev_t rdev);

#endif
