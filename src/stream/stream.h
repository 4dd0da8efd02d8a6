/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Streams: the content of a device as a sequence of bytes, without its holes.
 *
 * Decoders and encoders are step machines. They make no system calls, allocate
 * nothing and know no descriptors: the caller moves the bytes, so that tests
 * can use arrays, and a fuzzer can drive them. The formats are specified in
 * blksparse-stream(5). Each has a file of its own, native.c, rbd.c and raw.c;
 * stream.c holds the shared part and format.c the table of formats. digest.c
 * decodes digest files by the same steps.
 *
 * A decoder guarantees, for any input: its data, holes and parts of the base
 * follow each other without a gap from start on, never reach past a known size,
 * and cover all of [start, size) when it emits BSP_STREAM_END. If the format
 * has checksums, the decoder has verified the data that it emits.
 *
 * Threads: a decoder or an encoder belongs to one thread at a time.
 */
#ifndef BSP_STREAM_STREAM_H
#define BSP_STREAM_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/sha256.h"

enum {
	/* The most data in one piece, and the size of a decoder's buffer. */
	BSP_STREAM_BUFFER = 1 << 20,
	/* The most bytes of a format before a piece of data, or at its end. */
	BSP_STREAM_HEAD = 160,
	/* The longest name of a snapshot. */
	BSP_STREAM_SNAP_MAX = 96,
};

/* Sizes and offsets must fit an off_t. */
#define BSP_STREAM_SIZE_MAX ((uint64_t)INT64_MAX)

/* The content that a digest file stands for (digest.h): equal if all of this
 * is. */
struct bsp_digest_identity {
	uint64_t size; /* of the device, bytes */
	uint32_t chunk;
	unsigned char root[BSP_SHA256];
};

/* The kind of its digests, in all formats. */
enum { BSP_DIGEST_KIND_SHA256 = 1 };

/* Whether chunk is a size that a chunk may have. */
bool bsp_digest_is_chunk(uint64_t chunk);

/* --- Decoding --- */

enum bsp_stream_event {
	BSP_STREAM_WANT,   /* it needs bytes: bsp_decoder_space() */
	BSP_STREAM_BEGIN,  /* size, start and granule are known; comes first */
	BSP_STREAM_DATA,   /* [off, off + len) are the bytes at data */
	BSP_STREAM_HOLE,   /* [off, off + len) are zeros */
	BSP_STREAM_SAME,   /* [off, off + len) are those of the base; data is
			      its sum (digest.h) */
	BSP_STREAM_END,	   /* complete; all further steps return it, too */
	BSP_STREAM_BROKEN, /* see why and broke_at; all further steps, too */
};

struct bsp_decoder;
typedef enum bsp_stream_event (*bsp_decoder_state)(struct bsp_decoder *dec);

struct bsp_decoder {
	/* From the stream's header; valid from BSP_STREAM_BEGIN on. */
	bool sized; /* false: size is known only at the end */
	uint64_t size;
	uint64_t start;
	uint32_t granule; /* 0: the format has none */
	bool based;	  /* an increment: it holds what differs from base */
	struct bsp_digest_identity base;

	/* The piece of data or the hole of the last event. */
	uint64_t off;
	uint64_t len;
	const unsigned char *data; /* valid until the next step */

	/* Totals so far. */
	uint64_t at;	     /* bytes of the stream */
	uint64_t data_bytes; /* bytes of the device, in data */
	uint64_t hole_bytes; /* and in holes */
	uint64_t same_bytes; /* and as in the base */

	/* The fault of a broken stream: part of a sentence, never freed; and
	 * the fault's offset in the stream. */
	const char *why;
	uint64_t broke_at;

	/* The rest belongs to the formats. */
	bsp_decoder_state state; /* called when have == want */
	unsigned char *into;	 /* the place for the wanted bytes */
	size_t want;
	size_t have;
	bool eof;
	bool may_end; /* the stream may end here */
	bool ended;
	uint64_t pos;	       /* the device offset of the next piece */
	uint64_t piece_at;     /* the stream offset of the wanted bytes */
	uint64_t part_at;      /* the stream offset of their frame or record */
	unsigned char *buffer; /* the caller's */
	unsigned char head[BSP_STREAM_HEAD];

	/* native.c: the frame whose payload is being read. */
	uint32_t type;
	uint64_t frame_len;
	uint64_t payload_checksum;
	uint64_t frames;

	/* rbd.c: the record that is being parsed. */
	bool begun;
	bool seen_to;
	uint64_t record_end;

	/* raw.c: the part of the buffer that was emitted already. */
	size_t used;
};

/*
 * Prepares to decode a stream. buffer, of BSP_STREAM_BUFFER bytes, stays the
 * caller's and must live as long as the decoder is used.
 */
void bsp_native_decoder_init(struct bsp_decoder *dec, void *buffer);
void bsp_rbd_decoder_init(struct bsp_decoder *dec, void *buffer);
void bsp_raw_decoder_init(struct bsp_decoder *dec, void *buffer);

/* Runs to the next event, whose fields are valid until the next step. */
enum bsp_stream_event bsp_decoder_step(struct bsp_decoder *dec);

/*
 * After BSP_STREAM_WANT: the place for the next bytes of the stream, and how
 * many fit there, which is never 0. A decoder never wants bytes past the end of
 * its stream.
 */
void *bsp_decoder_space(struct bsp_decoder *dec, size_t *ret_len);

/* Tells the decoder that len bytes were put there; 0: the stream has ended. */
void bsp_decoder_fill(struct bsp_decoder *dec, size_t len);

/*
 * After BSP_STREAM_WANT: how many bytes the decoder wants in its buffer,
 * together with those that it has there; 0 if it wants them elsewhere. The
 * caller may then give it another buffer, with room for so many: pieces that
 * were emitted before stay valid in the old one.
 */
size_t bsp_decoder_in_buffer(const struct bsp_decoder *dec);

/* Gives the decoder another buffer, and moves the bytes that it has. */
void bsp_decoder_set_buffer(struct bsp_decoder *dec, void *buffer);

/* --- Encoding --- */

/*
 * The bytes to write to the stream next: head, then the data of the call, if
 * any, then zeros.
 */
struct bsp_piece {
	unsigned char head[BSP_STREAM_HEAD];
	size_t head_len;
	uint64_t zeros;
};

struct bsp_encoder;

struct bsp_encoder_ops {
	uint64_t hole_max; /* the longest hole in one piece */
	void (*begin)(struct bsp_encoder *enc, struct bsp_piece *ret_piece);
	void (*data)(struct bsp_encoder *enc, const void *buf, size_t len,
		     struct bsp_piece *ret_piece);
	void (*hole)(struct bsp_encoder *enc, uint64_t len,
		     struct bsp_piece *ret_piece);
	/* NULL: the format has no increments. */
	void (*same)(struct bsp_encoder *enc, uint64_t len,
		     const unsigned char *sum, struct bsp_piece *ret_piece);
	void (*end)(struct bsp_encoder *enc, struct bsp_piece *ret_piece);
};

struct bsp_encoder {
	/* Set by the caller before bsp_encoder_begin(). */
	const struct bsp_encoder_ops *ops;
	uint64_t size;
	uint64_t start;
	uint32_t granule;
	const struct bsp_digest_identity *base; /* of an increment; or NULL */
	const char *from_snap; /* the name of the base as a snapshot; or NULL */

	/* Totals so far. */
	uint64_t pos; /* the device offset of the next piece */
	uint64_t data_bytes;
	uint64_t hole_bytes;
	uint64_t same_bytes;
	uint64_t frames;
};

extern const struct bsp_encoder_ops bsp_native_encoder;
extern const struct bsp_encoder_ops bsp_rbd_encoder;
extern const struct bsp_encoder_ops bsp_raw_encoder;

/*
 * Call begin once, then data (at most BSP_STREAM_BUFFER bytes) or hole (at most
 * hole_max) for each piece from start to size, then end. Each piece but the
 * last ends at a multiple of the granule. The caller writes *ret_piece after
 * each call.
 */
void bsp_encoder_begin(struct bsp_encoder *enc, struct bsp_piece *ret_piece);
void bsp_encoder_data(struct bsp_encoder *enc, const void *buf, size_t len,
		      struct bsp_piece *ret_piece);
void bsp_encoder_hole(struct bsp_encoder *enc, uint64_t len,
		      struct bsp_piece *ret_piece);
/* The next len bytes are those of the base: whole chunks of it. */
void bsp_encoder_same(struct bsp_encoder *enc, uint64_t len,
		      const unsigned char *sum, struct bsp_piece *ret_piece);
void bsp_encoder_end(struct bsp_encoder *enc, struct bsp_piece *ret_piece);

/* --- For the formats --- */

/* Zeroes dec and sets its buffer. */
void bsp_decoder_init(struct bsp_decoder *dec, void *buffer);

/* Wants len bytes at into, and then a call of state. */
enum bsp_stream_event bsp_decoder_want(struct bsp_decoder *dec, void *into,
				       size_t len, bsp_decoder_state state);

/* Emit the next piece of data, the next hole (both start at pos), the end. */
enum bsp_stream_event bsp_decoder_emit_data(struct bsp_decoder *dec,
					    const unsigned char *data,
					    uint64_t len);
enum bsp_stream_event bsp_decoder_emit_hole(struct bsp_decoder *dec,
					    uint64_t len);

/* The next part of the base. */
enum bsp_stream_event bsp_decoder_emit_same(struct bsp_decoder *dec,
					    const unsigned char *sum,
					    uint64_t len);

enum bsp_stream_event bsp_decoder_emit_end(struct bsp_decoder *dec);

/* The stream is broken at offset at of it. */
enum bsp_stream_event bsp_decoder_fail(struct bsp_decoder *dec, uint64_t at,
				       const char *why);

#endif
