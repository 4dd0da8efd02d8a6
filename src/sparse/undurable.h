/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A record of zeros that were written to the device and are not durable yet:
 * until the device is flushed they may be in a cache of its own, and after a
 * flush that failed it is not known which of them are left. A program that
 * loses data this way is told by fsync, and has to write it again. But where
 * the file was zeroed no old byte may appear, and no program would zero it
 * again.
 *
 * So the record is exact. It has two parts:
 *
 *	granules  markers that were flushed. A flush that fails makes those of
 *		  them that are still holes markers again. A hole that was only
 *		  learned is not among them, and is not written.
 *	pieces	  zeros in a granule that is data: around a write to a part of a
 *		  marker, up to where a file grew, where less than a granule was
 *		  zeroed. Such a granule cannot become a marker, which would
 *		  hide its data. Reads answer a piece with zeros without asking
 *		  the device, and after a flush that fails it is zeroed again.
 *		  Data that is written over a piece ends it, so that an
 *		  appending writer leaves one at most.
 *
 * A flush covers the zeros that were written before it began; the next flush
 * covers those that come meanwhile. Granules are therefore in one of two sets,
 * and a piece has a flag for it.
 *
 * Zeros may be written before a flush that fails, and recorded after it. So
 * each record says how many flushes had failed before the zeros were written.
 * If one failed since, the granule is refused, and the piece is lost from the
 * start.
 *
 * No failed allocation loses any of it: a granule for which there is no memory
 * stays a marker, and a set that cannot be split keeps more than it was told
 * to, so that a granule is zeroed once more than needed. The number of pieces
 * is limited; an operation that may add some reserves room before, and flushes
 * the device if there is none.
 *
 * Locks: the record has a leaf lock (but for its maps' own) of its own. Its
 * answer about a granule stays true only while the caller's locks (sparse.h)
 * keep others from that granule.
 */
#ifndef BSP_SPARSE_UNDURABLE_H
#define BSP_SPARSE_UNDURABLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/map.h"

enum {
	BSP_PIECES_MAX = 4096,
	/* One operation may add: two at each of its two ends, and where the
	 * file ended. */
	BSP_PIECES_RESERVED = 8,
};

/*
 * A set of granules. It is a map in which the members are the markers: a map
 * never loses markers for want of memory.
 */
struct bsp_granule_set {
	struct bsp_map *map;
	uint64_t from,
		to; /* all members are in there; from == to: no members */
};

/* Zeros [from, to) in one granule. */
struct bsp_zero_piece {
	uint64_t from, to;
	bool in_flush; /* written before the flush in progress began */
	bool lost;     /* perhaps; it must be zeroed again */
};

struct bsp_undurable {
	unsigned shift; /* log2 of the granule; fixed */

	/* Atomic; written under lock: */
	atomic_uint pieces_n;
	atomic_bool lost;	  /* pieces may be lost */
	atomic_uint lost_version; /* see bsp_undurable_lost_version() */

	pthread_mutex_t lock;
	/* Protected by lock: */
	unsigned failed_flushes;
	bool marking; /* a flush failed, and its granules are not markers yet */
	/* Granules written since the last flush began, and before it began. */
	struct bsp_granule_set unflushed;
	struct bsp_granule_set flushing;
	struct bsp_zero_piece *pieces; /* ascending; none overlap */
	unsigned reserved; /* room for pieces that operations have reserved */
	pthread_cond_t released; /* signals that reserved room was released */
};

/* granules is 0 for a read-only device. False if there is no memory; call
 * bsp_undurable_done() all the same. */
bool bsp_undurable_init(struct bsp_undurable *u, uint64_t granules,
			unsigned shift);
void bsp_undurable_done(struct bsp_undurable *u);

/*
 * The device has that many granules from now on. Returns 0, or -ENOMEM with new
 * granules perhaps left out; getting smaller cannot fail. Call it before the
 * object's own map grows.
 */
int bsp_undurable_resize(struct bsp_undurable *u, uint64_t granules);

/* --- Flushes --- */

/* The number of flushes that have failed. */
unsigned bsp_undurable_failed_flushes(struct bsp_undurable *u);

/*
 * Call these around each flush of the device, one flush at a time; of one that
 * was interrupted, call only the first. After a flush that failed, the caller
 * makes markers of the granules, removes them, and then calls
 * bsp_undurable_markers_made().
 */
void bsp_undurable_begin_flush(struct bsp_undurable *u);
void bsp_undurable_end_flush(struct bsp_undurable *u, bool failed);
void bsp_undurable_markers_made(struct bsp_undurable *u);

/* --- Granules --- */

/*
 * Granules [from, to) were zeroed; when this began, failed_flushes flushes had
 * failed. Returns 0; -EIO if one failed since, so that the zeros may be lost;
 * or -ENOMEM. After an error they stay markers. The caller keeps others from
 * these granules.
 */
int bsp_undurable_add(struct bsp_undurable *u, uint64_t from, uint64_t to,
		      unsigned failed_flushes);

bool bsp_undurable_has(struct bsp_undurable *u, uint64_t granule);

/* Finds a run of members, or a part of one, from *from on and before *to. False
 * if there is none. */
bool bsp_undurable_next(struct bsp_undurable *u, uint64_t *from, uint64_t *to);

/* Removes granules [from, to), as far as there is memory. */
void bsp_undurable_remove(struct bsp_undurable *u, uint64_t from, uint64_t to);

/* --- Pieces --- */

/*
 * Reserves room for BSP_PIECES_RESERVED pieces. False if the device has to be
 * flushed before. Waits for other operations to release theirs, so an operation
 * must not call it twice, nor while it holds a lock that they take.
 */
bool bsp_undurable_reserve(struct bsp_undurable *u);
void bsp_undurable_release(struct bsp_undurable *u);

/*
 * Bytes [from, to), in one granule, were zeroed, or belong to a hole that is
 * recorded; when this began, failed_flushes flushes had failed. The caller has
 * reserved room, and keeps others from the granule.
 */
void bsp_undurable_zeroed(struct bsp_undurable *u, uint64_t from, uint64_t to,
			  unsigned failed_flushes);

/*
 * Ends pieces: bytes [from, to) hold data now, or are a marker's, or are cut
 * off. Adds a piece if one reaches beyond both ends; the caller has reserved
 * room for it.
 */
void bsp_undurable_written(struct bsp_undurable *u, uint64_t from, uint64_t to);

/* Finds the first piece that ends after off; false if there is none. */
bool bsp_undurable_piece(struct bsp_undurable *u, uint64_t off,
			 uint64_t *ret_from, uint64_t *ret_to);

/* Must pieces be zeroed again? Stays true after the last of them ended, until
 * bsp_undurable_recheck_lost() is called. */
static inline bool bsp_undurable_lost(struct bsp_undurable *u)
{
	return atomic_load(&u->lost);
}

/*
 * Changes whenever pieces are lost, and when a lost piece ends. Bytes that a
 * reader reads from the device between two equal values are right, but for the
 * pieces that bsp_undurable_piece() finds meanwhile.
 */
static inline unsigned bsp_undurable_lost_version(struct bsp_undurable *u)
{
	return atomic_load(&u->lost_version);
}

/* Finds the first lost piece that ends after off. After zeroing it again the
 * caller calls bsp_undurable_zeroed(), as for any piece. */
bool bsp_undurable_lost_piece(struct bsp_undurable *u, uint64_t off,
			      uint64_t *ret_from, uint64_t *ret_to);

/* Looks whether there are lost pieces still. */
void bsp_undurable_recheck_lost(struct bsp_undurable *u);

#endif
