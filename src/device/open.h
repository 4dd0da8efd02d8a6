/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening a device, and opening it once more. open.c makes the kinds of devices
 * through the two functions at the end, and no other file does.
 *
 * Threads: any.
 */
#ifndef BSP_DEVICE_OPEN_H
#define BSP_DEVICE_OPEN_H

#include "device/device.h"

/*
 * Opens the file that fd is open on, or holds (O_PATH), once more with these
 * flags. path is the path that led to it; it is followed again only where /proc
 * is missing. Returns -1, and errno, on failure; ESTALE if the path leads to
 * another file by now.
 */
int bsp_device_reopen(int fd, const char *path, int flags);

/* Does the same for a device that is opened. Returns false, and an error, on
 * failure. */
bool bsp_device_open_again(const char *path, int fd, int flags, int *ret_fd,
			   GError **error);

/*
 * Make a device of a kind. On success fd belongs to the device. On failure they
 * set error and return NULL, and fd stays the caller's. path and *info are
 * copied.
 */
struct bsp_device *bsp_device_block_new(const char *path, int fd,
					const struct bsp_device_info *info,
					GError **error);
struct bsp_device *bsp_device_file_new(const char *path, int fd,
				       const struct bsp_device_info *info,
				       GError **error);

#endif
