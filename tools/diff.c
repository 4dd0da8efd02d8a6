/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * blksparse diff: reports the parts in which two devices or files differ.
 *
 * bsp_diff() does the work. The exit status is that of diff(1) and cmp(1), and
 * so differs from that of other subcommands: 1 tells of a difference, and 2 of
 * all errors.
 */
#include "blksparse-mount.h"
#include "blksparse.h"
#include "command.h"
#include "interrupt.h"
#include "message.h"
#include "options.h"
#include "output.h"
#include "progress.h"
#include "report-options.h"

enum {
	STATUS_DIFFERS = 1,
	STATUS_TROUBLE = 2,
};

static gboolean opt_quiet;
static char **opt_paths;

static const GOptionEntry entries[] = {
	{ "jobs", 0, 0, G_OPTION_ARG_CALLBACK, option_jobs,
	  "Read N pieces of each at once, 1 to 64 (default: 8)", "N" },
	{ "known", 0, 0, G_OPTION_ARG_CALLBACK, option_known,
	  "Ask lower layers for holes: auto (default), all or off", "LAYERS" },
	{ "quiet", 0, 0, G_OPTION_ARG_NONE, &opt_quiet,
	  "Write no report, and show no progress", NULL },
	{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &opt_paths,
	  NULL, "A B" },
	{ 0 },
};

struct job {
	const char *path[2];
	char *shown[2]; /* for people */
	struct bsp_sparse *sp[2];
	struct changes changes[2];
	struct progress progress;
};

static void show_progress(void *data, const struct bsp_progress *now)
{
	struct job *job = data;

	progress_update(&job->progress, now->done, now->size);
}

static bool open_both(struct job *job, GError **error)
{
	const struct bsp_sparse_options options = {
		.unshared = true,
		.known = opt_known,
	};

	for (unsigned i = 0; i < 2; i++) {
		job->sp[i] = bsp_sparse_new(
			bsp_device_open(job->path[i], error), &options, error);
		if (!job->sp[i])
			return false;
		bsp_sparse_set_changed(job->sp[i], note_change,
				       &job->changes[i]);
	}
	return true;
}

static int write_report(const struct job *job, struct bsp_changes *changes)
{
	const struct bsp_report report = {
		.path = job->shown[0],
		.other = job->shown[1],
		.size = bsp_changes_size(changes),
		.granule = BSP_GRANULE_MIN,
		.source = bsp_changes_extent_source(changes),
		.summary = opt_summary,
	};
	struct output out = { 0 };
	int r;

	if (opt_quiet)
		return STATUS_OK;
	r = bsp_report_write(&report, opt_format, output_write, &out);
	if (r == 0)
		output_finish(&out);
	if (out.error < 0)
		return output_failure(&out);
	return r < 0 ? failure("write the report: %s", g_strerror(-r))
		     : STATUS_OK;
}

static void warn_of_sizes(const struct job *job)
{
	uint64_t size[2] = { bsp_sparse_size(job->sp[0]),
			     bsp_sparse_size(job->sp[1]) };

	if (size[0] != size[1])
		failure("%s has %" G_GUINT64_FORMAT
			" bytes, and %s has %" G_GUINT64_FORMAT
			"; the rest of the larger one differs",
			job->path[0], size[0], job->path[1], size[1]);
}

static void warn(struct job *job)
{
	for (unsigned i = 0; i < 2; i++) {
		bsp_sparse_refresh(job->sp[i]);
		warn_of_false_zeros(job->sp[i]);
		warn_of_changes(&job->changes[i], job->path[i],
				"the report may be out of date there");
	}
}

static int trouble(const GError *error)
{
	(void)failure_of(error);
	return STATUS_TROUBLE;
}

static int diff(struct job *job)
{
	const struct bsp_transfer_options options = {
		.interrupted = interrupted,
		.progress = show_progress,
		.data = job,
		.jobs = opt_jobs,
	};
	g_autoptr(GError) error = NULL;
	g_autoptr(bsp_changes) changes = NULL;

	if (!open_both(job, &error))
		return trouble(error);
	progress_begin(&job->progress, 0, opt_quiet);
	changes = bsp_diff(job->sp[0], job->sp[1], &options, NULL, &error);
	progress_clear(&job->progress);
	if (!changes)
		return trouble(error);
	warn_of_sizes(job);
	warn(job);
	if (write_report(job, changes) != STATUS_OK)
		return STATUS_TROUBLE;
	return bsp_changes_bytes(changes) ? STATUS_DIFFERS : STATUS_OK;
}

static int diff_paths(char **paths)
{
	struct job job = { 0 };
	int status;

	for (unsigned i = 0; i < 2; i++) {
		job.path[i] = paths[i];
		job.shown[i] = bsp_nbd_uri_redact(paths[i]);
	}
	status = diff(&job);
	for (unsigned i = 0; i < 2; i++) {
		bsp_sparse_free(job.sp[i]);
		g_free(job.shown[i]);
	}
	return status;
}

int command_diff(int argc, char **argv)
{
	g_autoptr(GOptionContext) context = g_option_context_new(NULL);
	g_auto(GStrv) paths = NULL;
	int status;

	g_set_prgname("blksparse diff");
	g_option_context_set_summary(
		context,
		"Reports the parts in which A and B differ; each is a block "
		"device, a regular\nfile or an NBD export. Exits with 0 if they "
		"are equal, 1 if they differ,\nand 2 after an error.");
	options_add(context, report_entries);
	options_add(context, entries);
	options_add(context, progress_entries);
	if (!options_parse(context, &argc, argv, &status))
		return status == STATUS_OK ? STATUS_OK : STATUS_TROUBLE;
	paths = g_steal_pointer(&opt_paths);
	if (!paths || !paths[1])
		return usage_error("no %s given", paths ? "B" : "A");
	if (paths[2])
		return usage_error("one A and one B, not also '%s'", paths[2]);
	if (report_check_options() != STATUS_OK)
		return STATUS_TROUBLE;
	interrupt_catch();
	return diff_paths(paths);
}
