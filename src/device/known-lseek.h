/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Holes that lseek(2) reports, of a regular file or a block device.
 *
 * Threads: any, but one at a time for a descriptor: they share its offset.
 */
#ifndef BSP_DEVICE_KNOWN_LSEEK_H
#define BSP_DEVICE_KNOWN_LSEEK_H

#include "device/known.h"

/* Answers for [off, limit) of a layer that begins at offset start of fd. size
 * is the size of fd's file, and was asked for before. Nothing is known past
 * it. */
struct bsp_known_answer bsp_known_lseek(int fd, uint64_t size, uint64_t start,
					uint64_t off, uint64_t limit);

#endif
