/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A summary in JSON: an object on one line.
 */
#ifndef SUMMARY_H
#define SUMMARY_H

#include <json-glib/json-glib.h>
#include <stdint.h>

/* Members of the object that is being built. */
void summary_number(JsonBuilder *builder, const char *name, uint64_t value);

/* What is not UTF-8 in it is replaced; NULL is null. */
void summary_text(JsonBuilder *builder, const char *name, const char *value);

/* What was built, as a line, with the member seconds at its end; for the caller
 * to free. */
char *summary_line(JsonBuilder *builder, double seconds);

#endif
