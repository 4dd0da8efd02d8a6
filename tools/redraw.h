/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Draws a text on a terminal in place of the one before.
 */
#ifndef REDRAW_H
#define REDRAW_H

#include "blksparse.h"

struct redraw {
	unsigned lines; /* of the last text */
};

/* Writes as much of the text as fits on the terminal, by write(data, ...). */
void redraw_write(struct redraw *redraw, const char *text, bsp_write_fn write,
		  void *data);

#endif
