/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making a range of a device zero, by the cheapest way that it has; and writing
 * where zeros must not be lost.
 */
#ifndef BSP_DEVICE_ZERO_RANGE_H
#define BSP_DEVICE_ZERO_RANGE_H

#include "device/device.h"

/* The most that one call of bsp_device_zero() should be given: what an
 * interrupt may have to wait for. */
uint64_t bsp_device_zero_step(struct bsp_device *dev, enum bsp_zero_mode mode);

/*
 * Makes [off, off + len) zero. Returns 0, or -errno with some of it perhaps
 * zero. The caller keeps others from writing there. Any thread.
 */
int bsp_device_zero(struct bsp_device *dev, enum bsp_zero_mode mode,
		    uint64_t off, uint64_t len);

/*
 * Writes [off, off + len) so that a failure, if there is one, is known when it
 * returns: 0, or -errno with some of it perhaps written. Any thread.
 */
int bsp_device_write_through(struct bsp_device *dev, uint64_t off,
			     const void *buf, size_t len);

/*
 * To be told of a flush that failed (the calls above see to it themselves):
 * what was found out about ways to zero the device is forgotten.
 */
void bsp_device_note_failure(struct bsp_device *dev);

#endif
