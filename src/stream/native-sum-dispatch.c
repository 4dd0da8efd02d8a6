/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For builds whose libxxhash can choose the instructions by the processor at
 * run time. Its plain functions use those that every processor of the
 * architecture has: 9 GB/s instead of 50 with AVX-512, measured in the cache.
 */
#include "stream/native.h"

#include <xxh_x86dispatch.h>

uint64_t bsp_native_checksum(const void *buf, size_t len)
{
	return XXH3_64bits_dispatch(buf, len);
}
