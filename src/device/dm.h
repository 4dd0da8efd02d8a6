/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The device mapper: tables, and thin volumes.
 *
 * Threads: any.
 */
#ifndef BSP_DEVICE_DM_H
#define BSP_DEVICE_DM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "blksparse.h"

/* Is it a thin volume, all of it? False where that cannot be asked. */
bool bsp_dm_is_thin(dev_t rdev);

/*
 * False, and an error, if zeros that are read there may turn into something
 * else by a write beside them: what lies on a thin pool that does not zero new
 * blocks can only be read.
 */
bool bsp_dm_check_stack(const char *path, dev_t rdev, GError **error);

/*
 * A hash of the table that the device mapper has for a device, asked through
 * its control node; 0 if that is no such device, or cannot be asked (it takes
 * root).
 */
uint64_t bsp_dm_table_hash(int control, dev_t rdev);

#endif
