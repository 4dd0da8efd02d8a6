/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looking at unknown granules, a chunk at a time.
 */
#ifndef BSP_SCANNER_H
#define BSP_SCANNER_H

#include "sparse.h"

/* The most that is read at once: what an interrupt may have to wait for. */
enum { BSP_SCAN_CHUNK = 1 << 20 };

/*
 * Settles the unknown granule given, and those that follow it as far as one
 * chunk goes; more where the device knows its zeros without reading. A
 * granule that cannot be read is data. Returns 0 (also when there was nothing
 * to do), or -ENOMEM. Any thread.
 */
int bsp_scan_chunk(struct bsp_sparse *sp, uint64_t granule);

#endif
