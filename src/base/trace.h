/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A trace of operations on standard error, where BLKSPARSE_TRACE=1 is in the
 * environment: one line for each, written when the operation has ended.
 *
 *	trace: device.read off=65536 len=4096 result=4096 us=112 path=/dev/sdb
 *
 * An operation asks for a start time, does its work, and gives that time back
 * with the result. Without a trace the start time is 0, no clock is read, and
 * the two calls are one predictable branch each.
 *
 * The environment is read once, by the first bsp_trace_init(). A function that
 * opens a device calls it before the opening (see trace.c for the reason).
 *
 * Threads: any. The lines of several threads do not mix.
 */
#ifndef BSP_BASE_TRACE_H
#define BSP_BASE_TRACE_H

#include <stdbool.h>
#include <stdint.h>

/* Fixed by bsp_trace_init(). */
extern bool bsp_trace_enabled;

void bsp_trace_init(void);

/* For the inline functions below. */
uint64_t bsp_trace_now(void);
void bsp_trace_write(uint64_t started, const char *operation, const char *path,
		     uint64_t off, uint64_t len, int64_t result);

/* The start time of an operation, never 0; 0 without a trace. */
static inline uint64_t bsp_trace_start(void)
{
	return bsp_trace_enabled ? bsp_trace_now() : 0;
}

/*
 * Writes the line of an operation on [off, off + len) of the device at path.
 * result: a count, an offset, or a negative errno. Keeps errno.
 */
static inline void bsp_trace_end(uint64_t started, const char *operation,
				 const char *path, uint64_t off, uint64_t len,
				 int64_t result)
{
	if (started)
		bsp_trace_write(started, operation, path, off, len, result);
}

#endif
