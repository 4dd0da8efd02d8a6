/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Computes the digests of chunks of content that is read for another purpose as
 * well: the caller passes the content in order, in parts of any size, and may
 * work on a part, and read the next ones, while threads compute the digests of
 * its chunks. The result goes to the caller's function, chunk by chunk, in
 * order, with the content.
 *
 * The chunks that lie whole in one part are spread over the threads, and not
 * copied. A chunk that several parts share is put together in a buffer.
 */
#ifndef BSP_TRANSFER_DIGESTER_H
#define BSP_TRANSFER_DIGESTER_H

#include "stream/digest.h"

enum {
	BSP_DIGESTER_PART = 1 << 20, /* the most data in one part */
	BSP_DIGESTER_PARTS = 3,	     /* parts and holes in work, at most */
};

struct bsp_digester;

/*
 * Gets the chunks in order: one chunk, its digest and its content; or, with
 * both NULL, len bytes of zeros, which are whole chunks. The last one may be
 * short. Returns 0, or -errno to end the work. The calls below call it, in the
 * caller's thread.
 */
typedef int (*bsp_digester_fn)(void *data, uint64_t len,
			       const unsigned char *digest,
			       const unsigned char *content);

/*
 * Begins with content of size bytes. threads 0: as many as processors, at most
 * 8. The caller counts as one. Returns NULL without memory or without a thread.
 */
struct bsp_digester *bsp_digester_new(uint64_t size, uint32_t chunk,
				      unsigned threads, bsp_digester_fn put,
				      void *data);

/* Goes on after the first off bytes of the content, a multiple of the chunk or
 * the size. No part is in work. */
void bsp_digester_skip(struct bsp_digester *digester, uint64_t off);

/*
 * The next len bytes of the content are at buf. len is at most
 * BSP_DIGESTER_PART. With BSP_DIGESTER_PARTS in work, it waits for the oldest
 * one first, and passes on its chunks. buf must stay as it is until as many
 * more calls for parts or holes have returned, or bsp_digester_wait(). Returns
 * 0, or the first error of put().
 */
int bsp_digester_start(struct bsp_digester *digester, const void *buf,
		       size_t len);

/* The next len bytes of the content are zeros. Waits and returns the same. */
int bsp_digester_hole(struct bsp_digester *digester, uint64_t len);

/* Waits until all parts are computed, and passes on their chunks. Returns the
 * same. */
int bsp_digester_wait(struct bsp_digester *digester);

/* The end of the content that was passed on, or waits for the rest of its
 * chunk. */
uint64_t bsp_digester_pos(const struct bsp_digester *digester);

/* Ends the threads. Allowed while parts are in work; digester may be NULL. */
void bsp_digester_free(struct bsp_digester *digester);

/* A bsp_digester_fn: adds to the digest file of data, a struct
 * bsp_digest_encoder. */
int bsp_digester_encode(void *data, uint64_t len, const unsigned char *digest,
			const unsigned char *content);

#endif
