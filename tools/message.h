/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How errors look, and the exit statuses.
 */
#ifndef MESSAGE_H
#define MESSAGE_H

#include <glib.h>

enum {
	STATUS_OK = 0,
	STATUS_FAILED = 1, /* the system, or what was found there */
	STATUS_USAGE = 2,  /* what was asked for cannot be */
};

/* Prints "PROGRAM: message" to stderr. Returns STATUS_FAILED. */
int failure(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* The status to exit with for an error; and the same when it was shown. */
int error_status(const GError *error);
int failure_of(const GError *error);

/* As failure(), with where to find help. Returns STATUS_USAGE. */
int usage_error(const char *format, ...) G_GNUC_PRINTF(1, 2);

#endif
