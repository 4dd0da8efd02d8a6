/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Digest files: the SHA-256 digest of each chunk of a device. They are
 * specified in blksparse-digest(5).
 *
 * Two digest files of one content are the same bytes, for one size of a chunk:
 * the encoder has no choice, and the decoder refuses what it would not write.
 * So the digest of the whole file, its root, stands for the content.
 *
 * As for streams (stream.h), encoder and decoder make no system calls.
 */
#ifndef BSP_STREAM_DIGEST_H
#define BSP_STREAM_DIGEST_H

#include "base/sha256.h"
#include "blksparse.h"
#include "stream/stream.h"

enum {
	BSP_DIGEST_VERSION = 1,
	/* Sizes in bytes. */
	BSP_DIGEST_HEADER = 64,
	BSP_DIGEST_RECORD = 40, /* the header of a record */
	/* The most digests in one record. */
	BSP_DIGEST_MOST = 4096,
	BSP_DIGEST_FULL = BSP_DIGEST_MOST * BSP_SHA256, /* bytes of these */
};

/* Types of records. */
#define BSP_DIGEST_CHUNKS UINT32_C(1)
#define BSP_DIGEST_ZEROS UINT32_C(2)
#define BSP_DIGEST_END UINT32_C(3)

bool bsp_digest_same(const struct bsp_digest_identity *a,
		     const struct bsp_digest_identity *b);

/*
 * The sum of a part of a device, which an increment has for each part of its
 * base: SHA-256 over the offset (u64) and the digest of each chunk that is not
 * zeros, in order.
 */
void bsp_sum_add(struct bsp_sha256 *sum, uint64_t off,
		 const unsigned char *digest);

/* --- Decoding --- */

/*
 * A decoder as in stream.h, with these differences: granule is the size of a
 * chunk; the data of BSP_STREAM_DATA are the digests of the chunks in
 * [off, off + len), BSP_SHA256 bytes for each; BSP_STREAM_HOLE covers chunks of
 * zeros; and identity is valid from BSP_STREAM_END on.
 */
struct bsp_digest_decoder {
	struct bsp_decoder dec; /* first: the states get this one */
	struct bsp_digest_identity identity;

	/* The decoder's own. */
	struct bsp_sha256 *sum; /* of all bytes but the end record */
	uint32_t last_type;	/* of the record before, or 0 */
	bool last_full;		/* it had as many digests as fit */
};

/*
 * As bsp_native_decoder_init(); returns false without memory. End it with
 * bsp_digest_decoder_clear(), also after false.
 */
bool bsp_digest_decoder_init(struct bsp_digest_decoder *digests, void *buffer);
void bsp_digest_decoder_clear(struct bsp_digest_decoder *digests);

/* --- Encoding --- */

struct bsp_digest_encoder {
	uint64_t size;
	uint32_t chunk;
	uint64_t pos;	     /* the device offset of the next chunk */
	uint64_t data_bytes; /* in chunks that are not zeros */

	/* The encoder's own: the record that is not written yet. */
	uint64_t start; /* its device offset */
	uint32_t type;	/* 0: there is none */
	size_t len;	/* bytes of its payload */
	struct bsp_sha256 *sum;
	bsp_write_fn write;
	void *data;
	unsigned char record[BSP_DIGEST_RECORD + BSP_DIGEST_FULL];
};

/*
 * Begins a digest file of a device of size bytes: write(data, ...) gets its
 * bytes in order. Then call add or zeros for each chunk, and end. All return 0,
 * -ENOMEM, or what write() returned. End it with bsp_digest_encoder_clear()
 * also after an error.
 */
int bsp_digest_encoder_begin(struct bsp_digest_encoder *enc, uint64_t size,
			     uint32_t chunk, bsp_write_fn write, void *data);

/* The next chunk is not all zeros, and has this digest. */
int bsp_digest_encoder_add(struct bsp_digest_encoder *enc,
			   const unsigned char *digest);

/* The next len bytes, whole chunks, are zeros. */
int bsp_digest_encoder_zeros(struct bsp_digest_encoder *enc, uint64_t len);

int bsp_digest_encoder_end(struct bsp_digest_encoder *enc,
			   struct bsp_digest_identity *ret_identity);

void bsp_digest_encoder_clear(struct bsp_digest_encoder *enc);

#endif
