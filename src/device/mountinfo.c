/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Parsing mountinfo. A long list takes several reads and so is not of one
 * moment: a mount that comes or goes meanwhile may be in it or not. A caller
 * that acts on the list reads it once more to see the result.
 */
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

/* The fields of a line: id, parent, device, root, mount point, options, any
 * number of optional fields, "-", type, source, and others (proc(5)). Returns
 * NULL if line has other fields. */
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

bool bsp_mount_is_above(const struct bsp_mount *mount, const char *path)
{
	size_t len = strlen(mount->where);

	return strncmp(path, mount->where, len) == 0 &&
	       (g_str_has_suffix(mount->where, "/") || path[len] == '/' ||
		path[len] == '\0');
}

const char *bsp_mount_device_of(const GPtrArray *mounts, const char *path)
{
	const char *found = NULL;
	size_t longest = 0;

	for (guint i = 0; mounts && i < mounts->len; i++) {
		const struct bsp_mount *mount = g_ptr_array_index(mounts, i);
		size_t len = strlen(mount->where);

		if (len < longest || !bsp_mount_is_above(mount, path))
			continue;
		longest = len;
		found = mount->device;
	}
	return found;
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
