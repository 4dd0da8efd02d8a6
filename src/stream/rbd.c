/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The format of Ceph's "rbd export-diff", version 1, as Ceph documents it
 * (doc/dev/rbd-diff.rst): a banner line, metadata records, data records, an
 * end record. There are no checksums; the decoder can only check that the
 * records are consistent.
 *
 * Ceph writes no record for the parts of an image that were never written, so
 * a gap between the records of a whole image is a hole. In a difference from a
 * snapshot (record 'f') a gap is unchanged data instead. Such a stream would
 * corrupt a target that does not hold that very snapshot, so it is refused.
 *
 * Records must ascend, as librbd writes them; otherwise the decoder could not
 * tell a hole from data that comes later. A data record may be of any length
 * and is emitted in pieces of the buffer's size.
 */
#include "stream/stream.h"

#include <string.h>

#include "base/le.h"
#include "base/range.h"

static const char banner[] = "rbd diff v1\n";

enum {
	BANNER = sizeof(banner) - 1,
	NAME_MAX_LEN = 4096, /* Ceph's own limit */
	EXTENT = 16,	     /* an offset, a length */
	/* "rbd import-diff" passes a record's length to librbd, which refuses
	 * to discard more than 31 bits can express. */
	HOLE_MAX = 1 << 30,
};

/* --- Decoding --- */

static enum bsp_stream_event parse_tag(struct bsp_decoder *dec);
static enum bsp_stream_event end_stream(struct bsp_decoder *dec);

static enum bsp_stream_event want_tag(struct bsp_decoder *dec)
{
	return bsp_decoder_want(dec, dec->head, 1, parse_tag);
}

static enum bsp_stream_event fail_record(struct bsp_decoder *dec,
					 const char *why)
{
	return bsp_decoder_fail(dec, dec->part_at, why);
}

static enum bsp_stream_event parse_name(struct bsp_decoder *dec)
{
	return want_tag(dec);
}

static enum bsp_stream_event parse_name_len(struct bsp_decoder *dec)
{
	uint32_t len = bsp_get_le32(dec->head);

	if (len > NAME_MAX_LEN)
		return fail_record(
			dec,
			"the name of a snapshot is longer than 4096 bytes");
	return bsp_decoder_want(dec, dec->buffer, len, parse_name);
}

static enum bsp_stream_event parse_size(struct bsp_decoder *dec)
{
	dec->size = bsp_get_le64(dec->head);
	if (dec->size > BSP_STREAM_SIZE_MAX)
		return fail_record(dec,
				   "its size is larger than a file can be");
	dec->sized = true;
	return want_tag(dec);
}

static enum bsp_stream_event parse_data(struct bsp_decoder *dec);

static enum bsp_stream_event want_data(struct bsp_decoder *dec)
{
	uint64_t len = bsp_min(dec->record_end - dec->pos, BSP_STREAM_BUFFER);

	if (len == 0)
		return want_tag(dec);
	return bsp_decoder_want(dec, dec->buffer, (size_t)len, parse_data);
}

static enum bsp_stream_event parse_data(struct bsp_decoder *dec)
{
	size_t len = dec->want;
	enum bsp_stream_event event =
		bsp_decoder_emit_data(dec, dec->buffer, len);

	want_data(dec);
	return event;
}

/* Returns the fault in the range of a record, or NULL; sets record_end. */
static const char *check_extent(struct bsp_decoder *dec, uint64_t off,
				uint64_t len)
{
	if (off < dec->pos)
		return "a record starts inside or before the one before it";
	if (len == 0)
		return "a record has no length";
	if (off > dec->size || len > dec->size - off)
		return "a record reaches past the size";
	dec->record_end = off + len;
	return NULL;
}

static enum bsp_stream_event parse_write(struct bsp_decoder *dec)
{
	uint64_t off = bsp_get_le64(dec->head);
	const char *why = check_extent(dec, off, bsp_get_le64(dec->head + 8));
	enum bsp_stream_event event = BSP_STREAM_WANT;

	if (why)
		return fail_record(dec, why);
	if (off > dec->pos)
		event = bsp_decoder_emit_hole(dec, off - dec->pos);
	want_data(dec);
	return event;
}

static enum bsp_stream_event parse_zero(struct bsp_decoder *dec)
{
	uint64_t off = bsp_get_le64(dec->head);
	const char *why = check_extent(dec, off, bsp_get_le64(dec->head + 8));

	if (why)
		return fail_record(dec, why);
	want_tag(dec);
	return bsp_decoder_emit_hole(dec, dec->record_end - dec->pos);
}

/* Parses the record whose tag is in head. */
static enum bsp_stream_event parse_record(struct bsp_decoder *dec)
{
	switch (dec->head[0]) {
	case 'w':
		return bsp_decoder_want(dec, dec->head, EXTENT, parse_write);
	case 'z':
		return bsp_decoder_want(dec, dec->head, EXTENT, parse_zero);
	default:
		return end_stream(dec);
	}
}

static enum bsp_stream_event end_stream(struct bsp_decoder *dec)
{
	bsp_decoder_want(dec, dec->head, 0, end_stream);
	if (dec->pos < dec->size)
		return bsp_decoder_emit_hole(dec, dec->size - dec->pos);
	return bsp_decoder_emit_end(dec);
}

static enum bsp_stream_event parse_metadata(struct bsp_decoder *dec)
{
	if (dec->begun)
		return fail_record(dec, "metadata comes after data");
	switch (dec->head[0]) {
	case 'f':
		return fail_record(
			dec,
			"it is the difference from a snapshot; export the whole image, without --from-snap");
	case 't':
		if (dec->seen_to)
			return fail_record(dec, "it names two snapshots");
		dec->seen_to = true;
		return bsp_decoder_want(dec, dec->head, 4, parse_name_len);
	default:
		if (dec->sized)
			return fail_record(dec, "it has two sizes");
		return bsp_decoder_want(dec, dec->head, 8, parse_size);
	}
}

static enum bsp_stream_event parse_tag(struct bsp_decoder *dec)
{
	dec->part_at = dec->piece_at;
	if (!dec->head[0] || !strchr("ftswze", dec->head[0]))
		return fail_record(dec, "a record has an unknown type");
	if (strchr("fts", dec->head[0]))
		return parse_metadata(dec);
	if (!dec->sized)
		return fail_record(dec, "data comes before the size");
	if (dec->begun)
		return parse_record(dec);
	dec->begun = true;
	/* The tag stays in head for the next step, which wants no byte. */
	dec->want = dec->have = 0;
	dec->state = parse_record;
	return BSP_STREAM_BEGIN;
}

static enum bsp_stream_event parse_banner(struct bsp_decoder *dec)
{
	if (memcmp(dec->head, banner, BANNER) != 0)
		return fail_record(dec, "this is not an rbd diff of version 1");
	return want_tag(dec);
}

void bsp_rbd_decoder_init(struct bsp_decoder *dec, void *buffer)
{
	bsp_decoder_init(dec, buffer);
	bsp_decoder_want(dec, dec->head, BANNER, parse_banner);
}

/* --- Encoding --- */

static void rbd_begin(struct bsp_encoder *enc, struct bsp_piece *ret_piece)
{
	unsigned char *head = ret_piece->head;

	memcpy(head, banner, BANNER);
	head += BANNER;
	if (enc->from_snap) {
		size_t len = strlen(enc->from_snap);

		head[0] = 'f';
		bsp_put_le32(head + 1, (uint32_t)len);
		memcpy(head + 5, enc->from_snap, len);
		head += 5 + len;
	}
	head[0] = 's';
	bsp_put_le64(head + 1, enc->size);
	head += 1 + 8;
	ret_piece->head_len = (size_t)(head - ret_piece->head);
}

static void put_record(const struct bsp_encoder *enc, char tag, uint64_t len,
		       struct bsp_piece *ret_piece)
{
	ret_piece->head[0] = (unsigned char)tag;
	bsp_put_le64(ret_piece->head + 1, enc->pos);
	bsp_put_le64(ret_piece->head + 9, len);
	ret_piece->head_len = 1 + EXTENT;
}

static void rbd_data(struct bsp_encoder *enc, const void *buf, size_t len,
		     struct bsp_piece *ret_piece)
{
	put_record(enc, 'w', len, ret_piece);
}

/* A new image would not need this record, but the target may be an old one. */
static void rbd_hole(struct bsp_encoder *enc, uint64_t len,
		     struct bsp_piece *ret_piece)
{
	put_record(enc, 'z', len, ret_piece);
}

/* The image has these bytes, from the snapshot. */
static void rbd_same(struct bsp_encoder *enc, uint64_t len,
		     const unsigned char *sum, struct bsp_piece *ret_piece)
{
}

static void rbd_end(struct bsp_encoder *enc, struct bsp_piece *ret_piece)
{
	ret_piece->head[0] = 'e';
	ret_piece->head_len = 1;
}

const struct bsp_encoder_ops bsp_rbd_encoder = {
	.hole_max = HOLE_MAX,
	.begin = rbd_begin,
	.data = rbd_data,
	.hole = rbd_hole,
	.same = rbd_same,
	.end = rbd_end,
};
