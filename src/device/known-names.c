/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A layer is known by its path: the names from the device down to it. Paths are
 * interned (g_intern_string()), so that a count can be kept for a path while
 * the layers are made anew.
 *
 * Where nothing is known of a device, no layer was made, and the constructors
 * do not say why. This file goes down the same way once more, when a person
 * asks, and tells the first obstacle. By then the obstacle may be gone; the
 * text is no more than a hint.
 */
#include "device/known.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "device/dm-table.h"
#include "device/sysfs.h"

enum { DEPTH_MAX = 8 }; /* of devices above one another */

/* --- Names --- */

char *bsp_layer_device_name(dev_t rdev)
{
	int folder = bsp_sysfs_open(rdev);
	char node[BSP_NODE_SIZE] = "", name[256] = "";
	const char *base;

	if (folder >= 0) {
		(void)bsp_sysfs_read_line(folder, "dm/name", name,
					  sizeof(name));
		(void)bsp_sysfs_node(folder, node);
		close(folder);
	}
	base = strrchr(node, '/');
	if (*name)
		return g_strdup(name);
	if (base)
		return g_strdup(base + 1);
	return g_strdup_printf("%u:%u", major(rdev), minor(rdev));
}

char *bsp_layer_file_name(const char *path, const char *file_system)
{
	g_autofree char *base = g_filename_display_basename(path);

	for (char *c = base; *c; c++)
		if (g_ascii_iscntrl(*c))
			*c = '?';
	return g_strdup_printf("%s (%s)", base, file_system);
}

static char *join(const char *above, const char *name)
{
	return above ? g_strdup_printf("%s → %s", above, name) : g_strdup(name);
}

void bsp_layer_set_paths(struct bsp_layer *layer, const char *above)
{
	g_autofree char *path = join(above, layer->name);
	struct bsp_layer_below below;

	layer->path = g_intern_string(path);
	for (unsigned i = 0;
	     layer->ops->below && layer->ops->below(layer, i, &below); i++) {
		if (below.layer)
			bsp_layer_set_paths(below.layer, path);
	}
}

/* --- Reasons --- */

static char *reason_of_device(GString *path, dev_t rdev, unsigned depth);

void bsp_layer_append_path(GString *path, const char *name)
{
	if (path->len)
		g_string_append(path, " → ");
	g_string_append(path, name);
}

static char *reason_of_target(const char *type)
{
	if (strcmp(type, "thin") == 0)
		return g_strdup("its pool cannot be asked");
	return g_strdup_printf("nothing is known of the target %s", type);
}

char *bsp_layer_file_reason(int fd)
{
	const char *kind = bsp_known_file_system(fd, BSP_KNOWN_ALL);

	if (!kind || bsp_known_file_system(fd, BSP_KNOWN_AUTO))
		return g_strdup("it cannot be asked");
	return g_strdup_printf("%s is not trusted; known=all asks it", kind);
}

static char *reason_of_first_target(GString *path, GArray *targets,
				    unsigned depth)
{
	const struct bsp_dm_target *target;
	unsigned major_number, minor_number;

	if (!targets)
		return g_strdup(g_strerror(errno));
	if (!targets->len)
		return g_strdup("its table is empty");
	target = &g_array_index(targets, struct bsp_dm_target, 0);
	if (strcmp(target->type, "linear") == 0 &&
	    sscanf(target->params, "%u:%u", &major_number, &minor_number) == 2)
		return reason_of_device(
			path, makedev(major_number, minor_number), depth + 1);
	return reason_of_target(target->type);
}

static char *reason_of_dm(GString *path, dev_t rdev, unsigned depth)
{
	int control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	g_autoptr(GArray) targets = NULL;
	char *reason;

	if (control < 0)
		return errno == EACCES || errno == EPERM
			       ? g_strdup("only root can ask the device mapper")
			       : g_strdup_printf("/dev/mapper/control: %s",
						 g_strerror(errno));
	targets = bsp_dm_targets(control, rdev, NULL);
	reason = reason_of_first_target(path, targets, depth);
	close(control);
	return reason;
}

static dev_t disk_of(dev_t rdev)
{
	bool partition;
	int disk = bsp_sysfs_open_disk(rdev, &partition);
	dev_t found = disk >= 0 ? bsp_sysfs_rdev(disk) : 0;

	if (disk >= 0)
		close(disk);
	return found;
}

/* Appends the names from the device down to the obstacle, and returns the
 * reason. */
static char *reason_of_device(GString *path, dev_t rdev, unsigned depth)
{
	g_autofree char *name = bsp_layer_device_name(rdev);
	int folder = bsp_sysfs_open(rdev);
	char *reason;

	bsp_layer_append_path(path, name);
	if (depth >= DEPTH_MAX)
		reason = g_strdup("too many layers");
	else if (bsp_sysfs_has(folder, "partition"))
		reason = reason_of_device(path, disk_of(rdev), depth + 1);
	else if (bsp_sysfs_has(folder, "dm"))
		reason = reason_of_dm(path, rdev, depth);
	else if (bsp_sysfs_has(folder, "loop"))
		reason = bsp_layer_loop_reason(path, rdev);
	else
		reason = g_strdup("no layer below it knows holes");
	if (folder >= 0)
		close(folder);
	return reason;
}

/* --- Lists --- */

struct entry {
	char *path;
	char *reason; /* NULL: it was asked */
	dev_t rdev;   /* not 0: a device below path that has no layer */
};

static void free_entry(void *data)
{
	struct entry *entry = data;

	g_free(entry->path);
	g_free(entry->reason);
	g_free(entry);
}

GPtrArray *bsp_layers_new(void)
{
	return g_ptr_array_new_with_free_func(free_entry);
}

/* Several parts of a device may lie on the same one below: one line is enough.
 * reason belongs to the list. */
static void add(GPtrArray *layers, const char *path, char *reason, dev_t rdev)
{
	struct entry *entry;

	for (unsigned i = 0; i < layers->len; i++) {
		entry = g_ptr_array_index(layers, i);
		if (g_strcmp0(entry->path, path) == 0 &&
		    g_strcmp0(entry->reason, reason) == 0 &&
		    entry->rdev == rdev) {
			g_free(reason);
			return;
		}
	}
	entry = g_new0(struct entry, 1);
	entry->path = g_strdup(path);
	entry->reason = reason;
	entry->rdev = rdev;
	g_ptr_array_add(layers, entry);
}

void bsp_layers_add(GPtrArray *layers, struct bsp_layer *layer)
{
	struct bsp_layer_below below;

	if (layer->ops->answers)
		add(layers, layer->path, NULL, 0);
	for (unsigned i = 0;
	     layer->ops->below && layer->ops->below(layer, i, &below); i++) {
		if (below.layer)
			bsp_layers_add(layers, below.layer);
		else if (below.rdev)
			add(layers, layer->path, NULL, below.rdev);
		else
			add(layers, layer->path, reason_of_target(below.type),
			    0);
	}
}

void bsp_layers_add_device(GPtrArray *layers, dev_t rdev)
{
	add(layers, NULL, NULL, rdev);
}

void bsp_layers_list(const GPtrArray *layers, bsp_layer_fn fn, void *data)
{
	for (unsigned i = 0; i < layers->len; i++) {
		const struct entry *entry = g_ptr_array_index(layers, i);
		g_autoptr(GString) path = g_string_new(entry->path);
		g_autofree char *reason = g_strdup(entry->reason);

		if (entry->rdev)
			reason = reason_of_device(path, entry->rdev, 0);
		fn(data, path->str, reason);
	}
}
