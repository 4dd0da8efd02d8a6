/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * GOption parses the options. Its own --help is turned off, because it ignores
 * errors of standard output: help that a full disk lost must not look like a
 * success.
 */
#include "options.h"

#include "message.h"
#include "output.h"
#include "progress.h"

uint32_t opt_granule, opt_chunk;
enum bsp_known_trust opt_known;

static gboolean opt_help;

static const GOptionEntry help_entries[] = {
	{ "help", 'h', 0, G_OPTION_ARG_NONE, &opt_help,
	  "Show this help and exit", NULL },
	{ 0 },
};

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
	g_autoptr(GError) error = NULL;

	g_option_context_set_help_enabled(context, false);
	g_option_context_add_main_entries(context, help_entries, NULL);
	/* A strict parser leaves the options of a command to that command. */
	if ((!g_option_context_get_strict_posix(context) &&
	     !progress_take_form(argc, argv, &error)) ||
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

gboolean option_known(const gchar *option, const gchar *value, gpointer data,
		      GError **error)
{
	if (bsp_known_from_name(value, &opt_known, error))
		return true;
	g_prefix_error(error, "%s: ", option);
	return false;
}
