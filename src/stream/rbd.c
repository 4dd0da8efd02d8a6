/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The format of Ceph's "rbd export-diff", version 1, as its documentation has
 * it (doc/dev/rbd-diff.rst): a line, metadata, data, the end. It has no
 * checksums; all that can be asked of a stream is that it makes sense.
 *
 * Ceph leaves out what an image never had, so that what lies between the
 * records of a whole image is a hole. Of a difference from a snapshot ('f') it
 * would be what did not change, and a target that does not hold just that
 * snapshot would become neither the one nor the other: it is refused. Records
 * come in ascending order (librbd goes through an image from its start);
 * holes between them could not be told from data to come otherwise.
 *
 * A record of data has no limit: its bytes are given in pieces.
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
	/* "rbd import-diff" gives a record's length to librbd, which refuses
	 * to discard more than 31 bits can say. */
	HOLE_MAX = 1 << 30,
};

/* --- Decoding --- */

static enum bsp_stream_event take_tag(struct bsp_decoder *dec);
static enum bsp_stream_event end_stream(struct bsp_decoder *dec);

static enum bsp_stream_event ask_tag(struct bsp_decoder *dec)
{
	return bsp_decoder_ask(dec, dec->head, 1, take_tag);
}

static enum bsp_stream_event broken(struct bsp_decoder *dec, const char *why)
{
	return bsp_decoder_break(dec, dec->part_at, why);
}

static enum bsp_stream_event take_name(struct bsp_decoder *dec)
{
	return ask_tag(dec);
}

static enum bsp_stream_event take_name_len(struct bsp_decoder *dec)
{
	uint32_t len = bsp_get_le32(dec->head);

	if (len > NAME_MAX_LEN)
		return broken(
			dec,
			"the name of a snapshot is longer than 4096 bytes");
	return bsp_decoder_ask(dec, dec->buffer, len, take_name);
}

static enum bsp_stream_event take_size(struct bsp_decoder *dec)
{
	dec->size = bsp_get_le64(dec->head);
	if (dec->size > BSP_STREAM_SIZE_MAX)
		return broken(dec, "its size is past what there can be");
	dec->sized = true;
	return ask_tag(dec);
}

static enum bsp_stream_event take_data(struct bsp_decoder *dec);

static enum bsp_stream_event ask_data(struct bsp_decoder *dec)
{
	uint64_t len = bsp_min(dec->record_end - dec->pos, BSP_STREAM_BUFFER);

	if (len == 0)
		return ask_tag(dec);
	return bsp_decoder_ask(dec, dec->buffer, (size_t)len, take_data);
}

static enum bsp_stream_event take_data(struct bsp_decoder *dec)
{
	size_t len = dec->want;
	enum bsp_stream_event event =
		bsp_decoder_give_data(dec, dec->buffer, len);

	ask_data(dec);
	return event;
}

/* Where a record of data or zeros lies; sets record_end. */
static const char *check_extent(struct bsp_decoder *dec, uint64_t off,
				uint64_t len)
{
	if (off < dec->pos)
		return "a record is about what lies before the one before it";
	if (len == 0)
		return "a record is about nothing";
	if (off > dec->size || len > dec->size - off)
		return "a record reaches past the size";
	dec->record_end = off + len;
	return NULL;
}

static enum bsp_stream_event take_write(struct bsp_decoder *dec)
{
	uint64_t off = bsp_get_le64(dec->head);
	const char *why = check_extent(dec, off, bsp_get_le64(dec->head + 8));
	enum bsp_stream_event event = BSP_STREAM_WANT;

	if (why)
		return broken(dec, why);
	if (off > dec->pos)
		event = bsp_decoder_give_hole(dec, off - dec->pos);
	ask_data(dec);
	return event;
}

static enum bsp_stream_event take_zero(struct bsp_decoder *dec)
{
	uint64_t off = bsp_get_le64(dec->head);
	const char *why = check_extent(dec, off, bsp_get_le64(dec->head + 8));

	if (why)
		return broken(dec, why);
	ask_tag(dec);
	return bsp_decoder_give_hole(dec, dec->record_end - dec->pos);
}

/* The first tag that is not metadata: the stream begins, and what the tag
 * stands for comes in the next step. */
static enum bsp_stream_event take_record(struct bsp_decoder *dec)
{
	switch (dec->head[0]) {
	case 'w':
		return bsp_decoder_ask(dec, dec->head, EXTENT, take_write);
	case 'z':
		return bsp_decoder_ask(dec, dec->head, EXTENT, take_zero);
	default:
		return end_stream(dec);
	}
}

static enum bsp_stream_event end_stream(struct bsp_decoder *dec)
{
	bsp_decoder_ask(dec, dec->head, 0, end_stream);
	if (dec->pos < dec->size)
		return bsp_decoder_give_hole(dec, dec->size - dec->pos);
	return bsp_decoder_give_end(dec);
}

static enum bsp_stream_event take_metadata(struct bsp_decoder *dec)
{
	if (dec->begun)
		return broken(dec, "metadata comes after data");
	switch (dec->head[0]) {
	case 'f':
		return broken(
			dec,
			"it is the difference from a snapshot; export the whole image, without --from-snap");
	case 't':
		if (dec->seen_to)
			return broken(dec, "it names a snapshot twice");
		dec->seen_to = true;
		return bsp_decoder_ask(dec, dec->head, 4, take_name_len);
	default:
		if (dec->sized)
			return broken(dec, "it has a size twice");
		return bsp_decoder_ask(dec, dec->head, 8, take_size);
	}
}

static enum bsp_stream_event take_tag(struct bsp_decoder *dec)
{
	dec->part_at = dec->piece_at;
	if (!dec->head[0] || !strchr("ftswze", dec->head[0]))
		return broken(dec, "a record has a type that there is not");
	if (strchr("fts", dec->head[0]))
		return take_metadata(dec);
	if (!dec->sized)
		return broken(dec, "data comes before the size");
	if (dec->begun)
		return take_record(dec);
	dec->begun = true;
	/* The tag is kept in head; no byte is wanted for it. */
	dec->want = dec->have = 0;
	dec->state = take_record;
	return BSP_STREAM_BEGIN;
}

static enum bsp_stream_event take_banner(struct bsp_decoder *dec)
{
	if (memcmp(dec->head, banner, BANNER) != 0)
		return broken(dec, "this is not an rbd diff of version 1");
	return ask_tag(dec);
}

void bsp_rbd_decoder_init(struct bsp_decoder *dec, void *buffer)
{
	bsp_decoder_init(dec, buffer);
	bsp_decoder_ask(dec, dec->head, BANNER, take_banner);
}

/* --- Encoding --- */

static void rbd_begin(struct bsp_encoder *enc, struct bsp_piece *ret_piece)
{
	unsigned char *head = ret_piece->head;

	memcpy(head, banner, BANNER);
	head[BANNER] = 's';
	bsp_put_le64(head + BANNER + 1, enc->size);
	ret_piece->head_len = BANNER + 1 + 8;
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

/* Said, although a new image has no need of it: the image may be an old one. */
static void rbd_hole(struct bsp_encoder *enc, uint64_t len,
		     struct bsp_piece *ret_piece)
{
	put_record(enc, 'z', len, ret_piece);
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
	.end = rbd_end,
};
