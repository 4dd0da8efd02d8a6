/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening a device, and opening it once more. The kinds of devices are made
 * here and nowhere else.
 *
 * Threads: any.
 */
#ifndef BSP_DEVICE_OPEN_H
#define BSP_DEVICE_OPEN_H

#include "device/device.h"

/*
 * Opens once more, with these flags, what fd is open on or holds (O_PATH); path
 * is where it was found, and is followed again only where /proc is missing. -1,
 * and errno, if that fails; ESTALE if what it leads to is not the same.
 */
int bsp_device_reopen(int fd, const char *path, int flags);

/* The same of an open device; false, and an error, if it fails. */
bool bsp_device_open_again(const char *path, int fd, int flags, int *ret_fd,
			   GError **error);

/*
 * The kinds. fd, path and what is known of them become the device's on
 * success; on failure, which sets error, they stay the caller's.
 */
struct bsp_device *bsp_device_block_new(const char *path, int fd,
					const struct bsp_device_info *info,
					GError **error);
struct bsp_device *bsp_device_file_new(const char *path, int fd,
				       const struct bsp_device_info *info,
				       GError **error);

#endif
