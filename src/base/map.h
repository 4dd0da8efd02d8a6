/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The map keeps the state of each granule of a device, in two bits.
 *
 * A granule is in one of four states (enum bsp_state). A marker is a granule
 * that reads as zeros while the device may hold other bytes there: a punch or a
 * write of zeros changed the map alone. A flush makes the device zero there,
 * and the marker becomes a hole. This is the only meaning of the word.
 *
 * Callers do not set states. They report an event, and the table of transitions
 * (bsp_transitions, in map.c) gives the new states. A granule whose state is
 * not listed stays as it is.
 *
 *	event		from		  to	   reported when
 *	learned data	unknown		  data	   a read found nonzero bytes
 *	learned hole	unknown		  hole	   a read found zeros alone, or
 *						   the device knows of zeros
 *	forgotten	data, hole	  unknown  the bytes may have changed
 *	written		all		  data	   data was written
 *	write failed	all but marker	  data	   a write failed
 *	punched		unknown, data	  marker   the granule is to be zeros
 *	zeros lost	hole		  marker   the device holds other bytes
 *						   where the file has zeros
 *	zeroed		marker		  hole	   the device was made zero
 *
 * Learning changes unknown granules alone: every other state was set by a
 * writer, or by an earlier read. After a failed write the device may hold any
 * bytes, so they have to be read; a marker still reads as zeros, and the device
 * still has to be made zero there.
 *
 * The caller of the last five holds a lock on the range that excludes callers
 * with other events there (sparse.h). Learning needs no lock. But bytes that
 * were read before a forgotten event must not be learned after it. So the map
 * has a generation, and each forgotten event raises it: a reader asks for the
 * generation before its read and passes it to bsp_map_learned().
 *
 * Threads: lookups take no lock and may run beside any call but bsp_map_free().
 * Changes take the map's lock for a short time. A lookup that runs beside a
 * change sees each granule as it was before the change, or as it is after.
 */
#ifndef BSP_BASE_MAP_H
#define BSP_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The high bit tells whether readers get zeros without reading the device. */
enum bsp_state {
	BSP_UNKNOWN = 0, /* not read yet */
	BSP_DATA = 1,	 /* readers get the bytes of the device */
	BSP_HOLE = 2,	 /* zeros for readers, zeros on the device */
	BSP_MARKER = 3,	 /* zeros for readers, other bytes on the device */
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

/* See the table above. */
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

/* Returns a map with all granules unknown; NULL if there is no memory. */
struct bsp_map *bsp_map_new(uint64_t granules);

/* NULL is fine. No other call may run. */
void bsp_map_free(struct bsp_map *map);

/* Returns the state of a granule. The state of one at or past the map's end has
 * no meaning. */
enum bsp_state bsp_map_get(struct bsp_map *map, uint64_t granule);

/*
 * Returns the first granule in [from, to) whose state is in the set, or to if
 * there is none. Passes 16384 granules of one state in one step, and others by
 * words of 32 granules. An answer at or past the map's end has no meaning.
 */
uint64_t bsp_map_next(struct bsp_map *map, unsigned set, uint64_t from,
		      uint64_t to);

/* Returns the generation for bsp_map_learned(). Call it before the read. */
uint64_t bsp_map_generation(struct bsp_map *map);

/*
 * Learns that granules [from, to) hold data, or zeros alone, from a read that
 * began after bsp_map_generation() returned generation. Does nothing if the
 * generation has changed. Returns 0, or -ENOMEM with some or all of the
 * granules as they were.
 */
int bsp_map_learned(struct bsp_map *map, uint64_t generation, uint64_t from,
		    uint64_t to, bool zero);

/* Does the same, and adds the number of granules that it learned to *n. */
int bsp_map_learned_count(struct bsp_map *map, uint64_t generation,
			  uint64_t from, uint64_t to, bool zero, uint64_t *n);

/*
 * Reports one of the last five events for granules [from, to). Returns 0, or
 * -ENOMEM with granules at the end of the range as they were.
 *
 * When memory is short, neighbours of the range change with it. Beside granules
 * that are written, or whose write failed, unknown ones become data. Beside
 * granules whose zeros are lost, holes become markers; therefore this event
 * cannot fail. If some of a leaf of holes are written, or their write failed,
 * all of them become markers and the call returns -ENOMEM: the device has to be
 * made zero there once more.
 */
int bsp_map_event(struct bsp_map *map, enum bsp_event event, uint64_t from,
		  uint64_t to);

/*
 * Forgets granules [from, to): data and holes become unknown, markers stay.
 * Raises the generation. Cannot fail: when memory is short, it forgets more
 * granules than the range has.
 */
void bsp_map_forget(struct bsp_map *map, uint64_t from, uint64_t to);

/* Forgets one granule and no other. Raises the generation. Returns 0, or
 * -ENOMEM with the granule as it was. */
int bsp_map_forget_one(struct bsp_map *map, uint64_t granule);

/*
 * Sets the number of granules: new ones are unknown, and granules past the new
 * end are dropped in any state. Raises the generation. Returns 0, or -ENOMEM
 * with the map unchanged; shrinking cannot fail.
 */
int bsp_map_resize(struct bsp_map *map, uint64_t granules);

/*
 * Counts the granules in each state, and returns the state of one of them, at
 * the same instant.
 */
void bsp_map_totals(struct bsp_map *map, uint64_t granule,
		    uint64_t ret_totals[BSP_STATES], enum bsp_state *ret_state);

/* Returns how many bytes of memory the map takes now. */
size_t bsp_map_memory(struct bsp_map *map);

#endif
