/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * It is shown at most five times a second: callers report each MiB or so, and
 * writing to a terminal is slow.
 *
 * Of the programs of a pipe that share a terminal one draws, the first that
 * locks the terminal (fcntl(2)): two would overwrite each other's line.
 */
#include "progress.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "blksparse.h"

enum {
	INTERVAL_US = 200 * 1000,
	LINES_US = 1000 * 1000, /* between lines that stay */
	BAR = 24,		/* columns of the bar */
	BAR_COLUMNS = 110,	/* the line takes fewer, and the bar fits */
	COLUMNS_DEFAULT = 80,
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

	bool is_tty = isatty(STDERR_FILENO);

	*progress = (struct progress){
		.enabled = !quiet && (opt_asked || is_tty),
		.is_tty = is_tty,
		.started = now,
		.next = now + (int64_t)delay_ms * 1000,
	};
}

static void show(struct progress *progress);

void progress_restart(struct progress *progress)
{
	/* The end of the pass before. */
	if (progress->pending)
		show(progress);
	progress->started = g_get_monotonic_time();
	if (progress->source)
		progress->read_before = bsp_sparse_bytes_read(progress->source);
}

void progress_count_reads(struct progress *progress, struct bsp_sparse *source)
{
	progress->source = source;
	progress->read_before = bsp_sparse_bytes_read(source);
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
	uint64_t moved = f->done;
	double seconds;

	if (progress->source)
		moved = bsp_sparse_bytes_read(progress->source) -
			progress->read_before;
	speed.seconds = (double)(now - progress->started) / G_USEC_PER_SEC;
	seconds = MAX(speed.seconds, 1e-3);
	speed.rate = progress->without_rate ? 0 : (double)moved / seconds;
	if (f->total && f->done && f->done <= f->total)
		speed.left = (double)(f->total - f->done) /
			     ((double)f->done / seconds);
	return speed;
}

/* --- A line on the terminal --- */

static unsigned columns(void)
{
	struct winsize size;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col
		       ? size.ws_col
		       : COLUMNS_DEFAULT;
}

static void add_bar(GString *line, double share)
{
	size_t full = (size_t)(share * (double)BAR);

	g_string_append_c(line, '[');
	for (size_t i = 0; i < BAR; i++)
		g_string_append_c(line, i < full ? '=' : i == full ? '>' : ' ');
	g_string_append(line, "] ");
}

static void add_share(GString *line, const struct progress_figures *f, bool bar)
{
	double share = (double)MIN(f->done, f->total) / (double)f->total;

	if (bar)
		add_bar(line, share);
	g_string_append_printf(line, "%3u%% of %.1f GiB",
			       (unsigned)(share * 100),
			       (double)f->total / (1 << 30));
}

static void add_left(GString *line, double seconds)
{
	/* Show at most 100 hours. */
	unsigned left = (unsigned)MIN(seconds, 359999);

	g_string_append_printf(line, ", %u:%02u:%02u left", left / 3600,
			       left / 60 % 60, left % 60);
}

static double mib(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

/* The figures as a line, to be freed; with a bar if bar. */
static GString *line_of(const struct progress *progress,
			const struct speed *speed, bool bar)
{
	const struct progress_figures *f = &progress->last;
	GString *line = g_string_new(NULL);

	if (f->total)
		add_share(line, f, bar);
	else
		g_string_append_printf(line, "%.1f GiB",
				       (double)f->done / (1 << 30));
	if (f->has_parts)
		g_string_append_printf(line, " (%.0f MiB data, %.0f MiB holes)",
				       mib(f->data), mib(f->hole));
	if (!progress->without_rate)
		g_string_append_printf(line, ", %.0f MiB/s",
				       speed->rate / (1 << 20));
	if (f->total > f->done && speed->left >= 0)
		add_left(line, speed->left);
	return line;
}

/* Takes the terminal's line for this program, if no other one has it. */
static bool take_terminal(struct progress *progress)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	/* Without a lock, such as on a terminal that is open for reading alone,
	 * all draw. */
	progress->has_terminal = progress->has_terminal ||
				 fcntl(STDERR_FILENO, F_SETLK, &lock) == 0 ||
				 (errno != EAGAIN && errno != EACCES);
	return progress->has_terminal;
}

static void draw(struct progress *progress, const struct speed *speed)
{
	unsigned width = columns();
	GString *line;

	if (progress->is_tty && !take_terminal(progress))
		return;
	line = line_of(progress, speed,
		       progress->is_tty && width >= BAR_COLUMNS);
	if (!progress->is_tty) {
		(void)fprintf(stderr, "%s\n", line->str);
	} else {
		/* A line that fills the last column, or wraps, would scroll. */
		g_string_truncate(line, MIN(line->len, width - 1));
		(void)fprintf(stderr, "\r%s\033[K", line->str);
		progress->shown = true;
	}
	g_string_free(line, true);
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
		draw(progress, &speed);
	(void)fflush(stderr);
	progress->pending = false;
	progress->next =
		now + (opt_json || progress->is_tty ? INTERVAL_US : LINES_US);
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
