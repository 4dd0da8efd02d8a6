/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For the coverage build, by the compiler's -include: _exit(2) runs no exit
 * handler, so a child process that ends by it would lose its counts of lines.
 */
#ifndef BSP_COUNT_AT_EXIT_H
#define BSP_COUNT_AT_EXIT_H

#include <unistd.h>

void __gcov_dump(void); /* libgcov */

static inline __attribute__((noreturn)) void count_and_exit(int status)
{
	__gcov_dump();
	_exit(status);
}

#define _exit(status) count_and_exit(status)

#endif
