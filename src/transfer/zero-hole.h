/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Zeroing the holes of a stream on a device, by the cheapest way that it has
 * (zero-range.h), but for the parts that the device knows to be zero (known.h):
 * nothing was written there before.
 *
 * Threads: one at a time.
 */
#ifndef BSP_TRANSFER_ZERO_HOLE_H
#define BSP_TRANSFER_ZERO_HOLE_H

#include "device/device.h"

struct bsp_zero_hole {
	struct bsp_device *dev;
	enum bsp_zero_mode mode;
	uint64_t unknown_to; /* up to there the device knew of no zeros */
	const char *layer;   /* the one that knew the last zeros, or NULL */
	uint64_t unchecked;  /* bytes of known zeros since the last check */
	const char *liar;    /* the layer that was wrong about zeros, or NULL */
};

/*
 * Does a step of zeroing [off, end), and sets *ret_next to where the next one
 * goes on. The offsets of calls must ascend. Returns 0 or -errno; if a layer
 * below said that off is zero, and it is not, hole->liar is set then.
 */
int bsp_zero_hole_step(struct bsp_zero_hole *hole, uint64_t off, uint64_t end,
		       uint64_t *ret_next);

#endif
