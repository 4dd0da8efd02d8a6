/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A sparse object from one offset to another, in chunks: of data that was
 * read, each byte once, or of what is known to be zero without reading. A
 * thread reads ahead while the chunk before is looked at and sent.
 */
#ifndef BSP_TRANSFER_CHUNK_READER_H
#define BSP_TRANSFER_CHUNK_READER_H

#include "sparse/sparse.h"

struct bsp_chunk_reader;

struct bsp_chunk {
	uint64_t off;
	uint64_t len;
	const unsigned char *data; /* NULL: [off, off + len) is a hole */
};

/*
 * Begins to read [off, end) of sp; off is a multiple of its granule, end too,
 * or its size. Returns NULL if there is no memory, or no thread to be had.
 */
struct bsp_chunk_reader *bsp_chunk_reader_new(struct bsp_sparse *sp,
					      uint64_t off, uint64_t end);

/*
 * The next chunk, of at most BSP_SCAN_CHUNK bytes if it is data, which stays
 * until the next call. Returns 1; 0 at the end; or -errno, then with
 * ret_chunk->off what could not be read: -ENODATA if sp is shorter now.
 */
int bsp_chunk_reader_next(struct bsp_chunk_reader *reader,
			  struct bsp_chunk *ret_chunk);

/* Ends the thread, after the read that it is in; NULL is fine. */
void bsp_chunk_reader_free(struct bsp_chunk_reader *reader);

#endif
