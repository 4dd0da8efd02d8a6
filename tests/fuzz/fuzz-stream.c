/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Feeds any bytes to a decoder and checks its guarantees (stream.h): it ends,
 * or fails at an offset inside the input, and its events are in order, inside
 * the size and complete. Built once for each format, with FORMAT_native,
 * FORMAT_rbd_diff or FORMAT_raw defined; and with FORMAT_digest, for digest
 * files.
 *
 * The first byte of the input is not part of the stream. Bit 0 corrects the
 * checksums of a native stream or a digest file, because a fuzzer does not find
 * valid ones. Bit 7 exchanges the buffer of a stream's decoder whenever it
 * wants bytes there. The other bits are the number of bytes to feed at once (0:
 * all wanted bytes).
 */
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "stream/digest.h"
#include "stream/native.h"
#include "stream/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static unsigned char buffers[2][BSP_STREAM_BUFFER];
static unsigned char *buffer = buffers[0];
#if defined(FORMAT_digest)
static struct bsp_digest_decoder digests;
#define dec digests.dec
#else
static struct bsp_decoder dec;
#endif

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* --- The formats --- */

static void begin(void)
{
#if defined(FORMAT_native)
	bsp_native_decoder_init(&dec, buffer);
#elif defined(FORMAT_rbd_diff)
	bsp_rbd_decoder_init(&dec, buffer);
#elif defined(FORMAT_raw)
	bsp_raw_decoder_init(&dec, buffer);
#elif defined(FORMAT_digest)
	must(bsp_digest_decoder_init(&digests, buffer));
#endif
}

static void end(void)
{
#if defined(FORMAT_digest)
	bsp_digest_decoder_clear(&digests);
#endif
}

/* The bytes at data for len bytes of the device. */
static uint64_t data_of(uint64_t len)
{
#if defined(FORMAT_digest)
	return (len + dec.granule - 1) / dec.granule * BSP_SHA256;
#else
	return len;
#endif
}

/* Corrects the root, if it follows that header. */
static void seal_root(unsigned char *bytes, unsigned char *head, size_t left)
{
#if defined(FORMAT_digest)
	if (bsp_get_le32(head) == BSP_DIGEST_END &&
	    left >= BSP_DIGEST_RECORD + BSP_SHA256)
		bsp_sha256(bytes, (size_t)(head - bytes),
			   head + BSP_DIGEST_RECORD);
#else
	(void)bytes, (void)head, (void)left;
#endif
}

/* Corrects the checksums of one frame. Returns its length. */
static size_t seal_frame(unsigned char *head, size_t left)
{
	size_t payload = bsp_get_le32(head + 4);

	if (payload <= left - BSP_NATIVE_FRAME)
		bsp_put_le64(
			head + 24,
			bsp_native_checksum(head + BSP_NATIVE_FRAME, payload));
	bsp_put_le64(head + 32, bsp_native_checksum(head, 32));
	return BSP_NATIVE_FRAME + payload;
}

static void seal(unsigned char *bytes, size_t len)
{
	size_t at = BSP_NATIVE_HEADER;

	if (len < BSP_NATIVE_HEADER)
		return;
	bsp_put_le64(bytes + 56, bsp_native_checksum(bytes, 56));
	while (at < len && len - at >= BSP_NATIVE_FRAME) {
		seal_root(bytes, bytes + at, len - at);
		at += seal_frame(bytes + at, len - at);
	}
}

/* --- The guarantees --- */

static uint64_t pos;
static bool begun;

static void check_piece(void)
{
	must(begun);
	must(dec.off == pos);
	must(dec.len > 0);
	must(dec.len <= BSP_STREAM_SIZE_MAX - dec.off);
	must(!dec.sized || dec.len <= dec.size - dec.off);
	pos += dec.len;
}

static void check_event(enum bsp_stream_event event)
{
	static volatile unsigned char touched;

	switch (event) {
	case BSP_STREAM_BEGIN:
		must(!begun && dec.start <= dec.size);
		must(!dec.based || bsp_digest_is_chunk(dec.base.chunk));
		must(dec.size <= BSP_STREAM_SIZE_MAX);
		begun = true;
		pos = dec.start;
		break;
	case BSP_STREAM_DATA:
		must(data_of(dec.len) <= BSP_STREAM_BUFFER);
		must(dec.data >= buffer);
		must(dec.data + data_of(dec.len) <= buffer + BSP_STREAM_BUFFER);
		touched = dec.data[data_of(dec.len) - 1];
		check_piece();
		break;
	case BSP_STREAM_HOLE:
		check_piece();
		break;
	case BSP_STREAM_SAME:
		must(dec.based && dec.off % dec.base.chunk == 0);
		must(dec.off + dec.len <= dec.base.size);
		must(dec.data == buffer);
		touched = dec.data[BSP_SHA256 - 1];
		check_piece();
		break;
	case BSP_STREAM_END:
		must(begun && pos == dec.size);
		must(dec.data_bytes + dec.hole_bytes + dec.same_bytes ==
		     pos - dec.start);
		break;
	case BSP_STREAM_BROKEN:
		must(dec.why && dec.broke_at <= dec.at);
		break;
	case BSP_STREAM_WANT:
		break;
	}
	(void)touched;
}

static void exchange_buffer(void)
{
	size_t len = bsp_decoder_in_buffer(&dec);

	must(len <= BSP_STREAM_BUFFER);
	if (!len)
		return;
	buffer = buffer == buffers[0] ? buffers[1] : buffers[0];
	bsp_decoder_set_buffer(&dec, buffer);
}

static void feed(const unsigned char *bytes, size_t len, size_t step,
		 bool exchanging)
{
	size_t fed = 0, steps = 0;
	enum bsp_stream_event event;

	do {
		event = bsp_decoder_step(&dec);
		check_event(event);
		/* Each step takes bytes or emits one event. */
		must(++steps < 4 * len + 64);
		if (event == BSP_STREAM_WANT) {
			size_t want, n;
			void *space;

			if (exchanging)
				exchange_buffer();
			space = bsp_decoder_space(&dec, &want);
			must(want > 0 && want <= BSP_STREAM_BUFFER);
			n = want < len - fed ? want : len - fed;
			n = step && n > step ? step : n;
			memcpy(space, bytes + fed, n);
			bsp_decoder_fill(&dec, n);
			fed += n;
		}
	} while (event != BSP_STREAM_END && event != BSP_STREAM_BROKEN);
	must(dec.at == fed);
	must(bsp_decoder_step(&dec) == event);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	unsigned char *bytes;

	if (len == 0)
		return 0;
	/* A copy of exactly that size: the sanitizer finds reads past it. */
	bytes = malloc(len);
	must(bytes);
	memcpy(bytes, data + 1, len - 1);
	if (data[0] & 1)
		seal(bytes, len - 1);
	begun = false;
	pos = 0;
	begin();
	feed(bytes, len - 1, data[0] >> 1 & 63, data[0] & 128);
	end();
	free(bytes);
	return 0;
}
