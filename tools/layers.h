/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The layers below a device that were asked for holes, for the user.
 */
#ifndef LAYERS_H
#define LAYERS_H

#include "blksparse.h"

struct layers {
	GArray *known; /* of struct bsp_known_layer */
	uint64_t read; /* bytes that were read from the device */
};

/* Takes them from an object, after it was scanned. */
void layers_take(struct layers *layers, struct bsp_sparse *sp);

void layers_free(struct layers *layers);

/* Prints a line for each layer of the device at path to standard error. */
void layers_print(const struct layers *layers, const char *path);

/* Returns a text with names of layers as the user's terminal can show it. To be
 * freed by g_free(). */
char *layer_text(const char *text);

/* Returns a size as people read it: "0", "512 B", "1.5 KiB". To be freed by
 * g_free(). */
char *size_text(uint64_t bytes);

#endif
