/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * GOption parses the options. Its own --help is turned off, because it ignores
 * errors of standard output: help that a full disk lost must not look like a
 * success. Nor does GOption refuse a value of an option that takes none: with
 * --target-is-zero=no it would set the option.
 */
#include "options.h"

#include <string.h>

#include "message.h"
#include "output.h"
#include "progress.h"

enum { JOBS_MAX = 64 };

uint32_t opt_granule, opt_chunk;
unsigned opt_jobs;
enum bsp_known_trust opt_known;

static gboolean opt_help;

static const GOptionEntry help_entries[] = {
	{ "help", 'h', 0, G_OPTION_ARG_NONE, &opt_help,
	  "Show this help and exit", NULL },
	{ 0 },
};

/* All tables of entries, of the program and its command. */
static GPtrArray *tables;

void options_add(GOptionContext *context, const GOptionEntry *entries)
{
	if (!tables)
		tables = g_ptr_array_new();
	g_ptr_array_add(tables, (gpointer)entries);
	g_option_context_add_main_entries(context, entries, NULL);
}

/* Whether an option has this name and takes no value. */
static bool is_flag(const char *name, size_t len)
{
	for (guint i = 0; i < tables->len; i++) {
		const GOptionEntry *entry = g_ptr_array_index(tables, i);

		for (; entry->long_name; entry++) {
			if ((entry->arg == G_OPTION_ARG_NONE ||
			     entry->flags & G_OPTION_FLAG_NO_ARG) &&
			    strlen(entry->long_name) == len &&
			    strncmp(entry->long_name, name, len) == 0)
				return true;
		}
	}
	return false;
}

/* Refuses the first value of an option that takes none. A strict parser stops
 * at the first other word. */
static bool check_flags(int argc, char **argv, bool strict, GError **error)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		bool is_long = g_str_has_prefix(argv[i], "--");
		const char *equals = strchr(argv[i], '=');

		if (strict && argv[i][0] != '-')
			break;
		if (!is_long || !equals ||
		    !is_flag(argv[i] + 2, (size_t)(equals - argv[i]) - 2))
			continue;
		g_set_error(error, BSP_ERROR, BSP_ERROR_USAGE,
			    "%.*s takes no value, as in '%s'",
			    (int)(equals - argv[i]), argv[i], argv[i]);
		return false;
	}
	return true;
}

static int show_help(GOptionContext *context)
{
	g_autofree char *help = g_option_context_get_help(context, true, NULL);
	GString *text = g_string_new(help);
	int status;

	/* GOption writes an ellipsis, which not every terminal shows. */
	g_string_replace(text, "\u2026", "...", 0);
	status = output_text(text->str);
	g_string_free(text, true);
	return status;
}

bool options_parse(GOptionContext *context, int *argc, char **argv,
		   int *ret_status)
{
	/* A strict parser leaves the options of a command to that command. */
	bool strict = g_option_context_get_strict_posix(context);
	g_autoptr(GError) error = NULL;

	g_option_context_set_help_enabled(context, false);
	options_add(context, help_entries);
	if ((!strict && !progress_take_form(argc, argv, &error)) ||
	    !check_flags(*argc, argv, strict, &error) ||
	    !g_option_context_parse(context, argc, &argv, &error)) {
		*ret_status = usage_error("%s", error->message);
		return false;
	}
	if (opt_help) {
		*ret_status = show_help(context);
		return false;
	}
	return true;
}

/* Granules and chunks have the same limits. */
static bool parse_unit(const char *option, const char *value,
		       uint32_t *ret_unit, GError **error)
{
	uint64_t unit;

	if (!bsp_parse_size(value, &unit, error)) {
		g_prefix_error(error, "%s: ", option);
		return false;
	}
	if (unit < BSP_GRANULE_MIN || unit > BSP_GRANULE_MAX ||
	    (unit & (unit - 1)) != 0) {
		g_set_error(error, BSP_ERROR, BSP_ERROR_USAGE,
			    "%s: '%s' is not a power of two from 4K to 1M",
			    option, value);
		return false;
	}
	*ret_unit = (uint32_t)unit;
	return true;
}

gboolean option_granule(const gchar *option, const gchar *value, gpointer data,
			GError **error)
{
	return parse_unit(option, value, &opt_granule, error);
}

gboolean option_chunk(const gchar *option, const gchar *value, gpointer data,
		      GError **error)
{
	return parse_unit(option, value, &opt_chunk, error);
}

gboolean option_jobs(const gchar *option, const gchar *value, gpointer data,
		     GError **error)
{
	guint64 jobs;

	if (!g_ascii_string_to_unsigned(value, 10, 1, JOBS_MAX, &jobs, NULL)) {
		g_set_error(error, BSP_ERROR, BSP_ERROR_USAGE,
			    "%s: %s is not from 1 to %d", option, value,
			    JOBS_MAX);
		return false;
	}
	opt_jobs = (unsigned)jobs;
	return true;
}

gboolean option_known(const gchar *option, const gchar *value, gpointer data,
		      GError **error)
{
	if (bsp_known_from_name(value, &opt_known, error))
		return true;
	g_prefix_error(error, "%s: ", option);
	return false;
}
