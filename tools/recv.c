/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * blksparse recv: writes a stream from standard input to a device or a file.
 *
 * bsp_recv() does the work. After an error the command prints how much of the
 * target is good, and, for a native stream, the command that resumes it.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "blksparse.h"
#include "command.h"
#include "interrupt.h"
#include "message.h"
#include "options.h"
#include "transfer.h"

static char *opt_base;
static gboolean opt_check_base;
static gboolean opt_resume;
static gboolean opt_target_is_zero;
static char **opt_paths;

static const GOptionEntry entries[] = {
	{ "base", 0, 0, G_OPTION_ARG_FILENAME, &opt_base,
	  "Take an increment: FILE is DST's digest, and is removed", "FILE" },
	{ "check-base", 0, 0, G_OPTION_ARG_NONE, &opt_check_base,
	  "Take an increment: read DST to prove that it is the base", NULL },
	{ "known", 0, 0, G_OPTION_ARG_CALLBACK, option_known,
	  "Ask lower layers for holes: auto (default), all or off", "LAYERS" },
	{ "resume", 0, 0, G_OPTION_ARG_NONE, &opt_resume,
	  "Write the rest of a stream that broke (see send --from)", NULL },
	{ "target-is-zero", 0, 0, G_OPTION_ARG_NONE, &opt_target_is_zero,
	  "DST reads as zeros already: do not zero the holes", NULL },
	{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &opt_paths,
	  NULL, "DST" },
	{ 0 },
};

/* Quotes a path for a shell, if it needs that. */
static char *quote(const char *path)
{
	static const char plain[] =
		G_CSET_a_2_z G_CSET_A_2_Z G_CSET_DIGITS "/._-+@=:,";

	return path[strspn(path, plain)] || path[0] == '-' ? g_shell_quote(path)
							   : g_strdup(path);
}

/* Prints the error, and how much of the target is good. */
static int fail(const GError *error, const struct bsp_progress *done,
		const char *path, bool native)
{
	g_autofree char *quoted = quote(path);

	if (g_error_matches(error, BSP_ERROR, BSP_ERROR_DIFFERS))
		failure("%s; the target is neither the base nor complete now"
			"; take the digest of its content: blksparse digest %s"
			"; and send what differs from that",
			error->message, quoted);
	else if (done->increment && done->moved && done->size_known)
		failure("%s; the target is neither the base nor complete now: "
			"it is good and durable up to %" PRIu64
			"; go on with: blksparse send --since=BASE --from=%" PRIu64
			" SRC | blksparse recv --resume --check-base %s",
			error->message, done->done, done->done, quoted);
	else if (!done->done)
		failure("%s", error->message);
	else if (!native)
		failure("%s; the target is good and durable up to %" PRIu64,
			error->message, done->done);
	else
		failure("%s; the target is good and durable up to %" PRIu64
			"; resume it with: blksparse send --from=%" PRIu64
			" SRC | blksparse recv --resume %s",
			error->message, done->done, done->done, quoted);
	return error_status(error);
}

/* All bytes are content in the raw format, so a stream of another format is
 * taken as well. */
static void warn_of_native(const char *path)
{
	static const unsigned char magic[8] = { 0x89, 'B',  'S',  'P',
						'\r', '\n', 0x1a, '\n' };
	unsigned char start[sizeof(magic)];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0 && read(fd, start, sizeof(start)) == sizeof(start) &&
	    memcmp(start, magic, sizeof(start)) == 0)
		failure("warning: %s now begins as a stream in the native "
			"format; to receive such a stream, leave out "
			"--format=raw",
			path);
	if (fd >= 0)
		close(fd);
}

static int recv_path(const char *path)
{
	struct bsp_transfer_options options = {
		.base = opt_base,
		.check_base = opt_check_base,
		.resume = opt_resume,
		.target_is_zero = opt_target_is_zero,
		.known = opt_known,
	};
	g_autoptr(GError) error = NULL;
	struct transfer transfer = { .json_to_stdout = true };
	struct bsp_progress done;
	bool received;
	int status;

	interrupt_catch();
	transfer_begin(&transfer, "recv", path, &options);
	received = bsp_recv(STDIN_FILENO, path, &options, &done, &error);
	status = transfer_end(&transfer, &done, error);
	if (!received)
		return fail(error, &done, path,
			    options.format == BSP_STREAM_FORMAT_NATIVE);
	if (options.format == BSP_STREAM_FORMAT_RAW && !bsp_is_nbd_uri(path))
		warn_of_native(path);
	return status;
}

int command_recv(int argc, char **argv)
{
	g_autoptr(GOptionContext) context = g_option_context_new(NULL);
	g_auto(GStrv) paths = NULL;
	int status;

	g_set_prgname("blksparse recv");
	g_option_context_set_summary(
		context,
		"Reads a stream of 'blksparse send' from standard input, and "
		"writes its content\nto DST, a block device or a regular file. "
		"A missing file is created.");
	options_add(context, entries);
	options_add(context, transfer_format_entries);
	options_add(context, transfer_entries);
	options_add(context, progress_entries);
	if (!options_parse(context, &argc, argv, &status))
		return status;
	paths = g_steal_pointer(&opt_paths);
	status = transfer_one_path(paths, "DST");
	if (status == STATUS_OK)
		status = transfer_check_options();
	if (status != STATUS_OK)
		return status;
	if (strcmp(paths[0], "-") == 0)
		return usage_error("DST is missing: '-' stands for no file, "
				   "and the stream comes from standard input "
				   "anyway (a file of that name is ./-)");
	if (isatty(STDIN_FILENO))
		return usage_error("standard input is a terminal; give it a "
				   "file or a pipe");
	if (transfer_is_on(STDIN_FILENO, paths[0]))
		return usage_error("standard input is %s: writing to it would "
				   "destroy the stream",
				   paths[0]);
	return recv_path(paths[0]);
}
