/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * It is shown at most five times a second: callers report each MiB or so, and
 * writing to a terminal is slow.
 */
#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "blksparse.h"

enum {
	INTERVAL_US = 200 * 1000,
	BAR = 24,	   /* columns of the bar */
	BAR_COLUMNS = 110, /* the line takes fewer, and the bar fits */
};

static gboolean opt_asked;
static bool opt_json;

const GOptionEntry progress_entries[] = {
	{ "progress", 0, 0, G_OPTION_ARG_NONE, &opt_asked,
	  "Show progress also without a terminal (=json: as JSON)", NULL },
	{ 0 },
};

static bool take_form(const char *form, GError **error)
{
	opt_asked = true;
	opt_json = strcmp(form, "json") == 0;
	if (opt_json || strcmp(form, "line") == 0)
		return true;
	g_set_error(error, BSP_ERROR, BSP_ERROR_USAGE,
		    "--progress: '%s' is neither line nor json", form);
	return false;
}

bool progress_take_form(int *argc, char **argv, GError **error)
{
	static const char option[] = "--progress=";
	bool taken = true, options = true;
	int kept = 0;

	for (int i = 0; i < *argc; i++) {
		options = options && strcmp(argv[i], "--") != 0;
		if (taken && options && g_str_has_prefix(argv[i], option))
			taken = take_form(argv[i] + strlen(option), error);
		else
			argv[kept++] = argv[i];
	}
	argv[kept] = NULL;
	*argc = kept;
	return taken;
}

bool progress_is_asked(void)
{
	return opt_asked;
}

void progress_begin(struct progress *progress, int delay_ms, bool quiet)
{
	int64_t now = g_get_monotonic_time();

	*progress = (struct progress){
		.enabled = !quiet && (opt_asked || isatty(STDERR_FILENO)),
		.started = now,
		.next = now + (int64_t)delay_ms * 1000,
	};
}

/* --- Figures --- */

struct speed {
	double seconds;
	double rate; /* bytes a second */
	double left; /* seconds; negative if unknown */
};

static struct speed speed_of(const struct progress *progress, int64_t now)
{
	const struct progress_figures *f = &progress->last;
	struct speed speed = { .left = -1 };

	speed.seconds = (double)(now - progress->started) / G_USEC_PER_SEC;
	speed.rate = (double)f->done / MAX(speed.seconds, 1e-3);
	if (f->total && f->done && f->done <= f->total)
		speed.left = (double)(f->total - f->done) / speed.rate;
	return speed;
}

/* --- A line on the terminal --- */

static bool has_room_for_bar(void)
{
	struct winsize size;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 &&
	       size.ws_col >= BAR_COLUMNS;
}

static void draw_bar(double share)
{
	char bar[BAR + 1];
	size_t full = (size_t)(share * BAR);

	memset(bar, ' ', BAR);
	memset(bar, '=', full);
	if (full < BAR)
		bar[full] = '>';
	bar[BAR] = '\0';
	(void)fprintf(stderr, "[%s] ", bar);
}

static void draw_share(const struct progress_figures *f)
{
	double share = (double)MIN(f->done, f->total) / (double)f->total;

	if (has_room_for_bar())
		draw_bar(share);
	(void)fprintf(stderr, "%3u%% of %.1f GiB", (unsigned)(share * 100),
		      (double)f->total / (1 << 30));
}

static void draw_left(double seconds)
{
	/* Show at most 100 hours. */
	unsigned left = (unsigned)MIN(seconds, 359999);

	(void)fprintf(stderr, ", %u:%02u:%02u left", left / 3600,
		      left / 60 % 60, left % 60);
}

static double mib(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

static void draw(const struct progress_figures *f, const struct speed *speed)
{
	(void)fputc('\r', stderr);
	if (f->total)
		draw_share(f);
	else
		(void)fprintf(stderr, "%.1f GiB", (double)f->done / (1 << 30));
	if (f->has_parts)
		(void)fprintf(stderr, " (%.0f MiB data, %.0f MiB holes)",
			      mib(f->data), mib(f->hole));
	(void)fprintf(stderr, ", %.0f MiB/s", speed->rate / (1 << 20));
	if (f->total > f->done && speed->left >= 0)
		draw_left(speed->left);
	(void)fputs("\033[K", stderr);
}

/* --- JSON, an object a line --- */

static void write_number(const char *name, uint64_t value, bool known)
{
	if (known)
		(void)fprintf(stderr, ",\"%s\":%" PRIu64, name, value);
	else
		(void)fprintf(stderr, ",\"%s\":null", name);
}

static void write_json(const struct progress_figures *f,
		       const struct speed *speed)
{
	(void)fprintf(stderr,
		      "{\"format\":\"blksparse-progress\",\"version\":1,"
		      "\"done\":%" PRIu64,
		      f->done);
	write_number("size", f->total, f->total);
	write_number("data", f->data, f->has_parts);
	write_number("hole", f->hole, f->has_parts);
	write_number("rate", (uint64_t)speed->rate, true);
	write_number("left", (uint64_t)MAX(speed->left, 0), speed->left >= 0);
	(void)fprintf(stderr, ",\"seconds\":%.3f}\n", speed->seconds);
}

/* --- Updates --- */

static void show(struct progress *progress)
{
	int64_t now = g_get_monotonic_time();
	struct speed speed = speed_of(progress, now);

	if (opt_json)
		write_json(&progress->last, &speed);
	else
		draw(&progress->last, &speed);
	(void)fflush(stderr);
	progress->shown = !opt_json;
	progress->pending = false;
	progress->next = now + INTERVAL_US;
}

static void update(struct progress *progress,
		   const struct progress_figures *figures)
{
	if (!progress->enabled)
		return;
	progress->last = *figures;
	progress->pending = opt_json;
	if (g_get_monotonic_time() >= progress->next)
		show(progress);
}

void progress_update(struct progress *progress, uint64_t done, uint64_t total)
{
	update(progress,
	       &(struct progress_figures){ .done = done, .total = total });
}

void progress_update_parts(struct progress *progress, uint64_t done,
			   uint64_t total, uint64_t data, uint64_t hole)
{
	update(progress, &(struct progress_figures){ .done = done,
						     .total = total,
						     .has_parts = true,
						     .data = data,
						     .hole = hole });
}

void progress_clear(struct progress *progress)
{
	if (progress->pending)
		show(progress);
	if (!progress->shown)
		return;
	(void)fputs("\r\033[K", stderr);
	(void)fflush(stderr);
	progress->shown = false;
}
