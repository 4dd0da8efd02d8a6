/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The raw format: the plain bytes of the device, without any framing.
 *
 * The encoder writes holes as zeros. The decoder looks for zeros and emits them
 * as holes, so that a raw stream into a device leaves it as sparse as a native
 * one does. It fills its buffer and then emits the runs in it one by one.
 *
 * The stream ends at its last byte: a truncated one looks like a shorter one,
 * and the size is known only at the end.
 */
#include "stream/stream.h"

#include "base/zero.h"

/* Zeros are looked for in aligned units of this many bytes. */
enum { HOLE_UNIT = 4096 };

/* --- Decoding --- */

static enum bsp_stream_event emit_run(struct bsp_decoder *dec);

static enum bsp_stream_event want_bytes(struct bsp_decoder *dec)
{
	dec->used = 0;
	dec->may_end = true;
	return bsp_decoder_want(dec, dec->buffer, BSP_STREAM_BUFFER, emit_run);
}

/* Emits the next run of the buffer, which is full or holds the stream's end. */
static enum bsp_stream_event emit_run(struct bsp_decoder *dec)
{
	const unsigned char *from = dec->buffer + dec->used;
	size_t left = dec->have - dec->used, run;
	bool zero;

	if (left == 0 && dec->eof) {
		dec->size = dec->pos;
		return bsp_decoder_emit_end(dec);
	}
	if (left == 0)
		return want_bytes(dec);
	run = bsp_zero_run(from, left, HOLE_UNIT, &zero);
	if (run > BSP_STREAM_SIZE_MAX - dec->pos)
		return bsp_decoder_fail(dec, dec->at,
					"it is longer than a file can be");
	dec->used += run;
	return zero ? bsp_decoder_emit_hole(dec, run)
		    : bsp_decoder_emit_data(dec, from, run);
}

static enum bsp_stream_event begin(struct bsp_decoder *dec)
{
	want_bytes(dec);
	return BSP_STREAM_BEGIN;
}

void bsp_raw_decoder_init(struct bsp_decoder *dec, void *buffer)
{
	bsp_decoder_init(dec, buffer);
	bsp_decoder_want(dec, buffer, 0, begin);
}

/* --- Encoding --- */

static void raw_nothing(struct bsp_encoder *enc, struct bsp_piece *ret_piece)
{
}

static void raw_data(struct bsp_encoder *enc, const void *buf, size_t len,
		     struct bsp_piece *ret_piece)
{
}

static void raw_hole(struct bsp_encoder *enc, uint64_t len,
		     struct bsp_piece *ret_piece)
{
	ret_piece->zeros = len;
}

const struct bsp_encoder_ops bsp_raw_encoder = {
	.hole_max = UINT64_MAX,
	.begin = raw_nothing,
	.data = raw_data,
	.hole = raw_hole,
	.end = raw_nothing,
};
