/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making a range of a device zero, by the cheapest way that the device has; and
 * writing with the error known at once, where zeros must not be lost.
 *
 * Threads: any.
 */
#ifndef BSP_DEVICE_ZERO_RANGE_H
#define BSP_DEVICE_ZERO_RANGE_H

#include "device/device.h"

/* Returns the most bytes that one call of bsp_device_zero() should zero: an
 * interrupt may have to wait for so many. */
uint64_t bsp_device_zero_step(struct bsp_device *dev, enum bsp_zero_mode mode);

/*
 * Makes [off, off + len) zero. Returns 0, or -errno with a part of the range
 * perhaps zero; -EINTR after an interrupt of this thread. The caller excludes
 * other writers from the range.
 */
int bsp_device_zero(struct bsp_device *dev, enum bsp_zero_mode mode,
		    uint64_t off, uint64_t len);

/*
 * Writes [off, off + len) and waits for its writeback. Returns 0, or
 * -errno with a part of the range perhaps written. No later flush returns an
 * error of this write.
 */
int bsp_device_write_through(struct bsp_device *dev, uint64_t off,
			     const void *buf, size_t len);

/*
 * Notes that a flush failed: forgets which ways of zeroing the device refused,
 * and no longer reads before writing zeros. The calls above do this for their
 * own failures. -EINTR is none: it ends the wait for a device on a network.
 */
void bsp_device_note_failure(struct bsp_device *dev);

/* Whether a failure was noted since the device was opened. */
bool bsp_device_has_failed(struct bsp_device *dev);

#endif
