/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a program inherits from its caller, and must not trust: standard
 * descriptors that are closed, limits, signals. Both programs call startup()
 * first in main(); one that serves for long calls startup_service() as well.
 */
#ifndef BLKSPARSEFS_STARTUP_H
#define BLKSPARSEFS_STARTUP_H

#include <stdbool.h>

/*
 * Makes sure that descriptors 0 to 2 are open, so that no device gets one of
 * these numbers, and is written to in place of a message. Reading from a
 * standard input that was closed fails with EBADF, and so does writing to a
 * standard output or error that was closed. Writes to a pipe without readers,
 * and beyond the limit of a file's size, fail with EPIPE and EFBIG from here
 * on, and do not end the program.
 *
 * Prints a message and returns false if that cannot be had. Before any other
 * descriptor is opened, and any thread started.
 */
bool startup(void);

/*
 * For a program that outlives its caller: raises the limits that would end it
 * or have it refuse requests as far as it may, unblocks all signals, has
 * SIGCHLD and the umask as programs expect them. Before any thread is started.
 */
void startup_service(void);

#endif
