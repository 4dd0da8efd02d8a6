/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "report-options.h"

#include <unistd.h>

#include "message.h"

enum bsp_format opt_format = BSP_FORMAT_TABLE;
gboolean opt_summary;

static gboolean parse_format(const gchar *option, const gchar *value,
			     gpointer data, GError **error)
{
	if (bsp_format_from_name(value, &opt_format, error))
		return true;
	g_prefix_error(error, "%s: ", option);
	return false;
}

static gboolean choose_json(const gchar *option, const gchar *value,
			    gpointer data, GError **error)
{
	opt_format = BSP_FORMAT_JSON;
	return true;
}

static gboolean choose_plot(const gchar *option, const gchar *value,
			    gpointer data, GError **error)
{
	opt_format = BSP_FORMAT_PLOT;
	return true;
}

const GOptionEntry report_entries[] = {
	{ "format", 0, 0, G_OPTION_ARG_CALLBACK, parse_format,
	  "As table, json, qemu, bmap, ddrescue, plot, svg or png", "FORMAT" },
	{ "json", 0, G_OPTION_FLAG_NO_ARG, G_OPTION_ARG_CALLBACK, choose_json,
	  "Report as JSON: --format=json", NULL },
	{ "plot", 0, G_OPTION_FLAG_NO_ARG, G_OPTION_ARG_CALLBACK, choose_plot,
	  "Draw a picture in the terminal: --format=plot", NULL },
	{ "summary", 0, 0, G_OPTION_ARG_NONE, &opt_summary,
	  "Report only the totals (with table, json)", NULL },
	{ 0 },
};

int report_check_options(void)
{
	if (opt_summary && opt_format != BSP_FORMAT_TABLE &&
	    opt_format != BSP_FORMAT_JSON)
		return usage_error("--summary goes with --format=table and "
				   "--format=json only");
	if (opt_format == BSP_FORMAT_PNG && isatty(STDOUT_FILENO))
		return usage_error("a PNG file does not go to a terminal: "
				   "redirect it, or use --plot");
	return STATUS_OK;
}
