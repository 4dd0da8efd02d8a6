/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is known of a device's granules, two bits for each.
 *
 * Nobody sets a state. Callers say what happened, and the map decides:
 *
 *	learned   unknown becomes data or hole; anything else stays, because
 *		  it was settled by someone who knew more
 *	forgotten data and holes become unknown: what was known is out of date
 *	written	  all become data
 *	write failed   a write failed: nobody knows what the device holds, so all
 *		  become data, but for markers: they still read as zeros and
 *		  still have to be given them
 *	punched	  unknown and data become markers; holes and markers stay
 *	zeros lost  holes become markers: the device has other bytes there
 *	zeroed	  markers become holes: the device was given its zeros
 *
 * The caller of the last five holds a lock on the range that excludes those
 * who would say something else of it (sparse.h); learning needs none.
 *
 * What was read before something was forgotten must not be learned after it.
 * So the map has a generation, which each forgetting raises: whoever reads
 * asks for it before the read, and gives it back when it tells what it saw.
 *
 * Threads: lookups take no lock and may run beside anything but
 * bsp_map_free(). Changes take the map's lock for a short time. A lookup that
 * runs beside a change sees each granule before or after it.
 */
#ifndef BSP_BASE_MAP_H
#define BSP_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The bits: the high one says "reads as zeros". */
enum bsp_state {
	BSP_UNKNOWN = 0, /* nobody has looked */
	BSP_DATA = 1,	 /* reads from the device */
	BSP_HOLE = 2,	 /* zeros, and the device holds zeros */
	BSP_MARKER = 3,	 /* zeros, but the device holds stale bytes */
	BSP_STATES = 4,
};

/* Sets of states. */
enum {
	BSP_IN_UNKNOWN = 1 << BSP_UNKNOWN,
	BSP_IN_DATA = 1 << BSP_DATA,
	BSP_IN_HOLE = 1 << BSP_HOLE,
	BSP_IN_MARKER = 1 << BSP_MARKER,
	BSP_IN_ZERO = BSP_IN_HOLE | BSP_IN_MARKER,
	BSP_IN_ALL = (1 << BSP_STATES) - 1,
};

/* What happened, and so what becomes of the states in a set. */
enum bsp_event {
	BSP_LEARNED_DATA,
	BSP_LEARNED_HOLE,
	BSP_FORGOTTEN,
	BSP_WRITTEN,
	BSP_WRITE_FAILED,
	BSP_PUNCHED,
	BSP_ZEROS_LOST,
	BSP_ZEROED,
	BSP_EVENTS,
};

struct bsp_transition {
	unsigned from; /* a set of states */
	enum bsp_state to;
};

extern const struct bsp_transition bsp_transitions[BSP_EVENTS];

struct bsp_map;

/* A map of that many granules, all unknown; NULL if there is no memory. */
struct bsp_map *bsp_map_new(uint64_t granules);

/* NULL is fine. No other call may be running. */
void bsp_map_free(struct bsp_map *map);

/* The state of one granule; without meaning at or past the map's end. */
enum bsp_state bsp_map_get(struct bsp_map *map, uint64_t granule);

/*
 * The first granule in [from, to) whose state is in the set, or to. Uniform
 * leaves are passed in one step, others by words of 32 granules. An answer at
 * or past the map's end has no meaning.
 */
uint64_t bsp_map_next(struct bsp_map *map, unsigned set, uint64_t from,
		      uint64_t to);

/* To be asked before a read whose outcome is to be learned. */
uint64_t bsp_map_generation(struct bsp_map *map);

/*
 * Granules [from, to) were read, after bsp_map_generation() gave generation,
 * and hold data, or only zeros. Does nothing if something was forgotten
 * since. Returns 0, or -ENOMEM with some or all of them left as they were.
 */
int bsp_map_learned(struct bsp_map *map, uint64_t generation, uint64_t from,
		    uint64_t to, bool zero);

/*
 * Written, write failed, punched, zeros lost or zeroed: it happened to granules
 * [from, to). Returns 0, or -ENOMEM with granules at the end of the range left
 * as they were. Where memory is short, neighbours change with them: unknown
 * ones become data with those that are written or spoilt, and holes become
 * markers with those that are stale, which therefore cannot fail. Holes of
 * which some are written or spoilt become markers, too, and that is -ENOMEM:
 * the device has to be given their zeros again.
 */
int bsp_map_event(struct bsp_map *map, enum bsp_event event, uint64_t from,
		  uint64_t to);

/*
 * What was known of granules [from, to) is out of date: data and holes become
 * unknown, markers stay. Raises the generation. Cannot fail; when memory is
 * short it forgets more than it was told to.
 */
void bsp_map_forget(struct bsp_map *map, uint64_t from, uint64_t to);

/* The same of one granule, and of no other: returns 0, or -ENOMEM with nothing
 * forgotten. */
int bsp_map_forget_one(struct bsp_map *map, uint64_t granule);

/*
 * The map has that many granules from now on: new ones are unknown, those cut
 * off are gone whatever they were. Raises the generation. Returns 0, or
 * -ENOMEM with the map unchanged; shrinking cannot fail.
 */
int bsp_map_resize(struct bsp_map *map, uint64_t granules);

/*
 * How many granules are in each state, and in which one a given granule is, at
 * one instant.
 */
void bsp_map_totals(struct bsp_map *map, uint64_t granule,
		    uint64_t ret_totals[BSP_STATES], enum bsp_state *ret_state);

/* Bytes of memory the map takes now. */
size_t bsp_map_memory(struct bsp_map *map);

#endif
