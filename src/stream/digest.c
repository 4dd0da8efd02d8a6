/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream/digest.h"

#include <errno.h>
#include <string.h>

#include "base/le.h"
#include "base/range.h"
#include "base/zero.h"
#include "stream/native.h"

static const unsigned char magic[8] = { 0x89, 'B',  'S',  'D',
					'\r', '\n', 0x1a, '\n' };

bool bsp_digest_same(const struct bsp_digest_identity *a,
		     const struct bsp_digest_identity *b)
{
	return a->size == b->size && a->chunk == b->chunk &&
	       memcmp(a->root, b->root, BSP_SHA256) == 0;
}

/* How many chunks of that size len bytes take. */
static uint64_t chunks_in(uint64_t len, uint32_t chunk)
{
	return len / chunk + (len % chunk != 0);
}

void bsp_sum_add(struct bsp_sha256 *sum, uint64_t off,
		 const unsigned char *digest)
{
	unsigned char bytes[8 + BSP_SHA256];

	bsp_put_le64(bytes, off);
	memcpy(bytes + 8, digest, BSP_SHA256);
	bsp_sha256_add(sum, bytes, sizeof(bytes));
}

/* --- Decoding --- */

static enum bsp_stream_event parse_record(struct bsp_decoder *dec);

static struct bsp_digest_decoder *digests_of(struct bsp_decoder *dec)
{
	return (struct bsp_digest_decoder *)dec;
}

static enum bsp_stream_event want_record(struct bsp_decoder *dec)
{
	dec->part_at = dec->at;
	return bsp_decoder_want(dec, dec->head, BSP_DIGEST_RECORD,
				parse_record);
}

static bool checksum_matches(const unsigned char *head, size_t len)
{
	return bsp_get_le64(head + len - 8) ==
	       bsp_native_checksum(head, len - 8);
}

/* Returns the fault in the fields of the header, or NULL. */
static const char *check_header(const struct bsp_decoder *dec)
{
	static const unsigned char zeros[24];

	if (bsp_get_le32(dec->head + 12))
		return "it needs a newer version of blksparse (it has an unknown flag)";
	if (bsp_get_le32(dec->head + 28) != BSP_DIGEST_KIND_SHA256)
		return "its kind of digest is unknown";
	if (memcmp(dec->head + 32, zeros, sizeof(zeros)) != 0)
		return "reserved bytes of its header are not zero";
	if (dec->size > BSP_STREAM_SIZE_MAX)
		return "its size is larger than a file can be";
	if (!bsp_digest_is_chunk(dec->granule))
		return "its chunk is not a power of two from 4K to 1M";
	return NULL;
}

static enum bsp_stream_event parse_header(struct bsp_decoder *dec)
{
	struct bsp_digest_decoder *digests = digests_of(dec);
	const char *why;

	if (memcmp(dec->head, magic, sizeof(magic)) != 0)
		return bsp_decoder_fail(dec, 0,
					"this is not a digest of blksparse");
	if (!checksum_matches(dec->head, BSP_DIGEST_HEADER))
		return bsp_decoder_fail(dec, 0,
					"the checksum of its header is wrong");
	if (bsp_get_le32(dec->head + 8) != BSP_DIGEST_VERSION)
		return bsp_decoder_fail(
			dec, 8,
			"its version is unknown; only version 1 is supported");
	dec->size = bsp_get_le64(dec->head + 16);
	dec->granule = bsp_get_le32(dec->head + 24);
	why = check_header(dec);
	if (why)
		return bsp_decoder_fail(dec, 0, why);
	dec->sized = true;
	digests->identity.size = dec->size;
	digests->identity.chunk = dec->granule;
	bsp_sha256_add(digests->sum, dec->head, BSP_DIGEST_HEADER);
	want_record(dec);
	return BSP_STREAM_BEGIN;
}

static const char *check_range(const struct bsp_decoder *dec, uint64_t off,
			       uint64_t len)
{
	if (off != dec->pos)
		return "a record does not begin where the one before it ended";
	if (len == 0)
		return "a record has no length";
	if (len > dec->size - off)
		return "a record reaches past the size";
	if ((off + len) % dec->granule && off + len != dec->size)
		return "a record does not end at a multiple of the chunk";
	return NULL;
}

/* One content has one file: see digest.h. */
static const char *check_order(const struct bsp_digest_decoder *digests,
			       uint32_t type)
{
	if (type == digests->last_type && type == BSP_DIGEST_ZEROS)
		return "a record of zeros follows another one";
	if (type == digests->last_type && !digests->last_full)
		return "a record of digests follows one that is not full";
	return NULL;
}

static const char *check_chunks(const struct bsp_decoder *dec, uint64_t len,
				uint32_t payload)
{
	uint64_t n = chunks_in(len, dec->granule);

	if (n > BSP_DIGEST_MOST)
		return "a record has more than 4096 digests";
	if (payload != n * BSP_SHA256)
		return "a record has more or fewer digests than chunks";
	return NULL;
}

static const char *check_record(const struct bsp_decoder *dec, uint64_t off,
				uint64_t len, uint32_t payload)
{
	const char *why;

	if (dec->type == BSP_DIGEST_END) {
		if (off != dec->pos || off != dec->size || len)
			return "the end record comes before the end";
		return payload == BSP_SHA256
			       ? NULL
			       : "the payload of the end record has the wrong size";
	}
	if (dec->type != BSP_DIGEST_CHUNKS && dec->type != BSP_DIGEST_ZEROS)
		return "a record has an unknown type";
	why = check_range(dec, off, len);
	if (!why)
		why = check_order((const struct bsp_digest_decoder *)dec,
				  dec->type);
	if (!why && dec->type == BSP_DIGEST_CHUNKS)
		return check_chunks(dec, len, payload);
	return !why && payload ? "a record of zeros has a payload" : why;
}

/* Whether one of the digests in the buffer is that of zeros. */
static bool has_zeros(const struct bsp_decoder *dec)
{
	uint64_t last = (dec->frame_len - 1) % dec->granule + 1;
	unsigned char zeros[BSP_SHA256];
	size_t i, n = dec->want / BSP_SHA256;

	bsp_sha256(bsp_zeros, dec->granule, zeros);
	for (i = 0; i + 1 < n; i++) {
		if (memcmp(dec->buffer + i * BSP_SHA256, zeros, BSP_SHA256) ==
		    0)
			return true;
	}
	/* The last chunk may be short. */
	bsp_sha256(bsp_zeros, (size_t)last, zeros);
	return memcmp(dec->buffer + i * BSP_SHA256, zeros, BSP_SHA256) == 0;
}

static enum bsp_stream_event parse_end(struct bsp_decoder *dec)
{
	struct bsp_digest_decoder *digests = digests_of(dec);

	bsp_sha256_end(digests->sum, digests->identity.root);
	if (memcmp(digests->identity.root, dec->buffer, BSP_SHA256) != 0)
		return bsp_decoder_fail(dec, dec->piece_at,
					"the digest of the whole is wrong");
	return bsp_decoder_emit_end(dec);
}

static enum bsp_stream_event parse_payload(struct bsp_decoder *dec)
{
	struct bsp_digest_decoder *digests = digests_of(dec);
	size_t len = dec->want;

	if (bsp_native_checksum(dec->buffer, len) != dec->payload_checksum)
		return bsp_decoder_fail(dec, dec->piece_at,
					"the checksum of a record is wrong");
	if (dec->type == BSP_DIGEST_END)
		return parse_end(dec);
	if (dec->type == BSP_DIGEST_CHUNKS && has_zeros(dec))
		return bsp_decoder_fail(dec, dec->piece_at,
					"a digest is that of zeros");
	bsp_sha256_add(digests->sum, dec->head, BSP_DIGEST_RECORD);
	bsp_sha256_add(digests->sum, dec->buffer, len);
	digests->last_type = dec->type;
	digests->last_full = len == BSP_DIGEST_FULL;
	want_record(dec);
	if (dec->type == BSP_DIGEST_ZEROS)
		return bsp_decoder_emit_hole(dec, dec->frame_len);
	return bsp_decoder_emit_data(dec, dec->buffer, dec->frame_len);
}

static enum bsp_stream_event parse_record(struct bsp_decoder *dec)
{
	uint32_t payload = bsp_get_le32(dec->head + 4);
	const char *why;

	if (!checksum_matches(dec->head, BSP_DIGEST_RECORD))
		return bsp_decoder_fail(
			dec, dec->part_at,
			"the checksum of a record's header is wrong");
	dec->type = bsp_get_le32(dec->head);
	dec->frame_len = bsp_get_le64(dec->head + 16);
	dec->payload_checksum = bsp_get_le64(dec->head + 24);
	why = check_record(dec, bsp_get_le64(dec->head + 8), dec->frame_len,
			   payload);
	if (why)
		return bsp_decoder_fail(dec, dec->part_at, why);
	return bsp_decoder_want(dec, dec->buffer, payload, parse_payload);
}

bool bsp_digest_decoder_init(struct bsp_digest_decoder *digests, void *buffer)
{
	memset(digests, 0, sizeof(*digests));
	bsp_decoder_init(&digests->dec, buffer);
	bsp_decoder_want(&digests->dec, digests->dec.head, BSP_DIGEST_HEADER,
			 parse_header);
	digests->sum = bsp_sha256_new();
	return digests->sum;
}

void bsp_digest_decoder_clear(struct bsp_digest_decoder *digests)
{
	bsp_sha256_free(digests->sum);
	digests->sum = NULL;
}

/* --- Encoding --- */

static int put(struct bsp_digest_encoder *enc, const void *buf, size_t len)
{
	bsp_sha256_add(enc->sum, buf, len);
	return enc->write(enc->data, buf, len);
}

int bsp_digest_encoder_begin(struct bsp_digest_encoder *enc, uint64_t size,
			     uint32_t chunk, bsp_write_fn write, void *data)
{
	unsigned char head[BSP_DIGEST_HEADER] = { 0 };

	enc->size = size;
	enc->chunk = chunk;
	enc->pos = enc->start = enc->data_bytes = 0;
	enc->type = 0;
	enc->len = 0;
	enc->write = write;
	enc->data = data;
	enc->sum = bsp_sha256_new();
	if (!enc->sum)
		return -ENOMEM;
	memcpy(head, magic, sizeof(magic));
	bsp_put_le32(head + 8, BSP_DIGEST_VERSION);
	bsp_put_le64(head + 16, size);
	bsp_put_le32(head + 24, chunk);
	bsp_put_le32(head + 28, BSP_DIGEST_KIND_SHA256);
	bsp_put_le64(head + 56, bsp_native_checksum(head, 56));
	return put(enc, head, sizeof(head));
}

/* Completes the header of the record that holds [start, pos) and len bytes. */
static void seal(struct bsp_digest_encoder *enc)
{
	unsigned char *head = enc->record;

	bsp_put_le32(head, enc->type);
	bsp_put_le32(head + 4, (uint32_t)enc->len);
	bsp_put_le64(head + 8, enc->start);
	bsp_put_le64(head + 16, enc->pos - enc->start);
	bsp_put_le64(head + 24,
		     bsp_native_checksum(head + BSP_DIGEST_RECORD, enc->len));
	bsp_put_le64(head + 32, bsp_native_checksum(head, 32));
}

/* Begins a record of that type, or goes on with the present one. */
static int enter(struct bsp_digest_encoder *enc, uint32_t type)
{
	int r = 0;

	if (enc->type == type && enc->len < BSP_DIGEST_FULL)
		return 0;
	if (enc->type) {
		seal(enc);
		r = put(enc, enc->record, BSP_DIGEST_RECORD + enc->len);
	}
	enc->type = type;
	enc->start = enc->pos;
	enc->len = 0;
	return r;
}

int bsp_digest_encoder_add(struct bsp_digest_encoder *enc,
			   const unsigned char *digest)
{
	uint64_t len = bsp_range_clamp(enc->pos, enc->chunk, enc->size);
	int r = enter(enc, BSP_DIGEST_CHUNKS);

	memcpy(enc->record + BSP_DIGEST_RECORD + enc->len, digest, BSP_SHA256);
	enc->len += BSP_SHA256;
	enc->pos += len;
	enc->data_bytes += len;
	return r;
}

int bsp_digest_encoder_zeros(struct bsp_digest_encoder *enc, uint64_t len)
{
	int r = len ? enter(enc, BSP_DIGEST_ZEROS) : 0;

	enc->pos += len;
	return r;
}

int bsp_digest_encoder_end(struct bsp_digest_encoder *enc,
			   struct bsp_digest_identity *ret_identity)
{
	int r = enter(enc, BSP_DIGEST_END);

	bsp_sha256_end(enc->sum, enc->record + BSP_DIGEST_RECORD);
	enc->len = BSP_SHA256;
	ret_identity->size = enc->size;
	ret_identity->chunk = enc->chunk;
	memcpy(ret_identity->root, enc->record + BSP_DIGEST_RECORD, BSP_SHA256);
	seal(enc);
	return r ? r
		 : enc->write(enc->data, enc->record,
			      BSP_DIGEST_RECORD + BSP_SHA256);
}

void bsp_digest_encoder_clear(struct bsp_digest_encoder *enc)
{
	bsp_sha256_free(enc->sum);
	enc->sum = NULL;
}
