/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Programs, mounts and other devices that keep a device from being opened for
 * writing, in words for the user.
 *
 * Threads: any.
 */
#ifndef BSP_DEVICE_HOLDER_H
#define BSP_DEVICE_HOLDER_H

#include <sys/stat.h>
#include <sys/types.h>

/*
 * Says what uses a block device, so that it cannot be opened exclusively, as
 * the end of a sentence ("is mounted on /srv; unmount it first"). Free it with
 * g_free().
 */
char *bsp_holder_of_device(dev_t rdev);

/* Says the same of an open image file that a loop device has, or may have if it
 * does not answer. NULL if there is none. */
char *bsp_holder_of_image(int fd, const struct stat *st);

#endif
