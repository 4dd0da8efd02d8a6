/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A worker: a thread that changes one stripe of one file, and checks it.
 */
#ifndef WORK_H
#define WORK_H

#include <stdio.h>
#include <sys/types.h>

#include "../lib/choices.h"
#include "soak.h"

enum { NOTES = 2048 };

struct note {
	uint64_t op, from, to;
	char text[56];
};

struct worker {
	struct soak *soak;
	struct soak_file *file;
	struct stripe *stripe;
	struct worker_state *state;
	unsigned number; /* of the stripe */
	bool owns_end;	 /* the last stripe of the file */
	struct choices choices;
	uint64_t op;
	bool over;    /* the driver is gone, as it should be */
	bool rewrite; /* an operation failed, so data may be lost */

	int fd, direct;
	char *mapped; /* [from, from + mapped_len), or NULL */
	uint64_t mapped_len;
	bool map_dirty;

	uint64_t last, last_len; /* the range of the last operation */
	char *buf, *seen;	 /* SOAK_LONGEST and two pages each */
	struct note notes[NOTES];
	uint64_t noted;
};

/* --- Reporting (work-util.c) --- */

void note(struct worker *w, uint64_t from, uint64_t to, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Prints the fault and the worker's last operations near at, and ends the
 * run. */
_Noreturn void wrong(struct worker *w, uint64_t at, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* An operation has failed with errno. Returns if it may fail now, because of a
 * fault that was injected, or because the driver was ended. */
void may_fail(struct worker *w, uint64_t at, const char *what);

/* --- Choices --- */

bool chance(struct worker *w, unsigned percent);
uint64_t below(struct worker *w, uint64_t n);

/* The end of the worker's range, without making the file longer. */
uint64_t limit(const struct worker *w);

/* A range inside the stripe that ends at end at most; false if there is none.
 */
bool pick(struct worker *w, uint64_t end, uint64_t *off, uint64_t *len);

/* Zeros, data, or a mix whose borders often are those of granules. */
void fill(struct worker *w, char *buf, uint64_t len, uint64_t off);

/* --- Checks --- */

/* Compares bytes that were read from the file. */
void compare(struct worker *w, const char *got, uint64_t len, uint64_t off,
	     const char *how);

/* Searches fd from at on for a number of steps: each byte of a hole before end
 * must be zero. */
void check_seeks(struct worker *w, int fd, uint64_t at, uint64_t end,
		 unsigned steps);

/* The whole granules in [from, to) must be holes. */
void check_hole(struct worker *w, uint64_t from, uint64_t to);

/* Reads from fd, and compares. */
void read_range(struct worker *w, int fd, uint64_t off, uint64_t len,
		const char *how);

/* --- Operations --- */

/* The worker's change makes the file end at len. */
void file_ends(struct worker *w, uint64_t len);

void open_files(struct worker *w);
void close_files(struct worker *w);
void map_file(struct worker *w);
void unmap_file(struct worker *w);
bool sync_map(struct worker *w);

/* fsync of fd, which promises what is complete. False if it has failed. */
bool sync_file(struct worker *w, int fd);

/* Repairs the stripe after faults, if none are injected now. */
void settle(struct worker *w);

void change_done(struct worker *w, bool failed);

/* On the whole file, which the worker has for itself (work-whole.c). */
void op_whole(struct worker *w);

/* Beside a read-only mount (work-node.c). */
void work_on_node(struct worker *w);

/* Runs in the thread of a worker; data is a struct worker. */
void *work_main(void *data);

/* Begins and ends an operation, for the main process that looks for hangs. */
void op_begin(struct worker *w, const char *what);
void op_end(struct worker *w);

bool finishes(const struct worker *w);
void wait_while_paused(struct worker *w);

#endif
