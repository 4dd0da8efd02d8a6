/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing and punching whole granules: the device first, then the map and the
 * record of zeros that are not durable. The caller has locked the granules
 * exclusively, and holds size_lock.
 */
#ifndef BSP_SPARSE_GRANULES_H
#define BSP_SPARSE_GRANULES_H

#include "sparse/sparse.h"

/* Makes granules [from, to) zero, without device I/O. Returns 0 or -ENOMEM. */
int bsp_write_punch(struct bsp_sparse *sp, uint64_t from, uint64_t to);

/*
 * Writes [off, off + len), which starts at a granule and covers all granules
 * that it touches. Returns the bytes written, up to the last granule that is
 * written completely, or -errno.
 */
ssize_t bsp_write_run(struct bsp_sparse *sp, uint64_t off, const char *buf,
		      size_t len);

/* Records that [off, end), which covers all granules that it touches, is
 * written. Returns 0 or -ENOMEM. */
int bsp_write_record(struct bsp_sparse *sp, uint64_t off, uint64_t end);

#endif
