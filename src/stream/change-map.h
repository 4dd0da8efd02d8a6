/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lists of changes that other systems print, in JSON:
 *
 * - rbd diff --format=json: an array of objects with offset, length and exists.
 * - The SnapshotMetadata service of Kubernetes, as its lister prints it: an
 * array of messages with volume_capacity_bytes and an array block_metadata,
 * whose objects have byte_offset and size_bytes. protojson writes the names in
 *   camel case, numbers as strings, and leaves out zeros.
 * - blksparse diff and blksparse map with --format=json: an object with format,
 *   version, size, and an array extents. Of a map, data has changed.
 *
 * A list that lacks a change would give a wrong copy. So all that is not
 * plainly right is refused: extents that do not ascend, overlap, are empty or
 * go beyond the size; another size; a member that comes twice, or is missing;
 * and text behind the end. A list that was cut off lacks its last bracket. A
 * sequence of messages without brackets around it is refused, because it may
 * have been cut off between two of them. Other members are skipped.
 *
 * Pure: the caller passes the text in parts. It takes no memory for it.
 */
#ifndef BSP_STREAM_CHANGE_MAP_H
#define BSP_STREAM_CHANGE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	BSP_CHANGE_MAP_DEPTH = 16,
	BSP_CHANGE_MAP_WORD = 64, /* of a string or a number that matters */
};

/* Receives a part that has changed, in order. Returns 0 or -errno. */
typedef int (*bsp_change_fn)(void *data, uint64_t off, uint64_t len);

/* An object or an array that is open. */
struct bsp_change_map_level {
	unsigned char kind;
	bool is_array;
	unsigned member; /* whose value comes next */
	unsigned seen;	 /* members, a set */
};

struct bsp_change_map {
	/* The fault: part of a sentence, never freed; NULL: there is none. */
	const char *why;
	uint64_t at;	/* bytes that were read */
	int error;	/* of the callback */
	uint64_t bytes; /* that have changed */

	/* The rest is private. */
	uint64_t size; /* of the content */
	bsp_change_fn change;
	void *data;
	struct bsp_change_map_level levels[BSP_CHANGE_MAP_DEPTH];
	unsigned depth;
	unsigned char want; /* next */
	unsigned char token;
	bool escaped, odd; /* in a string: the last byte, or any, escapes */
	bool ended;
	bool is_text; /* the word is a string */
	size_t n;
	char word[BSP_CHANGE_MAP_WORD];
	unsigned style; /* of the extents of a list */
	uint64_t end;	/* of the last extent */
	uint64_t off, len;
	bool changed; /* by the extent's type */
};

/* size is that of the content that the list is about. */
void bsp_change_map_init(struct bsp_change_map *map, uint64_t size,
			 bsp_change_fn change, void *data);

/* Reads the next part of the text. Returns false after a fault or an error. */
bool bsp_change_map_read(struct bsp_change_map *map, const char *text,
			 size_t len);

/* Ends the text. Returns false after a fault or an error. */
bool bsp_change_map_end(struct bsp_change_map *map);

#endif
