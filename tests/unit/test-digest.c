/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Digest files: the example of blksparse-digest(5), round trips, every
 * truncation and every flipped bit, and records that the encoder would not
 * write.
 */
#include "unit.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "base/zero.h"
#include "stream/digest.h"
#include "stream/native.h"

enum { CHUNK = 1 << 16, ROOM = 1 << 19 };

/* 131072 zeros and "hello", the example of the page. */
static const char example[] =
	/* clang-format off */
	"\x89\x42\x53\x44\x0d\x0a\x1a\x0a\x01\x00\x00\x00\x00\x00\x00\x00"
	"\x05\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01\x00\x00\x00"
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	"\x00\x00\x00\x00\x00\x00\x00\x00\x86\xdc\xc3\x6a\x05\x6d\x20\xb3"
	"\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	"\x00\x00\x02\x00\x00\x00\x00\x00\xc2\x94\xd3\x38\x05\x80\x06\x2d"
	"\x48\xef\x72\xdc\x95\x22\x71\x59\x01\x00\x00\x00\x20\x00\x00\x00"
	"\x00\x00\x02\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00"
	"\xec\x05\xf6\x55\xe5\xbb\xe1\xec\xfc\x20\x53\x92\x25\xd6\x9e\xa9"
	"\x2c\xf2\x4d\xba\x5f\xb0\xa3\x0e\x26\xe8\x3b\x2a\xc5\xb9\xe2\x9e"
	"\x1b\x16\x1e\x5c\x1f\xa7\x42\x5e\x73\x04\x33\x62\x93\x8b\x98\x24"
	"\x03\x00\x00\x00\x20\x00\x00\x00\x05\x00\x02\x00\x00\x00\x00\x00"
	"\x00\x00\x00\x00\x00\x00\x00\x00\xae\xff\x8d\xb9\x38\xce\xd3\xa7"
	"\x52\x49\x60\x51\xb9\x74\xe7\xf3\x76\x99\x49\x5f\x56\x30\xfa\x8c"
	"\xf0\x4d\x79\x52\xb4\xd5\x55\x5f\x46\x86\x26\xdc\xa7\x88\xcb\x5b"
	"\x19\x40\x0a\x46\x9f\x0e\xf6\x35";
/* clang-format on */

struct bytes {
	size_t len;
	unsigned char at[ROOM];
};

/* --- Encoding --- */

/* A bsp_write_fn. */
static int append(void *data, const void *buf, size_t len)
{
	struct bytes *out = data;

	assert_true(len <= ROOM - out->len);
	if (len) /* buf may be NULL */
		memcpy(out->at + out->len, buf, len);
	out->len += len;
	return 0;
}

/* The digest of a chunk that stands for its number. */
static void digest_of(uint64_t number, unsigned char *digest)
{
	bsp_sha256(&number, sizeof(number), digest);
}

/*
 * Encodes a device by a picture of its chunks: '.' are zeros, anything else is
 * data. The last chunk has `last` bytes.
 */
static struct bsp_digest_identity encode(struct bytes *out, const char *picture,
					 uint32_t last)
{
	static struct bsp_digest_encoder enc;
	struct bsp_digest_identity identity;
	uint64_t n = strlen(picture);
	uint64_t size = n ? (n - 1) * CHUNK + last : 0;
	unsigned char digest[BSP_SHA256];

	out->len = 0;
	assert_int_equal(
		bsp_digest_encoder_begin(&enc, size, CHUNK, append, out), 0);
	for (uint64_t i = 0; i < n; i++) {
		digest_of(i, digest);
		assert_int_equal(
			picture[i] == '.'
				? bsp_digest_encoder_zeros(
					  &enc, i + 1 < n ? CHUNK : last)
				: bsp_digest_encoder_add(&enc, digest),
			0);
	}
	assert_int_equal(enc.pos, size);
	assert_int_equal(bsp_digest_encoder_end(&enc, &identity), 0);
	bsp_digest_encoder_clear(&enc);
	return identity;
}

/* --- Decoding --- */

static unsigned char buffer[BSP_STREAM_BUFFER];
static struct bsp_digest_decoder digests;
static char decoded[ROOM]; /* a picture */

static void take(uint64_t pos, enum bsp_stream_event event)
{
	const struct bsp_decoder *dec = &digests.dec;
	uint64_t chunk = dec->granule, end = dec->off + dec->len;
	const unsigned char *at = dec->data;
	unsigned char digest[BSP_SHA256];

	assert_int_equal(dec->off, pos);
	assert_true(dec->len > 0 && dec->len <= dec->size - dec->off);
	assert_true(end % chunk == 0 || end == dec->size);
	assert_int_equal(event == BSP_STREAM_DATA, at != NULL);
	for (uint64_t i = pos / chunk; i * chunk < end && i < ROOM; i++) {
		decoded[i] = at ? 'x' : '.';
		digest_of(i, digest);
		if (at) {
			assert_memory_equal(at, digest, BSP_SHA256);
			at += BSP_SHA256;
		}
	}
}

/* Feeds the decoder, at most step bytes at once, until it ends or fails. */
static enum bsp_stream_event decode_by(const struct bytes *in, size_t step)
{
	struct bsp_decoder *dec = &digests.dec;
	enum bsp_stream_event event;
	uint64_t pos = 0;
	size_t fed = 0;

	memset(decoded, 0, sizeof(decoded));
	assert_true(bsp_digest_decoder_init(&digests, buffer));
	while ((event = bsp_decoder_step(dec)) != BSP_STREAM_END &&
	       event != BSP_STREAM_BROKEN) {
		size_t len;
		void *space;

		if (event == BSP_STREAM_DATA || event == BSP_STREAM_HOLE) {
			take(pos, event);
			pos += dec->len;
		}
		if (event != BSP_STREAM_WANT)
			continue;
		space = bsp_decoder_space(dec, &len);
		len = len < step ? len : step;
		len = len < in->len - fed ? len : in->len - fed;
		memcpy(space, in->at + fed, len);
		bsp_decoder_fill(dec, len);
		fed += len;
	}
	assert_int_equal(dec->at, fed);
	if (event == BSP_STREAM_END)
		assert_int_equal(pos, dec->size);
	else
		assert_true(dec->why && dec->broke_at <= in->len);
	bsp_digest_decoder_clear(&digests);
	return event;
}

static enum bsp_stream_event decode(const struct bytes *in)
{
	return decode_by(in, SIZE_MAX);
}

static void assert_breaks(const struct bytes *in, const char *why)
{
	assert_int_equal(decode(in), BSP_STREAM_BROKEN);
	if (!strstr(digests.dec.why, why))
		fail_msg("'%s' instead of '%s'", digests.dec.why, why);
}

/* --- Tests --- */

static struct bytes file;

static void a_digest_is_sha256(void **state)
{
	static const unsigned char want[] = {
		0x2c, 0xf2, 0x4d, 0xba, 0x5f, 0xb0, 0xa3, 0x0e,
		0x26, 0xe8, 0x3b, 0x2a, 0xc5, 0xb9, 0xe2, 0x9e,
		0x1b, 0x16, 0x1e, 0x5c, 0x1f, 0xa7, 0x42, 0x5e,
		0x73, 0x04, 0x33, 0x62, 0x93, 0x8b, 0x98, 0x24,
	};
	unsigned char digest[BSP_SHA256];
	struct bsp_sha256 *sum = bsp_sha256_new();

	bsp_sha256("hello", 5, digest);
	assert_memory_equal(digest, want, sizeof(want));
	for (int i = 0; i < 2; i++) {
		bsp_sha256_add(sum, "h", 1);
		bsp_sha256_add(sum, "ello", 4);
		bsp_sha256_end(sum, digest);
		assert_memory_equal(digest, want, sizeof(want));
	}
	bsp_sha256_free(sum);
	bsp_sha256_free(NULL);
}

static void the_example_is_encoded_and_decoded(void **state)
{
	static struct bsp_digest_encoder enc;
	struct bsp_digest_identity identity;
	unsigned char digest[BSP_SHA256];

	file.len = 0;
	bsp_sha256("hello", 5, digest);
	assert_int_equal(
		bsp_digest_encoder_begin(&enc, 131077, CHUNK, append, &file),
		0);
	assert_int_equal(bsp_digest_encoder_zeros(&enc, 131072), 0);
	assert_int_equal(bsp_digest_encoder_add(&enc, digest), 0);
	assert_int_equal(bsp_digest_encoder_end(&enc, &identity), 0);
	bsp_digest_encoder_clear(&enc);
	assert_int_equal(file.len, sizeof(example) - 1);
	assert_memory_equal(file.at, example, file.len);
	assert_memory_equal(identity.root, file.at + file.len - BSP_SHA256,
			    BSP_SHA256);
}

static void files_are_decoded_to_their_chunks(void **state)
{
	static const char *const pictures[] = {
		"",    ".",	 "x",		"..",	  "xx",
		".x",  "x.",	 ".x.",		"x.x",	  "xx..xxx.....x",
		"..x", "x.x.x.", "......xxxxx", "xxxx..",
	};

	for (size_t i = 0; i < sizeof(pictures) / sizeof(*pictures); i++) {
		for (uint32_t last = 1; last <= CHUNK; last += CHUNK - 1) {
			struct bsp_digest_identity identity =
				encode(&file, pictures[i], last);

			for (size_t step = 1; step < 300; step += 97)
				assert_int_equal(decode_by(&file, step),
						 BSP_STREAM_END);
			assert_string_equal(decoded, pictures[i]);
			assert_true(
				bsp_digest_same(&identity, &digests.identity));
		}
	}
}

static void long_runs_are_split_in_one_way_only(void **state)
{
	static char picture[3 * BSP_DIGEST_MOST];

	for (size_t n = BSP_DIGEST_MOST - 1; n < 2 * BSP_DIGEST_MOST + 2;
	     n += n % BSP_DIGEST_MOST == 1 ? BSP_DIGEST_MOST - 2 : 1) {
		size_t records = (n + BSP_DIGEST_MOST - 1) / BSP_DIGEST_MOST;

		memset(picture, 'x', n);
		picture[n] = '\0';
		(void)encode(&file, picture, CHUNK);
		assert_int_equal(file.len,
				 BSP_DIGEST_HEADER +
					 (records + 1) * BSP_DIGEST_RECORD +
					 (n + 1) * BSP_SHA256);
		assert_int_equal(decode(&file), BSP_STREAM_END);
		assert_string_equal(decoded, picture);
	}
}

/* However long it is, a run of zeros is one record. */
static void zeros_take_no_space(void **state)
{
	static struct bsp_digest_encoder enc;
	struct bsp_digest_identity identity;

	file.len = 0;
	assert_int_equal(
		bsp_digest_encoder_begin(&enc, INT64_MAX, CHUNK, append, &file),
		0);
	for (uint64_t left = INT64_MAX, part; left; left -= part) {
		part = left < UINT64_C(1) << 60 ? left : UINT64_C(1) << 60;
		assert_int_equal(bsp_digest_encoder_zeros(&enc, part), 0);
	}
	assert_int_equal(bsp_digest_encoder_end(&enc, &identity), 0);
	bsp_digest_encoder_clear(&enc);
	assert_int_equal(file.len, BSP_DIGEST_HEADER + 2 * BSP_DIGEST_RECORD +
					   BSP_SHA256);
	assert_int_equal(decode(&file), BSP_STREAM_END);
}

static void identities_differ_with_any_part(void **state)
{
	static const char *const pictures[] = {
		"", ".", "x", "..", ".x", "x."
	};
	struct bsp_digest_identity all[12];
	size_t n = 0;

	for (size_t i = 0; i < 6; i++) {
		all[n++] = encode(&file, pictures[i], CHUNK);
		all[n++] = encode(&file, pictures[i], CHUNK - 1);
	}
	for (size_t i = 0; i < n; i++) {
		/* Without a chunk there is no last one. */
		for (size_t j = i < 2 ? 2 : 0; j < n; j++)
			assert_int_equal(bsp_digest_same(&all[i], &all[j]),
					 i == j);
	}
}

static void a_file_cut_anywhere_is_refused(void **state)
{
	size_t whole;

	(void)encode(&file, "x..xx.", 5);
	whole = file.len;
	for (file.len = 0; file.len < whole; file.len++) {
		assert_breaks(&file, file.len ? "not complete" : "is empty");
		assert_int_equal(digests.dec.broke_at, file.len);
	}
}

static void a_file_with_any_flipped_bit_is_refused(void **state)
{
	(void)encode(&file, "x..xx.", 5);
	for (size_t bit = 0; bit < file.len * 8; bit++) {
		file.at[bit / 8] ^= (unsigned char)(1 << bit % 8);
		assert_int_equal(decode(&file), BSP_STREAM_BROKEN);
		file.at[bit / 8] ^= (unsigned char)(1 << bit % 8);
	}
	assert_int_equal(decode(&file), BSP_STREAM_END);
}

/* Corrects the checksum of the header, and of all records from at on that are
 * whole, and the root. */
static void mend(struct bytes *out)
{
	struct bsp_sha256 *sum = bsp_sha256_new();
	size_t at = BSP_DIGEST_HEADER;

	bsp_put_le64(out->at + 56, bsp_native_checksum(out->at, 56));
	bsp_sha256_add(sum, out->at, at);
	while (out->len - at >= BSP_DIGEST_RECORD) {
		unsigned char *head = out->at + at;
		size_t payload = bsp_get_le32(head + 4);

		at += BSP_DIGEST_RECORD;
		if (bsp_get_le32(head) == BSP_DIGEST_END &&
		    payload == BSP_SHA256)
			bsp_sha256_end(sum, out->at + at);
		if (payload <= out->len - at)
			bsp_put_le64(head + 24, bsp_native_checksum(
							out->at + at, payload));
		bsp_put_le64(head + 32, bsp_native_checksum(head, 32));
		if (payload > out->len - at)
			break;
		at += payload;
		bsp_sha256_add(sum, head, BSP_DIGEST_RECORD + payload);
	}
	bsp_sha256_free(sum);
}

static void invalid_fields_are_refused(void **state)
{
	/* Of "x.": the header, the digest at 64, the zeros at 136, the end at
	 * 176. */
	static const struct {
		size_t off;
		uint64_t value;
		size_t width;
		const char *why;
	} cases[] = {
		{ 0, 'x', 1, "not a digest" },
		{ 3, 'P', 1, "not a digest" },
		{ 8, 2, 4, "version" },
		{ 8, 0, 4, "version" },
		{ 12, 1, 4, "newer version" },
		{ 12, 0x80000000, 4, "newer version" },
		{ 16, UINT64_C(1) << 63, 8, "larger than a file" },
		{ 16, CHUNK, 8, "past the size" },
		{ 16, 3 * CHUNK, 8, "before the end" },
		{ 24, 0, 4, "chunk is not" },
		{ 24, 2048, 4, "chunk is not" },
		{ 24, 65535, 4, "chunk is not" },
		{ 24, 1 << 21, 4, "chunk is not" },
		{ 24, 4096, 4, "fewer digests" },
		{ 24, 1 << 17, 4, "multiple of the chunk" },
		{ 28, 0, 4, "kind of digest" },
		{ 28, 2, 4, "kind of digest" },
		{ 32, 1, 1, "reserved" },
		{ 55, 1, 1, "reserved" },
		{ 64, 0, 4, "unknown type" },
		{ 64, 4, 4, "unknown type" },
		{ 64, 2, 4, "has a payload" },
		{ 64, 3, 4, "before the end" },
		{ 68, 0, 4, "fewer digests" },
		{ 68, 64, 4, "more or fewer" },
		{ 68, UINT32_MAX, 4, "more or fewer" },
		{ 72, CHUNK, 8, "does not begin" },
		{ 80, 0, 8, "no length" },
		{ 80, 100, 8, "multiple of the chunk" },
		{ 80, UINT64_MAX, 8, "past the size" },
		{ 136, 1, 4, "not full" },
		{ 140, 1, 4, "has a payload" },
		{ 144, 0, 8, "does not begin" },
		{ 144, UINT64_MAX, 8, "does not begin" },
		{ 152, 2 * CHUNK, 8, "past the size" },
		{ 180, 31, 4, "wrong size" },
		{ 184, CHUNK, 8, "before the end" },
		{ 192, 1, 8, "before the end" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		(void)encode(&file, "x.", CHUNK);
		for (size_t j = 0; j < cases[i].width; j++)
			file.at[cases[i].off + j] =
				(unsigned char)(cases[i].value >> (8 * j));
		mend(&file);
		assert_breaks(&file, cases[i].why);
	}
}

/* Appends a record; mend() gives it checksums. */
static void add_record(struct bytes *out, uint32_t type, uint64_t off,
		       uint64_t len, const void *payload, size_t payload_len)
{
	unsigned char head[BSP_DIGEST_RECORD] = { 0 };

	bsp_put_le32(head, type);
	bsp_put_le32(head + 4, (uint32_t)payload_len);
	bsp_put_le64(head + 8, off);
	bsp_put_le64(head + 16, len);
	append(out, head, sizeof(head));
	append(out, payload, payload_len);
}

/* Correct digests and checksums, but records as no encoder writes them. */
static void other_files_of_one_content_are_refused(void **state)
{
	unsigned char two[2 * BSP_SHA256];

	digest_of(0, two);
	digest_of(1, two + BSP_SHA256);
	(void)encode(&file, "xx", CHUNK);
	file.len = BSP_DIGEST_HEADER;
	add_record(&file, BSP_DIGEST_CHUNKS, 0, CHUNK, two, BSP_SHA256);
	add_record(&file, BSP_DIGEST_CHUNKS, CHUNK, CHUNK, two + BSP_SHA256,
		   BSP_SHA256);
	add_record(&file, BSP_DIGEST_END, 2 * CHUNK, 0, two, BSP_SHA256);
	mend(&file);
	assert_breaks(&file, "not full");

	file.len = BSP_DIGEST_HEADER;
	add_record(&file, BSP_DIGEST_ZEROS, 0, CHUNK, NULL, 0);
	add_record(&file, BSP_DIGEST_ZEROS, CHUNK, CHUNK, NULL, 0);
	add_record(&file, BSP_DIGEST_END, 2 * CHUNK, 0, two, BSP_SHA256);
	mend(&file);
	assert_breaks(&file, "another one");

	for (int i = 0; i < 2; i++) {
		size_t short_by = i ? CHUNK - 1 : 0;

		digest_of(0, two);
		digest_of(1, two + BSP_SHA256);
		bsp_sha256(bsp_zeros, CHUNK - short_by,
			   two + (i ? BSP_SHA256 : 0));
		(void)encode(&file, "xx", (uint32_t)(CHUNK - short_by));
		file.len = BSP_DIGEST_HEADER;
		add_record(&file, BSP_DIGEST_CHUNKS, 0, 2 * CHUNK - short_by,
			   two, sizeof(two));
		add_record(&file, BSP_DIGEST_END, 2 * CHUNK - short_by, 0, two,
			   BSP_SHA256);
		mend(&file);
		assert_breaks(&file, "that of zeros");
	}
}

/* A bsp_write_fn that fails at the call that *data counts down to. */
static int refuse(void *data, const void *buf, size_t len)
{
	int *left = data;

	return (*left)-- > 0 ? 0 : -ENOSPC;
}

static void an_error_of_writing_is_returned(void **state)
{
	static struct bsp_digest_encoder enc;
	struct bsp_digest_identity identity;
	unsigned char digest[BSP_SHA256] = { 0 };

	for (int good = 0; good < 4; good++) {
		int left = good, r;

		r = bsp_digest_encoder_begin(&enc, 2 * CHUNK, CHUNK, refuse,
					     &left);
		r = r ? r : bsp_digest_encoder_zeros(&enc, CHUNK);
		r = r ? r : bsp_digest_encoder_add(&enc, digest);
		r = r ? r : bsp_digest_encoder_end(&enc, &identity);
		assert_int_equal(r, -ENOSPC);
		bsp_digest_encoder_clear(&enc);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_digest_is_sha256),
		cmocka_unit_test(the_example_is_encoded_and_decoded),
		cmocka_unit_test(files_are_decoded_to_their_chunks),
		cmocka_unit_test(long_runs_are_split_in_one_way_only),
		cmocka_unit_test(zeros_take_no_space),
		cmocka_unit_test(identities_differ_with_any_part),
		cmocka_unit_test(a_file_cut_anywhere_is_refused),
		cmocka_unit_test(a_file_with_any_flipped_bit_is_refused),
		cmocka_unit_test(invalid_fields_are_refused),
		cmocka_unit_test(other_files_of_one_content_are_refused),
		cmocka_unit_test(an_error_of_writing_is_returned),
	};

	return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
}
