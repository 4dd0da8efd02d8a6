/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Receiving a stream into a device: what is refused before a byte is written,
 * and that all is durable at the end. The receiver opens a fake device.
 */
#include "unit.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "blksparse.h"
#include "device/device.h"
#include "fake-device.h"
#include "stream/stream.h"

enum { G = 4096, SIZE = 64 * G, OLD = 0xaa, NEW = 'n' };

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
	uint64_t read; /* bytes, but for those of spot checks */
	unsigned char bytes[SIZE];
} seen;

static void write_begins(void *data, uint64_t off)
{
	atomic_fetch_add(&seen.writes, 1);
}

static void flush_begins(void *data)
{
	const struct fake_call *reads;
	size_t n = fake_reads(target, &reads);

	for (size_t i = 0; i < n; i++)
		seen.read +=
			reads[i].kind == FAKE_READ_THROUGH ? reads[i].len : 0;
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

/* --- Increments --- */

/* The base is OLD, but for zeros in [4 G, 44 G): shorter ones would be read
 * together with the data around them. */
static void fill_base(struct fake *fake)
{
	memset(fake_bytes(fake), OLD, SIZE);
	memset(fake_bytes(fake) + (size_t)(4 * G), 0, 40 * G);
}

/* A bsp_write_fn. */
static int put_digest(void *data, const void *buf, size_t len)
{
	put(*(int *)data, buf, len);
	return 0;
}

/* An increment onto the base: granule 2 is NEW. */
static int increment(void)
{
	int digest = memfd_create("digest", MFD_CLOEXEC);
	int stream = memfd_create("stream", MFD_CLOEXEC);
	struct fake *fake = fake_new(SIZE);
	struct bsp_sparse *sp = bsp_sparse_new(fake_device(fake), NULL, NULL);
	char name[32];
	struct bsp_transfer_options options = { .digest = put_digest,
						.data = &digest,
						.chunk = G };

	fill_base(fake);
	assert_true(digest >= 0 && stream >= 0);
	assert_true(bsp_digest(sp, &options, NULL, NULL));
	fake_write(fake, 2 * G, G, NEW);
	(void)snprintf(name, sizeof(name), "/proc/self/fd/%d", digest);
	options = (struct bsp_transfer_options){ .since = name };
	assert_true(bsp_send(sp, stream, &options, NULL, NULL));
	bsp_sparse_free(sp);
	close(digest);
	lseek(stream, 0, SEEK_SET);
	return stream;
}

/* Receives the increment onto the target. Returns whether it succeeded. */
static bool receive_onto_base(bool resume, GError **error)
{
	const struct bsp_transfer_options options = { .check_base = true,
						      .resume = resume };
	int fd = increment();
	bool received = bsp_recv(fd, path, &options, NULL, error);

	close(fd);
	return received;
}

static void assert_seen_new(void)
{
	assert_seen(0, 2 * G, OLD);
	assert_seen(2 * G, G, NEW);
	assert_seen(3 * G, G, OLD);
	assert_seen(4 * G, 40 * G, 0);
	assert_seen(44 * G, 20 * G, OLD);
}

static void known_holes_of_the_base_are_not_read(void **state)
{
	for (int resume = 0; resume < 2; resume++) {
		open_target(SIZE);
		fill_base(target);
		fake_know_zeros(target, 4 * G, 40 * G);
		assert_true(receive_onto_base(resume, NULL));
		assert_seen_new();
		/* All of the data, or only the part that stays. */
		assert_int_equal(seen.read, resume ? 23 * G : 24 * G);
	}
}

static void a_byte_that_differs_is_refused(void **state)
{
	static const uint64_t places[] = { 0, 2 * G + 5, 44 * G, SIZE - 1 };

	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		GError *error = NULL;

		open_target(SIZE);
		fill_base(target);
		fake_know_zeros(target, 4 * G, 40 * G);
		fake_bytes(target)[places[i]] ^= 1;
		assert_false(receive_onto_base(false, &error));
		assert_refused(error, BSP_ERROR_FAILED, "nothing was written");
		assert_int_equal(atomic_load(&seen.writes), 0);
	}
}

/* The check begins again, and reads all. */
static void a_layer_that_lies_is_found_out(void **state)
{
	GError *error = NULL;

	open_target(SIZE);
	fill_base(target);
	fake_know_zeros(target, 44 * G, 20 * G);
	assert_true(receive_onto_base(false, NULL));
	assert_seen_new();
	/* Earlier answers may have been wrong, too. */
	assert_int_equal(seen.read, 2 * SIZE);

	/* Parts before may have passed by it. */
	open_target(SIZE);
	fill_base(target);
	fake_know_zeros(target, 44 * G, 20 * G);
	assert_false(receive_onto_base(true, &error));
	assert_refused(error, BSP_ERROR_DIFFERS, "use known=off");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stream_is_durable_at_the_end),
		cmocka_unit_test(nothing_is_good_that_is_not_durable),
		cmocka_unit_test(a_device_that_is_too_small_is_not_written),
		cmocka_unit_test(a_stream_from_an_offset_needs_its_beginning),
		cmocka_unit_test(bytes_behind_the_end_are_an_error),
		cmocka_unit_test(known_holes_of_the_base_are_not_read),
		cmocka_unit_test(a_byte_that_differs_is_refused),
		cmocka_unit_test(a_layer_that_lies_is_found_out),
	};

	return cmocka_run_group_tests_name("recv", tests, NULL, NULL);
}
