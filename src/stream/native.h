/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The numbers of the native format; blksparse-stream(5) says what they mean.
 * Only the format itself and its tests need them.
 */
#ifndef BSP_STREAM_NATIVE_H
#define BSP_STREAM_NATIVE_H

#include <stddef.h>
#include <stdint.h>

enum {
	BSP_NATIVE_VERSION = 1,
	BSP_NATIVE_HEADER = 64, /* bytes, as are all of these */
	BSP_NATIVE_FRAME = 40,	/* a frame's header */
	BSP_NATIVE_TOTALS = 24, /* the payload of the end frame */
	BSP_NATIVE_PAYLOAD_MAX = 1 << 20,
	BSP_NATIVE_GRANULE_MIN = 4096,
	BSP_NATIVE_GRANULE_MAX = 1 << 20,
	BSP_NATIVE_SUM_XXH3 = 1,
};

/* Flags of the header that a reader must know, or refuse. */
#define BSP_NATIVE_CRITICAL_FLAGS UINT32_C(0xffff0000)

/* Types of frames; one with this bit a reader must know, or refuse. */
#define BSP_NATIVE_CRITICAL UINT32_C(0x80000000)
#define BSP_NATIVE_DATA UINT32_C(0x80000001)
#define BSP_NATIVE_HOLE UINT32_C(0x80000002)
#define BSP_NATIVE_END UINT32_C(0x80000003)

/* The checksum: XXH3, 64 bits, no seed. */
uint64_t bsp_native_checksum(const void *buf, size_t len);

#endif
