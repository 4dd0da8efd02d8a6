/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * blksparse copy: copies a device, an image or a sparse file to another.
 *
 * bsp_copy() does the work. This file opens both sides, shows progress, and
 * turns the result into a summary or a message. Opening the target for writing
 * takes and checks it, so that a target that is refused keeps its content. A
 * regular file is always created or emptied: it gets the size of the source.
 * With --changed a file keeps its content, to be compared. With --changes the
 * target must be there, with the size of the source: it is the base.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "blksparse.h"
#include "changes.h"
#include "command.h"
#include "interrupt.h"
#include "message.h"
#include "options.h"
#include "output.h"
#include "progress.h"
#include "summary.h"

static gboolean opt_target_is_zero, opt_verify, opt_changed;
static gboolean opt_quiet, opt_json;
static enum bsp_tail opt_tail = BSP_TAIL_KEEP;
static char **opt_paths;

static gboolean parse_tail(const gchar *option, const gchar *value,
			   gpointer data, GError **error)
{
	if (bsp_tail_from_name(value, &opt_tail, error))
		return true;
	g_prefix_error(error, "%s: ", option);
	return false;
}

static const GOptionEntry entries[] = {
	{ "changed", 0, 0, G_OPTION_ARG_NONE, &opt_changed,
	  "Read DST, too, and write only what differs", NULL },
	{ "jobs", 0, 0, G_OPTION_ARG_CALLBACK, option_jobs,
	  "Read and write N pieces at once, 1 to 64 (default: 8)", "N" },
	{ "json", 0, 0, G_OPTION_ARG_NONE, &opt_json,
	  "Write the summary as JSON to standard output", NULL },
	{ "known", 0, 0, G_OPTION_ARG_CALLBACK, option_known,
	  "Ask lower layers for holes: auto (default), all or off", "LAYERS" },
	{ "quiet", 0, 0, G_OPTION_ARG_NONE, &opt_quiet,
	  "Show neither progress nor a summary", NULL },
	{ "tail", 0, 0, G_OPTION_ARG_CALLBACK, parse_tail,
	  "DST past the end of SRC: keep (default), zero, discard", "WHAT" },
	{ "target-is-zero", 0, 0, G_OPTION_ARG_NONE, &opt_target_is_zero,
	  "DST reads as zeros already: do not zero it", NULL },
	{ "verify", 0, 0, G_OPTION_ARG_NONE, &opt_verify,
	  "Read SRC and DST again after the copy, and compare", NULL },
	{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &opt_paths,
	  NULL, "SRC DST" },
	{ 0 },
};

struct job {
	const char *from_path, *to_path;
	struct bsp_sparse *from, *to;
	struct bsp_changes *changes; /* NULL: they are not known */
	struct progress progress;
	struct bsp_progress now; /* when bsp_copy() has returned */
	enum bsp_phase phase;	 /* the last one that was shown */
	int64_t started;	 /* microseconds */
	bool is_new;		 /* the target is a file, created or emptied */
};

/* --- Source and target --- */

static bool fail_other_base(const struct job *job, uint64_t size,
			    GError **error)
{
	g_set_error(error, BSP_ERROR, BSP_ERROR_FAILED,
		    "%s has %" G_GUINT64_FORMAT
		    " bytes, and %s has %" G_GUINT64_FORMAT
		    ": it is not the base of the changes; nothing was written",
		    job->to_path, size, job->from_path,
		    bsp_sparse_size(job->from));
	return false;
}

static bool fits(const struct job *job, GError **error)
{
	uint64_t need = bsp_sparse_size(job->from);
	uint64_t have = bsp_sparse_size(job->to);

	if (job->changes && need != have)
		return fail_other_base(job, have, error);
	if (need <= have)
		return true;
	g_set_error(error, BSP_ERROR, BSP_ERROR_FAILED,
		    "%s is too small: %" G_GUINT64_FORMAT
		    " bytes, and %s has %" G_GUINT64_FORMAT
		    "; nothing was written",
		    job->to_path, have, job->from_path, need);
	return false;
}

/* Whether the file that is there can be the base of the changes: opening it
 * would give it another size. */
static bool check_base(const struct job *job, const struct stat *st,
		       GError **error)
{
	uint64_t size = (uint64_t)st->st_size;

	return !job->changes || size == bsp_sparse_size(job->from) ||
	       fail_other_base(job, size, error);
}

static bool fail_without_base(const struct job *job, GError **error)
{
	g_set_error(error, BSP_ERROR, BSP_ERROR_FAILED,
		    "%s is not there: changes go to a copy of their base",
		    job->to_path);
	return false;
}

/* A file is created or emptied, unless its content is to be kept. */
static struct bsp_device *
open_target(struct job *job, const struct bsp_device *from, GError **error)
{
	uint64_t size = bsp_sparse_size(job->from);
	bool is_nbd = bsp_is_nbd_uri(job->to_path);
	struct stat st;
	bool is_there = is_nbd || stat(job->to_path, &st) == 0;

	if (is_there && (is_nbd || !S_ISREG(st.st_mode)))
		return bsp_device_open_writable(job->to_path, error);
	if (is_there ? !check_base(job, &st, error)
		     : job->changes && !fail_without_base(job, error))
		return NULL;
	job->is_new = !is_there || !(opt_changed || job->changes);
	return (job->is_new ? bsp_device_create_image : bsp_device_open_image)(
		job->to_path, size, from, error);
}

static bool open_both(struct job *job, GError **error)
{
	const struct bsp_sparse_options options = {
		.known = opt_known,
		.unshared = true, /* for as long as the copy takes */
	};
	struct bsp_device *from, *to;
	bool fell_back;

	/* First, because its message is the clearest. It is checked again
	 * below: the paths may lead elsewhere by then. */
	if (!bsp_check_not_same_device(job->from_path, job->to_path, error))
		return false;
	from = changes_open_device(job->from_path, error);
	job->from = bsp_sparse_new(from, &options, error);
	if (!job->from ||
	    !changes_open(job->from, &job->changes, &fell_back, error))
		return false;
	opt_changed |= fell_back;
	to = open_target(job, from, error);
	job->to = bsp_sparse_new(to, &options, error);
	return job->to && bsp_device_check_not_same(from, to, error) &&
	       fits(job, error);
}

/* --- Result --- */

/* The message names no offset to resume at: pieces are copied out of order. */
static char *describe_interrupt(const struct job *job)
{
	uint64_t done = job->now.data + job->now.hole + job->now.same;

	if (job->now.phase == BSP_PHASE_VERIFY)
		return g_strdup_printf("interrupted; %s is copied, and not "
				       "verified",
				       job->to_path);
	return g_strdup_printf("interrupted after %" G_GUINT64_FORMAT
			       " of %" G_GUINT64_FORMAT
			       " bytes; %s is incomplete",
			       done, job->now.size, job->to_path);
}

/* Whether the copy failed on its way, and not in the comparison after it. */
static bool is_incomplete(const struct job *job, const GError *error)
{
	return job->now.phase != BSP_PHASE_VERIFY &&
	       g_error_matches(error, BSP_ERROR, BSP_ERROR_FAILED);
}

/* The message for an error, to be freed. */
static char *describe_failure(const struct job *job, const GError *error)
{
	if (g_error_matches(error, BSP_ERROR, BSP_ERROR_INTERRUPTED))
		return describe_interrupt(job);
	if (opt_changed && !job->is_new && job->now.phase == BSP_PHASE_FLUSH)
		return g_strdup_printf(
			"%s; %s may have lost data that it still returns: copy again, without --changed",
			error->message, job->to_path);
	if (is_incomplete(job, error))
		return g_strdup_printf(
			"%s; %s is incomplete: %" G_GUINT64_FORMAT
			" of %" G_GUINT64_FORMAT " bytes were done",
			error->message, job->to_path,
			job->now.data + job->now.hole + job->now.same,
			job->now.size);
	return g_strdup(error->message);
}

/* The bytes that were written; to a new file, all data is. */
static uint64_t written(const struct job *job)
{
	return job->is_new || opt_target_is_zero ? job->now.data
						 : job->now.written;
}

static void write_text(const struct job *job, double seconds)
{
	const char *verified = opt_verify ? ", verified" : "";

	if (job->changes && !opt_changed)
		(void)fprintf(stderr,
			      "%" G_GUINT64_FORMAT " bytes: %" G_GUINT64_FORMAT
			      " of data written, %" G_GUINT64_FORMAT
			      " in holes, %" G_GUINT64_FORMAT
			      " unchanged; %.3f seconds%s\n",
			      job->now.size, job->now.data, job->now.hole,
			      job->now.same, seconds, verified);
	else if (opt_changed)
		(void)fprintf(stderr,
			      "%" G_GUINT64_FORMAT " bytes: %" G_GUINT64_FORMAT
			      " compared, %" G_GUINT64_FORMAT
			      " written, %" G_GUINT64_FORMAT
			      " zeroed; %.3f seconds%s\n",
			      job->now.size, job->now.compared, written(job),
			      job->now.zeroed, seconds, verified);
	else
		(void)fprintf(stderr,
			      "%" G_GUINT64_FORMAT " bytes: %" G_GUINT64_FORMAT
			      " of data written, %" G_GUINT64_FORMAT
			      " in holes; %.3f seconds%s\n",
			      job->now.size, job->now.data, job->now.hole,
			      seconds, verified);
}

/* Returns an exit status. */
static int write_json(const struct job *job, double seconds, const char *error)
{
	g_autoptr(JsonBuilder) builder = json_builder_new();
	g_autofree char *text = NULL;

	json_builder_begin_object(builder);
	summary_text(builder, "format", "blksparse-copy");
	summary_number(builder, "version", 1);
	json_builder_set_member_name(builder, "complete");
	json_builder_add_boolean_value(builder, !error);
	summary_text(builder, "error", error);
	summary_number(builder, "size", job->now.size);
	summary_number(builder, "data", job->now.data);
	summary_number(builder, "hole", job->now.hole);
	if (job->changes)
		summary_number(builder, "unchanged", job->now.same);
	if (opt_changed) {
		summary_number(builder, "compared", job->now.compared);
		summary_number(builder, "written", written(job));
		summary_number(builder, "zeroed", job->now.zeroed);
	}
	json_builder_set_member_name(builder, "verified");
	json_builder_add_boolean_value(builder, opt_verify && !error);
	json_builder_end_object(builder);
	text = summary_line(builder, seconds);
	return output_text(text);
}

/* error is a message, or NULL. Returns an exit status. */
static int summarize(const struct job *job, const char *error)
{
	double seconds = (double)(g_get_monotonic_time() - job->started) / 1e6;

	if (opt_json)
		return write_json(job, seconds, error);
	if (!opt_quiet && !error)
		write_text(job, seconds);
	return STATUS_OK;
}

static void show_progress(void *data, const struct bsp_progress *now)
{
	struct job *job = data;

	if (now->phase != job->phase) /* from copying to verifying */
		progress_restart(&job->progress);
	job->phase = now->phase;
	if (now->phase == BSP_PHASE_VERIFY)
		/* data and hole are those of the whole copy. */
		progress_update(&job->progress, now->done, now->size);
	else
		progress_update_parts(&job->progress, now->done, now->size,
				      now->data, now->hole);
}

/* Treats the rest of a target that is larger than the source. */
static bool finish_tail(struct job *job, GError **error)
{
	int r = bsp_sparse_finish(job->to, opt_tail);

	if (r == 0)
		return true;
	job->now.phase = BSP_PHASE_FLUSH;
	g_set_error(error, BSP_ERROR, BSP_ERROR_FAILED,
		    "zeroing or syncing %s: %s", job->to_path, g_strerror(-r));
	return false;
}

static int run(struct job *job)
{
	const struct bsp_transfer_options options = {
		.interrupted = interrupted,
		.progress = show_progress,
		.data = job,
		.jobs = opt_jobs,
		.target_is_zero = job->is_new || opt_target_is_zero,
		.verify = opt_verify,
		.changed = opt_changed,
		.changes = job->changes,
	};
	g_autoptr(GError) error = NULL;
	g_autofree char *message = NULL;
	bool copied;
	int status;

	job->started = g_get_monotonic_time();
	progress_begin(&job->progress, 0, opt_quiet);
	progress_count_reads(&job->progress, job->from);
	copied = bsp_copy(job->from, job->to, &options, &job->now, &error);
	if (copied && opt_tail != BSP_TAIL_KEEP)
		copied = finish_tail(job, &error);
	progress_clear(&job->progress);
	warn_of_false_zeros(job->from);
	warn_of_false_zeros(job->to);
	if (!copied)
		message = describe_failure(job, error);
	status = summarize(job, message);
	return message ? failure("%s", message) : status;
}

int command_copy(int argc, char **argv)
{
	g_autoptr(GOptionContext) context = g_option_context_new(NULL);
	g_autoptr(GError) error = NULL;
	g_auto(GStrv) paths = NULL;
	struct job job = { 0 };
	int status;

	g_set_prgname("blksparse copy");
	g_option_context_set_summary(
		context,
		"Copies SRC to DST without its zeros; each is a block device or "
		"a regular file.\nWhere SRC is zero, a file gets holes, and a "
		"device is zeroed.");
	options_add(context, entries);
	options_add(context, changes_entries);
	options_add(context, progress_entries);
	if (!options_parse(context, &argc, argv, &status))
		return status;
	paths = g_steal_pointer(&opt_paths);
	if (!paths || !paths[1])
		return usage_error("no %s given", paths ? "DST" : "SRC");
	if (paths[2])
		return usage_error("one SRC and one DST, not also '%s'",
				   paths[2]);
	if (strcmp(paths[1], "-") == 0)
		return usage_error("'-' stands for no file; 'blksparse send "
				   "--format=raw' writes to standard output "
				   "(a file of that name is ./-)");
	if (opt_quiet && progress_is_asked())
		return usage_error("--quiet does not go with --progress");
	if (opt_changed && opt_target_is_zero)
		return usage_error("--changed does not go with "
				   "--target-is-zero");
	if (changes_wanted() && opt_target_is_zero)
		return usage_error("--changes does not go with "
				   "--target-is-zero");
	status = changes_check_options();
	if (status != STATUS_OK)
		return status;
	interrupt_catch();
	job.from_path = paths[0];
	job.to_path = paths[1];
	status = open_both(&job, &error) ? run(&job) : failure_of(error);
	bsp_sparse_free(job.from);
	bsp_sparse_free(job.to);
	bsp_changes_free(job.changes);
	return status;
}
