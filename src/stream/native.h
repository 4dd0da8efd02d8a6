/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The numbers of the native stream format: sizes, flags and types of frames.
 *
 * blksparse-stream(5) explains them; a change here is a change of the format,
 * which streams kept as backups do not survive. Only native.c, the tests and
 * the fuzzer include this: senders and receivers use stream.h and format.h.
 */
#ifndef BSP_STREAM_NATIVE_H
#define BSP_STREAM_NATIVE_H

#include <stddef.h>
#include <stdint.h>

enum {
	BSP_NATIVE_VERSION = 1,
	/* Sizes in bytes. */
	BSP_NATIVE_HEADER = 64,
	BSP_NATIVE_FRAME = 40,		  /* the header of a frame */
	BSP_NATIVE_TOTALS = 24,		  /* the payload of the end frame */
	BSP_NATIVE_TOTALS_INCREMENT = 32, /* the same in an increment */
	BSP_NATIVE_BASE_PAYLOAD = 40,	  /* the payload of the base frame */
	BSP_NATIVE_PAYLOAD_MAX = 1 << 20,
	BSP_NATIVE_GRANULE_MIN = 4096,
	BSP_NATIVE_GRANULE_MAX = 1 << 20,
	BSP_NATIVE_SUM_XXH3 = 1,
};

/* A decoder that does not know one of these flags refuses the stream. */
#define BSP_NATIVE_CRITICAL_FLAGS UINT32_C(0xffff0000)
#define BSP_NATIVE_INCREMENT UINT32_C(0x00010000)

/* Types of frames. A decoder refuses an unknown type with the critical bit and
 * skips one without it. */
#define BSP_NATIVE_CRITICAL UINT32_C(0x80000000)
#define BSP_NATIVE_DATA UINT32_C(0x80000001)
#define BSP_NATIVE_HOLE UINT32_C(0x80000002)
#define BSP_NATIVE_END UINT32_C(0x80000003)
#define BSP_NATIVE_BASE UINT32_C(0x80000004)
#define BSP_NATIVE_SAME UINT32_C(0x80000005)

/* XXH3, 64 bits, without a seed. */
uint64_t bsp_native_checksum(const void *buf, size_t len);

#endif
