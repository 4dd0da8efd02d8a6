/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A line on the terminal that shows progress. It goes to stderr if that is a
 * terminal, or if the caller sets `enabled` after progress_begin().
 */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool enabled;
	bool shown;
	int64_t started; /* microseconds */
	int64_t next;	 /* when it may be drawn again, microseconds */
};

/* The line is not shown for the first delay_ms. */
void progress_begin(struct progress *progress, int delay_ms);

/* Draws the line, if it is time to. done and total are in bytes. */
void progress_update(struct progress *progress, uint64_t done, uint64_t total);

/* The same, with the bytes of data and holes in what is done. A total of 0 is
 * unknown. */
void progress_update_parts(struct progress *progress, uint64_t done,
			   uint64_t total, uint64_t data, uint64_t hole);

/* Erases the line; the next update may draw it again. */
void progress_clear(struct progress *progress);

#endif
