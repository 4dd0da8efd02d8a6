/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Error messages and exit statuses of all subcommands.
 */
#ifndef MESSAGE_H
#define MESSAGE_H

#include <glib.h>

#include "blksparse.h"

enum {
	STATUS_OK = 0,
	STATUS_FAILED = 1, /* a device, a file or a stream failed */
	STATUS_USAGE = 2,  /* the command line asks for something impossible */
};

/* Prints "PROGRAM: message" to stderr. Returns STATUS_FAILED. */
int failure(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* Returns the exit status for an error. */
int error_status(const GError *error);

/* Prints the message of an error. Returns its exit status. */
int failure_of(const GError *error);

/* Warns if a layer below was found to err about zeros (BSP_CHANGE_FALSE_ZEROS).
 * The result of the command is right nevertheless. */
void warn_of_false_zeros(struct bsp_sparse *sp);

/* A bsp_changed_fn that notes changes in data, a struct changes. */
struct changes {
	bool written;	   /* another program wrote, or may have */
	bool disconnected; /* for a while, from a device on a network */
};
void note_change(void *data, enum bsp_change change);

/* Warns of changes of the device at path while the command was at work. advice,
 * a clause, tells what they mean for its result. */
void warn_of_changes(const struct changes *changes, const char *path,
		     const char *advice);

/* As failure(), and tells how to get help. Returns STATUS_USAGE. */
int usage_error(const char *format, ...) G_GNUC_PRINTF(1, 2);

#endif
