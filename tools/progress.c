/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The line is drawn at most five times a second: callers report each MiB or
 * so, and writing to a terminal is slow.
 */
#include "progress.h"

#include <glib.h>
#include <stdio.h>
#include <unistd.h>

enum { INTERVAL_US = 200 * 1000 };

void progress_begin(struct progress *progress, int delay_ms)
{
	progress->enabled = isatty(STDERR_FILENO);
	progress->shown = false;
	progress->started = g_get_monotonic_time();
	progress->next = progress->started + (int64_t)delay_ms * 1000;
}

static void draw(uint64_t done, uint64_t total, int64_t elapsed_us,
		 const char *note)
{
	double seconds = MAX((double)elapsed_us / G_USEC_PER_SEC, 1e-3);
	double rate = (double)done / seconds;

	if (total)
		(void)fprintf(stderr, "\r%3u%% of %.1f GiB",
			      (unsigned)((double)done * 100 / (double)total),
			      (double)total / (1 << 30));
	else
		(void)fprintf(stderr, "\r%.1f GiB", (double)done / (1 << 30));
	(void)fprintf(stderr, "%s, %.0f MiB/s", note, rate / (1 << 20));
	if (rate > 0 && total > done) {
		double left = (double)(total - done) / rate;

		/* Show at most 100 hours. */
		left = MIN(left, 359999);
		(void)fprintf(stderr, ", %u:%02u:%02u left",
			      (unsigned)left / 3600, (unsigned)left / 60 % 60,
			      (unsigned)left % 60);
	}
	(void)fputs("\033[K", stderr);
	(void)fflush(stderr);
}

static bool is_due(const struct progress *progress)
{
	return progress->enabled && g_get_monotonic_time() >= progress->next;
}

static void draw_now(struct progress *progress, uint64_t done, uint64_t total,
		     const char *note)
{
	int64_t now = g_get_monotonic_time();

	draw(done, total, now - progress->started, note);
	progress->shown = true;
	progress->next = now + INTERVAL_US;
}

void progress_update(struct progress *progress, uint64_t done, uint64_t total)
{
	if (is_due(progress))
		draw_now(progress, done, total, "");
}

static double mib(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

void progress_update_parts(struct progress *progress, uint64_t done,
			   uint64_t total, uint64_t data, uint64_t hole)
{
	g_autofree char *note = NULL;

	if (!is_due(progress))
		return;
	note = g_strdup_printf(" (%.0f MiB data, %.0f MiB holes)", mib(data),
			       mib(hole));
	draw_now(progress, done, total, note);
}

void progress_clear(struct progress *progress)
{
	if (!progress->shown)
		return;
	(void)fputs("\r\033[K", stderr);
	(void)fflush(stderr);
	progress->shown = false;
}
