/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "figures.h"

#include <string.h>

#include "layers.h"
#include "terminal.h"

#define FIGURE(field) #field, offsetof(struct bsp_ioctl_stat, field)

/* The names, once published, stay. */
const struct figure figures[] = {
	{ FIGURE(size), "size_bytes", false, "Size of the file." },
	{ FIGURE(capacity), "capacity_bytes", false, "Size of the device." },
	{ FIGURE(data), "data_bytes", false, "Bytes known to be data." },
	{ FIGURE(hole), "hole_bytes", false, "Bytes known to be zeros." },
	{ FIGURE(unknown), "unknown_bytes", false,
	  "Bytes that are not scanned yet." },
	{ FIGURE(pending), "pending_bytes", false,
	  "Bytes of holes that the device does not hold as zeros yet." },
	{ FIGURE(read), "read_bytes_total", true,
	  "Bytes read from the device." },
	{ FIGURE(written), "written_bytes_total", true,
	  "Bytes written to the device." },
	{ FIGURE(zeroed), "zeroed_bytes_total", true,
	  "Bytes that the device zeroed or unmapped at a command." },
	{ FIGURE(saved_seeks), "saved_seeks_bytes_total", true,
	  "Bytes of holes that seeks for data passed." },
	{ FIGURE(saved_holes), "saved_holes_bytes_total", true,
	  "Bytes of holes that were read without the device." },
	{ FIGURE(saved_zeros), "saved_zeros_bytes_total", true,
	  "Bytes of zeros that were written without the device." },
	{ FIGURE(saved_same), "saved_same_bytes_total", true,
	  "Bytes that were not written because the device held them." },
	{ FIGURE(read_errors), "read_errors_total", true,
	  "Reads of the device that failed." },
	{ FIGURE(write_errors), "write_errors_total", true,
	  "Writes to the device, and zeroing, that failed." },
	{ FIGURE(failed_flushes), "failed_flushes_total", true,
	  "Flushes of the device that failed." },
	{ FIGURE(other_writers), "other_writers_total", true,
	  "Times that writes of other programs to the device were noticed." },
	{ FIGURE(requests), "requests", false,
	  "Requests of the kernel in flight." },
};

const size_t n_figures = G_N_ELEMENTS(figures);

uint64_t figure_of(const struct bsp_ioctl_stat *st, const struct figure *figure)
{
	uint64_t value;

	memcpy(&value, (const char *)st + figure->offset, sizeof(value));
	return value;
}

char *figures_path(const struct ask_answer *answer,
		   const struct bsp_ioctl_stat *st)
{
	if (answer->is_file)
		return g_strdup(answer->where);
	return g_build_filename(answer->where, st->name, NULL);
}

/* --- Words --------------------------------------------------------------- */

/* Returns a text that does nothing to a terminal, and that it can show. */
static char *printable(const char *text)
{
	g_autofree char *valid = g_utf8_make_valid(text, -1);
	g_autofree char *shown = layer_text(valid);
	bool utf8 = terminal_is_utf8();
	GString *out = g_string_new(NULL);

	for (const char *at = shown; *at; at = g_utf8_next_char(at)) {
		gunichar c = g_utf8_get_char(at);

		if (!g_unichar_isprint(c) || (!utf8 && c >= 0x80))
			c = '?';
		g_string_append_unichar(out, c);
	}
	return g_string_free(out, false);
}

/* Shares are truncated: 100% is exact. */
static char *scanned_text(const struct bsp_ioctl_stat *st)
{
	uint64_t known = st->size - MIN(st->unknown, st->size);
	unsigned tenths = 1000;

	if (st->unknown && st->size)
		tenths =
			MIN((unsigned)((double)known / (double)st->size * 1000),
			    999);
	return g_strdup_printf("%u.%u%%", tenths / 10, tenths % 10);
}

static uint64_t saved(const struct bsp_ioctl_stat *st)
{
	return st->saved_seeks + st->saved_holes + st->saved_zeros +
	       st->saved_same;
}

static uint64_t errors(const struct bsp_ioctl_stat *st)
{
	return st->read_errors + st->write_errors + st->failed_flushes;
}

/* "1 error", "2 errors". */
static void append_count(GString *text, uint64_t n, const char *noun)
{
	g_string_append_printf(text, "%s%" G_GUINT64_FORMAT " %s%s",
			       text->len ? ", " : "", n, noun,
			       n == 1 ? "" : "s");
}

static void append_requests(GString *text, const struct bsp_ioctl_stat *st)
{
	append_count(text, st->requests, "request");
	if (st->slowest[0])
		g_string_append_printf(text, ", %s for %.1f s", st->slowest,
				       (double)st->slowest_us / G_USEC_PER_SEC);
}

/* --- The table ----------------------------------------------------------- */

enum { COLUMNS = 10, GAP = 2 };

static const struct {
	const char *head;
	bool right; /* a number */
} columns[COLUMNS] = {
	{ "FILE", false },   { "DEVICE", false }, { "SIZE", true },
	{ "SCANNED", true }, { "DATA", true },	  { "PENDING", true },
	{ "READ", true },    { "WRITTEN", true }, { "SAVED", true },
	{ "STATE", false },
};

static char *state_text(const struct bsp_ioctl_stat *st)
{
	GString *text = g_string_new(
		st->flags & BSP_IOCTL_GONE ? "the device is lost" : NULL);

	if (st->requests)
		append_requests(text, st);
	if (errors(st))
		append_count(text, errors(st), "error");
	if (!text->len)
		g_string_append(text, "idle");
	return g_string_free(text, false);
}

/* Adds a row: COLUMNS strings. */
static void add_row(GPtrArray *rows, char **row)
{
	g_ptr_array_add(rows, row);
}

static void add_file(GPtrArray *rows, const struct ask_answer *answer,
		     const struct bsp_ioctl_stat *st)
{
	char **row = g_new0(char *, COLUMNS + 1);
	g_autofree char *path = figures_path(answer, st);

	row[0] = printable(path);
	row[1] = printable(st->device);
	row[2] = size_text(st->size);
	row[3] = scanned_text(st);
	row[4] = size_text(st->data);
	row[5] = size_text(st->pending);
	row[6] = size_text(st->read);
	row[7] = size_text(st->written);
	row[8] = size_text(saved(st));
	row[9] = state_text(st);
	add_row(rows, row);
}

/* The reason why a mount has no files, or not all; NULL: it has. */
static const char *lack_of(const struct ask_answer *answer)
{
	if (answer->error)
		return answer->error;
	/* Files of a mount with --all are there while they are open. */
	return answer->files->len ? NULL : "no file is open";
}

/* A row for a mount without files, or that cannot be asked. */
static void add_lack(GPtrArray *rows, const struct ask_answer *answer)
{
	char **row = g_new0(char *, COLUMNS + 1);

	row[0] = printable(answer->where);
	for (unsigned i = 1; i < COLUMNS - 1; i++)
		row[i] = g_strdup("-");
	row[COLUMNS - 1] = g_strdup(lack_of(answer));
	add_row(rows, row);
}

static GPtrArray *make_rows(GPtrArray *answers)
{
	GPtrArray *rows = g_ptr_array_new_with_free_func(
		(GDestroyNotify)(void (*)(void))g_strfreev);
	char **head = g_new0(char *, COLUMNS + 1);

	for (unsigned i = 0; i < COLUMNS; i++)
		head[i] = g_strdup(columns[i].head);
	add_row(rows, head);
	for (guint i = 0; i < answers->len; i++) {
		const struct ask_answer *answer = g_ptr_array_index(answers, i);

		for (guint f = 0; f < answer->files->len; f++)
			add_file(rows, answer,
				 &g_array_index(answer->files,
						struct bsp_ioctl_stat, f));
		if (lack_of(answer))
			add_lack(rows, answer);
	}
	return rows;
}

static unsigned width_of(GPtrArray *rows, unsigned column)
{
	glong width = 0;

	for (guint i = 0; i < rows->len; i++) {
		char **row = g_ptr_array_index(rows, i);

		width = MAX(width, g_utf8_strlen(row[column], -1));
	}
	return (unsigned)width;
}

static void append_cell(GString *text, const char *cell, unsigned width,
			bool right)
{
	unsigned pad = width - (unsigned)g_utf8_strlen(cell, -1);

	g_string_append_printf(text, "%*s", right ? (int)pad : 0, "");
	g_string_append(text, cell);
	g_string_append_printf(text, "%*s", right ? 0 : (int)pad, "");
}

char *figures_table(GPtrArray *answers)
{
	g_autoptr(GPtrArray) rows = make_rows(answers);
	GString *text = g_string_new(NULL);
	unsigned widths[COLUMNS];

	for (unsigned c = 0; c < COLUMNS; c++)
		widths[c] = width_of(rows, c);
	for (guint i = 0; i < rows->len; i++) {
		char **row = g_ptr_array_index(rows, i);

		for (unsigned c = 0; c < COLUMNS - 1; c++) {
			append_cell(text, row[c], widths[c], columns[c].right);
			g_string_append_printf(text, "%*s", GAP, "");
		}
		g_string_append(text, row[COLUMNS - 1]);
		g_string_append_c(text, '\n');
	}
	return g_string_free(text, false);
}

/* --- The list ------------------------------------------------------------ */

static void append_line(GString *text, const char *name, const char *format,
			...) G_GNUC_PRINTF(3, 4);

static void append_line(GString *text, const char *name, const char *format,
			...)
{
	va_list args;

	g_string_append_printf(text, "  %-15s", name);
	va_start(args, format);
	g_string_append_vprintf(text, format, args);
	va_end(args);
	g_string_append_c(text, '\n');
}

static void list_map(GString *text, const struct bsp_ioctl_stat *st)
{
	g_autofree char *device = printable(st->device);
	g_autofree char *size = size_text(st->size);
	g_autofree char *granule = size_text(st->granule);
	g_autofree char *scanned = scanned_text(st);
	g_autofree char *data = size_text(st->data);
	g_autofree char *hole = size_text(st->hole);
	g_autofree char *unknown = size_text(st->unknown);
	g_autofree char *pending = size_text(st->pending);

	append_line(text, "device", "%s, %s%s", device,
		    st->flags & BSP_IOCTL_WRITABLE ? "writable" : "read-only",
		    st->flags & BSP_IOCTL_GONE ? ", lost" : "");
	append_line(text, "size", "%s, in granules of %s", size, granule);
	append_line(text, "scanned", "%s: %s data, %s holes; %s unknown",
		    scanned, data, hole, unknown);
	append_line(text, "zeros pending", "%s", pending);
}

static void list_known(GString *text, const struct bsp_ioctl_stat *st)
{
	for (unsigned i = 0; i < st->layers; i++) {
		g_autofree char *zeros = size_text(st->layer[i].zeros);
		g_autofree char *name = printable(st->layer[i].name);

		append_line(text, i ? "" : "known unread", "%s by %s", zeros,
			    name);
	}
	if (!st->layers)
		append_line(text, "known unread", "0");
	if (st->flags & BSP_IOCTL_DISTRUSTED)
		append_line(text, "",
			    "no layer is asked any more, after a wrong answer");
}

static void list_work(GString *text, const struct bsp_ioctl_stat *st)
{
	g_autofree char *read = size_text(st->read);
	g_autofree char *written = size_text(st->written);
	g_autofree char *zeroed = size_text(st->zeroed);
	g_autofree char *seeks = size_text(st->saved_seeks);
	g_autofree char *holes = size_text(st->saved_holes);
	g_autofree char *zeros = size_text(st->saved_zeros);
	g_autofree char *same = size_text(st->saved_same);

	append_line(text, "device I/O", "%s read, %s written, %s zeroed", read,
		    written, zeroed);
	append_line(
		text, "saved",
		"%s by seeks, %s by holes, %s by elided zeros, %s by equal writes",
		seeks, holes, zeros, same);
}

static void list_events(GString *text, const struct bsp_ioctl_stat *st)
{
	GString *requests = g_string_new(NULL);

	append_line(text, "errors",
		    "%" G_GUINT64_FORMAT " reads, %" G_GUINT64_FORMAT
		    " writes, %" G_GUINT64_FORMAT " flushes",
		    st->read_errors, st->write_errors, st->failed_flushes);
	append_line(text, "other writers", "seen %" G_GUINT64_FORMAT " times",
		    st->other_writers);
	append_requests(requests, st);
	append_line(text, "in flight", "%s", requests->str);
	g_string_free(requests, true);
}

char *figures_list(GPtrArray *answers)
{
	GString *text = g_string_new(NULL);

	for (guint i = 0; i < answers->len; i++) {
		const struct ask_answer *answer = g_ptr_array_index(answers, i);
		g_autofree char *where = printable(answer->where);

		for (guint f = 0; f < answer->files->len; f++) {
			const struct bsp_ioctl_stat *st = &g_array_index(
				answer->files, struct bsp_ioctl_stat, f);
			g_autofree char *path = figures_path(answer, st);
			g_autofree char *shown = printable(path);

			g_string_append_printf(text, "%s%s\n",
					       text->len ? "\n" : "", shown);
			list_map(text, st);
			list_known(text, st);
			list_work(text, st);
			list_events(text, st);
		}
		if (lack_of(answer))
			g_string_append_printf(text, "%s%s\n  %s\n",
					       text->len ? "\n" : "", where,
					       lack_of(answer));
	}
	return g_string_free(text, false);
}
