/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changes that other systems know: the functions that make a set of them.
 */
#include "base/changes.h"

#include <errno.h>
#include <inttypes.h>

#include "base/error.h"
#include "base/interrupt.h"
#include "device/thin-changes.h"
#include "sparse/sparse.h"
#include "stream/change-map.h"
#include "transfer/fd-io.h"

enum { BUFFER = 1 << 16 };

static struct bsp_changes *changes_of(struct bsp_sparse *sp, GError **error)
{
	struct bsp_changes *changes;

	(void)bsp_sparse_refresh(sp);
	changes = bsp_changes_new(bsp_sparse_size(sp));
	if (!changes)
		(void)bsp_error_set_errno(error, ENOMEM,
					  "keep the changes of %s",
					  bsp_device_path(sp->dev));
	return changes;
}

/* --- Lists in JSON --- */

/* A bsp_change_fn. */
static int add_change(void *data, uint64_t off, uint64_t len)
{
	return bsp_changes_add(data, off, len);
}

static bool list_failed(const struct bsp_change_map *map, const char *name,
			GError **error)
{
	if (map->error)
		return bsp_error_set_errno(error, -map->error,
					   "keep the changes of %s", name);
	return bsp_error_set(error, BSP_ERROR_FAILED,
			     "%s: no list of changes of this device, at byte "
			     "%" PRIu64 ": %s",
			     name, map->at, map->why);
}

static bool read_list(struct bsp_change_map *map, const struct bsp_fd *from,
		      const char *name, GError **error)
{
	g_autofree char *buffer = g_malloc(BUFFER);
	ssize_t n;

	while ((n = bsp_fd_read(from, buffer, BUFFER)) > 0) {
		if (!bsp_change_map_read(map, buffer, (size_t)n))
			return list_failed(map, name, error);
	}
	if (n == -ECANCELED)
		return bsp_error_set(error, BSP_ERROR_INTERRUPTED,
				     "interrupted");
	if (n < 0)
		return bsp_error_set_errno(error, (int)-n, "read %s", name);
	return bsp_change_map_end(map) || list_failed(map, name, error);
}

struct bsp_changes *bsp_changes_read(struct bsp_sparse *sp, int fd,
				     const char *name,
				     bsp_interrupted_fn interrupted, void *data,
				     GError **error)
{
	const struct bsp_fd from = { fd, interrupted, data };
	struct bsp_changes *changes = changes_of(sp, error);
	struct bsp_change_map map;

	if (!changes)
		return NULL;
	bsp_change_map_init(&map, bsp_changes_size(changes), add_change,
			    changes);
	if (read_list(&map, &from, name, error))
		return changes;
	bsp_changes_free(changes);
	return NULL;
}

/* --- Interrupts --- */

static struct bsp_interrupt let_be_interrupted(bsp_interrupted_fn interrupted,
					       void *data)
{
	return bsp_interrupt_swap((struct bsp_interrupt){
		.interrupted = interrupted,
		.data = data,
		.ends = true,
	});
}

/* Ends that, and returns the changes if they were read. */
static struct bsp_changes *take(struct bsp_changes *changes, bool read,
				struct bsp_interrupt before)
{
	(void)bsp_interrupt_swap(before);
	if (read)
		return changes;
	bsp_changes_free(changes);
	return NULL;
}

/* --- A server --- */

struct bsp_changes *bsp_changes_of_server(struct bsp_sparse *sp,
					  bsp_interrupted_fn interrupted,
					  void *data, GError **error)
{
	struct bsp_device *dev = sp->dev;
	struct bsp_changes *changes = changes_of(sp, error);
	struct bsp_interrupt before;
	bool read;

	if (!changes)
		return NULL;
	if (!dev->ops->changes) {
		bsp_changes_free(changes);
		(void)bsp_error_set(error, BSP_ERROR_USAGE,
				    "%s has no server that could know changes",
				    bsp_device_path(dev));
		return NULL;
	}
	before = let_be_interrupted(interrupted, data);
	read = dev->ops->changes(dev, changes, error);
	return take(changes, read, before);
}

/* --- Thin volumes --- */

struct bsp_changes *bsp_changes_of_thin(struct bsp_sparse *sp, const char *old,
					bsp_interrupted_fn interrupted,
					void *data, GError **error)
{
	struct bsp_changes *changes = changes_of(sp, error);
	struct bsp_interrupt before;

	if (!changes)
		return NULL;
	before = let_be_interrupted(interrupted, data);
	return take(changes,
		    bsp_thin_changes_read(sp->dev, old, changes, error),
		    before);
}
