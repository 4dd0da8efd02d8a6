/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Is it zero? Pure functions over memory, callable from any thread.
 */
#ifndef BSP_BASE_ZERO_H
#define BSP_BASE_ZERO_H

#include <stdbool.h>
#include <stddef.h>

/* So many zeros, aligned as direct I/O likes it. */
enum { BSP_ZEROS = 1 << 20 };
extern const char *const bsp_zeros;

/* True if all bytes of [buf, buf + len) are zero; true for len 0. */
bool bsp_is_zero(const void *buf, size_t len);

/*
 * The leading run of granules of one kind: the number of bytes, from buf on,
 * that are in all-zero granules, or in granules with a nonzero byte. A short
 * granule at the end of len counts as one. *ret_zero tells which kind. len
 * must not be 0.
 */
size_t bsp_zero_run(const void *buf, size_t len, size_t granule,
		    bool *ret_zero);

#endif
