/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel's counters of writes to a block device.
 *
 * For a whole disk these are the counters of the disk: writes and discards,
 * completed and in sectors (Documentation/block/stat.rst, fields 5, 7, 12 and
 * 14). For a partition they are its own counters, and the rest: the disk's
 * counters minus those of all its partitions. The partition's own counters miss
 * writes through the disk's node; the rest has them. So a writer to another
 * partition moves none of them, and a writer through the disk's node moves the
 * rest, at whatever offset it writes.
 *
 * Threads: one call at a time.
 */
#ifndef BSP_DEVICE_COUNTERS_H
#define BSP_DEVICE_COUNTERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	BSP_COUNTERS = 4, /* of one device or partition */
	/* The device's own counters, the rest (0 for a whole disk), and the
	 * number of samples that were not exact because the disk was busy: the
	 * other values of such a sample are only near the right ones. */
	BSP_COUNTER_VALUES = 2 * BSP_COUNTERS + 1,
};

struct bsp_counters;

/* Opens the counters of a device. Returns NULL if sysfs does not have them. */
struct bsp_counters *bsp_counters_new(dev_t rdev);

/* NULL is fine. */
void bsp_counters_free(struct bsp_counters *counters);

/*
 * Reads the counters. Returns false if they cannot be read.
 *
 * Cost: reads one file of sysfs while the disk's counters stand still.
 * Otherwise reads two files for each partition, and more if the counters move
 * meanwhile.
 */
bool bsp_counters_read(struct bsp_counters *counters,
		       uint64_t ret_value[BSP_COUNTER_VALUES]);

#endif
