/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The state that a program inherits from its caller and must not rely on:
 * standard descriptors that are closed, limits, signals. Both programs (see
 * tools/ as well) call startup() first in main(); blksparsefs, which outlives
 * its caller, calls startup_service() as well.
 */
#ifndef BLKSPARSEFS_STARTUP_H
#define BLKSPARSEFS_STARTUP_H

#include <stdbool.h>

/*
 * Makes sure that descriptors 0 to 2 are open. Otherwise a device could get one
 * of these numbers, and a message would be written to it. Reading from a
 * standard input that was closed still fails with EBADF, and so does writing to
 * a standard output or error that was closed.
 *
 * Also has writes to a pipe without readers and beyond the file size limit fail
 * with EPIPE and EFBIG, instead of ending the program.
 *
 * Prints a message and returns false on failure. Call it before any other
 * descriptor is opened, and before any thread starts.
 */
bool startup(void);

/* For a program that outlives its caller: raises the limits that would end it
 * or make it refuse requests, unblocks all signals, and sets SIGCHLD and the
 * umask to the usual values. Call it before any thread starts. */
void startup_service(void);

#endif
