/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making a range of a device zero, by the cheapest way that it has.
 */
#ifndef BSP_ZEROING_H
#define BSP_ZEROING_H

#include "device.h"

/* The most that one call of bsp_device_zero() should be given: what an
 * interrupt may have to wait for. */
uint64_t bsp_device_zero_step(struct bsp_device *dev, enum bsp_zeroing zeroing);

/*
 * Makes [off, off + len) zero. Returns 0, or -errno with some of it perhaps
 * zero. The caller keeps others from writing there. Any thread.
 */
int bsp_device_zero(struct bsp_device *dev, enum bsp_zeroing zeroing,
		    uint64_t len, uint64_t off);

#endif
