/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The medium of a block device (identity.h): asks the kernel for it.
 *
 * Another disk sequence number stands for another medium: the kernel raises it
 * when a drive says that its medium was changed, and when a loop device gets
 * another file (inc_diskseq() in block/). It does not when a loop device is
 * given another place in its file (LOOP_SET_STATUS64), nor for another table of
 * the device mapper. And it does so before a loop device has changed over to
 * the other file, so that the file is asked for as well.
 *
 * When a medium is changed, the kernel drops the clean pages of the node, and
 * writes the dirty ones: to the medium that is there by then (bdev_mark_dead()
 * in block/bdev.c, from Linux 6.6 on; before, some time later). A program
 * cannot take them back. What a writable mount can do is to write nothing more.
 *
 * Threads: any, but for free.
 */
#ifndef BSP_DEVICE_MEDIUM_H
#define BSP_DEVICE_MEDIUM_H

#include <sys/types.h>

#include "device/identity.h"

struct bsp_medium_source;

/* Of the device with that number, which fd is open on; fd must outlive it. NULL
 * if there is no memory. */
struct bsp_medium_source *bsp_medium_source_new(int fd, dev_t rdev);

/* NULL is fine. */
void bsp_medium_source_free(struct bsp_medium_source *source);

/*
 * Fills in the fields of *ret_medium as deep as told, and 0 elsewhere. The
 * sequence number costs one system call, the file of a loop device another,
 * and a table some 20 us.
 */
void bsp_medium_ask(const struct bsp_medium_source *source,
		    enum bsp_depth depth, struct bsp_medium *ret_medium);

#endif
