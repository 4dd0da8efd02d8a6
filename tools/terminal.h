/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The abilities of the user's terminal.
 */
#ifndef TERMINAL_H
#define TERMINAL_H

#include <stdbool.h>

/* Columns of standard output: those that COLUMNS or the terminal tells, or
 * 80. */
unsigned terminal_columns(void);

/* Rows of standard output: those that LINES or the terminal tells, or 24. */
unsigned terminal_rows(void);

/* Is the user's encoding UTF-8? */
bool terminal_is_utf8(void);

/* Does standard output take colours? Only a terminal does, and NO_COLOR turns
 * them off (https://no-color.org). */
bool terminal_has_colours(void);

#endif
