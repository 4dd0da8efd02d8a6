/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ctrl-C, and the other signals that ask a program to end: SIGTERM and SIGHUP.
 */
#ifndef INTERRUPT_H
#define INTERRUPT_H

#include <stdbool.h>

/* Remembers the first such signal from now on; a second one ends the program.
 * System calls that wait return EINTR, and waits of this thread for a device on
 * a network end. */
void interrupt_catch(void);

/* Whether such a signal came. A bsp_interrupted_fn; data is not used. */
bool interrupted(void *data);

#endif
