/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The options for the format of a report, which map and diff share.
 */
#ifndef REPORT_OPTIONS_H
#define REPORT_OPTIONS_H

#include <glib.h>

#include "blksparse.h"

extern const GOptionEntry report_entries[];

extern enum bsp_format opt_format;
extern gboolean opt_summary;

/* Checks that the options go together, and with standard output. Returns an
 * exit status. */
int report_check_options(void);

#endif
