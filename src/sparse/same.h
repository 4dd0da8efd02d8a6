/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes that would change nothing are left out: the bytes are compared with
 * those that the device itself holds. same.c says when that is right.
 *
 * The caller has shared size_lock.
 */
#ifndef BSP_SPARSE_SAME_H
#define BSP_SPARSE_SAME_H

#include "sparse/sparse.h"

/* Whether writes to this object are compared first. */
static inline bool bsp_same_is_skipped(struct bsp_sparse *sp)
{
	return atomic_load_explicit(&sp->same.skipped, memory_order_relaxed);
}

/*
 * Writes [off, off + len), whole granules, but for those that hold the bytes
 * already. Returns the bytes written or left out, up to the last granule that
 * is complete, or -errno.
 */
ssize_t bsp_same_write(struct bsp_sparse *sp, uint64_t off, const char *buf,
		       size_t len);

/*
 * Whether the device holds the bytes of buf in [off, off + len), a part of a
 * granule that is neither a hole nor a marker, and that the caller has locked
 * exclusively. If not, counts the part as written, or as zeroed.
 */
bool bsp_same_part(struct bsp_sparse *sp, uint64_t off, const char *buf,
		   size_t len, bool zero);

#endif
