/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pictures of a device: how the terminal shows them, and the partitions and
 * file systems that are marked in them.
 */
#ifndef DRAWING_H
#define DRAWING_H

#include "blksparse.h"

struct drawing {
	struct bsp_drawing how;
	GArray *marks; /* of struct bsp_mark */
};

/* Is the report in this format a picture? */
bool drawing_is_for(enum bsp_format format);

/* Looks for the marks of path, before anything else reads it: they are found by
 * reads through the cache of the kernel. */
void drawing_init(struct drawing *drawing, const char *path);

void drawing_clear(struct drawing *drawing);

/*
 * Appends the partitions of a device or an image, or its file system if it has
 * none, to an array of struct bsp_mark, in order. Their strings are to be freed
 * by g_free(). Appends nothing if path cannot be read, is on a network, or
 * holds nothing that libblkid knows; and without libblkid.
 */
void marks_find(GArray *marks, const char *path);

#endif
