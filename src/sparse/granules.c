/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sparse/granules.h"

#include <errno.h>

#include "base/range.h"

/*
 * Ends the pieces in granules [from, to), which are zero and locked
 * exclusively. A hole with a piece was found to be zero before these zeros were
 * durable: it becomes a marker.
 */
static void drop_pieces(struct bsp_sparse *sp, uint64_t from, uint64_t to)
{
	uint64_t start = from << sp->shift;
	uint64_t end = bsp_granule_start(to, sp->shift, UINT64_MAX);
	uint64_t piece, piece_end;

	while (bsp_undurable_piece(&sp->undurable, start, &piece, &piece_end) &&
	       piece < end) {
		uint64_t granule = piece >> sp->shift;

		(void)bsp_map_event(sp->map, BSP_ZEROS_LOST, granule,
				    granule + 1);
		bsp_undurable_written(&sp->undurable, piece, piece_end);
		start = piece_end;
	}
}

int bsp_write_punch(struct bsp_sparse *sp, uint64_t from, uint64_t to)
{
	int r = bsp_map_event(sp->map, BSP_PUNCHED, from, to);

	if (!r) {
		drop_pieces(sp, from, to);
		bsp_sparse_rely_on_holes(sp, from, to);
	}
	return r;
}

/* Records that a write failed: the content of granules [from, to), which are
 * locked exclusively, is not known. */
static void mark_write_failed(struct bsp_sparse *sp, uint64_t from, uint64_t to)
{
	uint64_t at = from, end = to;

	for (; bsp_undurable_next(&sp->undurable, &at, &end);
	     at = end, end = to)
		(void)bsp_map_event(sp->map, BSP_ZEROS_LOST, at, end);
	(void)bsp_map_event(sp->map, BSP_WRITE_FAILED, from, to);
}

int bsp_write_record(struct bsp_sparse *sp, uint64_t off, uint64_t end)
{
	int r = bsp_map_event(sp->map, BSP_WRITTEN, off >> sp->shift,
			      bsp_granules(end, sp->shift));

	if (!r)
		bsp_undurable_written(&sp->undurable, off, end);
	return r;
}

ssize_t bsp_write_run(struct bsp_sparse *sp, uint64_t off, const char *buf,
		      size_t len)
{
	uint64_t from = off >> sp->shift;
	uint64_t to = bsp_granules(off + len, sp->shift);
	uint64_t done;
	ssize_t n;
	int r;

	n = bsp_device_write_all(sp->dev, off, buf, len);
	done = n == (ssize_t)len
		       ? to
		       : from + ((uint64_t)(n > 0 ? n : 0) >> sp->shift);
	r = bsp_write_record(sp, off,
			     bsp_granule_start(done, sp->shift, off + len));
	if (done < to)
		mark_write_failed(sp, done, to);
	if (r)
		return r;
	if (n == (ssize_t)len)
		return n;
	if (done > from)
		return (ssize_t)((done - from) << sp->shift);
	return n < 0 ? n : -EIO;
}
