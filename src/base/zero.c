/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Zero detection. A buffer is all zero if its first 16 bytes are zero and every
 * other byte equals the byte 16 before it. memcmp() of the buffer with itself,
 * shifted by 16, tests the second part: it stops at the first difference and
 * uses the widest vectors that the C library knows for this processor. A loop
 * of 64-bit words, written by hand, measured no faster (about 12 GB/s from
 * memory, 40 from the cache).
 */
#include "base/zero.h"

#include <string.h>

enum { HEAD = 16 };

/* Not const: constant zeros would take 1 MiB of the program's file. */
static char zeros[BSP_ZEROS] __attribute__((aligned(4096)));

const char *const bsp_zeros = zeros;

bool bsp_is_zero(const void *buf, size_t len)
{
	const unsigned char *bytes = buf;

	if (len <= HEAD)
		return memcmp(bytes, zeros, len) == 0;
	return memcmp(bytes, zeros, HEAD) == 0 &&
	       memcmp(bytes, bytes + HEAD, len - HEAD) == 0;
}

size_t bsp_zero_run(const void *buf, size_t len, size_t granule, bool *ret_zero)
{
	const unsigned char *bytes = buf;
	size_t run = len < granule ? len : granule;
	bool zero = bsp_is_zero(bytes, run);

	while (run < len) {
		size_t next = len - run < granule ? len - run : granule;

		if (bsp_is_zero(bytes + run, next) != zero)
			break;
		run += next;
	}
	*ret_zero = zero;
	return run;
}
