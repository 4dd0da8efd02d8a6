/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For LD_PRELOAD: fails some allocations of libfuse's buffers for requests,
 * which are a page longer than the largest request (1 MiB). glibc's own
 * functions serve all other allocations.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

enum {
	LARGE = (1 << 20) + 1,
	FIRST = 1, /* the first thread gets its buffer */
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

/* libfuse 3.17 allocates its buffers with this. */
void *aligned_alloc(size_t alignment, size_t size)
{
	return refused(size) ? NULL : __libc_memalign(alignment, size);
}
