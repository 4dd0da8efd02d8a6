/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parts of a content that have changed, or that differ from another one: a
 * set of granules of 4 KiB. Changes are added in any order.
 *
 * The granules are those of a map (map.h), in which the changed ones are data:
 * two bits each, and less for long runs of one kind.
 *
 * Threads: any, but for new and free.
 */
#ifndef BSP_BASE_CHANGES_H
#define BSP_BASE_CHANGES_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct bsp_changes;

/* The source of changes that may end to hold while they are in use. */
struct bsp_changes_source {
	/* Whether all changes are there, still. Returns false and an error. */
	bool (*check)(struct bsp_changes_source *source, GError **error);
	void (*free)(struct bsp_changes_source *source);
};

/* Makes an empty set for a content of size bytes; NULL without memory. */
struct bsp_changes *bsp_changes_new(uint64_t size);

/* Adds [off, off + len), cut at the size, and the rest of its granules. Returns
 * 0 or -ENOMEM. */
int bsp_changes_add(struct bsp_changes *changes, uint64_t off, uint64_t len);

/*
 * Finds the next part at or after off that has changed, as whole units: off and
 * the unit are multiples of 4 KiB, and the unit is a power of two. Returns
 * false if there is none.
 */
bool bsp_changes_find(const struct bsp_changes *changes, uint64_t off,
		      uint64_t unit, uint64_t *ret_off, uint64_t *ret_end);

/* The source belongs to the changes. */
void bsp_changes_set_source(struct bsp_changes *changes,
			    struct bsp_changes_source *source);

/* Asks the source. */
bool bsp_changes_check(const struct bsp_changes *changes, GError **error);

#endif
