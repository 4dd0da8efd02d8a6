/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads of the file: zeros where the map says so, bytes of the device
 * elsewhere.
 *
 * A read goes run by run. A run of holes and markers is answered without the
 * device; before the first one, the object checks for outside changes, because
 * a hole that another program wrote to must not be read as zeros. A run of data
 * or unknown granules is read from the device, and the map learns from it.
 *
 * Two races matter. The size may change between the look at the size and the
 * look into the map, so a count of resizes is compared. And inside data there
 * may be pieces of zeros that the device lost (undurable.h): a read that
 * crossed such a loss starts the run over.
 */
#include "sparse/sparse.h"

#include <errno.h>
#include <string.h>

#include "base/range.h"
#include "base/trace.h"

/* Reads from the device, and learns from the bytes. */
static ssize_t read_and_learn(struct bsp_sparse *sp, uint64_t off, char *buf,
			      size_t len)
{
	uint64_t generation = bsp_map_generation(sp->map);
	uint64_t from = off >> sp->shift;
	uint64_t to = bsp_granules(off + len, sp->shift);
	ssize_t n = bsp_device_read_all(sp->dev, off, buf, len);

	/* Without memory to learn, the bytes are right all the same. */
	if (n > 0 && bsp_map_next(sp->map, BSP_IN_UNKNOWN, from, to) < to)
		(void)bsp_sparse_learn(sp, generation, off, buf, (uint64_t)n);
	return n;
}

/*
 * Cuts the run [off, end), in which the map has no zeros, at pieces: zeros that
 * are not durable yet, which the device may have lost (undurable.h). Returns
 * the end of the first part. *ret_zero tells whether this part is a piece.
 */
static uint64_t piece_end(struct bsp_sparse *sp, uint64_t off, uint64_t end,
			  bool *ret_zero)
{
	uint64_t from, to;

	*ret_zero = false;
	if (!bsp_undurable_piece(&sp->undurable, off, &from, &to))
		return end;
	*ret_zero = from <= off;
	return bsp_min(end, from <= off ? to : from);
}

/* Reads zeros without the device. */
static void read_zeros(struct bsp_sparse *sp, void *buf, uint64_t len)
{
	memset(buf, 0, len);
	bsp_count(&sp->counts.holes, len);
}

static ssize_t read_range(struct bsp_sparse *sp, uint64_t off, void *buf,
			  size_t len)
{
	uint64_t at = off, end = off;
	bool refreshed = false;

	if (atomic_load(&sp->gone))
		return -ENODEV;
	do {
		char *to = (char *)buf + (at - off);
		unsigned resizes = atomic_load(&sp->resizes);
		unsigned lost_version =
			bsp_undurable_lost_version(&sp->undurable);
		uint64_t zeros_end, device_end;
		bool piece;
		ssize_t n;

		end = off + bsp_range_clamp(off, len, atomic_load(&sp->size));
		if (at >= end)
			break;
		zeros_end = bsp_sparse_run_end(sp, BSP_IN_UNKNOWN | BSP_IN_DATA,
					       at, end);
		if (zeros_end > at && !refreshed) {
			/* Is it still a hole? Check for changes, and look
			 * again. */
			(void)bsp_sparse_refresh(sp);
			refreshed = true;
			continue;
		}
		if (zeros_end > at) {
			if (resizes != atomic_load(&sp->resizes))
				continue;
			read_zeros(sp, to, zeros_end - at);
			at = zeros_end;
			continue;
		}
		device_end = bsp_sparse_run_end(sp, BSP_IN_ZERO, at, end);
		if (device_end == at)
			continue; /* it became zero in between */
		device_end = piece_end(sp, at, device_end, &piece);
		if (piece) {
			read_zeros(sp, to, device_end - at);
			at = device_end;
			continue;
		}
		n = read_and_learn(sp, at, to, device_end - at);
		/*
		 * Where a piece was lost, the device holds old bytes, and its
		 * granule may be a marker now: the read found neither the piece
		 * nor the marker.
		 */
		if (lost_version != bsp_undurable_lost_version(&sp->undurable))
			continue;
		if (n < 0)
			return n;
		if (n == 0) {
			/* The device ended early: it shrank, or fails without
			 * an error. */
			(void)bsp_sparse_refresh(sp);
			if (at < atomic_load(&sp->size))
				return -EIO;
			break;
		}
		at += (uint64_t)n;
	} while (at < end);
	return (ssize_t)(at - off);
}

ssize_t bsp_sparse_read(struct bsp_sparse *sp, uint64_t off, void *buf,
			size_t len)
{
	uint64_t started = bsp_trace_start();
	ssize_t n = bsp_sparse_connect(sp);

	if (n != -EINTR) /* the read fails without a connection */
		n = read_range(sp, off, buf, len);
	bsp_trace_end(started, "sparse.read", bsp_device_path(sp->dev), off,
		      len, n);
	return n;
}
