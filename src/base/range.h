/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Arithmetic on byte ranges [off, off + len) that cannot overflow. All such
 * arithmetic belongs here: an offset or a length may come from a caller, from a
 * stream or from a device, and be anything up to UINT64_MAX.
 *
 * The size of a granule is a power of two. Functions take its binary logarithm,
 * called shift.
 */
#ifndef BSP_BASE_RANGE_H
#define BSP_BASE_RANGE_H

#include <stdint.h>

static inline uint64_t bsp_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t bsp_max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Returns how many bytes of [off, off + len) lie below size: 0 if off is at or
 * past size. */
static inline uint64_t bsp_range_clamp(uint64_t off, uint64_t len,
				       uint64_t size)
{
	if (off >= size)
		return 0;
	return bsp_min(len, size - off);
}

/* Returns a + b, or UINT64_MAX if the sum does not fit. */
static inline uint64_t bsp_add_sat(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static inline uint64_t bsp_align_down(uint64_t off, unsigned shift)
{
	return off >> shift << shift;
}

/* Returns how many granules size bytes take. The last one may be short. */
static inline uint64_t bsp_granules(uint64_t size, unsigned shift)
{
	return (size >> shift) + ((size & ((UINT64_C(1) << shift) - 1)) != 0);
}

/* Returns off rounded up to a granule, or UINT64_MAX if that does not fit. */
static inline uint64_t bsp_align_up(uint64_t off, unsigned shift)
{
	uint64_t granules = bsp_granules(off, shift);

	return granules > UINT64_MAX >> shift ? UINT64_MAX : granules << shift;
}

/* Returns the offset of a granule, but at most size. */
static inline uint64_t bsp_granule_start(uint64_t granule, unsigned shift,
					 uint64_t size)
{
	if (granule > size >> shift)
		return size;
	return granule << shift;
}

#endif
