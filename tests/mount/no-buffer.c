/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For LD_PRELOAD: there is no memory for some of the buffers in which libfuse
 * takes requests, which are a page longer than the largest one (1 MiB).
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

enum {
	LARGE = (1 << 20) + 1,
	FIRST = 1, /* the first thread has its own */
	REFUSED = 4,
};

static atomic_uint buffers;

/* glibc's own names. */
void *__libc_malloc(size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static bool refused(size_t size)
{
	unsigned n = size >= LARGE ? atomic_fetch_add(&buffers, 1) : 0;

	if (n < FIRST || n >= FIRST + REFUSED)
		return false;
	errno = ENOMEM;
	return true;
}

void *malloc(size_t size)
{
	return refused(size) ? NULL : __libc_malloc(size);
}

/* As libfuse 3.17 does. */
void *aligned_alloc(size_t alignment, size_t size)
{
	return refused(size) ? NULL : __libc_memalign(alignment, size);
}
