/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One line for each layer; with several layers, one more for all.
 *
 * Names come with arrows in UTF-8.
 */
#include "layers.h"

#include <stdio.h>

#include "blksparse-mount.h"
#include "terminal.h"

static void free_layer(void *data)
{
	struct bsp_known_layer *layer = data;

	g_free((char *)layer->name);
	g_free((char *)layer->reason);
}

/* A bsp_known_fn. */
static void add_layer(void *data, const struct bsp_known_layer *layer)
{
	struct bsp_known_layer copy = {
		.name = g_strdup(layer->name),
		.reason = g_strdup(layer->reason),
		.zeros = layer->zeros,
	};

	g_array_append_val((GArray *)data, copy);
}

void layers_take(struct layers *layers, struct bsp_sparse *sp)
{
	layers->known =
		g_array_new(false, false, sizeof(struct bsp_known_layer));
	g_array_set_clear_func(layers->known, free_layer);
	bsp_sparse_known(sp, add_layer, layers->known);
	layers->read = bsp_sparse_bytes_read(sp);
}

void layers_free(struct layers *layers)
{
	g_array_unref(layers->known);
}

/* --- Text --- */

char *layer_text(const char *text)
{
	GString *shown = g_string_new(text);

	if (!terminal_is_utf8())
		g_string_replace(shown, "→", "->", 0);
	bsp_make_printable(shown->str);
	return g_string_free(shown, false);
}

/* Tenths are truncated, as in the table. */
char *size_text(uint64_t bytes)
{
	static const char units[] = "KMGTPE";
	unsigned shift = 0;

	while (bytes >> shift >= 1024)
		shift += 10;
	if (shift == 0)
		return g_strdup_printf(bytes ? "%u B" : "%u", (unsigned)bytes);
	return g_strdup_printf(
		"%u.%u %ciB", (unsigned)(bytes >> shift),
		(unsigned)((bytes >> (shift - 10)) % 1024 * 10 / 1024),
		units[shift / 10 - 1]);
}

static void print_layer(const struct bsp_known_layer *layer,
			const char *read_text)
{
	g_autofree char *name = layer_text(layer->name);
	g_autofree char *zeros = size_text(layer->zeros);
	const char *end = read_text ? " read\n" : "\n";

	read_text = read_text ? read_text : "";
	if (layer->reason)
		(void)fprintf(stderr, "%s: %s%s%s%s", name, layer->reason,
			      *read_text ? "; " : "", read_text, end);
	else
		(void)fprintf(stderr, "%s: %s known%s%s%s", name, zeros,
			      *read_text ? ", " : "", read_text, end);
}

void layers_print(const struct layers *layers, const char *path)
{
	g_autofree char *name = g_path_get_basename(path);
	g_autofree char *read_text = size_text(layers->read);
	struct bsp_known_layer all = { .name = name };
	unsigned n = layers->known->len;

	for (unsigned i = 0; i < n; i++) {
		const struct bsp_known_layer *layer = &g_array_index(
			layers->known, struct bsp_known_layer, i);

		print_layer(layer, n == 1 ? read_text : NULL);
		all.zeros += layer->zeros;
	}
	if (n != 1)
		print_layer(&all, read_text);
}
