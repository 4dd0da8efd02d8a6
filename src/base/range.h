/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Arithmetic on byte ranges [off, off + len) that cannot overflow: the one
 * place for it. Granule sizes are powers of two and given as their log2,
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

/* How much of [off, off + len) lies below size: 0 when off is at or past it. */
static inline uint64_t bsp_range_clamp(uint64_t off, uint64_t len,
				       uint64_t size)
{
	if (off >= size)
		return 0;
	return bsp_min(len, size - off);
}

/* a + b, or UINT64_MAX where that does not fit. */
static inline uint64_t bsp_add_sat(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static inline uint64_t bsp_align_down(uint64_t off, unsigned shift)
{
	return off >> shift << shift;
}

/* How many granules size bytes take, the last one perhaps short. */
static inline uint64_t bsp_granules(uint64_t size, unsigned shift)
{
	return (size >> shift) + ((size & ((UINT64_C(1) << shift) - 1)) != 0);
}

/* off rounded up to a granule; UINT64_MAX where that does not fit. */
static inline uint64_t bsp_align_up(uint64_t off, unsigned shift)
{
	uint64_t granules = bsp_granules(off, shift);

	return granules > UINT64_MAX >> shift ? UINT64_MAX : granules << shift;
}

/* The first byte of a granule, cut at size. */
static inline uint64_t bsp_granule_start(uint64_t granule, unsigned shift,
					 uint64_t size)
{
	if (granule > size >> shift)
		return size;
	return granule << shift;
}

#endif
