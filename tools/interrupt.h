/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ctrl-C, and the signals that mean the same.
 */
#ifndef INTERRUPT_H
#define INTERRUPT_H

#include <stdbool.h>

/* From now on the first such signal is only remembered; a second one ends the
 * program. System calls that wait return EINTR. */
void interrupt_catch(void);

/* Has there been one? A bsp_interrupted_fn; data is not used. */
bool interrupted(void *data);

#endif
