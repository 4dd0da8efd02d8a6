/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Wrappers of the allocating functions that fail by the dice of a test. The
 * linker replaces calls of malloc() by __wrap_malloc(), and __real_malloc() is
 * the function of the C library (--wrap of ld(1)).
 */
#include "failing-memory.h"

#include <errno.h>
#include <stddef.h>

static struct dice *memory_dice;
static unsigned chance, failed;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *memory, size_t size);
int __real_posix_memalign(void **ret_memory, size_t align, size_t size);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *memory, size_t size);
int __wrap_posix_memalign(void **ret_memory, size_t align, size_t size);

void failing_memory(struct dice *dice, unsigned per_mille)
{
	memory_dice = dice;
	chance = per_mille;
}

unsigned failed_allocations(void)
{
	return failed;
}

static bool must_fail(void)
{
	bool fails = chance && dice_chance(memory_dice, chance);

	if (fails) {
		failed++;
		errno = ENOMEM;
	}
	return fails;
}

void *__wrap_malloc(size_t size)
{
	return must_fail() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return must_fail() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
	return must_fail() ? NULL : __real_realloc(memory, size);
}

int __wrap_posix_memalign(void **ret_memory, size_t align, size_t size)
{
	return must_fail() ? ENOMEM
			   : __real_posix_memalign(ret_memory, align, size);
}
