/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Zero detection, and a buffer of zeros. Pure functions over memory; any thread
 * may call them.
 */
#ifndef BSP_BASE_ZERO_H
#define BSP_BASE_ZERO_H

#include <stdbool.h>
#include <stddef.h>

/* A buffer of BSP_ZEROS zero bytes, aligned for direct I/O. Never write to it.
 */
enum { BSP_ZEROS = 1 << 20 };
extern const char *const bsp_zeros;

/* Whether all bytes of [buf, buf + len) are zero; true for len 0. */
bool bsp_is_zero(const void *buf, size_t len);

/*
 * Finds the run of granules of one kind at the start of buf: granules of zeros
 * alone (*ret_zero is true), or granules with a nonzero byte. Returns the run's
 * length in bytes. The last granule may be short. len must not be 0.
 */
size_t bsp_zero_run(const void *buf, size_t len, size_t granule,
		    bool *ret_zero);

#endif
