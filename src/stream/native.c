/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The native stream format, specified in blksparse-stream(5).
 *
 * A stream is a header, frames of data or holes, and an end frame with totals.
 * The header and each frame's header carry a checksum of themselves, so the
 * decoder checks a length or an offset before it uses it. The checksum of a
 * payload is in the header of its frame, and no byte of a payload is emitted
 * before that checksum matched.
 *
 * Each frame has its offset, although the offset follows from the frames
 * before: a frame that was lost or repeated is found at once, not only by the
 * totals at the end.
 *
 * Streams are kept as backups: every version must read those of versions before
 * it, and the page says how a format may grow.
 */
#include "stream/stream.h"
#include "stream/native.h"

#include <string.h>

#include "base/le.h"

static const unsigned char magic[8] = { 0x89, 'B',  'S',  'P',
					'\r', '\n', 0x1a, '\n' };

/* --- Decoding --- */

static enum bsp_stream_event parse_frame(struct bsp_decoder *dec);

static enum bsp_stream_event want_frame(struct bsp_decoder *dec)
{
	dec->part_at = dec->at;
	return bsp_decoder_want(dec, dec->head, BSP_NATIVE_FRAME, parse_frame);
}

static bool checksum_matches(const unsigned char *head, size_t len)
{
	return bsp_get_le64(head + len - 8) ==
	       bsp_native_checksum(head, len - 8);
}

static bool is_granule(uint32_t n)
{
	return n >= BSP_NATIVE_GRANULE_MIN && n <= BSP_NATIVE_GRANULE_MAX &&
	       (n & (n - 1)) == 0;
}

/* Returns the fault in the fields of the header, or NULL. */
static const char *check_header(const struct bsp_decoder *dec)
{
	const unsigned char *head = dec->head;

	if (bsp_get_le32(head + 12) & BSP_NATIVE_CRITICAL_FLAGS &
	    ~BSP_NATIVE_INCREMENT)
		return "it needs a newer version of blksparse (it has an unknown flag)";
	if (bsp_get_le32(head + 36) != BSP_NATIVE_SUM_XXH3)
		return "its kind of checksum is unknown";
	if (bsp_get_le64(head + 40) || bsp_get_le64(head + 48))
		return "reserved bytes of its header are not zero";
	if (dec->size > BSP_STREAM_SIZE_MAX)
		return "its size is larger than a file can be";
	if (!is_granule(dec->granule))
		return "its granule is not a power of two from 4K to 1M";
	if (dec->start > dec->size ||
	    (dec->start % dec->granule && dec->start != dec->size))
		return "its start is past its size, or not a multiple of the granule";
	return NULL;
}

static enum bsp_stream_event fail_foreign(struct bsp_decoder *dec)
{
	return bsp_decoder_fail(
		dec, 0,
		"this is not a blksparse stream in the native format; its format may be raw or rbd-diff");
}

static enum bsp_stream_event parse_header(struct bsp_decoder *dec)
{
	const unsigned char *head = dec->head;
	const char *why;

	if (memcmp(head, magic, sizeof(magic)) != 0)
		return fail_foreign(dec);
	if (!checksum_matches(head, BSP_NATIVE_HEADER))
		return bsp_decoder_fail(dec, 0,
					"the checksum of its header is wrong");
	if (bsp_get_le32(head + 8) != BSP_NATIVE_VERSION)
		return bsp_decoder_fail(
			dec, 8,
			"its version is unknown; only version 1 is supported");
	dec->size = bsp_get_le64(head + 16);
	dec->start = bsp_get_le64(head + 24);
	dec->granule = bsp_get_le32(head + 32);
	why = check_header(dec);
	if (why)
		return bsp_decoder_fail(dec, 0, why);
	dec->sized = true;
	dec->pos = dec->start;
	dec->based = bsp_get_le32(head + 12) & BSP_NATIVE_INCREMENT;
	want_frame(dec);
	/* The base frame completes what the receiver must know. */
	return dec->based ? BSP_STREAM_WANT : BSP_STREAM_BEGIN;
}

/* A text is shorter than a header, at times: it is not a stream that broke. */
static enum bsp_stream_event parse_first_byte(struct bsp_decoder *dec)
{
	if (dec->head[0] != magic[0])
		return fail_foreign(dec);
	return bsp_decoder_want(dec, dec->head + 1, BSP_NATIVE_HEADER - 1,
				parse_header);
}

/* Returns the fault in the range of a frame of data or of a hole, or NULL. */
static const char *check_range(const struct bsp_decoder *dec, uint64_t off,
			       uint64_t len)
{
	if (off < dec->pos)
		return "a frame overlaps one before it";
	if (off > dec->pos)
		return "there is a gap before a frame";
	if (len == 0)
		return "a frame has no length";
	if (len > dec->size - off)
		return "a frame reaches past the size";
	if ((off + len) % dec->granule && off + len != dec->size)
		return "a frame does not end at a multiple of the granule";
	return NULL;
}

/* Returns the fault in the frame that names the base, or NULL. */
static const char *check_base(const struct bsp_decoder *dec, uint64_t off,
			      uint64_t len, uint32_t payload)
{
	if (dec->type != BSP_NATIVE_BASE)
		return "its first frame does not name its base";
	if (off || len > BSP_STREAM_SIZE_MAX ||
	    payload != BSP_NATIVE_BASE_PAYLOAD)
		return "the frame that names the base is wrong";
	return NULL;
}

/* Returns the fault in the range of a part of the base, or NULL. */
static const char *check_same(const struct bsp_decoder *dec, uint64_t off,
			      uint64_t len, uint32_t payload)
{
	uint64_t end = off + len;
	const char *why = check_range(dec, off, len);

	if (why)
		return why;
	if (!dec->based)
		return "a frame refers to a base, and there is none";
	if (payload != BSP_SHA256)
		return "the payload of a part of the base has the wrong size";
	if (end > dec->base.size)
		return "a part of the base reaches past its size";
	if (off % dec->base.chunk ||
	    (end % dec->base.chunk &&
	     (end != dec->size || end != dec->base.size)))
		return "a part of the base is not one of whole chunks";
	return NULL;
}

static uint32_t totals_size(const struct bsp_decoder *dec)
{
	return dec->based ? BSP_NATIVE_TOTALS_INCREMENT : BSP_NATIVE_TOTALS;
}

static const char *check_frame(const struct bsp_decoder *dec, uint64_t off,
			       uint64_t len, uint32_t payload)
{
	if (payload > BSP_NATIVE_PAYLOAD_MAX)
		return "a frame is larger than 1 MiB";
	if (dec->based && !dec->base.chunk)
		return check_base(dec, off, len, payload);
	switch (dec->type) {
	case BSP_NATIVE_DATA:
		if (payload != len)
			return "a frame of data has more or less data than its length";
		return check_range(dec, off, len);
	case BSP_NATIVE_HOLE:
		if (payload)
			return "a hole has data";
		return check_range(dec, off, len);
	case BSP_NATIVE_SAME:
		return check_same(dec, off, len, payload);
	case BSP_NATIVE_END:
		if (off != dec->pos || off != dec->size || len)
			return "the end frame comes before the end";
		if (payload != totals_size(dec))
			return "the payload of the end frame has the wrong size";
		return NULL;
	case BSP_NATIVE_BASE:
		return "a frame names a base, and is not the first";
	default:
		if (dec->type & BSP_NATIVE_CRITICAL)
			return "it needs a newer version of blksparse (a frame has an unknown type)";
		return NULL;
	}
}

static enum bsp_stream_event parse_totals(struct bsp_decoder *dec)
{
	if (bsp_get_le64(dec->buffer) != dec->data_bytes ||
	    bsp_get_le64(dec->buffer + 8) != dec->hole_bytes ||
	    bsp_get_le64(dec->buffer + 16) != dec->frames ||
	    (dec->based && bsp_get_le64(dec->buffer + 24) != dec->same_bytes))
		return bsp_decoder_fail(dec, dec->piece_at,
					"its totals do not match its frames");
	return bsp_decoder_emit_end(dec);
}

/* Takes the identity of the base. Returns false if it is of an unknown kind. */
static bool take_base(struct bsp_decoder *dec)
{
	uint64_t chunk = bsp_get_le32(dec->buffer);

	if (!bsp_digest_is_chunk(chunk) ||
	    bsp_get_le32(dec->buffer + 4) != BSP_DIGEST_KIND_SHA256)
		return false;
	dec->base.size = dec->frame_len;
	dec->base.chunk = (uint32_t)chunk;
	memcpy(dec->base.root, dec->buffer + 8, BSP_SHA256);
	return true;
}

static enum bsp_stream_event parse_payload(struct bsp_decoder *dec)
{
	size_t len = dec->want;

	if (bsp_native_checksum(dec->buffer, len) != dec->payload_checksum)
		return bsp_decoder_fail(dec, dec->piece_at,
					"the checksum of a payload is wrong");
	if (dec->type == BSP_NATIVE_END)
		return parse_totals(dec);
	if (dec->type == BSP_NATIVE_BASE && !take_base(dec))
		return bsp_decoder_fail(
			dec, dec->piece_at,
			"its base has an unknown kind of digest or chunk");
	dec->frames++;
	want_frame(dec);
	if (dec->type == BSP_NATIVE_DATA)
		return bsp_decoder_emit_data(dec, dec->buffer, len);
	if (dec->type == BSP_NATIVE_HOLE)
		return bsp_decoder_emit_hole(dec, dec->frame_len);
	if (dec->type == BSP_NATIVE_SAME)
		return bsp_decoder_emit_same(dec, dec->buffer, dec->frame_len);
	if (dec->type == BSP_NATIVE_BASE)
		return BSP_STREAM_BEGIN;
	return BSP_STREAM_WANT; /* an unknown frame that may be skipped */
}

static enum bsp_stream_event parse_frame(struct bsp_decoder *dec)
{
	const unsigned char *head = dec->head;
	uint32_t payload = bsp_get_le32(head + 4);
	const char *why;

	if (!checksum_matches(head, BSP_NATIVE_FRAME))
		return bsp_decoder_fail(
			dec, dec->part_at,
			"the checksum of a frame's header is wrong");
	dec->type = bsp_get_le32(head);
	dec->frame_len = bsp_get_le64(head + 16);
	dec->payload_checksum = bsp_get_le64(head + 24);
	why = check_frame(dec, bsp_get_le64(head + 8), dec->frame_len, payload);
	if (why)
		return bsp_decoder_fail(dec, dec->part_at, why);
	return bsp_decoder_want(dec, dec->buffer, payload, parse_payload);
}

void bsp_native_decoder_init(struct bsp_decoder *dec, void *buffer)
{
	bsp_decoder_init(dec, buffer);
	bsp_decoder_want(dec, dec->head, 1, parse_first_byte);
}

/* --- Encoding --- */

/* Writes the header of a frame for [off, off + len) of the device. */
static void put_frame(uint32_t type, uint64_t off, uint64_t len,
		      const void *payload, uint32_t payload_len,
		      unsigned char *head)
{
	bsp_put_le32(head, type);
	bsp_put_le32(head + 4, payload_len);
	bsp_put_le64(head + 8, off);
	bsp_put_le64(head + 16, len);
	bsp_put_le64(head + 24, bsp_native_checksum(payload, payload_len));
	bsp_put_le64(head + 32, bsp_native_checksum(head, 32));
}

/* Appends the frame that names the base. */
static void put_base(struct bsp_encoder *enc, struct bsp_piece *ret_piece)
{
	const struct bsp_digest_identity *base = enc->base;
	unsigned char *head = ret_piece->head + ret_piece->head_len;
	unsigned char *payload = head + BSP_NATIVE_FRAME;

	bsp_put_le32(payload, base->chunk);
	bsp_put_le32(payload + 4, BSP_DIGEST_KIND_SHA256);
	memcpy(payload + 8, base->root, BSP_SHA256);
	put_frame(BSP_NATIVE_BASE, 0, base->size, payload,
		  BSP_NATIVE_BASE_PAYLOAD, head);
	ret_piece->head_len += BSP_NATIVE_FRAME + BSP_NATIVE_BASE_PAYLOAD;
	enc->frames++;
}

static void native_begin(struct bsp_encoder *enc, struct bsp_piece *ret_piece)
{
	unsigned char *head = ret_piece->head;

	memcpy(head, magic, sizeof(magic));
	bsp_put_le32(head + 8, BSP_NATIVE_VERSION);
	bsp_put_le32(head + 12, enc->base ? BSP_NATIVE_INCREMENT : 0);
	bsp_put_le64(head + 16, enc->size);
	bsp_put_le64(head + 24, enc->start);
	bsp_put_le32(head + 32, enc->granule);
	bsp_put_le32(head + 36, BSP_NATIVE_SUM_XXH3);
	bsp_put_le64(head + 56, bsp_native_checksum(head, 56));
	ret_piece->head_len = BSP_NATIVE_HEADER;
	if (enc->base)
		put_base(enc, ret_piece);
}

static void native_data(struct bsp_encoder *enc, const void *buf, size_t len,
			struct bsp_piece *ret_piece)
{
	put_frame(BSP_NATIVE_DATA, enc->pos, len, buf, (uint32_t)len,
		  ret_piece->head);
	ret_piece->head_len = BSP_NATIVE_FRAME;
}

static void native_hole(struct bsp_encoder *enc, uint64_t len,
			struct bsp_piece *ret_piece)
{
	put_frame(BSP_NATIVE_HOLE, enc->pos, len, NULL, 0, ret_piece->head);
	ret_piece->head_len = BSP_NATIVE_FRAME;
}

static void native_same(struct bsp_encoder *enc, uint64_t len,
			const unsigned char *sum, struct bsp_piece *ret_piece)
{
	unsigned char *payload = ret_piece->head + BSP_NATIVE_FRAME;

	memcpy(payload, sum, BSP_SHA256);
	put_frame(BSP_NATIVE_SAME, enc->pos, len, payload, BSP_SHA256,
		  ret_piece->head);
	ret_piece->head_len = BSP_NATIVE_FRAME + BSP_SHA256;
}

static void native_end(struct bsp_encoder *enc, struct bsp_piece *ret_piece)
{
	unsigned char *totals = ret_piece->head + BSP_NATIVE_FRAME;
	uint32_t len =
		enc->base ? BSP_NATIVE_TOTALS_INCREMENT : BSP_NATIVE_TOTALS;

	bsp_put_le64(totals, enc->data_bytes);
	bsp_put_le64(totals + 8, enc->hole_bytes);
	bsp_put_le64(totals + 16, enc->frames);
	bsp_put_le64(totals + 24, enc->same_bytes);
	put_frame(BSP_NATIVE_END, enc->pos, 0, totals, len, ret_piece->head);
	ret_piece->head_len = BSP_NATIVE_FRAME + len;
}

const struct bsp_encoder_ops bsp_native_encoder = {
	.hole_max = UINT64_MAX,
	.begin = native_begin,
	.data = native_data,
	.hole = native_hole,
	.same = native_same,
	.end = native_end,
};
