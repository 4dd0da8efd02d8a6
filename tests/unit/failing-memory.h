/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Allocations of the library that fail at random. The linker sends calls of
 * malloc(), calloc(), realloc() and posix_memalign() here (--wrap, see
 * meson.build). Calls inside of shared libraries, as of GLib, do not come here
 * and never fail.
 *
 * Threads: one call at a time.
 */
#ifndef FAILING_MEMORY_H
#define FAILING_MEMORY_H

#include "dice.h"

/* Makes so many of 1000 allocations fail, by the dice. 0 ends that. */
void failing_memory(struct dice *dice, unsigned per_mille);

/* Returns how many allocations have failed in all. */
unsigned failed_allocations(void);

#endif
