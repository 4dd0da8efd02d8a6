/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Streams: a device's content as a sequence of bytes, its holes left out.
 *
 * Decoders and encoders are step machines. They make no system calls, allocate
 * nothing and know no descriptors: whoever drives one moves the bytes, so that
 * it can be tested with arrays and fuzzed. The formats are specified in
 * blksparse-stream(5); each is a file of its own, stream-native.c, stream-rbd.c
 * and stream-raw.c, and what they have in common is in stream.c.
 *
 * Whatever the bytes, what a decoder gives is in order and complete: its data
 * and holes follow each other without a gap from start on, never reach past
 * size where that is known, and have covered all of [start, size) when it says
 * BSP_STREAM_END. Data whose format has checksums was checked.
 *
 * Threads: one at a time for each decoder or encoder.
 */
#ifndef BSP_STREAM_STREAM_H
#define BSP_STREAM_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	/* The most data in one piece, and the buffer that a decoder needs. */
	BSP_STREAM_BUFFER = 1 << 20,
	/* The most that a format has before a piece of data, or in its end. */
	BSP_STREAM_HEAD = 64,
};

/* Sizes and offsets must fit an off_t. */
#define BSP_STREAM_SIZE_MAX ((uint64_t)INT64_MAX)

/* --- Decoding --- */

enum bsp_stream_event {
	BSP_STREAM_WANT,   /* give it bytes: bsp_decoder_space() */
	BSP_STREAM_BEGIN,  /* size, start and granule are known; comes first */
	BSP_STREAM_DATA,   /* [off, off + len) are the bytes at data */
	BSP_STREAM_HOLE,   /* [off, off + len) are zeros */
	BSP_STREAM_END,	   /* it is complete; comes again if asked again */
	BSP_STREAM_BROKEN, /* why, and broke_at; comes again if asked again */
};

struct bsp_decoder;
typedef enum bsp_stream_event (*bsp_decoder_state)(struct bsp_decoder *dec);

struct bsp_decoder {
	/* What the stream says of itself; from BSP_STREAM_BEGIN on. */
	bool sized; /* false: size is known at the end only */
	uint64_t size;
	uint64_t start;
	uint32_t granule; /* 0: it does not say */

	/* The piece that an event is about. */
	uint64_t off;
	uint64_t len;
	const unsigned char *data; /* until the next step */

	/* Totals so far. */
	uint64_t at;	     /* bytes of the stream */
	uint64_t data_bytes; /* of what it describes */
	uint64_t hole_bytes;

	/* What is wrong with it: part of a sentence, never freed; and the
	 * offset in the stream of what is wrong. */
	const char *why;
	uint64_t broke_at;

	/* The rest is for the formats. */
	bsp_decoder_state state; /* is called when have == want */
	unsigned char *into;
	size_t want;
	size_t have;
	bool eof;
	bool may_end; /* the stream may end where it is now */
	bool ended;
	uint64_t pos;	       /* where the next piece must start */
	uint64_t piece_at;     /* where in the stream the wanted bytes start */
	uint64_t part_at;      /* where the frame or record of them starts */
	unsigned char *buffer; /* BSP_STREAM_BUFFER bytes, the caller's */
	unsigned char head[BSP_STREAM_HEAD];

	/* stream-native.c: the frame whose payload is being read. */
	uint32_t type;
	uint64_t frame_len;
	uint64_t payload_checksum;
	uint64_t frames;

	/* stream-rbd.c: the record that is being taken apart. */
	bool begun;
	bool seen_to;
	uint64_t record_end;

	/* stream-raw.c: what of the buffer is used. */
	size_t used;
};

/*
 * Begins to decode a stream of a format. buffer, of BSP_STREAM_BUFFER bytes,
 * stays the caller's and must live as long.
 */
void bsp_native_decoder_init(struct bsp_decoder *dec, void *buffer);
void bsp_rbd_decoder_init(struct bsp_decoder *dec, void *buffer);
void bsp_raw_decoder_init(struct bsp_decoder *dec, void *buffer);

/* The next event. What it is about holds until the next step. */
enum bsp_stream_event bsp_decoder_step(struct bsp_decoder *dec);

/*
 * After BSP_STREAM_WANT: where the next bytes of the stream are to be put, up
 * to *ret_len of them, which is never 0. A decoder never asks for bytes behind
 * the end of its stream.
 */
void *bsp_decoder_space(struct bsp_decoder *dec, size_t *ret_len);

/* So many bytes were put there; 0: the stream has no more. */
void bsp_decoder_fill(struct bsp_decoder *dec, size_t len);

/* --- Encoding --- */

/*
 * What to write to the stream now: head, then the data that the call was
 * given, if any, then zeros.
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
	void (*end)(struct bsp_encoder *enc, struct bsp_piece *ret_piece);
};

struct bsp_encoder {
	/* To be set before the beginning. */
	const struct bsp_encoder_ops *ops;
	uint64_t size;
	uint64_t start;
	uint32_t granule;

	/* Totals so far. */
	uint64_t pos; /* what comes next */
	uint64_t data_bytes;
	uint64_t hole_bytes;
	uint64_t frames;
};

extern const struct bsp_encoder_ops bsp_native_encoder;
extern const struct bsp_encoder_ops bsp_rbd_encoder;
extern const struct bsp_encoder_ops bsp_raw_encoder;

/*
 * The stream begins; the next data, of at most BSP_STREAM_BUFFER bytes; a hole,
 * of at most hole_max; the end. Data and holes follow each other from start to
 * size, and but for the last they end at multiples of the granule.
 */
void bsp_encoder_begin(struct bsp_encoder *enc, struct bsp_piece *ret_piece);
void bsp_encoder_data(struct bsp_encoder *enc, const void *buf, size_t len,
		      struct bsp_piece *ret_piece);
void bsp_encoder_hole(struct bsp_encoder *enc, uint64_t len,
		      struct bsp_piece *ret_piece);
void bsp_encoder_end(struct bsp_encoder *enc, struct bsp_piece *ret_piece);

/* --- For the formats --- */

/* Zeroes dec and sets what it wants first. */
void bsp_decoder_init(struct bsp_decoder *dec, void *buffer);

/* Asks for len bytes into a place, and says who takes them. */
enum bsp_stream_event bsp_decoder_want(struct bsp_decoder *dec, void *into,
				       size_t len, bsp_decoder_state state);

/* The next piece of data or hole, starting at pos. */
enum bsp_stream_event bsp_decoder_emit_data(struct bsp_decoder *dec,
					    const unsigned char *data,
					    size_t len);
enum bsp_stream_event bsp_decoder_emit_hole(struct bsp_decoder *dec,
					    uint64_t len);

enum bsp_stream_event bsp_decoder_emit_end(struct bsp_decoder *dec);

/* The stream is wrong at an offset of it. */
enum bsp_stream_event bsp_decoder_fail(struct bsp_decoder *dec, uint64_t at,
				       const char *why);

#endif
