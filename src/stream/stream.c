/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The part of decoders and encoders that all stream formats share.
 *
 * A decoder always wants a number of bytes in one place: a header, a name, a
 * payload. When it has all of them, it calls its state, a function of the
 * format. The state parses them and either emits an event or wants the next
 * bytes. So a format never handles partial reads or a stream that ends too
 * early, and the caller reads a payload straight into its final place.
 *
 * An encoder is the reverse: the caller passes data and holes in order, and
 * gets the bytes to write around them. Offsets and totals are counted here.
 */
#include "stream/stream.h"

#include <string.h>

#include "blksparse.h"

bool bsp_digest_is_chunk(uint64_t chunk)
{
	return chunk >= BSP_CHUNK_MIN && chunk <= BSP_CHUNK_MAX &&
	       (chunk & (chunk - 1)) == 0;
}

void bsp_decoder_init(struct bsp_decoder *dec, void *buffer)
{
	memset(dec, 0, sizeof(*dec));
	dec->buffer = buffer;
}

enum bsp_stream_event bsp_decoder_want(struct bsp_decoder *dec, void *into,
				       size_t len, bsp_decoder_state state)
{
	dec->into = into;
	dec->want = len;
	dec->have = 0;
	dec->piece_at = dec->at;
	dec->state = state;
	return BSP_STREAM_WANT;
}

enum bsp_stream_event bsp_decoder_step(struct bsp_decoder *dec)
{
	enum bsp_stream_event event = BSP_STREAM_WANT;

	while (event == BSP_STREAM_WANT) {
		if (dec->why)
			return BSP_STREAM_BROKEN;
		if (dec->ended)
			return BSP_STREAM_END;
		if (dec->have < dec->want && !dec->eof)
			return BSP_STREAM_WANT;
		if (dec->have < dec->want && !dec->may_end)
			return bsp_decoder_fail(
				dec, dec->at,
				dec->at ? "it ends here, and is not complete"
					: "it is empty; see the message of its sender");
		event = dec->state(dec);
	}
	return event;
}

void *bsp_decoder_space(struct bsp_decoder *dec, size_t *ret_len)
{
	*ret_len = dec->want - dec->have;
	return dec->into + dec->have;
}

void bsp_decoder_fill(struct bsp_decoder *dec, size_t len)
{
	dec->have += len;
	dec->at += len;
	if (len == 0)
		dec->eof = true;
}

size_t bsp_decoder_in_buffer(const struct bsp_decoder *dec)
{
	return dec->into == dec->buffer ? dec->want : 0;
}

void bsp_decoder_set_buffer(struct bsp_decoder *dec, void *buffer)
{
	if (dec->have)
		memmove(buffer, dec->into, dec->have);
	dec->into = dec->buffer = buffer;
}

enum bsp_stream_event bsp_decoder_emit_data(struct bsp_decoder *dec,
					    const unsigned char *data,
					    uint64_t len)
{
	dec->off = dec->pos;
	dec->len = len;
	dec->data = data;
	dec->pos += len;
	dec->data_bytes += len;
	return BSP_STREAM_DATA;
}

enum bsp_stream_event bsp_decoder_emit_hole(struct bsp_decoder *dec,
					    uint64_t len)
{
	dec->off = dec->pos;
	dec->len = len;
	dec->data = NULL;
	dec->pos += len;
	dec->hole_bytes += len;
	return BSP_STREAM_HOLE;
}

enum bsp_stream_event bsp_decoder_emit_same(struct bsp_decoder *dec,
					    const unsigned char *sum,
					    uint64_t len)
{
	dec->off = dec->pos;
	dec->len = len;
	dec->data = sum;
	dec->pos += len;
	dec->same_bytes += len;
	return BSP_STREAM_SAME;
}

enum bsp_stream_event bsp_decoder_emit_end(struct bsp_decoder *dec)
{
	dec->ended = true;
	return BSP_STREAM_END;
}

enum bsp_stream_event bsp_decoder_fail(struct bsp_decoder *dec, uint64_t at,
				       const char *why)
{
	dec->broke_at = at;
	dec->why = why;
	return BSP_STREAM_BROKEN;
}

/* --- Encoding --- */

void bsp_encoder_begin(struct bsp_encoder *enc, struct bsp_piece *ret_piece)
{
	memset(ret_piece, 0, sizeof(*ret_piece));
	enc->pos = enc->start;
	enc->ops->begin(enc, ret_piece);
}

void bsp_encoder_data(struct bsp_encoder *enc, const void *buf, size_t len,
		      struct bsp_piece *ret_piece)
{
	memset(ret_piece, 0, sizeof(*ret_piece));
	enc->ops->data(enc, buf, len, ret_piece);
	enc->pos += len;
	enc->data_bytes += len;
	enc->frames++;
}

void bsp_encoder_hole(struct bsp_encoder *enc, uint64_t len,
		      struct bsp_piece *ret_piece)
{
	memset(ret_piece, 0, sizeof(*ret_piece));
	enc->ops->hole(enc, len, ret_piece);
	enc->pos += len;
	enc->hole_bytes += len;
	enc->frames++;
}

void bsp_encoder_same(struct bsp_encoder *enc, uint64_t len,
		      const unsigned char *sum, struct bsp_piece *ret_piece)
{
	memset(ret_piece, 0, sizeof(*ret_piece));
	enc->ops->same(enc, len, sum, ret_piece);
	enc->pos += len;
	enc->same_bytes += len;
	enc->frames++;
}

void bsp_encoder_end(struct bsp_encoder *enc, struct bsp_piece *ret_piece)
{
	memset(ret_piece, 0, sizeof(*ret_piece));
	enc->ops->end(enc, ret_piece);
}
