/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * blksparse digest: writes the digest file of a device or a file.
 *
 * bsp_digest() does the work. Without --output the digest goes to standard
 * output, and is complete if the exit status says so.
 */
#include <unistd.h>

#include "blksparse.h"
#include "command.h"
#include "interrupt.h"
#include "message.h"
#include "options.h"
#include "transfer.h"

static char *opt_output;
static char **opt_paths;

static const GOptionEntry entries[] = {
	{ "chunk", 0, 0, G_OPTION_ARG_CALLBACK, option_chunk,
	  "The part that has one digest: a power of two, 4K to 1M", "SIZE" },
	{ "jobs", 0, 0, G_OPTION_ARG_CALLBACK, option_jobs,
	  "Compute with N threads, 1 to 64 (default: one a processor)", "N" },
	{ "known", 0, 0, G_OPTION_ARG_CALLBACK, option_known,
	  "Ask lower layers for holes: auto (default), all or off", "LAYERS" },
	{ "output", 0, 0, G_OPTION_ARG_FILENAME, &opt_output,
	  "Write to FILE, which appears when it is complete", "FILE" },
	{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &opt_paths,
	  NULL, "SRC" },
	{ 0 },
};

static int digest_sparse(struct bsp_sparse *sp, const char *path,
			 struct new_file *file)
{
	struct bsp_transfer_options options = { .chunk = opt_chunk,
						.jobs = opt_jobs };
	g_autoptr(GError) error = NULL;
	struct transfer transfer = { .digest = file };
	struct bsp_progress done;
	struct changes changes = { 0 };
	bool complete;

	transfer_begin(&transfer, "digest", path, &options);
	bsp_sparse_set_changed(sp, note_change, &changes);
	complete = bsp_digest(sp, &options, &done, &error);
	bsp_sparse_refresh(sp);
	(void)transfer_end(&transfer, &done, error);
	if (!complete)
		return failure_of(error);
	warn_of_changes(&changes, path,
			"some digests may be from before that write, and some "
			"from after it");
	return STATUS_OK;
}

static int digest_to(struct bsp_sparse *sp, const char *path)
{
	struct new_file file = { .path = "standard output" };
	int status = STATUS_OK;

	if (opt_output)
		status = new_file_open(&file, opt_output, path);
	if (opt_output && status == STATUS_OK)
		status = transfer_reserve_digest(&file, bsp_sparse_size(sp));
	if (status != STATUS_OK)
		return status;
	status = digest_sparse(sp, path, &file);
	if (status == STATUS_OK)
		return new_file_finish(&file);
	new_file_discard(&file);
	return status;
}

static int digest_path(const char *path)
{
	const struct bsp_sparse_options options = { .unshared = true,
						    .known = opt_known };
	g_autoptr(GError) error = NULL;
	g_autoptr(bsp_sparse) sp =
		bsp_sparse_new(bsp_device_open(path, &error), &options, &error);

	return sp ? digest_to(sp, path) : failure_of(error);
}

int command_digest(int argc, char **argv)
{
	g_autoptr(GOptionContext) context = g_option_context_new(NULL);
	g_auto(GStrv) paths = NULL;
	int status;

	g_set_prgname("blksparse digest");
	g_option_context_set_summary(
		context,
		"Writes a digest of each chunk of SRC, a block device or a "
		"regular file, to\nstandard output. By these, 'blksparse send' "
		"finds the parts that change later.");
	options_add(context, entries);
	options_add(context, transfer_entries);
	options_add(context, progress_entries);
	if (!options_parse(context, &argc, argv, &status))
		return status;
	paths = g_steal_pointer(&opt_paths);
	status = transfer_one_path(paths, "SRC");
	if (status == STATUS_OK)
		status = transfer_check_options();
	if (status != STATUS_OK)
		return status;
	if (!opt_output && isatty(STDOUT_FILENO))
		return usage_error("standard output is a terminal; give it a "
				   "file or a pipe, or use --output");
	if (!opt_output && transfer_is_on(STDOUT_FILENO, paths[0]))
		return usage_error("standard output is %s, which the digest "
				   "would destroy",
				   paths[0]);
	interrupt_catch();
	return digest_path(paths[0]);
}
