/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The counters of writes to a block device.
 *
 * They are those of the whole disk (Documentation/block/stat.rst, fields 5, 7,
 * 12 and 14: writes and discards, done and in sectors). Of a partition they are
 * its own, which miss writes through the disk's node, and the rest:
 * what the disk has counted more than all its partitions together. So a writer
 * to another partition does not move them, and a writer through the disk does,
 * wherever it writes.
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
	/* The own, the rest (0 for a whole disk), and how often a busy disk did
	 * not hold still for long enough: then the others are only near the
	 * right values. */
	BSP_COUNTER_VALUES = 2 * BSP_COUNTERS + 1,
};

struct bsp_counters;

/* Of the device with that number; NULL if sysfs has none. To be freed. */
struct bsp_counters *bsp_counters_new(dev_t rdev);

/* NULL is fine. */
void bsp_counters_free(struct bsp_counters *counters);

/*
 * Reads them. False if they cannot be had.
 *
 * Cost: one file of sysfs while the disk's counters stand still; two files for
 * each partition otherwise, and more where they move meanwhile.
 */
bool bsp_counters_read(struct bsp_counters *counters,
		       uint64_t ret_value[BSP_COUNTER_VALUES]);

#endif
