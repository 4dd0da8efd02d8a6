/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Counts for people: bytes that were read, errors, and the like. A count is an
 * atomic number that any thread may add to. The order of two additions means
 * nothing, so that they cost no more than the memory that they touch.
 */
#ifndef BSP_BASE_COUNT_H
#define BSP_BASE_COUNT_H

#include <stdatomic.h>
#include <stdint.h>

static inline void bsp_count(_Atomic uint64_t *count, uint64_t n)
{
	atomic_fetch_add_explicit(count, n, memory_order_relaxed);
}

static inline uint64_t bsp_counted(_Atomic uint64_t *count)
{
	return atomic_load_explicit(count, memory_order_relaxed);
}

#endif
