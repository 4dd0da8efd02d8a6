/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * All of it goes to stderr, but for the JSON of recv: the standard output of
 * send is the stream.
 */
#include "transfer.h"

#include <inttypes.h>
#include <json-glib/json-glib.h>
#include <stdio.h>

#include "interrupt.h"
#include "options.h"
#include "output.h"

/* A transfer that is faster than this shows no progress. */
enum { DELAY_MS = 500 };

static enum bsp_stream_format opt_format = BSP_STREAM_FORMAT_NATIVE;
static gboolean opt_progress;
static gboolean opt_quiet;
static gboolean opt_json;

static gboolean parse_format(const gchar *option, const gchar *value,
			     gpointer data, GError **error)
{
	if (bsp_stream_format_from_name(value, &opt_format, error))
		return true;
	g_prefix_error(error, "%s: ", option);
	return false;
}

const GOptionEntry transfer_entries[] = {
	{ "format", 0, 0, G_OPTION_ARG_CALLBACK, parse_format,
	  "native (default), rbd-diff, raw", "FORMAT" },
	{ "progress", 0, 0, G_OPTION_ARG_NONE, &opt_progress,
	  "Show progress also where that is no terminal", NULL },
	{ "quiet", 0, 0, G_OPTION_ARG_NONE, &opt_quiet,
	  "Show neither progress nor a summary", NULL },
	{ "json", 0, 0, G_OPTION_ARG_NONE, &opt_json,
	  "Write the summary as JSON", NULL },
	{ 0 },
};

int transfer_check_options(void)
{
	if (opt_quiet && (opt_progress || opt_json))
		return usage_error("--quiet goes neither with --progress nor "
				   "with --json");
	return STATUS_OK;
}

int transfer_one_path(char **paths, const char *what)
{
	if (!paths)
		return usage_error("no %s given", what);
	if (paths[1])
		return usage_error("one %s at a time, not also '%s'", what,
				   paths[1]);
	return STATUS_OK;
}

/* --- Progress --- */

static double mib(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

static void on_progress(void *data, const struct bsp_transfer *done)
{
	struct transfer *transfer = data;
	g_autofree char *note = NULL;

	if (!progress_due(&transfer->progress))
		return;
	note = g_strdup_printf(" (%.0f MiB data, %.0f MiB holes)",
			       mib(done->data), mib(done->hole));
	progress_draw(&transfer->progress, done->done - done->start,
		      done->sized ? done->size - done->start : 0, note);
}

void transfer_begin(struct transfer *transfer, const char *command,
		    const char *path, struct bsp_transfer_options *ret_options)
{
	interrupt_catch();
	transfer->command = command;
	transfer->path = path;
	transfer->started = g_get_monotonic_time();
	progress_begin(&transfer->progress, DELAY_MS);
	transfer->progress.enabled |= opt_progress;
	transfer->progress.enabled &= !opt_quiet;
	ret_options->format = opt_format;
	ret_options->interrupted = interrupted;
	ret_options->progress = on_progress;
	ret_options->data = transfer;
}

/* --- The summary --- */

static char *size_text(uint64_t bytes)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB",
					     "TiB",   "PiB", "EiB" };
	double value = (double)bytes;
	size_t unit = 0;

	if (bytes < 1024)
		return g_strdup_printf("%" PRIu64 " bytes", bytes);
	while (value >= 1024 && unit + 1 < G_N_ELEMENTS(units)) {
		value /= 1024;
		unit++;
	}
	return g_strdup_printf("%.1f %s", value, units[unit]);
}

static void write_text(const struct transfer *transfer,
		       const struct bsp_transfer *done, double seconds)
{
	g_autofree char *size = size_text(done->size - done->start);
	g_autofree char *data = size_text(done->data);
	g_autofree char *hole = size_text(done->hole);
	g_autofree char *moved = size_text(done->moved);

	fprintf(stderr, "%s: %s: %s%s, %s data, %s holes; %s moved in %.1f s\n",
		g_get_prgname(), transfer->path, size,
		done->start ? " of it" : "", data, hole, moved, seconds);
}

static void add_number(JsonBuilder *builder, const char *name, uint64_t value)
{
	json_builder_set_member_name(builder, name);
	json_builder_add_int_value(builder, (gint64)value);
}

static void add_text(JsonBuilder *builder, const char *name, const char *value)
{
	g_autofree char *valid = value ? g_utf8_make_valid(value, -1) : NULL;

	json_builder_set_member_name(builder, name);
	if (valid)
		json_builder_add_string_value(builder, valid);
	else
		json_builder_add_null_value(builder);
}

/* Returns an exit status. */
static int write_json(const struct transfer *transfer,
		      const struct bsp_transfer *done, double seconds,
		      const GError *error)
{
	g_autoptr(JsonBuilder) builder = json_builder_new();
	g_autoptr(JsonGenerator) generator = json_generator_new();
	g_autofree char *line = NULL, *text = NULL;
	JsonNode *root;

	json_builder_begin_object(builder);
	add_text(builder, "format", "blksparse-transfer");
	add_number(builder, "version", 1);
	add_text(builder, "command", transfer->command);
	add_text(builder, "path", transfer->path);
	json_builder_set_member_name(builder, "complete");
	json_builder_add_boolean_value(builder, !error);
	add_text(builder, "error", error ? error->message : NULL);
	if (done->sized)
		add_number(builder, "size", done->size);
	else
		add_text(builder, "size", NULL);
	add_number(builder, "start", done->start);
	add_number(builder, "done", done->done);
	add_number(builder, "data", done->data);
	add_number(builder, "hole", done->hole);
	add_number(builder, "moved", done->moved);
	json_builder_set_member_name(builder, "seconds");
	json_builder_add_double_value(builder, seconds);
	json_builder_end_object(builder);
	root = json_builder_get_root(builder);
	json_generator_set_root(generator, root);
	json_node_unref(root);
	line = json_generator_to_data(generator, NULL);
	text = g_strconcat(line, "\n", NULL);
	if (transfer->json_to_stdout)
		return output_text(text);
	fputs(text, stderr);
	return STATUS_OK;
}

int transfer_end(struct transfer *transfer, const struct bsp_transfer *done,
		 const GError *error)
{
	double seconds = (double)(g_get_monotonic_time() - transfer->started) /
			 G_USEC_PER_SEC;

	progress_clear(&transfer->progress);
	if (opt_json)
		return write_json(transfer, done, seconds, error);
	if (!opt_quiet && !error)
		write_text(transfer, done, seconds);
	return STATUS_OK;
}
