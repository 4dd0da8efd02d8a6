/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads a range of a sparse object in chunks, in order. A chunk is data that
 * was read, or a known hole that was not. Up to BSP_SCAN_DEPTH reads are in
 * flight while the caller works on a chunk.
 *
 * Threads: a reader belongs to the thread that made it.
 */
#ifndef BSP_TRANSFER_CHUNK_READER_H
#define BSP_TRANSFER_CHUNK_READER_H

#include "base/changes.h"
#include "sparse/sparse.h"

struct bsp_chunk_reader;

enum { BSP_CHUNKS_KEPT = 4 }; /* the last ones that the caller may use */

struct bsp_chunk {
	uint64_t off;
	uint64_t len;
	const unsigned char *data; /* NULL for a hole */
	bool unchanged;		   /* it was not read, and data is NULL */
};

/*
 * Starts reading [off, end) of sp. off must be a multiple of the granule; end
 * as well, or the size. Returns NULL without memory.
 */
struct bsp_chunk_reader *bsp_chunk_reader_new(struct bsp_sparse *sp,
					      uint64_t off, uint64_t end);

/*
 * The same for bytes that are compared: reads those that the device itself
 * holds, not its cached pages (read_through() in device.h), and the map learns
 * nothing from them. A read that fails, or is short (-EIO), is not repeated.
 * off and end may be any bytes of sp.
 */
struct bsp_chunk_reader *
bsp_chunk_reader_new_through(struct bsp_sparse *sp, uint64_t off, uint64_t end);

/*
 * Reads only what has changed, as whole units, and gives the rest as unchanged.
 * All from limit on, a multiple of the unit or the end, has changed. The unit
 * is a power of two and no less than a granule. Call it before the first chunk.
 */
void bsp_chunk_reader_set_changes(struct bsp_chunk_reader *reader,
				  const struct bsp_changes *changes,
				  uint64_t unit, uint64_t limit);

/*
 * Gives the next chunk. Data has at most BSP_SCAN_CHUNK bytes, and is valid
 * until BSP_CHUNKS_KEPT more calls have begun. Returns 1; 0 at the end; or
 * -errno, with the offset that could not be read in ret_chunk->off: -ENODATA if
 * sp has become shorter.
 */
int bsp_chunk_reader_next(struct bsp_chunk_reader *reader,
			  struct bsp_chunk *ret_chunk);

/* Waits for the reads in flight. reader may be NULL. */
void bsp_chunk_reader_free(struct bsp_chunk_reader *reader);

#endif
