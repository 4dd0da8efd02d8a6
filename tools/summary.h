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

/* Bytes that are not UTF-8 are replaced; NULL becomes null. */
void summary_text(JsonBuilder *builder, const char *name, const char *value);

/* Returns the object as a line, with the member seconds at its end; to be
 * freed. */
char *summary_line(JsonBuilder *builder, double seconds);

#endif
