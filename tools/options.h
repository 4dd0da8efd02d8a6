/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What all subcommands do alike: options and help.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Takes the options out of argv, also --help, which needs no entry. Returns
 * false when all is done, and then *ret_status is what to exit with: help was
 * shown, or an error was.
 */
bool options_parse(GOptionContext *context, int *argc, char **argv,
		   int *ret_status);

/* --granule, for a table of options, and what it was given; 0: the default. */
gboolean option_granule(const gchar *option, const gchar *value, gpointer data,
			GError **error);
extern uint32_t opt_granule;

#endif
