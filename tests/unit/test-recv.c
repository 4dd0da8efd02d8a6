/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Receiving a stream into a device: what is refused before a byte is written,
 * and that all is durable at the end. The receiver opens a fake device.
 */
#include "unit.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "blksparse.h"
#include "device/device.h"
#include "fake-device.h"
#include "stream/stream.h"

enum { G = 4096, SIZE = 16 * G, OLD = 0xaa, NEW = 'n' };

/* The receiver opens this one, whatever the path. */
static struct fake *target;

struct bsp_device *__wrap_bsp_device_open_writable(const char *path,
						   GError **error);

struct bsp_device *__wrap_bsp_device_open_writable(const char *path,
						   GError **error)
{
	return fake_device(target);
}

/* Not a file that could be created or emptied. */
static const char path[] = "/dev/null";

/* The receiver closes its device. Counts and bytes are taken in the flush, or
 * when a write begins. */
static struct {
	atomic_uint writes;
	unsigned flushes;
	unsigned char bytes[SIZE];
} seen;

static void write_begins(void *data, uint64_t off)
{
	atomic_fetch_add(&seen.writes, 1);
}

static void flush_begins(void *data)
{
	seen.flushes++;
	memcpy(seen.bytes, fake_bytes(target), SIZE);
}

static void open_target(uint64_t size)
{
	memset(&seen, 0, sizeof(seen));
	target = fake_new(SIZE);
	memset(fake_bytes(target), OLD, SIZE);
	fake_resize(target, size);
	fake_make_writable(target, 0);
	fake_device(target)->info.size = size;
	fake_on_write(target, write_begins, NULL);
	fake_on_flush(target, flush_begins, NULL);
}

static void put(int fd, const void *buf, size_t len)
{
	assert_int_equal(write(fd, buf, len), len);
}

/* A stream of [start, SIZE): data up to the last granule, which is a hole. Then
 * more bytes. */
static int stream_of(uint64_t start, const char *more)
{
	struct bsp_encoder enc = { .ops = &bsp_native_encoder,
				   .size = SIZE,
				   .start = start,
				   .granule = G };
	size_t len = SIZE - G - (size_t)start;
	int fd = memfd_create("stream", MFD_CLOEXEC);
	char *data = malloc(len);
	struct bsp_piece piece;

	assert_true(fd >= 0);
	assert_non_null(data);
	memset(data, NEW, len);
	bsp_encoder_begin(&enc, &piece);
	put(fd, piece.head, piece.head_len);
	bsp_encoder_data(&enc, data, len, &piece);
	put(fd, piece.head, piece.head_len);
	put(fd, data, len);
	bsp_encoder_hole(&enc, G, &piece);
	put(fd, piece.head, piece.head_len);
	bsp_encoder_end(&enc, &piece);
	put(fd, piece.head, piece.head_len);
	put(fd, more, strlen(more));
	lseek(fd, 0, SEEK_SET);
	free(data);
	return fd;
}

/* Receives a stream, and closes it. Returns how far the target is good. */
static uint64_t receive(int fd, bool resume, GError **error)
{
	const struct bsp_transfer_options options = { .resume = resume };
	struct bsp_progress progress;
	bool received = bsp_recv(fd, path, &options, &progress, error);

	close(fd);
	assert_int_equal(received, *error == NULL);
	return progress.done;
}

static void assert_refused(GError *error, int code, const char *why)
{
	assert_true(g_error_matches(error, BSP_ERROR, code));
	assert_non_null(strstr(error->message, why));
	g_error_free(error);
}

static void assert_seen(size_t off, size_t len, int byte)
{
	for (size_t i = off; i < off + len; i++)
		assert_int_equal(seen.bytes[i], byte);
}

static void a_stream_is_durable_at_the_end(void **state)
{
	GError *error = NULL;

	open_target(SIZE);
	assert_int_equal(receive(stream_of(0, ""), false, &error), SIZE);
	assert_int_equal(seen.flushes, 1);
	assert_seen(0, SIZE - G, NEW);
	assert_seen(SIZE - G, G, 0);
}

static void nothing_is_good_that_is_not_durable(void **state)
{
	GError *error = NULL;

	open_target(SIZE);
	fake_fail_flush(target, EIO);
	assert_int_equal(receive(stream_of(0, ""), false, &error), 0);
	assert_refused(error, BSP_ERROR_FAILED, "durable");
}

static void a_device_that_is_too_small_is_not_written(void **state)
{
	GError *error = NULL;

	open_target(SIZE - G);
	assert_int_equal(receive(stream_of(0, ""), false, &error), 0);
	assert_refused(error, BSP_ERROR_TOO_SMALL, "nothing was written");
	assert_int_equal(atomic_load(&seen.writes), 0);
}

static void a_stream_from_an_offset_needs_its_beginning(void **state)
{
	GError *error = NULL;

	open_target(SIZE);
	assert_int_equal(receive(stream_of(4 * G, ""), false, &error), 0);
	assert_refused(error, BSP_ERROR_FAILED, "use --resume");
	bsp_device_close(fake_device(target)); /* it was not opened */

	open_target(SIZE);
	error = NULL;
	assert_int_equal(receive(stream_of(4 * G, ""), true, &error), SIZE);
	assert_seen(0, 4 * G, OLD);
	assert_seen(4 * G, SIZE - 5 * G, NEW);
}

/* All before them is good. */
static void bytes_behind_the_end_are_an_error(void **state)
{
	GError *error = NULL;

	open_target(SIZE);
	assert_int_equal(receive(stream_of(0, "x"), false, &error), SIZE);
	assert_refused(error, BSP_ERROR_FAILED, "more bytes follow its end");
	assert_int_equal(seen.flushes, 1);
	assert_seen(0, SIZE - G, NEW);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stream_is_durable_at_the_end),
		cmocka_unit_test(nothing_is_good_that_is_not_durable),
		cmocka_unit_test(a_device_that_is_too_small_is_not_written),
		cmocka_unit_test(a_stream_from_an_offset_needs_its_beginning),
		cmocka_unit_test(bytes_behind_the_end_are_an_error),
	};

	return cmocka_run_group_tests_name("recv", tests, NULL, NULL);
}
