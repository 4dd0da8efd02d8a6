/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads a range of a sparse object in chunks, in order. A chunk is data that
 * was read, or a known hole that was not. A thread reads ahead while the
 * caller works on the chunk before.
 */
#ifndef BSP_TRANSFER_CHUNK_READER_H
#define BSP_TRANSFER_CHUNK_READER_H

#include "sparse/sparse.h"

struct bsp_chunk_reader;

struct bsp_chunk {
	uint64_t off;
	uint64_t len;
	const unsigned char *data; /* NULL for a hole */
};

/*
 * Starts reading [off, end) of sp. off must be a multiple of the granule; end
 * as well, or the size. Returns NULL without memory or without a thread.
 */
struct bsp_chunk_reader *bsp_chunk_reader_new(struct bsp_sparse *sp,
					      uint64_t off, uint64_t end);

/*
 * Gives the next chunk. Data has at most BSP_SCAN_CHUNK bytes, and is valid
 * until the next call. Returns 1; 0 at the end; or -errno, with the offset that
 * could not be read in ret_chunk->off: -ENODATA if sp has become shorter.
 */
int bsp_chunk_reader_next(struct bsp_chunk_reader *reader,
			  struct bsp_chunk *ret_chunk);

/* Ends the thread, after its present read. reader may be NULL. */
void bsp_chunk_reader_free(struct bsp_chunk_reader *reader);

#endif
