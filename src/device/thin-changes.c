/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/thin-changes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/range.h"
#include "device/dm-table.h"
#include "device/known-thin.h"
#include "device/sysfs.h"
#include "device/thin-tree.h"

enum {
	SECTOR = 512,
	OPEN_TRIES = 16,    /* if the pool commits meanwhile */
	COMMIT_TRIES = 100, /* with a pause between two of them */
	COMMIT_PAUSE_US = 50000,
};

struct volume {
	struct bsp_device *dev;
	dev_t rdev;
	unsigned long long number; /* in its pool */
	dev_t pool;
	uint64_t table; /* the hash of it */
	struct bsp_content content;
	uint64_t root;
};

struct source {
	struct bsp_changes_source source; /* first */
	struct volume volume[2]; /* the new one, which is the caller's; old */
	int control;
	int fd; /* of the metadata */
	unsigned char *memory;
	uint64_t block_size;
};

static bool refuse(const struct volume *volume, const char *why, GError **error)
{
	return bsp_error_set(error, BSP_ERROR_FAILED, "%s %s",
			     bsp_device_path(volume->dev), why);
}

/* --- The volumes --- */

static bool is_read_only(const struct volume *volume)
{
	int folder = bsp_sysfs_open(volume->rdev);
	bool is = folder >= 0 && bsp_sysfs_read_number(folder, "ro") == 1;

	if (folder >= 0)
		close(folder);
	return is;
}

/* Reads the table: one thin target without an external origin. */
static bool read_table(int control, struct volume *volume, GError **error)
{
	g_autoptr(GArray) targets =
		bsp_dm_targets(control, volume->rdev, &volume->table);
	const struct bsp_dm_target *target =
		targets && targets->len == 1
			? &g_array_index(targets, struct bsp_dm_target, 0)
			: NULL;
	unsigned major_number, minor_number;
	int n = 0;

	if (!target || strcmp(target->type, "thin") != 0 || target->start)
		return refuse(volume, "is not a thin volume", error);
	if (sscanf(target->params, "%u:%u %llu%n", &major_number, &minor_number,
		   &volume->number, &n) != 3)
		return refuse(volume, "has a table that is not known", error);
	if (target->params[n])
		return refuse(volume, "has an external origin", error);
	volume->pool = makedev(major_number, minor_number);
	return true;
}

static bool open_volume(const struct source *s, struct volume *volume,
			GError **error)
{
	struct bsp_device_info info;

	bsp_device_get_info(volume->dev, &info);
	volume->rdev = volume->dev->stat.st_rdev;
	if (!info.is_block)
		return refuse(volume, "is not a thin volume", error);
	if (!read_table(s->control, volume, error))
		return false;
	if (!is_read_only(volume))
		return refuse(
			volume,
			"can be written: make it read-only first (lvchange "
			"-pr, or blockdev --setro)",
			error);
	/* Writes back what programs have written before. */
	volume->dev->ops->content(volume->dev, &volume->content);
	if (!volume->content.counted)
		return refuse(volume, "does not count writes", error);
	return true;
}

/* Whether the volume is as it was when it was opened. */
static bool is_unchanged(const struct source *s, const struct volume *volume)
{
	struct bsp_content content;
	uint64_t table = 0;
	g_autoptr(GArray) targets =
		bsp_dm_targets(s->control, volume->rdev, &table);

	volume->dev->ops->content(volume->dev, &content);
	return targets && table == volume->table && is_read_only(volume) &&
	       bsp_content_equal(&content, &volume->content);
}

/* --- The pool --- */

static bool commit(const struct source *s, GError **error)
{
	int64_t since = g_get_monotonic_time();
	int r = -EAGAIN;

	for (unsigned i = 0; i < COMMIT_TRIES && r == -EAGAIN; i++) {
		if (i)
			g_usleep(COMMIT_PAUSE_US);
		if (bsp_interrupted())
			return bsp_error_set(error, BSP_ERROR_INTERRUPTED,
					     "interrupted");
		r = bsp_thin_commit(s->control, s->volume[0].pool, since);
	}
	return !r || bsp_error_set_errno(error, -r, "commit the pool of %s",
					 bsp_device_path(s->volume[0].dev));
}

static bool open_metadata(struct source *s, GError **error)
{
	g_autoptr(GArray) targets =
		bsp_dm_targets(s->control, s->volume[0].pool, NULL);

	s->memory = bsp_buffer_new((size_t)2 * BSP_THIN_MEMORY);
	if (!s->memory)
		return bsp_error_set_errno(error, ENOMEM, "read metadata");
	s->fd = -1;
	if (targets && targets->len == 1)
		s->fd = bsp_thin_open_metadata(
			g_array_index(targets, struct bsp_dm_target, 0).params);
	return s->fd >= 0 ||
	       bsp_error_set(error, BSP_ERROR_FAILED,
			     "the metadata of the pool of %s cannot be read",
			     bsp_device_path(s->volume[0].dev));
}

/* A bsp_thin_read_fn. */
static int read_block(void *data, uint64_t block, void *buf)
{
	const struct source *s = data;

	return bsp_thin_read_block(s->fd, block, buf);
}

/* Opens the tree of a volume, as it was committed last. */
static int open_tree(struct source *s, unsigned i, struct bsp_thin_tree *tree)
{
	int r = -EAGAIN;

	*tree = (struct bsp_thin_tree){
		.read = read_block,
		.data = s,
		.memory = s->memory + (size_t)i * BSP_THIN_MEMORY,
	};
	for (unsigned n = 0; n < OPEN_TRIES && r == -EAGAIN; n++) {
		r = bsp_thin_tree_open(tree, s->volume[i].number);
		/* A node that looks broken may be a block that the pool has
		 * used again. */
		if (!r || r == -EPROTO || r == -ENOENT) {
			int current = bsp_thin_tree_is_current(tree);

			if (current <= 0)
				r = current < 0 ? current : -EAGAIN;
		}
	}
	return r;
}

static bool metadata_failed(const struct source *s, int r, GError **error)
{
	return bsp_error_set_errno(error, -r,
				   "read the metadata of the pool of %s",
				   bsp_device_path(s->volume[0].dev));
}

/* --- The comparison --- */

static int compare(const struct source *s, struct bsp_thin_tree tree[2],
		   struct bsp_changes *changes)
{
	uint64_t size = bsp_changes_size(changes);
	uint64_t end = (size - 1) / s->block_size + 1, block = 0;
	int r = 0;

	while (block < end && !r) {
		struct bsp_thin_difference found;

		if (bsp_interrupted())
			return -EINTR;
		r = bsp_thin_tree_compare(&tree[0], &tree[1], block, &found);
		if (r)
			break;
		found.end = bsp_min(found.end, end);
		if (found.differs)
			r = bsp_changes_add(changes, block * s->block_size,
					    (found.end - block) *
						    s->block_size);
		block = found.end;
	}
	return r;
}

static bool compare_trees(struct source *s, struct bsp_changes *changes,
			  GError **error)
{
	struct bsp_thin_tree tree[2];
	int r = 0;

	for (unsigned i = 0; i < 2 && !r; i++) {
		r = open_tree(s, i, &tree[i]);
		s->volume[i].root = tree[i].root;
	}
	s->block_size = tree[0].block_size;
	if (!r)
		r = compare(s, tree, changes);
	if (r == -EINTR)
		return bsp_error_set(error, BSP_ERROR_INTERRUPTED,
				     "interrupted");
	return !r || metadata_failed(s, r, error);
}

/* Checks that the volumes are the same as ever since they were opened. */
static bool check(struct bsp_changes_source *source, GError **error)
{
	struct source *s = (struct source *)source;

	if (!commit(s, error))
		return false;
	for (unsigned i = 0; i < 2; i++) {
		struct bsp_thin_tree tree;
		int r = open_tree(s, i, &tree);

		if (r)
			return metadata_failed(s, r, error);
		if (tree.root != s->volume[i].root ||
		    !is_unchanged(s, &s->volume[i]))
			return refuse(&s->volume[i],
				      "was changed meanwhile: the changes are "
				      "not complete",
				      error);
	}
	return true;
}

static void free_source(struct bsp_changes_source *source)
{
	struct source *s = (struct source *)source;

	bsp_device_close(s->volume[1].dev);
	if (s->fd >= 0)
		close(s->fd);
	if (s->control >= 0)
		close(s->control);
	free(s->memory);
	g_free(s);
}

static bool open_both(struct source *s, uint64_t size, GError **error)
{
	struct bsp_device_info info;

	if (s->control < 0)
		return bsp_error_set_errno(error, errno, "/dev/mapper/control");
	for (unsigned i = 0; i < 2; i++) {
		if (!open_volume(s, &s->volume[i], error))
			return false;
	}
	if (s->volume[0].pool != s->volume[1].pool)
		return refuse(&s->volume[1], "is in another pool", error);
	bsp_device_get_info(s->volume[1].dev, &info);
	if (info.size != size)
		return refuse(&s->volume[1], "has another size", error);
	return true;
}

bool bsp_thin_changes_read(struct bsp_device *dev, const char *old,
			   struct bsp_changes *changes, GError **error)
{
	struct bsp_device *base = bsp_device_open(old, error);
	struct source *s;

	if (!base)
		return false;
	s = g_new0(struct source, 1);
	s->source = (struct bsp_changes_source){ check, free_source };
	s->volume[0].dev = dev;
	s->volume[1].dev = base;
	s->fd = -1;
	s->control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	bsp_changes_set_source(changes, &s->source);
	return open_both(s, bsp_changes_size(changes), error) &&
	       commit(s, error) && open_metadata(s, error) &&
	       compare_trees(s, changes, error) && check(&s->source, error);
}
