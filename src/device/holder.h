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
 * What uses a block device so that it cannot be opened exclusively, as the end
 * of a sentence ("is mounted on /srv; unmount it first"), to be freed.
 */
char *bsp_holder_of_device(dev_t rdev);

/* The same of an open image file: of a loop device that has it, or that may
 * have it and does not answer; NULL if there is none. */
char *bsp_holder_of_image(int fd, const struct stat *st);

#endif
