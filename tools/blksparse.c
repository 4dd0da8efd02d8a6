/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The program blksparse: finds the subcommand and calls it.
 *
 * A new subcommand is a file of its own, a line in command.h, and a row in the
 * table below, from which --help is made. The page and the completion list the
 * subcommands again.
 */
#include <string.h>

#include "../fuse/startup.h"
#include "blksparse-mount.h"
#include "command.h"
#include "message.h"
#include "options.h"
#include "output.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary;
} commands[] = {
	{ "copy", command_copy,
	  "Copy a device, an image or a sparse file to another" },
	{ "diff", command_diff, "Report where two devices or files differ" },
	{ "digest", command_digest,
	  "Compute digests, by which a later send finds what changed" },
	{ "map", command_map,
	  "Report which parts of a device or a file are data and holes" },
	{ "recv", command_recv, "Receive a stream into a device or a file" },
	{ "send", command_send,
	  "Send a device or a file as a stream, without its zeros" },
	{ "stat", command_stat, "Report what mounts of blksparsefs do" },
};

static gboolean opt_version;

static const GOptionEntry entries[] = {
	{ "version", 0, 0, G_OPTION_ARG_NONE, &opt_version,
	  "Show the version and exit", NULL },
	{ 0 },
};

static char *describe_commands(void)
{
	GString *text = g_string_new("Commands:\n");

	for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
		g_string_append_printf(text, "  %-10s %s\n", commands[i].name,
				       commands[i].summary);
	g_string_append(
		text,
		"\nSee 'blksparse COMMAND --help' and blksparse-COMMAND(1).");
	return g_string_free(text, false);
}

/* blksparse help [COMMAND]: the same as blksparse [COMMAND] --help. */
static int run_help(int argc, char **argv);

static int run_command(int argc, char **argv)
{
	if (strcmp(argv[0], "help") == 0)
		return run_help(argc, argv);
	for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
		if (strcmp(argv[0], commands[i].name) == 0)
			return commands[i].run(argc, argv);
	}
	return usage_error("there is no command '%s'", argv[0]);
}

static int run(int argc, char **argv);

static int run_help(int argc, char **argv)
{
	char program[] = "blksparse", option[] = "--help";
	char *help[] = { program, option, NULL };
	char *command[] = { argv[1], option, NULL };

	if (argc > 2)
		return usage_error("help is for one command, not also '%s'",
				   argv[2]);
	if (argc == 2 && strcmp(argv[1], "help") != 0)
		return run_command(2, command);
	return run(2, help);
}

/* Runs the command of copied words. */
static int run(int argc, char **argv)
{
	g_autoptr(GOptionContext) context = NULL;
	g_autofree char *description = NULL;
	int status;

	context = g_option_context_new("COMMAND");
	description = describe_commands();
	g_set_prgname("blksparse");
	g_option_context_set_strict_posix(context, true);
	g_option_context_set_summary(
		context,
		"Copies, streams and maps block devices without their zeros.");
	g_option_context_set_description(context, description);
	options_add(context, entries);
	if (!options_parse(context, &argc, argv, &status))
		return status;
	if (opt_version)
		return output_text("blksparse " PACKAGE_VERSION
				   "\nbuilt with " BUILT_WITH "\n");
	if (argc < 2)
		return usage_error("no command given");
	return run_command(argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
	g_auto(GStrv) words = NULL;
	g_autofree char **args = NULL;

	if (!startup())
		return STATUS_FAILED;
	/* Programs such as ps(1) show the words of argv. GOption takes words
	 * out of args. */
	words = g_strdupv(argv);
	args = g_memdup2(words, ((size_t)argc + 1) * sizeof(*args));
	for (int i = 0; i < argc; i++)
		bsp_nbd_uri_hide(argv[i]);
	return run(argc, args);
}
