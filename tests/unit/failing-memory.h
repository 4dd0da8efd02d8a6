/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Allocations of the library that fail at random. The linker sends calls of
 * malloc() and its kin here (--wrap, see meson.build); those inside of shared
 * libraries, GLib's among them, never come here and never fail.
 *
 * Threads: none of it may run beside another call of it.
 */
#ifndef FAILING_MEMORY_H
#define FAILING_MEMORY_H

#include "dice.h"

/* From now on so many allocations of 1000 fail, as the dice say. 0 ends it. */
void failing_memory(struct dice *dice, unsigned per_mille);

/* How many have failed, ever. */
unsigned failed_allocations(void);

#endif
