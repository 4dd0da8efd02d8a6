/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * blksparse send: writes a device or a file as a stream to standard output.
 *
 * bsp_send() does the work. A device that another program writes to during the
 * call still gives a stream, of granules from different moments: the command
 * warns, because it cannot tell whether that matters.
 */
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blksparse.h"
#include "changes.h"
#include "command.h"
#include "interrupt.h"
#include "message.h"
#include "options.h"
#include "transfer.h"

static uint64_t opt_from;
static char *opt_digest, *opt_since, *opt_from_snap;
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
	{ "chunk", 0, 0, G_OPTION_ARG_CALLBACK, option_chunk,
	  "With --digest: the part that has one digest (64K)", "SIZE" },
	{ "digest", 0, 0, G_OPTION_ARG_FILENAME, &opt_digest,
	  "Write the digest of SRC to FILE while sending", "FILE" },
	{ "from", 0, 0, G_OPTION_ARG_CALLBACK, parse_from,
	  "Leave out the part before OFFSET, to resume a stream", "OFFSET" },
	{ "from-snap", 0, 0, G_OPTION_ARG_STRING, &opt_from_snap,
	  "With --since and rbd-diff: the snapshot of the base", "NAME" },
	{ "since", 0, 0, G_OPTION_ARG_FILENAME, &opt_since,
	  "Send only what differs from the digest FILE", "FILE" },
	{ "granule", 0, 0, G_OPTION_ARG_CALLBACK, option_granule,
	  "Unit of data and holes: a power of two, 4K to 1M", "SIZE" },
	{ "known", 0, 0, G_OPTION_ARG_CALLBACK, option_known,
	  "Ask lower layers for holes: auto (default), all or off", "LAYERS" },
	{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &opt_paths,
	  NULL, "SRC" },
	{ 0 },
};

static int fail(const GError *error, const struct bsp_progress *done)
{
	if (done->moved)
		failure("%s; it was sent up to byte %" PRIu64 " of %" PRIu64,
			error->message, done->done, done->size);
	else
		failure("%s", error->message);
	return error_status(error);
}

static int send_sparse(struct bsp_sparse *sp, const char *path,
		       const struct bsp_changes *changes,
		       struct new_file *digest)
{
	struct bsp_transfer_options options = { .from = opt_from,
						.chunk = opt_chunk,
						.since = opt_since,
						.from_snap = opt_from_snap,
						.changes = changes };
	g_autoptr(GError) error = NULL;
	struct transfer transfer = { .digest = digest, .source = sp };
	struct bsp_progress done;
	struct changes seen = { 0 };
	bool sent;

	transfer_begin(&transfer, "send", path, &options);
	bsp_sparse_set_changed(sp, note_change, &seen);
	sent = bsp_send(sp, STDOUT_FILENO, &options, &done, &error);
	bsp_sparse_refresh(sp);
	(void)transfer_end(&transfer, &done, error);
	if (!sent)
		return fail(error, &done);
	warn_of_changes(&seen, path,
			"parts of the stream may be from before that write, "
			"and parts from after it");
	return STATUS_OK;
}

/* The digest appears when all was sent: a part of one is of no use. */
static int send_with_digest(struct bsp_sparse *sp, const char *path,
			    const struct bsp_changes *changes)
{
	struct new_file digest;
	int status = new_file_open(&digest, opt_digest, path);

	if (status == STATUS_OK)
		status = transfer_reserve_digest(&digest, bsp_sparse_size(sp));
	if (status != STATUS_OK)
		return status;
	status = send_sparse(sp, path, changes, &digest);
	if (status == STATUS_OK)
		return new_file_finish(&digest);
	new_file_discard(&digest);
	return status;
}

static int send_changes(struct bsp_sparse *sp, const char *path)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(bsp_changes) changes = NULL;
	bool fell_back;

	if (!changes_open(sp, &changes, &fell_back, &error))
		return failure_of(error);
	return opt_digest ? send_with_digest(sp, path, changes)
			  : send_sparse(sp, path, changes, NULL);
}

static int send_path(const char *path)
{
	const struct bsp_sparse_options options = {
		.unshared = true,
		.granule = opt_granule,
		.known = opt_known,
	};
	g_autoptr(GError) error = NULL;
	struct bsp_device *dev;
	struct bsp_sparse *sp;
	int status;

	interrupt_catch();
	dev = changes_open_device(path, &error);
	sp = bsp_sparse_new(dev, &options, &error);
	if (!sp)
		return failure_of(error);
	status = send_changes(sp, path);
	bsp_sparse_free(sp);
	return status;
}

static int check_changes(void)
{
	int status = changes_check_options();

	if (status == STATUS_OK && changes_can_fall_back() && !opt_since)
		return usage_error("--fall-back needs --since: the digest of "
				   "the base tells what differs from it");
	return status;
}

/* The stream must not get among the content, nor the digest among the stream.
 */
static int check_stdout(const char *path)
{
	struct stat out, digest;

	if (transfer_is_on(STDOUT_FILENO, path))
		return usage_error("standard output is %s, which the stream "
				   "would destroy",
				   path);
	if (opt_digest && fstat(STDOUT_FILENO, &out) == 0 &&
	    stat(opt_digest, &digest) == 0 && !S_ISCHR(out.st_mode) &&
	    out.st_dev == digest.st_dev && out.st_ino == digest.st_ino)
		return usage_error("--digest: %s is standard output, which "
				   "takes the stream",
				   opt_digest);
	return STATUS_OK;
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
	options_add(context, entries);
	options_add(context, changes_entries);
	options_add(context, transfer_format_entries);
	options_add(context, transfer_entries);
	options_add(context, progress_entries);
	if (!options_parse(context, &argc, argv, &status))
		return status;
	paths = g_steal_pointer(&opt_paths);
	status = transfer_one_path(paths, "SRC");
	if (status == STATUS_OK)
		status = transfer_check_options();
	if (status == STATUS_OK)
		status = check_changes();
	if (status != STATUS_OK)
		return status;
	if (opt_chunk && !opt_digest)
		return usage_error("--chunk goes with --digest");
	if (opt_digest && opt_from)
		return usage_error("--digest does not go with --from: all of "
				   "SRC must be read for it");
	if (isatty(STDOUT_FILENO))
		return usage_error("standard output is a terminal; give it a "
				   "file or a pipe");
	status = check_stdout(paths[0]);
	return status == STATUS_OK ? send_path(paths[0]) : status;
}
