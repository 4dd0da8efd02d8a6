/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Zeros that an NBD server knows: the extents of the context base:allocation
 * that have its ZERO flag (doc/proto.md of NBD, "Metadata querying"). The HOLE
 * flag promises nothing about the bytes.
 *
 * A question is at most 4 GiB long, and its answer may be shorter. So several
 * questions about the ranges that follow are in flight at once, the more the
 * longer the answers are. Answers are kept for one generation of the map, so
 * that dense data does not cost a question for each granule. A server's own
 * answer may be anything: it can end early, go beyond the question, or have
 * lengths of 0. Lengths are cut at the question, and an answer that makes no
 * progress means that nothing is known of that range.
 *
 * Threads: any, but for new and free. One thread asks at a time.
 */
#ifndef BSP_DEVICE_NBD_EXTENTS_H
#define BSP_DEVICE_NBD_EXTENTS_H

#include "device/known.h"
#include "device/nbd-pool.h"

struct bsp_nbd_extents;

struct bsp_nbd_extents *bsp_nbd_extents_new(struct bsp_nbd_pool *pool);

/* NULL is fine. */
void bsp_nbd_extents_free(struct bsp_nbd_extents *extents);

/* Answers as the operation known() of a device (device.h), without a layer. */
struct bsp_known_answer bsp_nbd_extents_ask(struct bsp_nbd_extents *extents,
					    uint64_t generation, uint64_t off,
					    uint64_t limit);

#endif
