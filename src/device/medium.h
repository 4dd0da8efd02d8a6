/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sampling the medium of a block device (identity.h).
 *
 * Another disk sequence number means another medium: the kernel raises it when
 * a drive reports that its medium was changed, and when a loop device gets
 * another file (inc_diskseq() in block/). The kernel does not raise it when a
 * loop device gets another offset in its file (LOOP_SET_STATUS64), nor for
 * another table of the device mapper. And it raises the number before a loop
 * device uses the other file, so the file is sampled as well.
 *
 * When a medium is changed, the kernel drops the clean pages of the node and
 * writes the dirty ones to the new medium (bdev_mark_dead() in block/bdev.c,
 * from Linux 6.6 on; before, some time later). A program cannot take them back.
 * A writable mount can only write nothing more.
 *
 * Threads: any, but for free.
 */
#ifndef BSP_DEVICE_MEDIUM_H
#define BSP_DEVICE_MEDIUM_H

#include <sys/types.h>

#include "device/identity.h"

struct bsp_medium_source;

/* Returns a source of samples of the device with that number, which fd is open
 * on. fd must stay open as long. NULL if there is no memory. */
struct bsp_medium_source *bsp_medium_source_new(int fd, dev_t rdev);

/* NULL is fine. */
void bsp_medium_source_free(struct bsp_medium_source *source);

/*
 * Samples the medium to the given depth; other fields are 0. The sequence
 * number costs one system call, the file of a loop device another, and a table
 * some 20 us.
 */
void bsp_medium_ask(const struct bsp_medium_source *source,
		    enum bsp_depth depth, struct bsp_medium *ret_medium);

#endif
