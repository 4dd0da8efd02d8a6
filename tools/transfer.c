/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Progress and summaries go to stderr, because the standard output of send is
 * the stream. Only the JSON of recv goes to standard output.
 */
#include "transfer.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "blksparse-mount.h"
#include "interrupt.h"
#include "layers.h"
#include "message.h"
#include "options.h"
#include "output.h"
#include "summary.h"

/* A transfer that is faster than this shows no progress. */
enum { DELAY_MS = 500 };

static enum bsp_stream_format opt_format = BSP_STREAM_FORMAT_NATIVE;
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

const GOptionEntry transfer_format_entries[] = {
	{ "format", 0, 0, G_OPTION_ARG_CALLBACK, parse_format,
	  "Format of the stream: native (default), rbd-diff, raw", "FORMAT" },
	{ 0 },
};

const GOptionEntry transfer_entries[] = {
	{ "quiet", 0, 0, G_OPTION_ARG_NONE, &opt_quiet,
	  "Show neither progress nor a summary", NULL },
	{ "json", 0, 0, G_OPTION_ARG_NONE, &opt_json,
	  "Write the summary as JSON", NULL },
	{ 0 },
};

int transfer_check_options(void)
{
	if (opt_quiet && (progress_is_asked() || opt_json))
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

bool transfer_is_on(int fd, const char *path)
{
	g_autofree char *name = g_strdup_printf("/dev/fd/%d", fd);
	struct stat st;

	return fstat(fd, &st) == 0 &&
	       (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) &&
	       !bsp_check_not_same_device(path, name, NULL);
}

/* --- Progress --- */

static void on_progress(void *data, const struct bsp_progress *done)
{
	struct transfer *transfer = data;

	progress_update_parts(&transfer->progress, done->done - done->start,
			      done->size_known ? done->size - done->start : 0,
			      done->data, done->hole);
}

/* A bsp_write_fn. Buffers nothing: an error must come before the end of the
 * stream, which has the receiver succeed. */
static int write_digest(void *data, const void *buf, size_t len)
{
	struct transfer *transfer = data;
	int r = output_write(&transfer->digest->out, buf, len);

	return r ? r : output_flush(&transfer->digest->out);
}

int transfer_reserve_digest(struct new_file *digest, uint64_t size)
{
	/* Chunks that are alone between zeros take the most. */
	enum { MOST_EACH = 128, MOST_MORE = 256 };
	uint64_t chunk = opt_chunk ? opt_chunk : BSP_CHUNK_DEFAULT;

	return new_file_reserve(digest, size / chunk * MOST_EACH + MOST_MORE);
}

void transfer_begin(struct transfer *transfer, const char *command,
		    const char *path, struct bsp_transfer_options *ret_options)
{
	transfer->command = command;
	transfer->path = path;
	transfer->started = g_get_monotonic_time();
	progress_begin(&transfer->progress, DELAY_MS, opt_quiet);
	if (transfer->source)
		progress_count_reads(&transfer->progress, transfer->source);
	ret_options->format = opt_format;
	ret_options->interrupted = interrupted;
	ret_options->progress = on_progress;
	ret_options->data = transfer;
	if (transfer->digest)
		ret_options->digest = write_digest;
}

/* --- The summary --- */

static void write_text(const struct transfer *transfer,
		       const struct bsp_progress *done, double seconds)
{
	g_autofree char *size = size_text(done->size - done->start);
	g_autofree char *data = size_text(done->data);
	g_autofree char *hole = size_text(done->hole);
	g_autofree char *same = size_text(done->same);
	g_autofree char *moved = size_text(done->moved);
	g_autofree char *path = bsp_nbd_uri_redact(transfer->path);

	(void)fprintf(
		stderr,
		"%s: %s: %s%s, %s data, %s holes%s%s%s; %s moved in %.1f s\n",
		g_get_prgname(), path, size, done->start ? " of it" : "", data,
		hole, done->increment ? ", " : "", done->increment ? same : "",
		done->increment ? " unchanged" : "", moved, seconds);
}

/* Returns an exit status. */
static int write_json(const struct transfer *transfer,
		      const struct bsp_progress *done, double seconds,
		      const GError *error)
{
	g_autoptr(JsonBuilder) builder = json_builder_new();
	g_autofree char *text = NULL;

	json_builder_begin_object(builder);
	summary_text(builder, "format", "blksparse-transfer");
	summary_number(builder, "version", 1);
	summary_text(builder, "command", transfer->command);
	summary_text(builder, "path", transfer->path);
	json_builder_set_member_name(builder, "complete");
	json_builder_add_boolean_value(builder, !error);
	summary_text(builder, "error", error ? error->message : NULL);
	if (done->size_known)
		summary_number(builder, "size", done->size);
	else
		summary_text(builder, "size", NULL);
	summary_number(builder, "start", done->start);
	summary_number(builder, "done", done->done);
	summary_number(builder, "data", done->data);
	summary_number(builder, "hole", done->hole);
	if (done->increment)
		summary_number(builder, "same", done->same);
	summary_number(builder, "moved", done->moved);
	json_builder_end_object(builder);
	text = summary_line(builder, seconds);
	if (transfer->json_to_stdout)
		return output_text(text);
	(void)fputs(text, stderr);
	return STATUS_OK;
}

int transfer_end(struct transfer *transfer, const struct bsp_progress *done,
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
