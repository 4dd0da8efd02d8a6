/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/changes.h"

#include <errno.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/range.h"
#include "blksparse.h"

enum { SHIFT = 12 }; /* of BSP_GRANULE_MIN */

struct bsp_changes {
	uint64_t size;
	struct bsp_map *map;
	struct bsp_changes_source *source; /* or NULL */
};

struct bsp_changes *bsp_changes_new(uint64_t size)
{
	struct bsp_changes *changes = calloc(1, sizeof(*changes));

	if (!changes)
		return NULL;
	changes->size = size;
	changes->map = bsp_map_new(bsp_granules(size, SHIFT));
	if (!changes->map) {
		free(changes);
		return NULL;
	}
	return changes;
}

void bsp_changes_free(struct bsp_changes *changes)
{
	if (!changes)
		return;
	if (changes->source)
		changes->source->free(changes->source);
	bsp_map_free(changes->map);
	free(changes);
}

int bsp_changes_add(struct bsp_changes *changes, uint64_t off, uint64_t len)
{
	uint64_t end;

	len = bsp_range_clamp(off, len, changes->size);
	if (!len)
		return 0;
	end = bsp_granules(off + len, SHIFT);
	return bsp_map_event(changes->map, BSP_WRITTEN, off >> SHIFT, end);
}

/* The granule at or after that one which has changed, or has not; the end if
 * there is none. */
static uint64_t next(const struct bsp_changes *changes, uint64_t granule,
		     bool changed)
{
	unsigned set = changed ? BSP_IN_DATA : BSP_IN_ALL & ~BSP_IN_DATA;

	return bsp_map_next(changes->map, set, granule,
			    bsp_granules(changes->size, SHIFT));
}

bool bsp_changes_find(const struct bsp_changes *changes, uint64_t off,
		      uint64_t unit, uint64_t *ret_off, uint64_t *ret_end)
{
	uint64_t from, to;

	if (off >= changes->size)
		return false;
	from = next(changes, off >> SHIFT, true);
	if (from >= bsp_granules(changes->size, SHIFT))
		return false;
	to = next(changes, from, false) << SHIFT;
	from <<= SHIFT;
	*ret_off = bsp_max(off, from - from % unit);
	to += (unit - to % unit) % unit;
	*ret_end = bsp_min(to, changes->size);
	return true;
}

uint64_t bsp_changes_size(const struct bsp_changes *changes)
{
	return changes->size;
}

uint64_t bsp_changes_bytes(const struct bsp_changes *changes)
{
	uint64_t bytes = 0, off = 0, end;

	while (bsp_changes_find(changes, off, BSP_GRANULE_MIN, &off, &end)) {
		bytes += end - off;
		off = end;
	}
	return bytes;
}

/* --- As a source of extents --- */

/* A bsp_extent_fn. */
static int next_extent(void *data, uint64_t off, struct bsp_extent *ret_extent)
{
	const struct bsp_changes *changes = data;
	uint64_t from, end;

	if (off >= changes->size)
		return 0;
	*ret_extent = (struct bsp_extent){ off, changes->size - off,
					   BSP_EXTENT_HOLE };
	if (!bsp_changes_find(changes, off - off % BSP_GRANULE_MIN,
			      BSP_GRANULE_MIN, &from, &end))
		return 1;
	if (from > off) {
		ret_extent->len = from - off;
		return 1;
	}
	ret_extent->len = end - off;
	ret_extent->type = BSP_EXTENT_DATA;
	return 1;
}

struct bsp_extent_source bsp_changes_extent_source(struct bsp_changes *changes)
{
	return (struct bsp_extent_source){ next_extent, changes };
}

/* --- Where they come from --- */

void bsp_changes_set_source(struct bsp_changes *changes,
			    struct bsp_changes_source *source)
{
	changes->source = source;
}

bool bsp_changes_check(const struct bsp_changes *changes, GError **error)
{
	return !changes->source ||
	       changes->source->check(changes->source, error);
}
