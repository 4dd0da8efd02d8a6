/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What all subcommands do alike: options, help, and how errors look.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	STATUS_OK = 0,
	STATUS_FAILED = 1, /* the system, or what was found there */
	STATUS_USAGE = 2,  /* what was asked for cannot be */
};

/*
 * Takes the options out of argv, also --help, which needs no entry. Returns
 * false when all is done, and then *ret_status is what to exit with: help was
 * shown, or an error was.
 */
bool options_parse(GOptionContext *context, int *argc, char **argv,
		   int *ret_status);

/* Prints "PROGRAM: message" to stderr. Returns STATUS_FAILED. */
int failure(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* The status to exit with for an error; and the same when it was shown. */
int error_status(const GError *error);
int failure_of(const GError *error);

/* As failure(), with where to find help. Returns STATUS_USAGE. */
int usage_error(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* --granule, for a table of options, and what it was given; 0: the default. */
gboolean option_granule(const gchar *option, const gchar *value, gpointer data,
			GError **error);
extern uint32_t opt_granule;

#endif
