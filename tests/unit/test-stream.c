/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The decoders and encoders of all stream formats: example streams, every
 * truncation and every flipped bit of them, and streams with one wrong field.
 *
 * apply() checks for each event that it follows the previous one and stays
 * inside the size, and writes it to a target in memory.
 */
#include "unit.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "stream/digest.h"
#include "stream/format.h"
#include "stream/native.h"
#include "stream/stream.h"

/* --- Example streams --- */

struct bytes {
	unsigned char at[1 << 14];
	size_t len;
};

/* 8192 zeros and "hello", the example of blksparse-stream(5). */
static const char native_vector[] =
	/* clang-format off */
	"\x89\x42\x53\x50\x0d\x0a\x1a\x0a\x01\x00\x00\x00\x00\x00\x00\x00"
	"\x05\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	"\x00\x10\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	"\x00\x00\x00\x00\x00\x00\x00\x00\x5d\x6f\x95\x29\xbf\xfa\x9f\x1d"
	"\x02\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	"\x00\x20\x00\x00\x00\x00\x00\x00\xc2\x94\xd3\x38\x05\x80\x06\x2d"
	"\x0e\x14\x16\xff\x1d\xe2\x3b\xbf"
	"\x01\x00\x00\x80\x05\x00\x00\x00\x00\x20\x00\x00\x00\x00\x00\x00"
	"\x05\x00\x00\x00\x00\x00\x00\x00\xfd\xdc\x62\x5c\x55\xe8\x55\x95"
	"\x89\xb3\x5d\x6f\x93\x40\x5e\xff"
	"\x68\x65\x6c\x6c\x6f"
	"\x03\x00\x00\x80\x18\x00\x00\x00\x05\x20\x00\x00\x00\x00\x00\x00"
	"\x00\x00\x00\x00\x00\x00\x00\x00\x6a\x05\x95\xad\x55\x3d\x27\x25"
	"\x9b\x5a\xad\x66\x02\xd1\xf2\x91"
	"\x05\x00\x00\x00\x00\x00\x00\x00\x00\x20\x00\x00\x00\x00\x00\x00"
	"\x02\x00\x00\x00\x00\x00\x00\x00";
/* clang-format on */

/* The same as rbd export-diff would write it with the snapshot "now"; Ceph
 * leaves the hole out, blksparse says it. */
static const char rbd_vector[] = "rbd diff v1\n"
				 "t\3\0\0\0now"
				 "s\5\x20\0\0\0\0\0\0"
				 "w\0\x20\0\0\0\0\0\0\5\0\0\0\0\0\0\0hello"
				 "e";
static const char rbd_own_vector[] = "rbd diff v1\n"
				     "s\5\x20\0\0\0\0\0\0"
				     "z\0\0\0\0\0\0\0\0\0\x20\0\0\0\0\0\0"
				     "w\0\x20\0\0\0\0\0\0\5\0\0\0\0\0\0\0hello"
				     "e";

#define SIZE UINT64_C(8197)

static struct bytes bytes_of(const char *from, size_t len)
{
	struct bytes bytes = { .len = len };

	memcpy(bytes.at, from, len);
	return bytes;
}

#define VECTOR(name) bytes_of(name, sizeof(name) - 1)

/* --- A target --- */

enum { ROOM = 1 << 16 };

static unsigned char target[ROOM];
static unsigned char buffer[BSP_STREAM_BUFFER];
static struct bsp_decoder dec;

/* Checks that the event follows the previous one and lies inside the size. */
static void apply(uint64_t *pos, bool same)
{
	assert_int_equal(dec.off, *pos);
	assert_int_not_equal(dec.len, 0);
	if (dec.sized)
		assert_true(dec.len <= dec.size - dec.off);
	*pos += dec.len;
	if (*pos > ROOM)
		return;
	if (dec.based && dec.data != buffer)
		assert_null(dec.data);
	if (same)
		memset(target + dec.off, 0xbb, dec.len);
	else if (dec.data)
		memcpy(target + dec.off, dec.data, dec.len);
	else
		memset(target + dec.off, 0, dec.len);
}

/* Gives the decoder a buffer of just the size that it needs. */
static void exchange_buffer(unsigned char **kept)
{
	size_t len = bsp_decoder_in_buffer(&dec);
	unsigned char *fresh;

	if (!len)
		return;
	fresh = malloc(len);
	assert_non_null(fresh);
	bsp_decoder_set_buffer(&dec, fresh);
	free(*kept);
	*kept = fresh;
}

static bool exchanging; /* the buffer, before each byte that it gets */

/* Feeds the decoder, at most step bytes at once, until it ends or fails. */
static enum bsp_stream_event decode(const struct bytes *in, size_t step)
{
	enum bsp_stream_event event;
	unsigned char *kept = NULL;
	uint64_t pos = 0;
	size_t fed = 0;

	memset(target, 0xaa, sizeof(target));
	while ((event = bsp_decoder_step(&dec)) != BSP_STREAM_END &&
	       event != BSP_STREAM_BROKEN) {
		size_t len;

		if (event == BSP_STREAM_BEGIN)
			pos = dec.start;
		if (event == BSP_STREAM_DATA || event == BSP_STREAM_HOLE ||
		    event == BSP_STREAM_SAME)
			apply(&pos, event == BSP_STREAM_SAME);
		if (event != BSP_STREAM_WANT)
			continue;
		if (exchanging)
			exchange_buffer(&kept);
		void *space = bsp_decoder_space(&dec, &len);

		assert_true(len > 0 && len <= BSP_STREAM_BUFFER);
		len = len < step ? len : step;
		len = len < in->len - fed ? len : in->len - fed;
		memcpy(space, in->at + fed, len);
		bsp_decoder_fill(&dec, len);
		fed += len;
	}
	assert_int_equal(dec.at, fed);
	assert_int_equal(bsp_decoder_step(&dec), event);
	free(kept);
	if (event == BSP_STREAM_BROKEN) {
		assert_non_null(dec.why);
		assert_true(dec.broke_at <= in->len);
	} else {
		assert_int_equal(pos, dec.size);
	}
	return event;
}

static enum bsp_stream_event decode_native(const struct bytes *in)
{
	bsp_native_decoder_init(&dec, buffer);
	return decode(in, SIZE_MAX);
}

static enum bsp_stream_event decode_rbd(const struct bytes *in)
{
	bsp_rbd_decoder_init(&dec, buffer);
	return decode(in, SIZE_MAX);
}

static void assert_content(void)
{
	static const unsigned char zeros[8192];

	assert_int_equal(dec.size, SIZE);
	assert_int_equal(dec.data_bytes, 5);
	assert_int_equal(dec.hole_bytes, 8192);
	assert_memory_equal(target, zeros, sizeof(zeros));
	assert_memory_equal(target + 8192, "hello", 5);
	assert_int_equal(target[SIZE], 0xaa);
}

/* Checks that each byte of the target is untouched or the stream's. */
static void assert_only_good(void)
{
	for (size_t i = 0; i < 8192; i++)
		assert_true(target[i] == 0 || target[i] == 0xaa);
	if (target[8192] != 0xaa)
		assert_memory_equal(target + 8192, "hello", 5);
	for (size_t i = SIZE; i < ROOM; i++)
		assert_int_equal(target[i], 0xaa);
}

static void assert_breaks(const struct bytes *in, uint64_t at, const char *why)
{
	assert_int_equal(decode_native(in), BSP_STREAM_BROKEN);
	assert_non_null(strstr(dec.why, why));
	assert_int_equal(dec.broke_at, at);
}

static void assert_rbd_breaks(const struct bytes *in, uint64_t at,
			      const char *why)
{
	assert_int_equal(decode_rbd(in), BSP_STREAM_BROKEN);
	assert_non_null(strstr(dec.why, why));
	assert_int_equal(dec.broke_at, at);
}

/* Of a stream that ends after len bytes. */
static const char *why_cut(size_t len)
{
	return len ? "not complete" : "is empty";
}

/* --- The native format --- */

static void the_native_example_decodes_to_its_content(void **state)
{
	const struct bytes in = VECTOR(native_vector);

	for (size_t step = 1; step < 300; step += 7) {
		bsp_native_decoder_init(&dec, buffer);
		assert_int_equal(decode(&in, step), BSP_STREAM_END);
		assert_content();
	}
	assert_int_equal(dec.granule, 4096);
}

/* Appends the piece of an encoder and its data. */
static void put(struct bytes *out, const struct bsp_piece *piece,
		const void *data, size_t len)
{
	assert_true(out->len + piece->head_len + len + piece->zeros <=
		    sizeof(out->at));
	memcpy(out->at + out->len, piece->head, piece->head_len);
	out->len += piece->head_len;
	if (len)
		memcpy(out->at + out->len, data, len);
	out->len += len;
	memset(out->at + out->len, 0, piece->zeros);
	out->len += piece->zeros;
}

static struct bytes encode(const struct bsp_encoder_ops *ops)
{
	struct bsp_encoder enc = { .ops = ops, .size = SIZE, .granule = 4096 };
	struct bytes out = { .len = 0 };
	struct bsp_piece piece;

	bsp_encoder_begin(&enc, &piece);
	put(&out, &piece, NULL, 0);
	bsp_encoder_hole(&enc, 8192, &piece);
	put(&out, &piece, NULL, 0);
	bsp_encoder_data(&enc, "hello", 5, &piece);
	put(&out, &piece, "hello", 5);
	bsp_encoder_end(&enc, &piece);
	put(&out, &piece, NULL, 0);
	assert_int_equal(enc.pos, SIZE);
	return out;
}

static void encoders_write_the_example_streams(void **state)
{
	struct bytes out = encode(&bsp_native_encoder);

	assert_int_equal(out.len, sizeof(native_vector) - 1);
	assert_memory_equal(out.at, native_vector, out.len);
	out = encode(&bsp_rbd_encoder);
	assert_int_equal(out.len, sizeof(rbd_own_vector) - 1);
	assert_memory_equal(out.at, rbd_own_vector, out.len);
	out = encode(&bsp_raw_encoder);
	assert_int_equal(out.len, SIZE);
	assert_memory_equal(out.at + 8192, "hello", 5);
}

static void a_native_stream_cut_anywhere_is_refused(void **state)
{
	struct bytes in = VECTOR(native_vector);

	for (size_t len = 0; len < sizeof(native_vector) - 1; len++) {
		in.len = len;
		assert_breaks(&in, len, why_cut(len));
		assert_only_good();
	}
}

static void a_native_stream_with_any_flipped_bit_is_refused(void **state)
{
	struct bytes in = VECTOR(native_vector);

	for (size_t bit = 0; bit < in.len * 8; bit++) {
		in.at[bit / 8] ^= (unsigned char)(1 << bit % 8);
		assert_int_equal(decode_native(&in), BSP_STREAM_BROKEN);
		assert_only_good();
		in.at[bit / 8] ^= (unsigned char)(1 << bit % 8);
	}
	assert_int_equal(decode_native(&in), BSP_STREAM_END);
}

static void the_decoder_wants_no_byte_past_the_end(void **state)
{
	struct bytes in = VECTOR(native_vector);
	size_t end = in.len;

	in.len += 100;
	assert_int_equal(decode_native(&in), BSP_STREAM_END);
	assert_int_equal(dec.at, end);
}

/* A header with value at off, and the right checksum. */
static struct bytes header_with(size_t off, uint64_t value, size_t width)
{
	struct bytes out = VECTOR(native_vector);

	out.len = BSP_NATIVE_HEADER;
	for (size_t i = 0; i < width; i++)
		out.at[off + i] = (unsigned char)(value >> (8 * i));
	bsp_put_le64(out.at + 56, bsp_native_checksum(out.at, 56));
	return out;
}

static void invalid_headers_are_refused(void **state)
{
	static const struct {
		size_t off;
		uint64_t value;
		size_t width;
		uint64_t broke_at;
		const char *why;
	} cases[] = {
		{ 0, 'x', 1, 0, "not a blksparse stream" },
		{ 8, 2, 4, 8, "version" },
		{ 8, 0, 4, 8, "version" },
		{ 12, 0x20000, 4, 0, "newer version" },
		{ 12, 0x80000000, 4, 0, "newer version" },
		{ 16, UINT64_C(1) << 63, 8, 0, "size" },
		{ 16, UINT64_MAX, 8, 0, "size" },
		{ 24, 8198, 8, 0, "start" },
		{ 24, 100, 8, 0, "start" },
		{ 32, 0, 4, 0, "granule" },
		{ 32, 2048, 4, 0, "granule" },
		{ 32, 6000, 4, 0, "granule" },
		{ 32, 2 << 20, 4, 0, "granule" },
		{ 36, 0, 4, 0, "checksum" },
		{ 36, 2, 4, 0, "checksum" },
		{ 40, 1, 1, 0, "not zero" },
		{ 55, 1, 1, 0, "not zero" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct bytes in = header_with(cases[i].off, cases[i].value,
					      cases[i].width);

		assert_breaks(&in, cases[i].broke_at, cases[i].why);
	}
}

static void unknown_optional_flags_are_ignored(void **state)
{
	struct bytes in = header_with(12, 0xffff, 4);
	const struct bytes whole = VECTOR(native_vector);

	memcpy(in.at + in.len, whole.at + in.len, whole.len - in.len);
	in.len = whole.len;
	assert_int_equal(decode_native(&in), BSP_STREAM_END);
	assert_content();
}

/* Appends a frame whose checksums are right. */
static void put_frame(struct bytes *out, uint32_t type, uint64_t off,
		      uint64_t len, const void *payload, uint32_t payload_len)
{
	unsigned char *head = out->at + out->len;

	bsp_put_le32(head, type);
	bsp_put_le32(head + 4, payload_len);
	bsp_put_le64(head + 8, off);
	bsp_put_le64(head + 16, len);
	bsp_put_le64(head + 24, bsp_native_checksum(payload, payload_len));
	bsp_put_le64(head + 32, bsp_native_checksum(head, 32));
	out->len += BSP_NATIVE_FRAME;
	if (payload_len && out->len + payload_len <= sizeof(out->at)) {
		memcpy(out->at + out->len, payload, payload_len);
		out->len += payload_len;
	}
}

static void put_end(struct bytes *out, uint64_t off, uint64_t data,
		    uint64_t hole, uint64_t frames)
{
	unsigned char totals[BSP_NATIVE_TOTALS];

	bsp_put_le64(totals, data);
	bsp_put_le64(totals + 8, hole);
	bsp_put_le64(totals + 16, frames);
	put_frame(out, BSP_NATIVE_END, off, 0, totals, sizeof(totals));
}

static void invalid_frames_are_refused(void **state)
{
	static unsigned char zeros[(1 << 20) + 4096];
	static const struct {
		uint32_t type;
		uint64_t off;
		uint64_t len;
		uint32_t payload;
		const char *why;
	} cases[] = {
		{ BSP_NATIVE_DATA, 0, 4096, 4096, "before it" },
		{ BSP_NATIVE_DATA, 8192, 5, 5, "gap" },
		{ BSP_NATIVE_HOLE, 8192, 5, 0, "gap" },
		{ BSP_NATIVE_HOLE, UINT64_MAX, 5, 0, "gap" },
		{ BSP_NATIVE_HOLE, 0, 4096, 0, "before it" },
		{ BSP_NATIVE_HOLE, 4096, 0, 0, "no length" },
		{ BSP_NATIVE_DATA, 4096, 0, 0, "no length" },
		{ BSP_NATIVE_HOLE, 4096, 4102, 0, "past the size" },
		{ BSP_NATIVE_HOLE, 4096, UINT64_MAX, 0, "past the size" },
		{ BSP_NATIVE_HOLE, 4096, 100, 0, "granule" },
		{ BSP_NATIVE_DATA, 4096, 100, 100, "granule" },
		{ BSP_NATIVE_HOLE, 4096, 4096, 1, "a hole has data" },
		{ BSP_NATIVE_DATA, 4096, 4096, 100, "more or less data" },
		{ BSP_NATIVE_DATA, 4096, (1 << 20) + 4096, (1 << 20) + 4096,
		  "1 MiB" },
		{ 7, 4096, 0, (1 << 20) + 1, "1 MiB" },
		{ 7, 0, 0, UINT32_MAX, "1 MiB" },
		{ BSP_NATIVE_CRITICAL | 7, 4096, 0, 0, "newer version" },
		{ BSP_NATIVE_END, 4096, 0, BSP_NATIVE_TOTALS,
		  "before the end" },
		{ BSP_NATIVE_END, 8197, 0, BSP_NATIVE_TOTALS,
		  "before the end" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct bytes in = header_with(0, 0x89, 1);
		uint64_t at;

		put_frame(&in, BSP_NATIVE_HOLE, 0, 4096, NULL, 0);
		at = in.len;
		put_frame(&in, cases[i].type, cases[i].off, cases[i].len, zeros,
			  cases[i].payload == UINT32_MAX ? 0
							 : cases[i].payload);
		if (cases[i].payload == UINT32_MAX) {
			bsp_put_le32(in.at + at + 4, UINT32_MAX);
			bsp_put_le64(in.at + at + 32,
				     bsp_native_checksum(in.at + at, 32));
		}
		assert_breaks(&in, at, cases[i].why);
	}
}

static void wrong_totals_are_refused(void **state)
{
	static const uint64_t wrong[][3] = { { 6, 8192, 2 },
					     { 5, 8191, 2 },
					     { 5, 8192, 1 } };

	for (size_t i = 0; i < 3; i++) {
		struct bytes in = header_with(0, 0x89, 1);

		put_frame(&in, BSP_NATIVE_HOLE, 0, 8192, NULL, 0);
		put_frame(&in, BSP_NATIVE_DATA, 8192, 5, "hello", 5);
		put_end(&in, SIZE, wrong[i][0], wrong[i][1], wrong[i][2]);
		assert_breaks(&in, in.len - BSP_NATIVE_TOTALS, "totals");
	}
}

static void unknown_optional_frames_are_skipped(void **state)
{
	struct bytes in = header_with(0, 0x89, 1);

	put_frame(&in, 1, 77, 99, "note", 4);
	put_frame(&in, BSP_NATIVE_HOLE, 0, 8192, NULL, 0);
	put_frame(&in, 0x7fffffff, UINT64_MAX, UINT64_MAX, NULL, 0);
	put_frame(&in, BSP_NATIVE_DATA, 8192, 5, "hello", 5);
	put_end(&in, SIZE, 5, 8192, 4);
	assert_int_equal(decode_native(&in), BSP_STREAM_END);
	assert_content();
	/* But their checksums must match. */
	in.at[BSP_NATIVE_HEADER + BSP_NATIVE_FRAME] ^= 1;
	assert_breaks(&in, BSP_NATIVE_HEADER + BSP_NATIVE_FRAME, "payload");
}

static void a_native_stream_may_start_at_an_offset(void **state)
{
	struct bytes in = header_with(24, 8192, 8);

	put_frame(&in, BSP_NATIVE_DATA, 8192, 5, "hello", 5);
	put_end(&in, SIZE, 5, 0, 1);
	assert_int_equal(decode_native(&in), BSP_STREAM_END);
	assert_int_equal(dec.start, 8192);
	assert_int_equal(target[8191], 0xaa);

	/* Also at its end; then no data follows. */
	in = header_with(24, SIZE, 8);
	put_end(&in, SIZE, 0, 0, 0);
	assert_int_equal(decode_native(&in), BSP_STREAM_END);
}

/* --- rbd-diff --- */

/* --- Increments --- */

enum { C = 8192 }; /* the chunk of the base */

static const unsigned char sum[BSP_SHA256] = "the sum of a part of the base";

/* Of 5 chunks and 100 bytes, on a base of that size: a same part of 2 chunks,
 * data, a hole, data, and a same part to the end. */
static void encode_increment(struct bytes *out, uint64_t base_size)
{
	struct bsp_digest_identity base = { .size = base_size, .chunk = C };
	struct bsp_encoder enc = { .ops = &bsp_native_encoder,
				   .size = 5 * C + 100,
				   .granule = 4096,
				   .base = &base };
	unsigned char data[4096];
	struct bsp_piece piece;

	memset(data, 0xdd, sizeof(data));
	memset(base.root, 0x77, sizeof(base.root));
	out->len = 0;
	bsp_encoder_begin(&enc, &piece);
	put(out, &piece, NULL, 0);
	bsp_encoder_same(&enc, 2 * C, sum, &piece);
	put(out, &piece, NULL, 0);
	bsp_encoder_data(&enc, data, 4096, &piece);
	put(out, &piece, data, 4096);
	bsp_encoder_hole(&enc, 4096 + C, &piece);
	put(out, &piece, NULL, 0);
	bsp_encoder_same(&enc, C + 100, sum, &piece);
	put(out, &piece, NULL, 0);
	bsp_encoder_end(&enc, &piece);
	put(out, &piece, NULL, 0);
}

static void an_increment_names_its_base_and_leaves_it(void **state)
{
	struct bytes in;

	encode_increment(&in, 5 * C + 100);
	for (size_t step = 1; step < 300; step += 7) {
		bsp_native_decoder_init(&dec, buffer);
		assert_int_equal(decode(&in, step), BSP_STREAM_END);
	}
	assert_true(dec.based);
	assert_int_equal(dec.base.size, 5 * C + 100);
	assert_int_equal(dec.base.chunk, C);
	for (size_t i = 0; i < BSP_SHA256; i++)
		assert_int_equal(dec.base.root[i], 0x77);
	for (size_t i = 0; i < ROOM; i++)
		assert_int_equal(target[i], i < 2 * C	       ? 0xbb
					    : i < 2 * C + 4096 ? 0xdd
					    : i < 4 * C	       ? 0
					    : i < dec.size     ? 0xbb
							       : 0xaa);
	assert_int_equal(dec.same_bytes, 3 * C + 100);
}

static void an_increment_cut_or_flipped_anywhere_is_refused(void **state)
{
	struct bytes in;
	size_t whole;

	encode_increment(&in, 5 * C + 100);
	whole = in.len;
	for (in.len = 0; in.len < whole; in.len += in.len < 400 ? 1 : 97)
		assert_breaks(&in, in.len, why_cut(in.len));
	in.len = whole;
	for (size_t bit = 0; bit < whole * 8; bit += bit < 4000 ? 1 : 61) {
		in.at[bit / 8] ^= (unsigned char)(1 << bit % 8);
		assert_int_equal(decode_native(&in), BSP_STREAM_BROKEN);
		in.at[bit / 8] ^= (unsigned char)(1 << bit % 8);
	}
	assert_int_equal(decode_native(&in), BSP_STREAM_END);
}

/* Changes bytes at off, and mends the checksums of the frame at head. */
static void change(struct bytes *in, size_t head, size_t off, uint64_t value,
		   size_t width)
{
	size_t payload = bsp_get_le32(in->at + head + 4);

	for (size_t i = 0; i < width; i++)
		in->at[off + i] = (unsigned char)(value >> (8 * i));
	bsp_put_le64(in->at + head + 24,
		     bsp_native_checksum(in->at + head + 40, payload));
	bsp_put_le64(in->at + head + 32,
		     bsp_native_checksum(in->at + head, 32));
}

static void invalid_increments_are_refused(void **state)
{
	/* The base frame is at 64, the first same frame at 144. */
	static const struct {
		size_t head, off;
		uint64_t value;
		size_t width;
		uint64_t broke_at;
		const char *why;
	} cases[] = {
		{ 64, 64, BSP_NATIVE_HOLE, 4, 64, "does not name its base" },
		{ 64, 64, 1, 4, 64, "does not name its base" },
		{ 64, 72, 1, 8, 64, "names the base is wrong" },
		{ 64, 80, UINT64_C(1) << 63, 8, 64, "names the base is wrong" },
		{ 64, 104, 1000, 4, 104, "unknown kind" },
		{ 64, 108, 2, 4, 104, "unknown kind" },
		{ 64, 104, 1 << 16, 4, 144, "whole chunks" },
		{ 64, 80, C, 8, 144, "reaches past its size" },
		{ 144, 144, BSP_NATIVE_BASE, 4, 144, "not the first" },
		{ 144, 152, C, 8, 144, "gap" },
		{ 144, 160, 0, 8, 144, "no length" },
		{ 144, 160, C + 4096, 8, 144, "whole chunks" },
		{ 144, 160, 6 * C, 8, 144, "past the size" },
	};
	struct bytes in;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		encode_increment(&in, 5 * C + 100);
		change(&in, cases[i].head, cases[i].off, cases[i].value,
		       cases[i].width);
		assert_breaks(&in, cases[i].broke_at, cases[i].why);
	}
	/* The end of a base of another size is no end of a chunk. */
	encode_increment(&in, 5 * C + 101);
	assert_int_equal(decode_native(&in), BSP_STREAM_BROKEN);
	assert_non_null(strstr(dec.why, "whole chunks"));
	/* Without the flag there is no base. */
	encode_increment(&in, 5 * C + 100);
	memset(in.at + 12, 0, 4);
	bsp_put_le64(in.at + 56, bsp_native_checksum(in.at, 56));
	assert_breaks(&in, 64, "not the first");
}

static void the_rbd_examples_decode_to_their_content(void **state)
{
	const struct bytes ceph = VECTOR(rbd_vector);
	const struct bytes own = VECTOR(rbd_own_vector);

	for (size_t step = 1; step < 70; step += 3) {
		bsp_rbd_decoder_init(&dec, buffer);
		assert_int_equal(decode(&ceph, step), BSP_STREAM_END);
		assert_content();
		bsp_rbd_decoder_init(&dec, buffer);
		assert_int_equal(decode(&own, step), BSP_STREAM_END);
		assert_content();
	}
}

static void an_rbd_stream_cut_anywhere_is_refused(void **state)
{
	struct bytes in = VECTOR(rbd_vector);

	for (size_t len = 0; len < sizeof(rbd_vector) - 1; len++) {
		in.len = len;
		assert_rbd_breaks(&in, len, why_cut(len));
		assert_only_good();
	}
}

/* Without checksums a flipped bit may go unnoticed, but it must not make the
 * decoder leave the size; apply() checks that. */
static void rbd_data_stays_inside_the_size_after_any_flipped_bit(void **state)
{
	struct bytes in = VECTOR(rbd_vector);

	for (size_t bit = 0; bit < in.len * 8; bit++) {
		in.at[bit / 8] ^= (unsigned char)(1 << bit % 8);
		decode_rbd(&in);
		in.at[bit / 8] ^= (unsigned char)(1 << bit % 8);
	}
}

static void invalid_rbd_streams_are_refused(void **state)
{
#define BANNER "rbd diff v1\n"
#define S8K "s\0\x20\0\0\0\0\0\0"
#define Z4K "z\0\x10\0\0\0\0\0\0\0\x10\0\0\0\0\0\0"
	static const struct {
		const char *bytes;
		size_t len;
		uint64_t broke_at;
		const char *why;
	} cases[] = {
#define CASE(bytes, at, why) { bytes, sizeof(bytes) - 1, at, why }
		CASE("rbd diff v2\n" S8K "e", 0, "version 1"),
		CASE("rbd image v2", 0, "version 1"),
		CASE(BANNER "e", 12, "before the size"),
		CASE(BANNER Z4K, 12, "before the size"),
		CASE(BANNER S8K S8K "e", 21, "two sizes"),
		CASE(BANNER "f\1\0\0\0a" S8K "e", 12, "difference"),
		CASE(BANNER "t\1\0\0\0at\1\0\0\0a" S8K "e", 18,
		     "two snapshots"),
		CASE(BANNER "t\1\x10\0\0", 12, "4096"),
		CASE(BANNER "t\377\377\377\377", 12, "4096"),
		CASE(BANNER S8K "x", 21, "type"),
		CASE(BANNER S8K "\0", 21, "type"),
		CASE(BANNER S8K Z4K S8K, 38, "after data"),
		CASE(BANNER S8K Z4K Z4K, 38, "before it"),
		CASE(BANNER S8K Z4K "z\377\x1f\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 38,
		     "before it"),
		CASE(BANNER "s\0\0\0\0\0\0\0\x80"
			    "e",
		     12, "size"),
		CASE(BANNER S8K "z\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 21,
		     "no length"),
		CASE(BANNER S8K "z\0\0\0\0\0\0\0\0\1\x20\0\0\0\0\0\0", 21,
		     "past the size"),
		CASE(BANNER S8K "w\0\x30\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 21,
		     "past the size"),
		CASE(BANNER S8K
		     "w\1\0\0\0\0\0\0\0\377\377\377\377\377\377\377\377",
		     21, "past the size"),
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const struct bytes in = bytes_of(cases[i].bytes, cases[i].len);

		assert_rbd_breaks(&in, cases[i].broke_at, cases[i].why);
	}
}

static void an_rbd_record_may_exceed_the_buffer(void **state)
{
	static const char head[] = BANNER "s\0\0\x30\0\0\0\0\0"
					  "w\0\0\0\0\0\0\0\0\0\0\x30\0\0\0\0\0";
	const struct bytes in = VECTOR(head);
	enum bsp_stream_event event;
	unsigned pieces = 0;
	size_t fed = 0;

	bsp_rbd_decoder_init(&dec, buffer);
	while ((event = bsp_decoder_step(&dec)) != BSP_STREAM_END) {
		size_t len;
		unsigned char *space = bsp_decoder_space(&dec, &len);

		pieces += event == BSP_STREAM_DATA;
		if (event != BSP_STREAM_WANT)
			continue;
		if (fed < in.len)
			memcpy(space, in.at + fed, len);
		else
			memset(space, dec.pos == 3 << 20 ? 'e' : 'x', len);
		bsp_decoder_fill(&dec, len);
		fed += len;
	}
	assert_int_equal(pieces, 3);
	assert_int_equal(dec.data_bytes, 3 << 20);
}

/* --- raw --- */

static void the_raw_decoder_finds_zeros(void **state)
{
	struct bytes in = { .len = SIZE };

	memcpy(in.at + 8192, "hello", 5);
	bsp_raw_decoder_init(&dec, buffer);
	assert_int_equal(decode(&in, 1000), BSP_STREAM_END);
	assert_false(dec.sized);
	assert_content();

	in.len = 0;
	bsp_raw_decoder_init(&dec, buffer);
	assert_int_equal(decode(&in, 1), BSP_STREAM_END);
	assert_int_equal(dec.size, 0);
}

static void the_buffer_may_be_exchanged_before_any_byte(void **state)
{
	exchanging = true;
	the_native_example_decodes_to_its_content(state);
	a_native_stream_cut_anywhere_is_refused(state);
	unknown_optional_frames_are_skipped(state);
	the_rbd_examples_decode_to_their_content(state);
	the_raw_decoder_finds_zeros(state);
	exchanging = false;
}

/* --- The table of formats --- */

static void each_format_is_found_by_its_name(void **state)
{
	static const enum bsp_stream_format formats[] = {
		BSP_STREAM_FORMAT_NATIVE,
		BSP_STREAM_FORMAT_RBD_DIFF,
		BSP_STREAM_FORMAT_RAW,
	};

	for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++) {
		enum bsp_stream_format found;

		assert_true(bsp_stream_format_from_name(
			bsp_stream_format_info(formats[i])->name, &found,
			NULL));
		assert_int_equal(found, formats[i]);
	}
}

static void an_unknown_format_is_refused_with_the_list(void **state)
{
	enum bsp_stream_format format;
	g_autoptr(GError) error = NULL;

	assert_false(bsp_stream_format_from_name("Native", &format, &error));
	assert_true(g_error_matches(error, BSP_ERROR, BSP_ERROR_USAGE));
	assert_string_equal(
		error->message,
		"there is no stream format 'Native' (native, rbd-diff, raw)");
}

/* The instructions depend on the length and on the processor; the sums must
 * not. These come from a build for one without vectors. */
static void the_checksum_is_the_same_on_each_processor(void **state)
{
	static const struct {
		size_t len;
		uint64_t sum;
	} known[] = {
		{ 0, UINT64_C(0x2d06800538d394c2) },
		{ 16, UINT64_C(0x07a43928f768caea) },
		{ 128, UINT64_C(0xa56f71d8b1a7405b) },
		{ 240, UINT64_C(0xcdfc1eb62c9b7b95) },
		{ 241, UINT64_C(0xdd7bf7ced5c117f4) },
		{ 1024, UINT64_C(0xc57c72859e01cba9) },
		{ 4096, UINT64_C(0xa8d56d686b8e0222) },
		{ 65537, UINT64_C(0x1c35bd50ff604d05) },
		{ 1048576, UINT64_C(0xd3149a6b8c89cdf2) },
	};
	unsigned char *bytes = malloc((1 << 20) + 1);

	assert_non_null(bytes);
	for (size_t at = 0; at < 2; at++) {
		for (size_t i = 0; i < 1 << 20; i++)
			bytes[at + i] = (unsigned char)(i * i >> 7 ^ i);
		for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
			assert_int_equal(
				bsp_native_checksum(bytes + at, known[i].len),
				known[i].sum);
	}
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_native_example_decodes_to_its_content),
		cmocka_unit_test(encoders_write_the_example_streams),
		cmocka_unit_test(the_checksum_is_the_same_on_each_processor),
		cmocka_unit_test(a_native_stream_cut_anywhere_is_refused),
		cmocka_unit_test(
			a_native_stream_with_any_flipped_bit_is_refused),
		cmocka_unit_test(the_decoder_wants_no_byte_past_the_end),
		cmocka_unit_test(invalid_headers_are_refused),
		cmocka_unit_test(unknown_optional_flags_are_ignored),
		cmocka_unit_test(invalid_frames_are_refused),
		cmocka_unit_test(wrong_totals_are_refused),
		cmocka_unit_test(unknown_optional_frames_are_skipped),
		cmocka_unit_test(a_native_stream_may_start_at_an_offset),
		cmocka_unit_test(an_increment_names_its_base_and_leaves_it),
		cmocka_unit_test(
			an_increment_cut_or_flipped_anywhere_is_refused),
		cmocka_unit_test(invalid_increments_are_refused),
		cmocka_unit_test(the_rbd_examples_decode_to_their_content),
		cmocka_unit_test(an_rbd_stream_cut_anywhere_is_refused),
		cmocka_unit_test(
			rbd_data_stays_inside_the_size_after_any_flipped_bit),
		cmocka_unit_test(invalid_rbd_streams_are_refused),
		cmocka_unit_test(an_rbd_record_may_exceed_the_buffer),
		cmocka_unit_test(the_raw_decoder_finds_zeros),
		cmocka_unit_test(the_buffer_may_be_exchanged_before_any_byte),
		cmocka_unit_test(each_format_is_found_by_its_name),
		cmocka_unit_test(an_unknown_format_is_refused_with_the_list),
	};

	return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
