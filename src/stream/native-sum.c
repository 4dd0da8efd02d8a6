/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream/native.h"

#include <xxhash.h>

uint64_t bsp_native_checksum(const void *buf, size_t len)
{
	return XXH3_64bits(buf, len);
}
