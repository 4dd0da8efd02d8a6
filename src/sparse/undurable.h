/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Zeros that the device was given and does not hold for good yet: until it is
 * flushed they may be in a cache of its own, and when a flush fails it is not
 * known which of them are left. Data that is lost so is for its writer to write
 * again, which fsync has told. But where the file was zeroed, no old byte may
 * come up, and no caller would zero it again.
 *
 * So this is the exact record of them, in two parts:
 *
 *	granules  markers that were carried out. A flush that fails makes those
 *		  of them that are still holes markers again. A hole that was
 *		  only learned is not among them, and is not written.
 *	pieces	  zeros in a granule that is data: around the piece that was
 *		  written to a marker, up to where a file grew, where less than
 *		  a granule was zeroed. Such a granule cannot become a marker,
 *		  which would hide its data. Reads take a piece for zeros
 *		  without asking the device, and a flush that fails has them
 *		  zeroed again. Data that is written over a piece ends it, so
 *		  that an appending writer leaves one at most.
 *
 * A flush covers the zeros that were given before it began; the next flush
 * covers those that come meanwhile. For the granules it has a set of its own, a
 * piece is called old.
 *
 * Zeros may be given before a flush that fails, and taken note of after it. So
 * they are given with how many flushes had failed before: such a granule is
 * refused, and such a piece is lost from the start.
 *
 * No allocation that fails loses any of it: a granule for which there is no
 * memory is not carried out, and a set that cannot be split keeps more than it
 * was told to, which has a granule zeroed once more than needed. There is room
 * for so many pieces; who may add some reserves it before, and has the device
 * flushed if there is none.
 *
 * Locks: guards itself, by a leaf lock (but for its maps' own). What it says of
 * a granule stays true only while the caller's locks (sparse.h) keep others
 * from that granule.
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
	/* What one operation may add: two at each of its ragged ends, and where
	 * the file ended. */
	BSP_PIECES_RESERVED = 8,
};

/*
 * A set of granules. It is a map of which the members are the markers: there
 * they are never lost for want of memory.
 */
struct bsp_granule_set {
	struct bsp_map *map;
	uint64_t from, to; /* has all members in it; from == to: none */
};

/* Zeros [from, to) in one granule. */
struct bsp_zero_piece {
	uint64_t from, to;
	bool in_flush; /* given before the flush that is under way began */
	bool lost;     /* perhaps: it must be zeroed again */
};

struct bsp_undurable {
	unsigned shift;		  /* log2 of the granule; fixed */
	atomic_uint pieces_n;	  /* changed under lock */
	atomic_bool lost;	  /* pieces may be lost; likewise */
	atomic_uint lost_version; /* how often some were, or ended; likewise */

	pthread_mutex_t lock;
	/* Protected by lock: */
	unsigned failed_flushes;
	bool marking; /* granules that one of them lost are not markers yet */
	struct bsp_granule_set unflushed; /* since the last flush began */
	struct bsp_granule_set flushing;  /* before it did */
	struct bsp_zero_piece *pieces;	  /* ascending; none overlap */
	unsigned reserved;		  /* pieces that may still be added */
	pthread_cond_t released;	  /* by others that had reserved */
};

/* Of no granules for a device that only is read. False if there is no memory; u
 * is to be done with all the same. */
bool bsp_undurable_init(struct bsp_undurable *u, uint64_t granules,
			unsigned shift);
void bsp_undurable_done(struct bsp_undurable *u);

/*
 * The device has that many granules from now on. 0, or -ENOMEM with granules
 * that are new perhaps left out; getting smaller cannot fail. To be called
 * before the object's own map grows.
 */
int bsp_undurable_resize(struct bsp_undurable *u, uint64_t granules);

/* --- Flushes --- */

/* How many flushes have failed. */
unsigned bsp_undurable_failed_flushes(struct bsp_undurable *u);

/*
 * Around each flush of the device; one at a time. After one that failed the
 * caller makes markers of the granules, removes them, and says so.
 */
void bsp_undurable_begin_flush(struct bsp_undurable *u);
void bsp_undurable_end_flush(struct bsp_undurable *u, bool failed);
void bsp_undurable_markers_made(struct bsp_undurable *u);

/* --- Granules --- */

/*
 * Granules [from, to) were zeroed, which began when so many flushes had failed.
 * 0; -EIO if one failed since, so that the zeros may be lost, or -ENOMEM: then
 * they are not carried out. The caller keeps others from these granules.
 */
int bsp_undurable_add(struct bsp_undurable *u, uint64_t from, uint64_t to,
		      unsigned failed_flushes);

bool bsp_undurable_has(struct bsp_undurable *u, uint64_t granule);

/* A run of members, or of some of them, from *from on and before *to; false if
 * there is none. */
bool bsp_undurable_next(struct bsp_undurable *u, uint64_t *from, uint64_t *to);

/* Granules [from, to) are no members any more, as far as there is memory. */
void bsp_undurable_remove(struct bsp_undurable *u, uint64_t from, uint64_t to);

/* --- Pieces --- */

/* Reserves BSP_PIECES_RESERVED of them; false if the device has to be flushed
 * before. Waits for others that have reserved, so it must not be called by one
 * of them, nor with a lock that they take. */
bool bsp_undurable_reserve(struct bsp_undurable *u);
void bsp_undurable_release(struct bsp_undurable *u);

/*
 * Bytes [from, to), in one granule, were zeroed, which began when so many
 * flushes had failed, or they are of a hole that it has; reserved before. The
 * granule is the caller's alone.
 */
void bsp_undurable_zeroed(struct bsp_undurable *u, uint64_t from, uint64_t to,
			  unsigned failed_flushes);

/* Bytes [from, to) are other data now, or a marker's, or none any more. It adds
 * a piece if one reaches beyond both ends, which is reserved before. */
void bsp_undurable_written(struct bsp_undurable *u, uint64_t from, uint64_t to);

/* The first piece that ends after off; false if there is none. */
bool bsp_undurable_piece(struct bsp_undurable *u, uint64_t off,
			 uint64_t *ret_from, uint64_t *ret_to);

/* Must pieces be zeroed again? True, too, if there were such ones since
 * bsp_undurable_recheck_lost() was called. */
static inline bool bsp_undurable_lost(struct bsp_undurable *u)
{
	return atomic_load(&u->lost);
}

/*
 * Moves whenever pieces are lost, and when such a one ends. What was read from
 * the device between two equal values is right but for the pieces that
 * bsp_undurable_piece() gave meanwhile.
 */
static inline unsigned bsp_undurable_lost_version(struct bsp_undurable *u)
{
	return atomic_load(&u->lost_version);
}

/* The first of these, as bsp_undurable_piece(). Once it is zeroed again,
 * bsp_undurable_zeroed() takes note of it as of any. */
bool bsp_undurable_lost_piece(struct bsp_undurable *u, uint64_t off,
			      uint64_t *ret_from, uint64_t *ret_to);

/* Finds out whether there are any. */
void bsp_undurable_recheck_lost(struct bsp_undurable *u);

#endif
