/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The record of zeros that are not durable yet: see undurable.h for the idea.
 *
 * Sets of granules are maps, which never lose a marker for want of memory. Two
 * such sets take turns: the set of the zeros written since the last flush began
 * becomes the set of the flush in progress. Pieces are a sorted array of fixed
 * size, so that no allocation can fail while a piece is added.
 *
 * The number of pieces and the lost flag are atomic, so that reads and writes
 * cost nothing while there are no pieces. All else is done under the lock.
 */
#include "sparse/undurable.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/range.h"
#include "blksparse-thread.h"

/* --- Sets of granules --- */

static bool set_is_empty(const struct bsp_granule_set *set)
{
	return set->from == set->to;
}

static int set_add(struct bsp_granule_set *set, uint64_t from, uint64_t to)
{
	bool empty = set_is_empty(set);

	set->from = empty ? from : bsp_min(set->from, from);
	set->to = empty ? to : bsp_max(set->to, to);
	return bsp_map_event(set->map, BSP_PUNCHED, from, to);
}

/* Without memory to split its leaf, a member stays one. */
static void set_remove(struct bsp_granule_set *set, uint64_t from, uint64_t to)
{
	from = bsp_max(from, set->from);
	to = bsp_min(to, set->to);
	if (from < to)
		(void)bsp_map_event(set->map, BSP_WRITTEN, from, to);
}

static void set_clear(struct bsp_granule_set *set)
{
	set_remove(set, set->from, set->to);
	set->from = set->to = 0;
}

static bool set_next(const struct bsp_granule_set *set, uint64_t *from,
		     uint64_t *to)
{
	uint64_t end = bsp_min(*to, set->to);

	*from = bsp_max(*from, set->from);
	if (*from < end)
		*from = bsp_map_next(set->map, BSP_IN_MARKER, *from, end);
	if (*from >= end)
		return false;
	*to = bsp_map_next(set->map, BSP_IN_ALL & ~BSP_IN_MARKER, *from, end);
	return true;
}

static bool set_has(const struct bsp_granule_set *set, uint64_t granule)
{
	return granule >= set->from && granule < set->to &&
	       bsp_map_get(set->map, granule) == BSP_MARKER;
}

static int set_resize(struct bsp_granule_set *set, uint64_t granules)
{
	int r = bsp_map_resize(set->map, granules);

	set->to = bsp_min(set->to, granules);
	set->from = bsp_min(set->from, set->to);
	return r;
}

/* --- Life --- */

bool bsp_undurable_init(struct bsp_undurable *u, uint64_t granules,
			unsigned shift)
{
	*u = (struct bsp_undurable){ .shift = shift };
	pthread_mutex_init(&u->lock, NULL);
	bsp_cond_init(&u->released);
	u->unflushed.map = bsp_map_new(granules);
	u->flushing.map = bsp_map_new(granules);
	if (granules)
		u->pieces = calloc(BSP_PIECES_MAX, sizeof(*u->pieces));
	return u->unflushed.map && u->flushing.map && (u->pieces || !granules);
}

void bsp_undurable_done(struct bsp_undurable *u)
{
	free(u->pieces);
	bsp_map_free(u->flushing.map);
	bsp_map_free(u->unflushed.map);
	pthread_cond_destroy(&u->released);
	pthread_mutex_destroy(&u->lock);
}

int bsp_undurable_resize(struct bsp_undurable *u, uint64_t granules)
{
	int r;

	pthread_mutex_lock(&u->lock);
	r = set_resize(&u->unflushed, granules);
	if (!r)
		r = set_resize(&u->flushing, granules);
	pthread_mutex_unlock(&u->lock);
	return r;
}

/* --- Flushes --- */

unsigned bsp_undurable_failed_flushes(struct bsp_undurable *u)
{
	unsigned n;

	pthread_mutex_lock(&u->lock);
	n = u->failed_flushes;
	pthread_mutex_unlock(&u->lock);
	return n;
}

/* Lock held. */
static void set_pieces_n(struct bsp_undurable *u, unsigned n)
{
	atomic_store(&u->pieces_n, n);
}

void bsp_undurable_begin_flush(struct bsp_undurable *u)
{
	uint64_t from = 0, to = UINT64_MAX;
	struct bsp_granule_set unflushed;

	pthread_mutex_lock(&u->lock);
	/* If some members could not be removed after a flush that failed, the
	 * zeros that were written since wait for the next flush. */
	if (!set_next(&u->flushing, &from, &to)) {
		set_clear(&u->flushing);
		unflushed = u->unflushed;
		u->unflushed = u->flushing;
		u->flushing = unflushed;
	}
	for (unsigned i = 0; i < atomic_load(&u->pieces_n); i++)
		u->pieces[i].in_flush = !u->pieces[i].lost;
	pthread_mutex_unlock(&u->lock);
}

/* Lock held. */
static void drop_flushed_pieces(struct bsp_undurable *u)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < atomic_load(&u->pieces_n); i++)
		if (!u->pieces[i].in_flush)
			u->pieces[kept++] = u->pieces[i];
	set_pieces_n(u, kept);
}

void bsp_undurable_end_flush(struct bsp_undurable *u, bool failed)
{
	pthread_mutex_lock(&u->lock);
	if (failed) {
		u->failed_flushes++;
		u->marking = true;
		for (unsigned i = 0; i < atomic_load(&u->pieces_n); i++) {
			u->pieces[i].in_flush = false;
			u->pieces[i].lost = true;
		}
		atomic_store(&u->lost, atomic_load(&u->pieces_n) > 0);
		atomic_fetch_add(&u->lost_version, 1);
	} else {
		set_clear(&u->flushing);
		drop_flushed_pieces(u);
	}
	pthread_mutex_unlock(&u->lock);
}

void bsp_undurable_markers_made(struct bsp_undurable *u)
{
	pthread_mutex_lock(&u->lock);
	u->marking = false;
	pthread_mutex_unlock(&u->lock);
}

/* --- Granules --- */

int bsp_undurable_add(struct bsp_undurable *u, uint64_t from, uint64_t to,
		      unsigned failed_flushes)
{
	int r = -EIO;

	pthread_mutex_lock(&u->lock);
	if (failed_flushes == u->failed_flushes)
		r = set_add(&u->unflushed, from, to);
	pthread_mutex_unlock(&u->lock);
	return r;
}

bool bsp_undurable_has(struct bsp_undurable *u, uint64_t granule)
{
	bool has;

	pthread_mutex_lock(&u->lock);
	has = set_has(&u->unflushed, granule) || set_has(&u->flushing, granule);
	pthread_mutex_unlock(&u->lock);
	return has;
}

bool bsp_undurable_next(struct bsp_undurable *u, uint64_t *from, uint64_t *to)
{
	uint64_t a = *from, a_end = *to, b = *from, b_end = *to;
	bool in_a, in_b;

	pthread_mutex_lock(&u->lock);
	in_a = set_next(&u->flushing, &a, &a_end);
	in_b = set_next(&u->unflushed, &b, &b_end);
	pthread_mutex_unlock(&u->lock);
	if (in_b && (!in_a || b < a)) {
		a = b;
		a_end = b_end;
	}
	*from = a;
	*to = a_end;
	return in_a || in_b;
}

void bsp_undurable_remove(struct bsp_undurable *u, uint64_t from, uint64_t to)
{
	pthread_mutex_lock(&u->lock);
	set_remove(&u->unflushed, from, to);
	set_remove(&u->flushing, from, to);
	pthread_mutex_unlock(&u->lock);
}

/* --- Pieces --- */

bool bsp_undurable_reserve(struct bsp_undurable *u)
{
	bool reserved;

	pthread_mutex_lock(&u->lock);
	while (u->reserved + BSP_PIECES_RESERVED > BSP_PIECES_MAX)
		pthread_cond_wait(&u->released, &u->lock);
	reserved =
		atomic_load(&u->pieces_n) + u->reserved + BSP_PIECES_RESERVED <=
		BSP_PIECES_MAX;
	if (reserved)
		u->reserved += BSP_PIECES_RESERVED;
	pthread_mutex_unlock(&u->lock);
	return reserved;
}

void bsp_undurable_release(struct bsp_undurable *u)
{
	pthread_mutex_lock(&u->lock);
	u->reserved -= BSP_PIECES_RESERVED;
	pthread_cond_broadcast(&u->released);
	pthread_mutex_unlock(&u->lock);
}

/* The index of the first piece that ends after off, or the number of pieces.
 * Lock held. */
static unsigned find_piece(const struct bsp_undurable *u, uint64_t off)
{
	unsigned low = 0, high = atomic_load(&u->pieces_n);

	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (u->pieces[middle].to > off)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* Lock held. */
static void insert_piece(struct bsp_undurable *u, unsigned at,
			 struct bsp_zero_piece piece)
{
	unsigned n = atomic_load(&u->pieces_n);

	memmove(&u->pieces[at + 1], &u->pieces[at],
		(n - at) * sizeof(*u->pieces));
	u->pieces[at] = piece;
	set_pieces_n(u, n + 1);
}

/* Removes the pieces from index at on and before index end. Lock held. */
static void erase_pieces(struct bsp_undurable *u, unsigned at, unsigned end)
{
	unsigned n = atomic_load(&u->pieces_n);

	memmove(&u->pieces[at], &u->pieces[end],
		(n - end) * sizeof(*u->pieces));
	set_pieces_n(u, n - (end - at));
}

/* Counts the lost pieces that touch [from, to), which is about to be taken out
 * of all pieces. Lock held. */
static void count_lost_pieces(struct bsp_undurable *u, uint64_t from,
			      uint64_t to)
{
	for (unsigned at = find_piece(u, from);
	     at < atomic_load(&u->pieces_n) && u->pieces[at].from < to; at++)
		if (u->pieces[at].lost)
			atomic_fetch_add(&u->lost_version, 1);
}

/* Takes bytes [from, to) out of all pieces. Returns the index for a piece that
 * begins there. Lock held. */
static unsigned cut_pieces(struct bsp_undurable *u, uint64_t from, uint64_t to)
{
	unsigned at = find_piece(u, from), end;
	unsigned n = atomic_load(&u->pieces_n);

	count_lost_pieces(u, from, to);
	if (at < n && u->pieces[at].from < from) {
		struct bsp_zero_piece rest = u->pieces[at];

		u->pieces[at++].to = from;
		if (rest.to > to) {
			rest.from = to;
			insert_piece(u, at, rest);
			return at;
		}
	}
	end = at;
	while (end < n && u->pieces[end].to <= to)
		end++;
	erase_pieces(u, at, end);
	if (at < atomic_load(&u->pieces_n) && u->pieces[at].from < to)
		u->pieces[at].from = to;
	return at;
}

/* Merges piece at with the next one, if they touch inside a granule and are
 * otherwise equal. Lock held. */
static void merge_pieces(struct bsp_undurable *u, unsigned at)
{
	struct bsp_zero_piece *piece = &u->pieces[at], *next = piece + 1;

	if (at + 1 >= atomic_load(&u->pieces_n) || piece->to != next->from ||
	    piece->in_flush != next->in_flush || piece->lost != next->lost ||
	    piece->to % (UINT64_C(1) << u->shift) == 0)
		return;
	piece->to = next->to;
	erase_pieces(u, at + 1, at + 2);
}

void bsp_undurable_zeroed(struct bsp_undurable *u, uint64_t from, uint64_t to,
			  unsigned failed_flushes)
{
	struct bsp_zero_piece piece = { .from = from, .to = to };
	unsigned at;

	if (from >= to)
		return;
	pthread_mutex_lock(&u->lock);
	piece.lost = u->marking || failed_flushes != u->failed_flushes;
	if (piece.lost) {
		atomic_store(&u->lost, true);
		atomic_fetch_add(&u->lost_version, 1);
	}
	at = cut_pieces(u, from, to);
	insert_piece(u, at, piece);
	merge_pieces(u, at);
	if (at > 0)
		merge_pieces(u, at - 1);
	pthread_mutex_unlock(&u->lock);
}

void bsp_undurable_written(struct bsp_undurable *u, uint64_t from, uint64_t to)
{
	if (from >= to || !atomic_load(&u->pieces_n))
		return;
	pthread_mutex_lock(&u->lock);
	(void)cut_pieces(u, from, to);
	pthread_mutex_unlock(&u->lock);
}

bool bsp_undurable_piece(struct bsp_undurable *u, uint64_t off,
			 uint64_t *ret_from, uint64_t *ret_to)
{
	unsigned at;
	bool found;

	if (!atomic_load(&u->pieces_n))
		return false;
	pthread_mutex_lock(&u->lock);
	at = find_piece(u, off);
	found = at < atomic_load(&u->pieces_n);
	if (found) {
		*ret_from = u->pieces[at].from;
		*ret_to = u->pieces[at].to;
	}
	pthread_mutex_unlock(&u->lock);
	return found;
}

bool bsp_undurable_lost_piece(struct bsp_undurable *u, uint64_t off,
			      uint64_t *ret_from, uint64_t *ret_to)
{
	unsigned at;
	bool found;

	pthread_mutex_lock(&u->lock);
	at = find_piece(u, off);
	while (at < atomic_load(&u->pieces_n) && !u->pieces[at].lost)
		at++;
	found = at < atomic_load(&u->pieces_n);
	if (found) {
		*ret_from = u->pieces[at].from;
		*ret_to = u->pieces[at].to;
	}
	pthread_mutex_unlock(&u->lock);
	return found;
}

void bsp_undurable_recheck_lost(struct bsp_undurable *u)
{
	bool lost = false;

	pthread_mutex_lock(&u->lock);
	for (unsigned i = 0; i < atomic_load(&u->pieces_n); i++)
		lost |= u->pieces[i].lost;
	atomic_store(&u->lost, lost);
	pthread_mutex_unlock(&u->lock);
}
