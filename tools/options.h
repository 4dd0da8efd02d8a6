/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Parsing of options and help, for all subcommands.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "blksparse.h"

/* Adds a table of options, which must last until options_parse(). */
void options_add(GOptionContext *context, const GOptionEntry *entries);

/*
 * Takes the options out of argv. --help needs no entry. Returns false after it
 * has shown help or an error: the program then exits with *ret_status.
 */
bool options_parse(GOptionContext *context, int *argc, char **argv,
		   int *ret_status);

/* --granule: its function for a table of options, and its value; 0 stands for
 * the default. */
gboolean option_granule(const gchar *option, const gchar *value, gpointer data,
			GError **error);
extern uint32_t opt_granule;

/* --chunk: as above. */
gboolean option_chunk(const gchar *option, const gchar *value, gpointer data,
		      GError **error);
extern uint32_t opt_chunk;

/* --jobs: as above; 1 to 64. */
gboolean option_jobs(const gchar *option, const gchar *value, gpointer data,
		     GError **error);
extern unsigned opt_jobs;

/* --known: as above. */
gboolean option_known(const gchar *option, const gchar *value, gpointer data,
		      GError **error);
extern enum bsp_known_trust opt_known;

#endif
