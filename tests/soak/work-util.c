/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Choices, checks and reports of workers. */
#include "work.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- Reporting --- */

void note(struct worker *w, uint64_t from, uint64_t to, const char *format, ...)
{
	struct note *entry = &w->notes[w->noted++ % NOTES];
	va_list args;

	entry->op = w->op;
	entry->from = from;
	entry->to = to;
	va_start(args, format);
	(void)vsnprintf(entry->text, sizeof(entry->text), format, args);
	va_end(args);
}

static void print_notes(const struct worker *w, uint64_t at)
{
	uint64_t granule = w->soak->granule;
	uint64_t from = at / granule * granule, to = from + granule;
	uint64_t i = w->noted > NOTES ? w->noted - NOTES : 0;

	fprintf(stderr, "This worker's last operations on that granule:\n");
	for (; i < w->noted; i++) {
		const struct note *entry = &w->notes[i % NOTES];

		if (entry->from < to && from < entry->to)
			fprintf(stderr,
				"  %6" PRIu64 " [%" PRIu64 ", %" PRIu64
				")%s %s\n",
				entry->op, entry->from, entry->to,
				at >= entry->from && at < entry->to ? " *" : "",
				entry->text);
	}
}

void wrong(struct worker *w, uint64_t at, const char *format, ...)
{
	uint64_t granule = w->soak->granule;
	va_list args;

	/* The first one is the one that counts. */
	if (atomic_exchange(&w->soak->failed, true)) {
		for (;;)
			(void)pause();
	}
	fprintf(stderr,
		"WRONG: seed %" PRIu64 " file %s worker %u operation %" PRIu64
		", at %" PRIu64 " (granule %" PRIu64 " + %" PRIu64
		"), file of %" PRIu64 ", window %u: ",
		w->soak->seed, w->file->name, w->number, w->op, at,
		at / granule, at % granule, atomic_load(&w->file->len),
		atomic_load(&w->file->windows));
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	print_notes(w, at);
	fflush(stderr);
	_exit(1);
}

void may_fail(struct worker *w, uint64_t at, const char *what)
{
	int error = errno;

	if (atomic_load(&w->soak->ending)) {
		w->over = true;
		return;
	}
	if (!shadow_is_unsure(w->file, w->stripe))
		wrong(w, at, "%s: %s", what, strerror(error));
	note(w, at, at + 1, "%s failed: %s", what, strerror(error));
	w->rewrite = true;
}

bool finishes(const struct worker *w)
{
	return w->over || atomic_load(&w->soak->stop);
}

/* --- Choices --- */

uint64_t below(struct worker *w, uint64_t n)
{
	return dice_below(&w->choices.dice, n);
}

bool chance(struct worker *w, unsigned percent)
{
	return dice_chance(&w->choices.dice, percent * 10);
}

uint64_t limit(const struct worker *w)
{
	return w->owns_end ? soak_min(w->stripe->to, atomic_load(&w->file->len))
			   : w->stripe->to;
}

bool pick(struct worker *w, uint64_t end, uint64_t *off, uint64_t *len)
{
	if (!choose_range(&w->choices, w->stripe->from, end, limit(w), off,
			  len))
		return false;
	w->last = *off;
	w->last_len = *len;
	return true;
}

void fill(struct worker *w, char *buf, uint64_t len, uint64_t off)
{
	choose_bytes(&w->choices, buf, len, off);
}

/* --- Checks --- */

void compare(struct worker *w, const char *got, uint64_t len, uint64_t off,
	     const char *how)
{
	const unsigned char *right = w->file->now + off;

	if (memcmp(got, right, len) == 0)
		return;
	for (uint64_t i = 0; i < len; i++) {
		unsigned char byte = (unsigned char)got[i];

		if (byte != right[i] &&
		    !shadow_may_read(w->file, off + i, byte, w->soak->granule))
			wrong(w, off + i,
			      "%s of %" PRIu64 " at %" PRIu64 ": %#x, not %#x",
			      how, len, off, byte, right[i]);
	}
}

static void must_be_zero(struct worker *w, uint64_t from, uint64_t to,
			 const char *how)
{
	for (uint64_t at = from; at < to; at++)
		if (w->file->now[at] &&
		    !shadow_may_read(w->file, at, 0, w->soak->granule))
			wrong(w, at, "%s from %" PRIu64 " on skips %#x", how,
			      from, w->file->now[at]);
}

#define SEEK_FAILED (UINT64_MAX - 1)

/* Returns an offset; UINT64_MAX if there is none, or SEEK_FAILED. */
static uint64_t seek(struct worker *w, int fd, uint64_t at, int whence)
{
	off_t found = lseek(fd, (off_t)at, whence);

	if (found >= 0)
		return (uint64_t)found;
	if (errno == ENXIO)
		return UINT64_MAX;
	may_fail(w, at, "lseek");
	return SEEK_FAILED;
}

void check_seeks(struct worker *w, int fd, uint64_t at, uint64_t end,
		 unsigned steps)
{
	uint64_t granule = w->soak->granule;

	for (; at < end && steps && !w->over; steps--) {
		uint64_t data = seek(w, fd, at, SEEK_DATA), hole, least;

		if (w->over || data == SEEK_FAILED)
			return;
		if (data < at)
			wrong(w, at, "SEEK_DATA went back to %" PRIu64, data);
		must_be_zero(w, at, soak_min(data, end), "SEEK_DATA");
		if (data >= end)
			return;
		if (data > at && data % granule)
			wrong(w, at, "SEEK_DATA is %" PRIu64 ": no granule",
			      data);
		hole = seek(w, fd, data, SEEK_HOLE);
		if (hole == SEEK_FAILED)
			return;
		/* After a change of a device that is mounted read-only, a
		 * granule that ended a search need not be data any more; nor a
		 * short hole, which another worker has made longer, nor a
		 * granule that could not be read. */
		least = data + (fd == w->fd && w->soak->mode != SOAK_READ &&
				w->soak->shows_holes &&
				!shadow_is_unsure(w->file, w->stripe));
		if (!w->over && (hole < least || hole == UINT64_MAX))
			wrong(w, at, "SEEK_HOLE(%" PRIu64 ") is %" PRIu64, data,
			      hole);
		at = hole;
	}
}

void check_hole(struct worker *w, uint64_t from, uint64_t to)
{
	uint64_t granule = w->soak->granule, data;
	uint64_t start = (from + granule - 1) / granule * granule;

	if (w->over || !w->soak->shows_holes || start + granule > to ||
	    shadow_is_unsure(w->file, w->stripe))
		return;
	if (seek(w, w->fd, start, SEEK_HOLE) != start && !w->over &&
	    !shadow_is_unsure(w->file, w->stripe))
		wrong(w, start, "no hole where zeros were just made");
	data = seek(w, w->fd, start, SEEK_DATA);
	if (data < to / granule * granule && !w->over &&
	    !shadow_is_unsure(w->file, w->stripe))
		wrong(w, start, "data where zeros were just made");
}

/* --- Looking for hangs --- */

void op_begin(struct worker *w, const char *what)
{
	strncpy(w->state->what, what, sizeof(w->state->what) - 1);
	atomic_store(&w->state->op, w->op);
	atomic_store(&w->state->began, soak_now_ns());
}

void op_end(struct worker *w)
{
	atomic_store(&w->state->began, 0);
}
