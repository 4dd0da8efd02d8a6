/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether the target of an increment has the content that the increment names
 * as its base.
 */
#ifndef BSP_TRANSFER_BASE_CHECK_H
#define BSP_TRANSFER_BASE_CHECK_H

#include "sparse/sparse.h"
#include "stream/stream.h"
#include "transfer/transfer.h"

/*
 * Checks by the options that the device of sp is the base of the increment,
 * before anything is written: by a digest file, which is removed then, or by
 * reading the device. An increment that is resumed finds no base any more:
 * bsp_base_check_part() does that. Returns false and the error.
 *
 * The writer of the device need not use sp: it is for these checks alone.
 */
bool bsp_base_check(const struct bsp_transfer *call,
		    const struct bsp_decoder *dec, struct bsp_sparse *sp);

/* After BSP_STREAM_SAME: checks that the device has that part of the base, if
 * nothing else did. Returns false and the error. */
bool bsp_base_check_part(const struct bsp_transfer *call,
			 const struct bsp_decoder *dec, struct bsp_sparse *sp);

#endif
