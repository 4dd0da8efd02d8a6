/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * blksparse send: writes a device or a file as a stream to standard output.
 *
 * bsp_send() does the work. A device that another program writes to during the
 * call still gives a stream, of granules from different moments: the command
 * warns, because it cannot tell whether that matters.
 */
#include <inttypes.h>
#include <unistd.h>

#include "blksparse.h"
#include "command.h"
#include "message.h"
#include "options.h"
#include "transfer.h"

static uint64_t opt_from;
static char **opt_paths;

static gboolean parse_from(const gchar *option, const gchar *value,
			   gpointer data, GError **error)
{
	if (bsp_parse_size(value, &opt_from, error))
		return true;
	g_prefix_error(error, "%s: ", option);
	return false;
}

static const GOptionEntry entries[] = {
	{ "from", 0, 0, G_OPTION_ARG_CALLBACK, parse_from,
	  "Leave out the part before OFFSET, to resume a stream", "OFFSET" },
	{ "granule", 0, 0, G_OPTION_ARG_CALLBACK, option_granule,
	  "Unit of data and holes: a power of two, 4K to 1M", "SIZE" },
	{ "known", 0, 0, G_OPTION_ARG_CALLBACK, option_known,
	  "Ask lower layers for holes: auto (default), all or off", "LAYERS" },
	{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &opt_paths,
	  NULL, "SRC" },
	{ 0 },
};

static void on_change(void *data, enum bsp_change change)
{
	bool *changed = data;

	if (change != BSP_CHANGE_UNWATCHABLE &&
	    change != BSP_CHANGE_FALSE_ZEROS)
		*changed = true;
}

static int fail(const GError *error, const struct bsp_progress *done)
{
	if (done->moved)
		failure("%s; it was sent up to byte %" PRIu64 " of %" PRIu64,
			error->message, done->done, done->size);
	else
		failure("%s", error->message);
	return error_status(error);
}

static int send_sparse(struct bsp_sparse *sp, const char *path)
{
	struct bsp_transfer_options options = { .from = opt_from };
	g_autoptr(GError) error = NULL;
	struct transfer transfer = { 0 };
	struct bsp_progress done;
	bool changed = false, sent;

	transfer_begin(&transfer, "send", path, &options);
	bsp_sparse_set_changed(sp, on_change, &changed);
	sent = bsp_send(sp, STDOUT_FILENO, &options, &done, &error);
	bsp_sparse_refresh(sp);
	(void)transfer_end(&transfer, &done, error);
	if (!sent)
		return fail(error, &done);
	if (changed)
		failure("warning: the disk of %s was written to meanwhile; "
			"parts of the stream may be from before that write, "
			"and parts from after it",
			path);
	return STATUS_OK;
}

static int send_path(const char *path)
{
	const struct bsp_sparse_options options = {
		.granule = opt_granule,
		.known = opt_known,
	};
	g_autoptr(GError) error = NULL;
	struct bsp_device *dev = bsp_device_open(path, &error);
	struct bsp_sparse *sp = bsp_sparse_new(dev, &options, &error);
	int status;

	if (!sp)
		return failure_of(error);
	status = send_sparse(sp, path);
	bsp_sparse_free(sp);
	return status;
}

int command_send(int argc, char **argv)
{
	g_autoptr(GOptionContext) context = g_option_context_new(NULL);
	g_auto(GStrv) paths = NULL;
	int status;

	g_set_prgname("blksparse send");
	g_option_context_set_summary(
		context,
		"Writes SRC, a block device or a regular file, to standard "
		"output as a\nstream without its zeros, for 'blksparse recv'.");
	g_option_context_add_main_entries(context, entries, NULL);
	g_option_context_add_main_entries(context, transfer_entries, NULL);
	if (!options_parse(context, &argc, argv, &status))
		return status;
	paths = g_steal_pointer(&opt_paths);
	status = transfer_one_path(paths, "SRC");
	if (status == STATUS_OK)
		status = transfer_check_options();
	if (status != STATUS_OK)
		return status;
	if (isatty(STDOUT_FILENO))
		return usage_error("standard output is a terminal; give it a "
				   "file or a pipe");
	return send_path(paths[0]);
}
