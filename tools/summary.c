/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * json-glib builds the object. The seconds are appended as text, with the three
 * digits that mean something.
 */
#include "summary.h"

#include <string.h>

#include "blksparse-mount.h"

void summary_number(JsonBuilder *builder, const char *name, uint64_t value)
{
	json_builder_set_member_name(builder, name);
	json_builder_add_int_value(builder, (gint64)value);
}

void summary_text(JsonBuilder *builder, const char *name, const char *value)
{
	g_autofree char *shown = value ? bsp_nbd_uri_redact(value) : NULL;
	g_autofree char *valid = shown ? g_utf8_make_valid(shown, -1) : NULL;

	json_builder_set_member_name(builder, name);
	if (valid)
		json_builder_add_string_value(builder, valid);
	else
		json_builder_add_null_value(builder);
}

char *summary_line(JsonBuilder *builder, double seconds)
{
	g_autoptr(JsonGenerator) generator = json_generator_new();
	JsonNode *root = json_builder_get_root(builder);
	g_autofree char *line = NULL;

	json_generator_set_root(generator, root);
	json_node_unref(root);
	line = json_generator_to_data(generator, NULL);
	/* The generator would write 17 digits, or none. */
	line[strlen(line) - 1] = '\0';
	return g_strdup_printf("%s,\"seconds\":%.3f}\n", line, seconds);
}
