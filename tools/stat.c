/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * blksparse stat: reports what mounts of blksparsefs do.
 *
 * An argument becomes a filter of files. A path of a mount also tells which
 * mount to ask; for a device all mounts are asked.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ask.h"
#include "blksparse-mount.h"
#include "command.h"
#include "figures.h"
#include "interrupt.h"
#include "message.h"
#include "options.h"
#include "output.h"
#include "redraw.h"

enum format { FORMAT_TABLE, FORMAT_JSON, FORMAT_PROMETHEUS };

static enum format opt_format;
static gboolean opt_json, opt_watch;
static char **opt_paths;

static gboolean parse_format(const gchar *option, const gchar *value,
			     gpointer data, GError **error)
{
	static const char *const names[] = { "table", "json", "prometheus" };

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		if (strcmp(value, names[i]) == 0) {
			opt_format = (enum format)i;
			return true;
		}
	}
	g_set_error(error, BSP_ERROR, BSP_ERROR_USAGE,
		    "%s: there is no format '%s' (table, json, prometheus)",
		    option, value);
	return false;
}

static const GOptionEntry entries[] = {
	{ "format", 0, 0, G_OPTION_ARG_CALLBACK, parse_format,
	  "As table (default), json or prometheus", "FORMAT" },
	{ "json", 0, 0, G_OPTION_ARG_NONE, &opt_json,
	  "The same as --format=json", NULL },
	{ "watch", 0, 0, G_OPTION_ARG_NONE, &opt_watch,
	  "Report once a second, until Ctrl-C", NULL },
	{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &opt_paths,
	  NULL, "[MOUNT|FILE|DEVICE]..." },
	{ 0 },
};

/* --- Filters ------------------------------------------------------------- */

/* The files that an argument stands for. */
struct filter {
	const char *path;
	enum { WHOLE_MOUNT, ONE_FILE, DEVICE, IMAGE, EXPORT } kind;
	struct ask_object object; /* but for EXPORT */
	char *uri;		  /* EXPORT: without a password */
	bool matched;
};

struct job {
	GArray *filters; /* of struct filter */
	bool all;	 /* no filter was given */
	struct asker *asker;
	int status; /* the exit status so far */
};

static struct filter *filter_at(const struct job *job, guint i)
{
	return &g_array_index(job->filters, struct filter, i);
}

static bool is_mount(GPtrArray *mounts, dev_t number)
{
	for (guint i = 0; i < mounts->len; i++) {
		const struct ask_mount *mount = g_ptr_array_index(mounts, i);

		if (mount->number == number)
			return true;
	}
	return false;
}

/* Whether the path names a mount, or a file of one, by its text alone. */
static bool is_in_mount(GPtrArray *mounts, const char *path)
{
	g_autofree char *full = g_canonicalize_filename(path, NULL);

	for (guint i = 0; i < mounts->len; i++) {
		const struct ask_mount *mount = g_ptr_array_index(mounts, i);
		const char *where = g_ptr_array_index(mount->where, 0);
		size_t len = strlen(where);

		if (strncmp(full, where, len) == 0 &&
		    (full[len] == '\0' || full[len] == '/'))
			return true;
	}
	return false;
}

/* Finds out for which files the path of a filter stands. Returns an exit
 * status. */
static int resolve(struct filter *filter, GPtrArray *mounts)
{
	struct ask_object *object = &filter->object;

	if (bsp_is_nbd_uri(filter->path)) {
		filter->kind = EXPORT;
		filter->uri = bsp_nbd_uri_redact(filter->path);
		return STATUS_OK;
	}
	*object = ask_object(filter->path);
	if (object->error == EACCES && !is_in_mount(mounts, filter->path))
		return failure("%s: %s", filter->path, g_strerror(EACCES));
	if (object->error)
		return failure("%s: %s", filter->path,
			       ask_explain(object->error));
	if (is_mount(mounts, object->file_system))
		filter->kind = S_ISDIR(object->mode) ? WHOLE_MOUNT : ONE_FILE;
	else if (S_ISBLK(object->mode))
		filter->kind = DEVICE;
	else if (S_ISREG(object->mode))
		filter->kind = IMAGE;
	else
		return failure("%s: not a mount of blksparsefs, a file of one, "
			       "or a device",
			       filter->path);
	return STATUS_OK;
}

static void filter_clear(void *data)
{
	struct filter *filter = data;

	g_free(filter->uri);
}

/* Makes a filter of each path. The exit status tells if that fails. */
static void make_filters(struct job *job, char **paths, GPtrArray *mounts)
{
	for (; *paths; paths++) {
		struct filter filter = { .path = *paths };

		if (resolve(&filter, mounts) == STATUS_OK)
			g_array_append_val(job->filters, filter);
		else
			job->status = STATUS_FAILED;
	}
}

static bool matches(const struct filter *filter, dev_t mount,
		    const struct bsp_ioctl_stat *st)
{
	const struct ask_object *object = &filter->object;

	switch (filter->kind) {
	case WHOLE_MOUNT:
		return mount == object->file_system;
	case ONE_FILE:
		return mount == object->file_system &&
		       st->node == object->inode;
	case DEVICE:
		return st->device_number == object->device;
	case IMAGE:
		return st->device_number == 0 &&
		       st->device_file_system == object->file_system &&
		       st->device_inode == object->inode;
	default:
		return strcmp(st->device, filter->uri) == 0;
	}
}

/* Whether files of a mount may match. */
static bool is_wanted(const struct job *job, dev_t mount)
{
	for (guint i = 0; i < job->filters->len; i++) {
		const struct filter *filter = filter_at(job, i);

		if (filter->kind > ONE_FILE ||
		    filter->object.file_system == mount)
			return true;
	}
	return job->all;
}

static bool is_wanted_file(const struct job *job, dev_t mount,
			   const struct bsp_ioctl_stat *st)
{
	bool wanted = job->all;

	/* Each filter has to know whether it found a file. */
	for (guint i = 0; i < job->filters->len; i++) {
		struct filter *filter = filter_at(job, i);

		if (matches(filter, mount, st))
			wanted = filter->matched = true;
	}
	return wanted;
}

static void filter_files(const struct job *job, struct ask_answer *answer)
{
	for (guint i = answer->files->len; i-- > 0;) {
		const struct bsp_ioctl_stat *st =
			&g_array_index(answer->files, struct bsp_ioctl_stat, i);

		if (!is_wanted_file(job, answer->number, st))
			g_array_remove_index(answer->files, i);
	}
}

/* Whether a mount without files is to be reported: one with --all, of which no
 * file is open. */
static bool is_wanted_empty(const struct job *job, dev_t mount)
{
	bool wanted = job->all;

	for (guint i = 0; i < job->filters->len; i++) {
		struct filter *filter = filter_at(job, i);

		if (filter->kind == WHOLE_MOUNT &&
		    filter->object.file_system == mount)
			wanted = filter->matched = true;
	}
	return wanted;
}

/* Takes the files out that are not wanted; false if nothing is left to
 * report. */
static bool filter_answer(const struct job *job, struct ask_answer *answer)
{
	if (!answer->files->len && !answer->error)
		return is_wanted_empty(job, answer->number);
	filter_files(job, answer);
	return answer->files->len || answer->error;
}

/* --- One round ----------------------------------------------------------- */

/* Asks the mounts that may be wanted, and returns the answers about wanted
 * files. Returns NULL after a failure that it has reported. */
static GPtrArray *ask(const struct job *job)
{
	g_autoptr(GPtrArray) mounts = ask_mounts();
	GPtrArray *answers;

	if (!mounts) {
		(void)failure("cannot read the list of mounts");
		return NULL;
	}
	for (guint i = mounts->len; i-- > 0;) {
		const struct ask_mount *mount = g_ptr_array_index(mounts, i);

		if (!is_wanted(job, mount->number))
			g_ptr_array_remove_index(mounts, i);
	}
	answers = asker_ask(job->asker, mounts);
	for (guint i = answers->len; i-- > 0;) {
		if (!filter_answer(job, g_ptr_array_index(answers, i)))
			g_ptr_array_remove_index(answers, i);
	}
	return answers;
}

/* Whether a mount that may have the files of a filter did not answer. */
static bool has_failed(const struct filter *filter, GPtrArray *answers)
{
	for (guint i = 0; i < answers->len; i++) {
		const struct ask_answer *answer = g_ptr_array_index(answers, i);

		if (answer->error &&
		    (filter->kind > ONE_FILE ||
		     filter->object.file_system == answer->number))
			return true;
	}
	return false;
}

/* Reports that no file was found for a filter. */
static void report_unmatched(const struct filter *filter, GPtrArray *answers)
{
	bool failed = has_failed(filter, answers);

	if (filter->kind > ONE_FILE)
		(void)failure("%s: no mount %sshows it", filter->path,
			      failed ? "that answers " : "");
	else if (!failed && filter->kind == ONE_FILE)
		/* A mount with --all has no other files than open ones. */
		(void)failure("%s: not open; it has figures while it is",
			      filter->path);
	else if (!failed)
		(void)failure("%s: not mounted any more", filter->path);
}

/* Notes for the exit status what is missing in the answers. shown: the text
 * tells of mounts that did not answer. */
static void report_missing(struct job *job, GPtrArray *answers, bool shown)
{
	for (guint i = 0; i < answers->len; i++) {
		const struct ask_answer *answer = g_ptr_array_index(answers, i);

		if (!answer->error)
			continue;
		job->status = STATUS_FAILED;
		if (!shown)
			(void)failure("%s: %s", answer->where, answer->error);
	}
	for (guint i = 0; i < job->filters->len; i++) {
		const struct filter *filter = filter_at(job, i);

		if (filter->matched)
			continue;
		job->status = STATUS_FAILED;
		report_unmatched(filter, answers);
	}
}

static char *text_of(const struct job *job, GPtrArray *answers)
{
	switch (opt_format) {
	case FORMAT_JSON:
		return figures_json(answers);
	case FORMAT_PROMETHEUS:
		return figures_prometheus(answers);
	default:
		return job->all ? figures_table(answers)
				: figures_list(answers);
	}
}

/* Whether there is nothing to show, since the user named no mount either. */
static bool is_without_mounts(const struct job *job, GPtrArray *answers)
{
	return job->all && !answers->len && opt_format == FORMAT_TABLE;
}

#define NO_MOUNTS "no blksparsefs is mounted"

/* Reports once. Returns an exit status. */
static int stat_once(struct job *job)
{
	g_autoptr(GPtrArray) answers = ask(job);
	g_autofree char *text = answers ? text_of(job, answers) : NULL;
	int status;

	if (!answers)
		return STATUS_FAILED;
	if (is_without_mounts(job, answers)) {
		(void)failure(NO_MOUNTS);
		return STATUS_OK;
	}
	status = output_text(text);
	report_missing(job, answers, opt_format == FORMAT_TABLE);
	return status ? status : job->status;
}

/* Writes one report of several; draw: in place of the one before. Returns 0 or
 * -errno. */
static int write_again(struct output *out, struct redraw *redraw,
		       const char *text, bool draw)
{
	if (draw)
		redraw_write(redraw, text, output_write, out);
	else
		(void)output_write(out, text, strlen(text));
	return output_flush(out);
}

/* Reports once a second, until an interrupt. Returns an exit status: that of
 * the last report. */
static int stat_watch(struct job *job)
{
	bool draw = opt_format == FORMAT_TABLE && isatty(STDOUT_FILENO);
	int first_status = job->status, r = 0;
	const struct timespec second = { .tv_sec = 1 };
	struct redraw redraw = { 0 };
	struct output out = { 0 };

	while (r == 0 && !interrupted(NULL)) {
		g_autoptr(GPtrArray) answers = ask(job);
		g_autofree char *text = answers ? text_of(job, answers) : NULL;

		if (!answers)
			return STATUS_FAILED;
		if (interrupted(NULL))
			break;
		r = write_again(&out, &redraw,
				is_without_mounts(job, answers) ? NO_MOUNTS "\n"
								: text,
				draw);
		job->status = first_status;
		report_missing(job, answers, opt_format == FORMAT_TABLE);
		if (r == 0 && !interrupted(NULL))
			(void)nanosleep(&second, NULL);
	}
	return r == 0 || r == -EINTR ? job->status : output_failure(&out);
}

static int stat_paths(char **paths)
{
	struct job job = {
		.filters = g_array_new(false, false, sizeof(struct filter)),
		.all = !paths,
		.asker = asker_new(),
	};
	g_autoptr(GPtrArray) mounts = ask_mounts();
	int status = STATUS_FAILED;

	g_array_set_clear_func(job.filters, filter_clear);
	if (!mounts)
		(void)failure("cannot read the list of mounts");
	else if (paths)
		make_filters(&job, paths, mounts);
	if (mounts && (job.all || job.filters->len))
		status = (opt_watch ? stat_watch : stat_once)(&job);
	asker_free(job.asker);
	g_array_unref(job.filters);
	return status;
}

int command_stat(int argc, char **argv)
{
	g_autoptr(GOptionContext) context = g_option_context_new(NULL);
	g_auto(GStrv) paths = NULL;
	int status;

	g_set_prgname("blksparse stat");
	g_option_context_set_summary(
		context,
		"Reports the work of mounts of blksparsefs: data and holes of "
		"each file, bytes\nread, written and saved, errors, and "
		"requests in flight. Reports all mounts, or\na MOUNT, a FILE of "
		"one, or the files that show a DEVICE.");
	options_add(context, entries);
	if (!options_parse(context, &argc, argv, &status))
		return status;
	paths = g_steal_pointer(&opt_paths);
	if (opt_json && opt_format == FORMAT_PROMETHEUS)
		return usage_error(
			"--json does not go with --format=prometheus");
	if (opt_json)
		opt_format = FORMAT_JSON;
	if (opt_watch && opt_format == FORMAT_PROMETHEUS)
		return usage_error(
			"--watch does not go with --format=prometheus");
	if (opt_watch)
		interrupt_catch();
	return stat_paths(paths);
}
