/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The blocks in which two thin volumes of one pool differ, from the metadata of
 * the pool.
 *
 * A snapshot shares the blocks of its origin. A write to a block that is shared
 * goes to a new block of the pool, and only then to a block that no other
 * volume has (drivers/md/dm-thin.c, process_bio()). So a block that both
 * volumes map to the same block of the pool, from the same time on, has the
 * same bytes in both, as long as neither was written since they began to share
 * it.
 *
 * That holds only for volumes that are not written: both have to be read-only,
 * and to stay so. Then their trees do not change either, and the walk needs no
 * superblock that stays the same (thin-tree.h): at the end, another commit must
 * lead to the same roots. Counters of writes, and the tables, must not have
 * moved, from the first look to the end of the transfer.
 */
#ifndef BSP_DEVICE_THIN_CHANGES_H
#define BSP_DEVICE_THIN_CHANGES_H

#include "base/changes.h"
#include "device/device.h"

/* Adds the blocks of dev that differ from the volume at the path old. dev must
 * outlive the changes. Returns false and an error on failure. */
bool bsp_thin_changes_read(struct bsp_device *dev, const char *old,
			   struct bsp_changes *changes, GError **error);

#endif
