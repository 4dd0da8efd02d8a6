/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Scans read unknown granules and tell the map what they found; the map refuses
 * what is out of date (its generation, base/map.h).
 *
 * A seek of an object without a scan ahead reads one chunk in its own thread,
 * under the object's scan_lock, so that two seeks that need the same granules
 * read them once. A long scan (struct bsp_scan) keeps several smaller reads in
 * flight instead, and needs no lock.
 *
 * A device may know zeros without a read: those are learned first. Where a read
 * fails, the scan reads granule by granule to find the unreadable ones, and
 * these become data, so that a reader of the file gets the error. A scan never
 * returns an I/O error itself.
 */
#include "sparse/scan.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/interrupt.h"
#include "base/range.h"
#include "base/trace.h"
#include "base/zero.h"

/*
 * [off, off + len) could not be read at once. Learns its first granule from a
 * read of its own, or as data if that fails as well, and sets *ret_len to the
 * bytes that were learned. Repeated calls isolate the unreadable granules.
 */
static int learn_first_granule(struct bsp_sparse *sp, uint64_t generation,
			       uint64_t off, char *buf, uint64_t len,
			       uint64_t *ret_len)
{
	uint64_t want = bsp_min(len, UINT64_C(1) << sp->shift);
	uint64_t granule = off >> sp->shift;
	uint64_t done = 0;
	ssize_t n = 1;

	while (done < want && n > 0) {
		n = bsp_device_read(sp->dev, off + done, buf + done,
				    want - done);
		done += n > 0 ? (uint64_t)n : 0;
	}
	*ret_len = want;
	if (done == want)
		return bsp_sparse_learn(sp, generation, off, buf, want);
	return bsp_map_learned(sp->map, generation, granule, granule + 1,
			       false);
}

/* Reads and learns [off, off + len); buf has room for it. */
static int learn_range(struct bsp_sparse *sp, uint64_t generation, uint64_t off,
		       char *buf, uint64_t len)
{
	uint64_t granule_mask = (UINT64_C(1) << sp->shift) - 1;
	bool failing = false;

	while (len) {
		ssize_t n = failing ? -EIO
				    : bsp_device_read(sp->dev, off, buf, len);
		uint64_t got = n > 0 ? (uint64_t)n : 0;
		int r;

		/* A short read counts up to the last whole granule. */
		if (got < len)
			got &= ~granule_mask;
		if (got) {
			r = bsp_sparse_learn(sp, generation, off, buf, got);
		} else {
			failing = true;
			r = learn_first_granule(sp, generation, off, buf, len,
						&got);
		}
		if (r)
			return r;
		off += got;
		len -= got;
	}
	return 0;
}

static int scan_locked(struct bsp_sparse *sp, uint64_t granule)
{
	uint64_t size = atomic_load(&sp->size);
	uint64_t granules = bsp_granules(size, sp->shift);
	uint64_t end =
		bsp_min(granule + (BSP_SCAN_CHUNK >> sp->shift), granules);
	uint64_t generation, off, stop;
	int r;

	/* Meanwhile another thread may have learned it, or cut it off. */
	if (granule >= granules || bsp_map_get(sp->map, granule) != BSP_UNKNOWN)
		return 0;
	/* On a mount the caller is a handler; the scan thread builds layers. */
	r = bsp_sparse_learn_known(sp, granule << sp->shift, !sp->scan_ahead);
	/* The call may have moved the generation. */
	generation = bsp_map_generation(sp->map);
	if (r || bsp_map_get(sp->map, granule) != BSP_UNKNOWN)
		return r;
	end = bsp_map_next(sp->map, BSP_IN_ALL & ~BSP_IN_UNKNOWN, granule, end);
	off = granule << sp->shift;
	stop = bsp_sparse_read_end(sp, off,
				   bsp_granule_start(end, sp->shift, size),
				   !sp->scan_ahead);
	return learn_range(sp, generation, off, sp->scan_buffer, stop - off);
}

int bsp_scan_chunk(struct bsp_sparse *sp, uint64_t granule)
{
	int r;

	pthread_mutex_lock(&sp->scan_lock);
	r = scan_locked(sp, granule);
	pthread_mutex_unlock(&sp->scan_lock);
	return r;
}

/* --- With reads in flight --- */

struct bsp_scan *bsp_scan_begin(struct bsp_sparse *sp, bsp_scanned_fn scanned,
				void *scanned_data)
{
	struct bsp_scan *scan = calloc(1, sizeof(*scan));

	if (!scan)
		return NULL;
	scan->sp = sp;
	scan->scanned = scanned;
	scan->scanned_data = scanned_data;
	scan->read_len =
		(size_t)bsp_max(BSP_SCAN_READ, UINT64_C(1) << sp->shift);
	scan->queue = bsp_read_queue_new(sp->dev, BSP_SCAN_DEPTH);
	scan->memory = bsp_buffer_new(BSP_SCAN_DEPTH * scan->read_len);
	if (!scan->queue || !scan->memory) {
		free(scan->memory);
		bsp_read_queue_free(scan->queue);
		free(scan);
		return NULL;
	}
	for (unsigned i = 0; i < BSP_SCAN_DEPTH; i++)
		scan->slots[i].read.buf = scan->memory + i * scan->read_len;
	return scan;
}

void bsp_scan_end(struct bsp_scan *scan)
{
	if (!scan)
		return;
	bsp_read_queue_free(scan->queue);
	free(scan->memory);
	free(scan);
}

static struct bsp_scan_slot *free_slot(struct bsp_scan *scan)
{
	for (unsigned i = 0; i < BSP_SCAN_DEPTH; i++) {
		if (!scan->slots[i].busy)
			return &scan->slots[i];
	}
	return NULL;
}

/* Moves the cursor to the next granule to be read. False if there is none
 * before last, or if its read must wait for credit. */
static bool find_wanted(struct bsp_scan *scan, uint64_t last)
{
	struct bsp_sparse *sp = scan->sp;
	uint64_t from = scan->pos.cursor;
	struct bsp_scan_view view = bsp_scan_view(sp);
	uint64_t next = bsp_scan_next(&view, scan->pos.known, from, last);

	if (!scan->pos.known && from < next &&
	    bsp_map_next(sp->map, BSP_IN_DATA, from, next) < next)
		scan->pos.delivered_from = next;
	scan->pos.cursor = bsp_max(from, next);
	return next < last && (!scan->pos.known || scan->pos.known_left ||
			       bsp_map_get(sp->map, next) != BSP_DATA);
}

int bsp_scan_ask(struct bsp_scan *scan, uint64_t end)
{
	struct bsp_sparse *sp = scan->sp;
	struct bsp_scan_slot *slot;
	bool learned = false;

	while ((slot = free_slot(scan))) {
		uint64_t size = atomic_load(&sp->size);
		uint64_t last = bsp_min(end, bsp_granules(size, sp->shift));
		uint64_t generation, from, to, stop;
		unsigned state;
		int r;

		if (!find_wanted(scan, last))
			return learned;
		from = scan->pos.cursor;
		state = bsp_map_get(sp->map, from);
		if (state == BSP_UNKNOWN) {
			r = bsp_sparse_learn_known(sp, from << sp->shift, true);
			if (r)
				return r;
			learned |= bsp_map_get(sp->map, from) == BSP_HOLE;
		}
		/* The call may have moved the generation. */
		generation = bsp_map_generation(sp->map);
		state = bsp_map_get(sp->map, from);
		if (state != BSP_UNKNOWN &&
		    (state != BSP_DATA || !scan->pos.known))
			continue;
		to = bsp_min(from + (scan->read_len >> sp->shift), last);
		to = bsp_map_next(sp->map, BSP_IN_ALL & ~(1U << state), from,
				  to);
		if (to == from)
			continue; /* another thread changed it */
		slot->generation = generation;
		slot->known = state == BSP_DATA;
		slot->read.off = from << sp->shift;
		stop = bsp_granule_start(to, sp->shift, size);
		if (!slot->known)
			stop = bsp_sparse_read_end(sp, slot->read.off, stop,
						   true);
		slot->read.len = (size_t)(stop - slot->read.off);
		slot->busy = true;
		if (slot->known)
			scan->pos.known_left -=
				bsp_min(scan->pos.known_left, slot->read.len);
		bsp_read_submit(scan->queue, &slot->read);
		scan->pos.cursor = bsp_granules(stop, sp->shift);
	}
	return 0;
}

/* Delivers data before it is learned, so that a reader that finds data in the
 * map finds it delivered, too. */
static int learn_slot(struct bsp_scan *scan, const struct bsp_scan_slot *slot,
		      size_t len)
{
	struct bsp_sparse *sp = scan->sp;
	const struct bsp_read *read = &slot->read;
	int r = 0;

	for (size_t at = 0; !r && at < len;) {
		const char *buf = (const char *)read->buf + at;
		bool zero;
		size_t run = bsp_zero_run(buf, len - at, (size_t)1 << sp->shift,
					  &zero);

		if (!zero && scan->scanned)
			scan->scanned(scan->scanned_data, slot->generation,
				      read->off + at, buf, run);
		r = bsp_sparse_learn_run(sp, slot->generation, read->off + at,
					 run, zero);
		at += run;
	}
	return r;
}

int bsp_scan_complete(struct bsp_scan *scan)
{
	struct bsp_sparse *sp = scan->sp;
	struct bsp_read *read = bsp_read_wait(scan->queue);
	struct bsp_scan_slot *slot;
	uint64_t len;
	int r;

	if (!read)
		return 0;
	slot = (struct bsp_scan_slot *)((char *)read -
					offsetof(struct bsp_scan_slot, read));
	/* A short read counts up to the last whole granule. */
	if (read->result > 0 && read->result < (ssize_t)read->len)
		read->result &= ~(ssize_t)((1 << sp->shift) - 1);
	if (slot->known) {
		/* Ignore the error here: the reader gets it. */
		if (read->result > 0 && scan->scanned)
			scan->scanned(scan->scanned_data, slot->generation,
				      read->off, read->buf,
				      (uint64_t)read->result);
		slot->busy = false;
		return 1;
	}
	scan->failing = read->result <= 0;
	/*
	 * After a failed read only its first granule is learned. The others
	 * stay unknown: no reader may ever need them, and each may take long to
	 * fail.
	 */
	if (scan->failing)
		r = learn_first_granule(sp, slot->generation, read->off,
					read->buf, read->len, &len);
	else
		r = learn_slot(scan, slot, (size_t)read->result);
	slot->busy = false;
	return r ? r : 1;
}

uint64_t bsp_scan_learned_to(const struct bsp_scan *scan)
{
	uint64_t first = scan->pos.cursor;

	for (unsigned i = 0; i < BSP_SCAN_DEPTH; i++) {
		const struct bsp_scan_slot *slot = &scan->slots[i];

		if (slot->busy)
			first = bsp_min(first,
					slot->read.off >> scan->sp->shift);
	}
	return first;
}

bool bsp_scan_covers(const struct bsp_scan *scan, uint64_t granule)
{
	uint64_t off = granule << scan->sp->shift;

	for (unsigned i = 0; i < BSP_SCAN_DEPTH; i++) {
		const struct bsp_scan_slot *slot = &scan->slots[i];

		if (slot->busy && off >= slot->read.off &&
		    off - slot->read.off < slot->read.len)
			return true;
	}
	return false;
}

/*
 * Goes over the range once: granules behind the scan that are forgotten
 * meanwhile stay unknown. Granules that are still unknown after they were read,
 * because something was forgotten in between, are read again.
 */
static int scan_range(struct bsp_sparse *sp, uint64_t off, uint64_t len,
		      bsp_interrupted_fn interrupted, bsp_progress_fn progress,
		      void *data)
{
	struct bsp_scan *scan = bsp_scan_begin(sp, NULL, NULL);
	uint64_t granule = off >> sp->shift, end;
	struct bsp_progress now = { .size_known = true };
	int r = scan ? 0 : -ENOMEM;

	atomic_fetch_add(&sp->scans, 1);
	(void)bsp_sparse_refresh(sp);
	len = bsp_range_clamp(off, len, atomic_load(&sp->size));
	end = bsp_granules(off + len, sp->shift);
	now.size = len;
	while (r >= 0) {
		uint64_t at;

		granule = bsp_map_next(sp->map, BSP_IN_UNKNOWN, granule, end);
		at = bsp_granule_start(granule, sp->shift, off + len);
		now.done = at > off ? at - off : 0;
		if (progress)
			progress(data, &now);
		if (interrupted && interrupted(data)) {
			r = -ECANCELED;
			break;
		}
		if (granule >= end || len == 0) {
			if (!bsp_sparse_spot_check_late(sp))
				break;
			/* Begin anew if the map has forgotten all. */
			granule = off >> sp->shift;
			continue;
		}
		if (!bsp_scan_covers(scan, granule))
			scan->pos.cursor = granule;
		/* Read one granule at a time where reads fail. */
		r = bsp_scan_ask(scan, scan->failing ? granule + 1 : end);
		if (r == 0)
			r = bsp_scan_complete(scan);
		/*
		 * All that follows would fail as well, and count as data. An
		 * interrupt may have ended the connection.
		 */
		if (r >= 0 && scan->failing && !bsp_sparse_is_connected(sp))
			r = interrupted && interrupted(data) ? -ECANCELED
							     : -ENOTCONN;
	}
	/* Learn from the reads in flight, so that they are not repeated. */
	while (scan && bsp_scan_complete(scan) > 0)
		;
	bsp_scan_end(scan);
	atomic_fetch_sub(&sp->scans, 1);
	return r < 0 ? r : 0;
}

int bsp_sparse_scan(struct bsp_sparse *sp, uint64_t off, uint64_t len,
		    bsp_interrupted_fn interrupted, bsp_progress_fn progress,
		    void *data)
{
	uint64_t started = bsp_trace_start();
	bool distrusted = atomic_load(&sp->distrusted);
	struct bsp_interrupt before = bsp_interrupt_swap((struct bsp_interrupt){
		.interrupted = interrupted,
		.data = data,
		.patience_ms = BSP_PATIENCE_MS,
	});
	int r = scan_range(sp, off, len, interrupted, progress, data);

	/* Holes that the scan had learned were forgotten. */
	if (!r && atomic_load(&sp->distrusted) != distrusted)
		r = scan_range(sp, off, len, interrupted, progress, data);
	(void)bsp_interrupt_swap(before);
	bsp_trace_end(started, "sparse.scan", bsp_device_path(sp->dev), off,
		      len, r);
	return r;
}
