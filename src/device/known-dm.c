/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Linear and thin targets of the device mapper, and partitions.
 *
 * A partition shows a part of another device, and so does a linear target, of
 * which LVM makes ordinary volumes. The question goes to the layer of that
 * device, with the offset there. A thin target answers by itself
 * (known-thin.c). Nothing is known of other targets.
 *
 * Answers hold as long as the text of the tables stays the same. LVM changes it
 * when it extends or moves a volume.
 *
 * The device below has other partitions or volumes, and writes to those change
 * the times of a file below it. So the layer of a partition or of a linear
 * target has no stamp. The counters of the partition or the volume see the
 * writes to it, but not those of a program that writes to the file itself.
 */
#include "device/known.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/range.h"
#include "device/dm.h"
#include "device/dm-table.h"
#include "device/known-thin.h"
#include "device/sysfs.h"

enum { SECTOR = 512 };

/* A part of a device: [start, start + len) shows the layer from layer_start on.
 * layer is NULL if nothing is known of the part. */
struct part {
	uint64_t start, len;
	struct bsp_layer *layer;
	uint64_t layer_start;
	char type[17]; /* of a target */
	dev_t below;   /* the device of a linear target or a partition */
	bool silent;   /* the layer knows nothing in this generation */
};

struct parts {
	struct bsp_layer layer;
	int control;	/* the device mapper's node; -1 for a partition */
	uint64_t table; /* the hash of the table when this was built */
	dev_t rdev;
	unsigned n;
	struct part part[];
};

static struct parts *to_parts(struct bsp_layer *layer)
{
	return (struct parts *)layer;
}

static int parts_build(struct bsp_layer *layer, int64_t since)
{
	struct parts *parts = to_parts(layer);
	bool any = false, later = false;

	for (unsigned i = 0; i < parts->n; i++) {
		struct bsp_layer *below = parts->part[i].layer;
		int r = 0;

		if (!below)
			continue;
		if (below->ops->build)
			r = below->ops->build(below, since);
		parts->part[i].silent = r != 0;
		any |= r == 0;
		later |= r == -EAGAIN;
	}
	if (later)
		return -EAGAIN;
	return any ? 0 : -ENODATA;
}

static struct bsp_known_answer parts_ask(struct bsp_layer *layer, uint64_t off,
					 uint64_t limit)
{
	struct parts *parts = to_parts(layer);
	struct bsp_known_answer answer = { false, limit };

	for (unsigned i = 0; i < parts->n; i++) {
		const struct part *part = &parts->part[i];
		uint64_t end = bsp_min(part->start + part->len, limit);

		if (off < part->start || off >= end)
			continue;
		answer.end = end;
		if (!part->layer || part->silent)
			break;
		answer = part->layer->ops->ask(
			part->layer, off - part->start + part->layer_start,
			end - part->start + part->layer_start);
		answer.end = answer.end - part->layer_start + part->start;
		break;
	}
	return answer;
}

static bool parts_is_same(struct bsp_layer *layer, enum bsp_depth depth)
{
	const struct parts *parts = to_parts(layer);

	if (depth == BSP_DEPTH_ALL && parts->control >= 0 &&
	    bsp_dm_table_hash(parts->control, parts->rdev) != parts->table)
		return false;
	for (unsigned i = 0; i < parts->n; i++) {
		struct bsp_layer *below = parts->part[i].layer;

		if (below && !below->ops->is_same(below, depth))
			return false;
	}
	return true;
}

/* Returns the layer of a part whose stamp counts; NULL if it does not. */
static struct bsp_layer *stamped(const struct part *part)
{
	return part->below ? NULL : part->layer;
}

static uint64_t parts_content(struct bsp_layer *layer, uint64_t hash)
{
	const struct parts *parts = to_parts(layer);

	for (unsigned i = 0; i < parts->n; i++) {
		struct bsp_layer *below = stamped(&parts->part[i]);

		if (!below || !below->ops->content)
			continue;
		hash = below->ops->content(below, hash);
		if (!hash)
			return 0;
	}
	return hash;
}

static bool parts_settled(struct bsp_layer *layer)
{
	struct parts *parts = to_parts(layer);

	for (unsigned i = 0; i < parts->n; i++) {
		struct bsp_layer *below = stamped(&parts->part[i]);

		if (below && below->ops->settled && !below->ops->settled(below))
			return false;
	}
	return true;
}

static bool parts_below(struct bsp_layer *layer, unsigned i,
			struct bsp_layer_below *ret_below)
{
	struct parts *parts = to_parts(layer);
	struct part *part = &parts->part[i];

	if (i >= parts->n)
		return false;
	*ret_below =
		(struct bsp_layer_below){ part->silent ? NULL : part->layer,
					  part->below, part->type };
	return true;
}

static void parts_free(struct bsp_layer *layer)
{
	struct parts *parts = to_parts(layer);

	for (unsigned i = 0; i < parts->n; i++)
		bsp_layer_free(parts->part[i].layer);
	if (parts->control >= 0)
		close(parts->control);
	g_free(layer->name);
	g_free(parts);
}

static const struct bsp_layer_ops parts_ops = {
	.build = parts_build,
	.ask = parts_ask,
	.is_same = parts_is_same,
	.content = parts_content,
	.settled = parts_settled,
	.below = parts_below,
	.free = parts_free,
};

static struct parts *new_parts(dev_t rdev, int control, unsigned n)
{
	struct parts *parts =
		g_malloc0(sizeof(*parts) + n * sizeof(parts->part[0]));

	parts->layer.ops = &parts_ops;
	parts->control = control;
	parts->rdev = rdev;
	parts->n = n;
	return parts;
}

/* Returns the layer; frees parts and returns NULL if no part has a layer. */
static struct bsp_layer *finish_parts(struct parts *parts)
{
	for (unsigned i = 0; i < parts->n; i++) {
		if (!parts->part[i].layer)
			continue;
		parts->layer.name = bsp_layer_device_name(parts->rdev);
		return &parts->layer;
	}
	parts_free(&parts->layer);
	return NULL;
}

struct bsp_layer *bsp_layer_partition_new(dev_t rdev,
					  const struct bsp_layer_use *use,
					  unsigned depth)
{
	bool partition;
	int disk = bsp_sysfs_open_disk(rdev, &partition);
	int folder = bsp_sysfs_open(rdev);
	struct bsp_layer *layer = NULL;
	struct parts *parts;

	if (disk >= 0 && folder >= 0 && partition) {
		parts = new_parts(rdev, -1, 1);
		parts->part[0] = (struct part){
			.len = bsp_sysfs_read_number(folder, "size") * SECTOR,
			.layer = bsp_layer_new(bsp_sysfs_rdev(disk), use,
					       depth + 1),
			.layer_start =
				bsp_sysfs_read_number(folder, "start") * SECTOR,
			.below = bsp_sysfs_rdev(disk),
		};
		layer = finish_parts(parts);
	}
	if (disk >= 0)
		close(disk);
	if (folder >= 0)
		close(folder);
	return layer;
}

/* Returns the device at the start of a target's parameters, "MAJOR:MINOR ...",
 * and sets *ret_rest to the text after it. Returns 0 if there is none. */
static dev_t parse_device(const char *params, const char **ret_rest)
{
	unsigned major_number, minor_number;
	int n = 0;

	if (sscanf(params, "%u:%u %n", &major_number, &minor_number, &n) != 2)
		return 0;
	*ret_rest = params + n;
	return makedev(major_number, minor_number);
}

static struct bsp_layer *new_linear(const char *params, struct part *part,
				    const struct bsp_layer_use *use,
				    unsigned depth)
{
	const char *rest;

	part->below = parse_device(params, &rest);
	if (!part->below)
		return NULL;
	part->layer_start = strtoull(rest, NULL, 10) * SECTOR;
	return bsp_layer_new(part->below, use, depth + 1);
}

/* The size of a device; UINT64_MAX if it cannot be read. */
static uint64_t device_size(dev_t rdev)
{
	int folder = bsp_sysfs_open(rdev);
	uint64_t sectors = 0;

	if (folder >= 0) {
		sectors = bsp_sysfs_read_number(folder, "size");
		close(folder);
	}
	return sectors ? sectors * SECTOR : UINT64_MAX;
}

static struct bsp_layer *new_thin(int control, dev_t rdev, const char *params,
				  const struct bsp_layer_use *use,
				  unsigned depth)
{
	struct bsp_thin_volume volume = { .rdev = rdev };
	const char *rest, *more;
	dev_t below = 0;
	char *end;

	volume.pool = parse_device(params, &rest);
	if (!volume.pool)
		return NULL;
	volume.number = strtoull(rest, &end, 10);
	if (*end)
		below = parse_device(end + 1, &more);
	if (*end && !below)
		return NULL;
	if (below) {
		volume.origin_size = device_size(below);
		volume.origin = bsp_layer_new(below, use, depth + 1);
	}
	return bsp_layer_thin_new(control, &volume, use->writable);
}

struct bsp_layer *bsp_layer_dm_new(dev_t rdev, const struct bsp_layer_use *use,
				   unsigned depth)
{
	int control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	uint64_t table;
	g_autoptr(GArray) targets =
		control >= 0 ? bsp_dm_targets(control, rdev, &table) : NULL;
	struct parts *parts;

	if (!targets) {
		if (control >= 0)
			close(control);
		return NULL;
	}
	parts = new_parts(rdev, control, targets->len);
	parts->table = table;
	for (unsigned i = 0; i < targets->len; i++) {
		const struct bsp_dm_target *target =
			&g_array_index(targets, struct bsp_dm_target, i);
		struct part *part = &parts->part[i];

		part->start = target->start * SECTOR;
		part->len = target->len * SECTOR;
		(void)g_strlcpy(part->type, target->type, sizeof(part->type));
		if (strcmp(target->type, "linear") == 0)
			part->layer =
				new_linear(target->params, part, use, depth);
		else if (strcmp(target->type, "thin") == 0 && part->start == 0)
			part->layer = new_thin(control, rdev, target->params,
					       use, depth);
	}
	return finish_parts(parts);
}
