/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A line on the terminal that says how far something has come. It is written
 * to stderr, and only if that is a terminal, or if whoever began it enables it.
 */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool enabled;
	bool shown;
	int64_t started; /* microseconds */
	int64_t next;	 /* when it may be written again */
};

/* It is not shown for the first delay_ms. */
void progress_begin(struct progress *progress, int delay_ms);

/* May be called as often as one likes. Bytes. */
void progress_update(struct progress *progress, uint64_t done, uint64_t total);

/* The same, with how much of what is done is data and holes. total 0: nobody
 * knows. */
void progress_update_parts(struct progress *progress, uint64_t done,
			   uint64_t total, uint64_t data, uint64_t hole);

/* Takes the line away; the next update may bring it back. */
void progress_clear(struct progress *progress);

#endif
