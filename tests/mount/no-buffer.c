/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For LD_PRELOAD: there is no memory for some of the buffers in which libfuse
 * takes requests, which are a page longer than the largest one (1 MiB).
 */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

enum {
	LARGE = (1 << 20) + 1,
	FIRST = 1, /* the first thread has its own */
	REFUSED = 4,
};

static atomic_uint buffers;

/* glibc's own name for it. */
void *__libc_malloc(size_t size);
void *malloc(size_t size);

void *malloc(size_t size)
{
	unsigned n = size >= LARGE ? atomic_fetch_add(&buffers, 1) : 0;

	if (n >= FIRST && n < FIRST + REFUSED) {
		errno = ENOMEM;
		return NULL;
	}
	return __libc_malloc(size);
}
