/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shows progress on stderr: as a line on a terminal, which is no wider than the
 * terminal, or, if the user asks for it, also elsewhere, as lines without
 * escapes, or as JSON for programs.
 */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "blksparse.h"

/* --progress; each command adds it to its own options. */
extern const GOptionEntry progress_entries[];

/*
 * Takes each --progress=FORM out of argv. GOption cannot: it would also take
 * the argument that follows a mere --progress for its value. False for a form
 * that does not exist.
 */
bool progress_take_form(int *argc, char **argv, GError **error);

/* Was --progress given? */
bool progress_is_asked(void);

/* Bytes. */
struct progress_figures {
	uint64_t done;
	uint64_t total; /* 0: unknown */
	bool has_parts; /* data and hole are known */
	uint64_t data, hole;
};

struct progress {
	bool enabled;
	bool is_tty;
	bool has_terminal; /* the line of the terminal belongs to it */
	bool shown;	   /* a line is on the terminal */
	/* The rate is that of its reads; NULL: that of what is done. Set it
	 * with progress_count_reads(). */
	struct bsp_sparse *source;
	uint64_t read_before; /* bytes that it had read at the start */
	bool without_rate;    /* what is done was not read; set by the caller */
	int64_t started;      /* microseconds */
	int64_t next;	      /* when it may be shown again, microseconds */
	/* JSON: the last figures, and whether they were written. */
	struct progress_figures last;
	bool pending;
};

/* Nothing is shown for the first delay_ms, nor at all if quiet. */
void progress_begin(struct progress *progress, int delay_ms, bool quiet);

/* From now on the rate is that of the reads of source: holes that are known are
 * done, but not read. */
void progress_count_reads(struct progress *progress, struct bsp_sparse *source);

/* Another pass begins: time and rate start again. */
void progress_restart(struct progress *progress);

/* Shows it, if it is time to. done and total are in bytes. */
void progress_update(struct progress *progress, uint64_t done, uint64_t total);

/* The same, with the bytes of data and holes in what is done. A total of 0 is
 * unknown. */
void progress_update_parts(struct progress *progress, uint64_t done,
			   uint64_t total, uint64_t data, uint64_t hole);

/* Erases the line; the next update may draw it again. As JSON, writes the last
 * figures. */
void progress_clear(struct progress *progress);

#endif
