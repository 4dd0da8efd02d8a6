/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "blksparse-mountinfo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void mount_free(void *data)
{
	struct bsp_mount *mount = data;

	g_free(mount->id);
	g_free(mount->parent);
	g_free(mount->device);
	g_free(mount->where);
	g_free(mount->type);
	g_free(mount->source);
	g_free(mount);
}

/* The fields: id, parent, device, root, mount point, options, any number more,
 * "-", type, source, and others. NULL if line is not so. */
static struct bsp_mount *parse_line(const char *line)
{
	g_auto(GStrv) field = g_strsplit(line, " ", -1);
	guint n = g_strv_length(field), dash = 6;
	struct bsp_mount *mount;

	while (dash < n && strcmp(field[dash], "-") != 0)
		dash++;
	if (dash + 2 >= n)
		return NULL;
	mount = g_new0(struct bsp_mount, 1);
	mount->id = g_strdup(field[0]);
	mount->parent = g_strdup(field[1]);
	mount->device = g_strdup(field[2]);
	mount->where = g_strcompress(field[4]);
	mount->type = g_strdup(field[dash + 1]);
	mount->source = g_strcompress(field[dash + 2]);
	return mount;
}

GPtrArray *bsp_mountinfo_read(const char *path)
{
	FILE *list = fopen(path, "re");
	GPtrArray *mounts;
	size_t size = 0;
	char *line = NULL;

	if (!list)
		return NULL;
	mounts = g_ptr_array_new_with_free_func(mount_free);
	while (getline(&line, &size, list) > 0) {
		struct bsp_mount *mount = parse_line(line);

		if (mount)
			g_ptr_array_add(mounts, mount);
	}
	free(line);
	(void)fclose(list);
	return mounts;
}
