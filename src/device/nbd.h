/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * NBD exports as devices. meson builds nbd.c, or nonbd.c without libnbd.
 */
#ifndef BSP_DEVICE_NBD_H
#define BSP_DEVICE_NBD_H

#include "device/device.h"

/* Opens an export; uri is one (bsp_is_nbd_uri()). changes is the metadata
 * context by which the server tells of changes, or NULL. */
struct bsp_device *bsp_device_nbd_new(const char *uri, bool writable,
				      const char *changes, GError **error);

#endif
