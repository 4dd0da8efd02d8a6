/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sending an object, and receiving into one: the exact reads of the device, the
 * content of the stream, and the result for the caller.
 */
#include "unit.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "blksparse.h"
#include "fake-device.h"
#include "sparse/sparse.h"
#include "stream/stream.h"

enum { G = 4096, CHUNK = 1 << 20 };

struct fixture {
	struct fake *fake;
	struct bsp_sparse *sp;
	int fd; /* receives the stream */
	struct bsp_progress progress;
};

static struct fixture open_new(uint64_t size)
{
	struct fixture f = { .fake = fake_new(size),
			     .fd = memfd_create("stream", MFD_CLOEXEC) };

	fake_make_writable(f.fake, 0);
	f.sp = bsp_sparse_new(fake_device(f.fake), NULL, NULL);
	assert_non_null(f.sp);
	assert_true(f.fd >= 0);
	return f;
}

static void close_it(struct fixture *f)
{
	bsp_sparse_free(f->sp);
	close(f->fd);
}

static bool send_from(struct fixture *f, uint64_t from, GError **error)
{
	const struct bsp_transfer_options options = { .from = from };

	assert_int_equal(ftruncate(f->fd, 0), 0);
	lseek(f->fd, 0, SEEK_SET);
	fake_reads(f->fake, &(const struct fake_call *){ NULL });
	return bsp_send(f->sp, f->fd, &options, &f->progress, error);
}

static int by_offset(const void *a, const void *b)
{
	const struct fake_call *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

/* Asserts that exactly these ranges of the device were read, each byte once, in
 * any order. */
static void was_read(const struct fixture *f, const struct fake_call *want,
		     size_t n)
{
	const struct fake_call *reads;
	size_t n_reads = fake_reads(f->fake, &reads), at = 0;
	struct fake_call *sorted = calloc(n_reads + 1, sizeof(*sorted));

	assert_non_null(sorted);
	if (n_reads)
		memcpy(sorted, reads, n_reads * sizeof(*sorted));
	qsort(sorted, n_reads, sizeof(*sorted), by_offset);
	for (size_t i = 0; i < n; i++) {
		uint64_t off = want[i].off;

		while (at < n_reads && off < want[i].off + want[i].len) {
			assert_int_equal(sorted[at].off, off);
			off += sorted[at++].len;
		}
		assert_int_equal(off, want[i].off + want[i].len);
	}
	assert_int_equal(at, n_reads);
	free(sorted);
}

/* Asserts that the stream decodes to content. */
static void stream_holds(const struct fixture *f, const unsigned char *content)
{
	static unsigned char buffer[BSP_STREAM_BUFFER];
	struct bsp_decoder dec;
	enum bsp_stream_event event;

	lseek(f->fd, 0, SEEK_SET);
	bsp_native_decoder_init(&dec, buffer);
	while ((event = bsp_decoder_step(&dec)) != BSP_STREAM_END) {
		size_t len;
		void *space;

		assert_int_not_equal(event, BSP_STREAM_BROKEN);
		for (size_t i = 0; event == BSP_STREAM_DATA && i < dec.len; i++)
			assert_int_equal(dec.data[i], content[dec.off + i]);
		for (size_t i = 0; event == BSP_STREAM_HOLE && i < dec.len; i++)
			assert_int_equal(content[dec.off + i], 0);
		if (event != BSP_STREAM_WANT)
			continue;
		space = bsp_decoder_space(&dec, &len);
		bsp_decoder_fill(&dec, (size_t)read(f->fd, space, len));
	}
	assert_int_equal(dec.data_bytes, f->progress.data);
	assert_int_equal(dec.hole_bytes, f->progress.hole);
	assert_int_equal(dec.at, f->progress.moved);
}

/* --- Tests --- */

static void each_byte_is_read_once(void **state)
{
	struct fixture f = open_new(3 * CHUNK + 100);
	const struct fake_call want[] = { { 0, 3 * CHUNK + 100 } };

	memset(fake_bytes(f.fake) + CHUNK - G, 1, 2 * G);
	fake_bytes(f.fake)[3 * CHUNK + 99] = 1;
	assert_true(send_from(&f, 0, NULL));
	was_read(&f, want, 1);
	stream_holds(&f, fake_bytes(f.fake));
	assert_int_equal(f.progress.data, 2 * G + 100);
	assert_int_equal(f.progress.done, 3 * CHUNK + 100);
	close_it(&f);
}

static void a_stream_starts_at_a_granule(void **state)
{
	struct fixture f = open_new(CHUNK);
	const struct fake_call want[] = { { 2 * G, CHUNK - 2 * G } };

	memset(fake_bytes(f.fake), 1, CHUNK);
	assert_true(send_from(&f, 3 * G - 1, NULL));
	was_read(&f, want, 1);
	assert_int_equal(f.progress.start, 2 * G);
	assert_int_equal(f.progress.data, CHUNK - 2 * G);
	stream_holds(&f, fake_bytes(f.fake));

	assert_true(send_from(&f, CHUNK, NULL));
	was_read(&f, NULL, 0);
	assert_false(send_from(&f, CHUNK + 1, NULL));
	close_it(&f);
}

/* Below a marker, the device still has old bytes. */
static void a_marker_is_not_read_from_the_device(void **state)
{
	struct fixture f = open_new(CHUNK);
	unsigned char *content = calloc(1, CHUNK);
	const struct fake_call want[] = { { 0, 4 * G },
					  { 8 * G, CHUNK - 8 * G } };

	memset(fake_bytes(f.fake), 0xaa, CHUNK);
	memset(content, 0xaa, CHUNK);
	memset(content + 4 * G, 0, 4 * G);
	assert_int_equal(
		bsp_sparse_fallocate(f.sp,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     4 * G, 4 * G),
		0);
	assert_true(send_from(&f, 0, NULL));
	was_read(&f, want, 2);
	stream_holds(&f, content);
	free(content);
	close_it(&f);
}

/* Nor may old bytes come up where a bad flush has lost zeros beside data. */
static void zeros_that_a_flush_lost_are_sent_as_zeros(void **state)
{
	static const unsigned char zeros[200];
	struct fixture f = open_new(4 * G);
	unsigned char *content = malloc(4 * G);

	memset(fake_bytes(f.fake), 0xaa, 4 * G);
	memset(content, 0xaa, 4 * G);
	memset(content + G + 100, 0, sizeof(zeros));
	fake_cache(f.fake, FAKE_LOSES_ALL);
	assert_int_equal(bsp_sparse_write(f.sp, G + 100, zeros, sizeof(zeros)),
			 sizeof(zeros));
	fake_fail_flush(f.fake, EIO);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
	assert_int_equal(fake_bytes(f.fake)[G + 100], 0xaa);
	assert_true(send_from(&f, 0, NULL));
	stream_holds(&f, content);
	free(content);
	close_it(&f);
}

/* A writable object whose medium was taken out has nothing to send. */
static void sending_fails_after_the_medium_is_gone(void **state)
{
	struct fixture f = open_new(4 * G);
	g_autoptr(GError) error = NULL;

	fake_change_medium(f.fake);
	(void)bsp_sparse_refresh(f.sp);
	assert_false(send_from(&f, 0, &error));
	assert_non_null(strstr(error->message, g_strerror(ENODEV)));
	close_it(&f);
}

static void zeros_that_the_device_knows_are_not_read(void **state)
{
	struct fixture f = open_new(4 * CHUNK);
	const struct fake_call want[] = { { 0, CHUNK }, { 3 * CHUNK, CHUNK } };

	memset(fake_bytes(f.fake), 1, G);
	fake_know_zeros(f.fake, CHUNK, 2 * CHUNK);
	f.sp->spot_checks.unchecked = 0; /* no check */
	assert_true(send_from(&f, 0, NULL));
	was_read(&f, want, 2);
	stream_holds(&f, fake_bytes(f.fake));
	assert_int_equal(f.progress.hole, 4 * CHUNK - G);
	close_it(&f);
}

static void a_source_that_lies_is_not_sent(void **state)
{
	struct fixture f = open_new(4 * CHUNK);
	g_autoptr(GError) error = NULL;

	memset(fake_bytes(f.fake), 1, 4 * CHUNK);
	fake_know_zeros(f.fake, 3 * CHUNK, CHUNK);
	assert_false(send_from(&f, 0, &error));
	assert_non_null(strstr(error->message, "fake said that byte "));
	assert_non_null(strstr(error->message, "the stream may lack data"));
	/* Now that the layer is not asked, all is sent. */
	assert_true(send_from(&f, 0, NULL));
	stream_holds(&f, fake_bytes(f.fake));
	assert_int_equal(f.progress.data, 4 * CHUNK);
	close_it(&f);
}

static void a_read_error_ends_the_stream_at_its_granule(void **state)
{
	struct fixture f = open_new(2 * CHUNK);
	g_autoptr(GError) error = NULL;

	memset(fake_bytes(f.fake), 1, 2 * CHUNK);
	fake_fail_reads(f.fake, CHUNK + 3 * G, G, EIO);
	assert_false(send_from(&f, 0, &error));
	assert_non_null(
		strstr(error->message, "at byte 1060864: Input/output"));
	assert_int_equal(f.progress.done, CHUNK + 3 * G);
	close_it(&f);
}

/* A read that comes back after the granules behind it, and fails. */
static void an_error_behind_is_not_an_error_before(void **state)
{
	struct fixture f = open_new(8 * CHUNK);
	g_autoptr(GError) error = NULL;

	for (uint64_t bad = 8 * CHUNK - G; bad > CHUNK; bad -= CHUNK + 5 * G) {
		g_clear_error(&error);
		memset(fake_bytes(f.fake), 1, 8 * CHUNK);
		fake_fail_reads(f.fake, bad, 8 * CHUNK - bad, EIO);
		assert_false(send_from(&f, 0, &error));
		assert_non_null(strstr(error->message, "Input/output"));
		assert_int_equal(f.progress.done, bad);
		assert_int_equal(f.progress.data, bad);
	}
	close_it(&f);
}

struct readers {
	atomic_uint now, most;
};

/* Each stays until there were eight at once, or 20 seconds. */
static void count_readers(void *data)
{
	struct readers *readers = data;
	unsigned now = atomic_fetch_add(&readers->now, 1) + 1;
	unsigned most = atomic_load(&readers->most);

	while (now > most &&
	       !atomic_compare_exchange_weak(&readers->most, &most, now))
		;
	for (int i = 0; i < 20000 && atomic_load(&readers->most) < 8; i++)
		g_usleep(1000);
	atomic_fetch_sub(&readers->now, 1);
}

static void eight_reads_are_under_way(void **state)
{
	for (int writable = 0; writable < 2; writable++) {
		struct fixture f = open_new(8 * CHUNK);
		struct readers readers = { 0 };

		for (size_t i = 0; i < 8 * CHUNK; i++)
			fake_bytes(f.fake)[i] =
				(unsigned char)(i / G * 7 + i % 251);
		if (!writable)
			fake_device(f.fake)->info.writable = false;
		fake_on_read(f.fake, count_readers, &readers);
		assert_true(send_from(&f, 0, NULL));
		assert_int_equal(atomic_load(&readers.most), 8);
		stream_holds(&f, fake_bytes(f.fake));
		close_it(&f);
	}
}

static bool at_once(void *data)
{
	return true;
}

static void sending_can_be_interrupted(void **state)
{
	struct fixture f = open_new(64 * CHUNK);
	const struct bsp_transfer_options options = { .interrupted = at_once };
	const struct fake_call *reads;
	g_autoptr(GError) error = NULL;

	assert_false(bsp_send(f.sp, f.fd, &options, &f.progress, &error));
	assert_string_equal(error->message, "interrupted");
	/* It read ahead, but not all. */
	assert_true(fake_reads(f.fake, &reads) < 40);
	close_it(&f);
}

/* --- And back, into an object --- */

/* Sends f, and has it received by an object of that size full of old bytes. */
static struct fixture receive_back(struct fixture *f, uint64_t size,
				   const struct bsp_transfer_options *options,
				   GError **error)
{
	struct fixture to = open_new(size);

	memset(fake_bytes(to.fake), 0xaa, size);
	assert_true(bsp_send(f->sp, f->fd, options, &f->progress, NULL));
	lseek(f->fd, 0, SEEK_SET);
	assert_int_equal(
		bsp_recv_into(f->fd, to.sp, options, &to.progress, error),
		!error);
	return to;
}

static void an_object_receives_the_content_that_was_sent(void **state)
{
	enum { SIZE = 2 * CHUNK + 512, LARGER = 3 * CHUNK };

	for (int raw = 0; raw < 2; raw++) {
		const struct bsp_transfer_options options = {
			.format = raw ? BSP_STREAM_FORMAT_RAW
				      : BSP_STREAM_FORMAT_NATIVE,
		};
		struct fixture f = open_new(SIZE), to;
		const unsigned char *bytes;

		memset(fake_bytes(f.fake) + CHUNK - G, 1, 2 * G + 7);
		to = receive_back(&f, LARGER, &options, NULL);
		bytes = fake_bytes(to.fake);
		assert_memory_equal(bytes, fake_bytes(f.fake), SIZE);
		/* The object keeps its bytes past the stream. */
		for (size_t i = SIZE; i < LARGER; i++)
			assert_int_equal(bytes[i], 0xaa);
		assert_int_equal(to.progress.done, SIZE);
		assert_int_equal(to.progress.size, SIZE);
		assert_int_equal(fake_flushes(to.fake), 1);
		close_it(&to);
		close_it(&f);
	}
}

static void a_short_object_grows_and_has_no_stale_bytes(void **state)
{
	const struct bsp_transfer_options options = { 0 };
	struct fixture f = open_new(CHUNK), to = open_new(CHUNK);

	fake_bytes(f.fake)[5 * G] = 1;
	memset(fake_bytes(to.fake), 0xaa, CHUNK);
	assert_int_equal(bsp_sparse_truncate(to.sp, G + 1), 0);
	assert_true(bsp_send(f.sp, f.fd, &options, &f.progress, NULL));
	lseek(f.fd, 0, SEEK_SET);
	assert_true(bsp_recv_into(f.fd, to.sp, &options, &to.progress, NULL));
	assert_int_equal(bsp_sparse_size(to.sp), CHUNK);
	assert_memory_equal(fake_bytes(to.fake), fake_bytes(f.fake), CHUNK);
	close_it(&to);
	close_it(&f);
}

static void an_object_that_is_too_small_is_not_written(void **state)
{
	const struct bsp_transfer_options options = { 0 };
	struct fixture f = open_new(CHUNK), to;
	g_autoptr(GError) error = NULL;
	const struct fake_call *changes;

	to = receive_back(&f, CHUNK - 512, &options, &error);
	assert_non_null(strstr(error->message, "nothing was written"));
	assert_int_equal(fake_changes(to.fake, &changes), 0);
	assert_int_equal(to.progress.done, 0);
	close_it(&to);
	close_it(&f);
}

static void done_is_zero_if_the_object_cannot_flush(void **state)
{
	const struct bsp_transfer_options options = { 0 };
	struct fixture f = open_new(CHUNK), to = open_new(CHUNK);
	g_autoptr(GError) error = NULL;

	fake_fail_flush(to.fake, EIO);
	assert_true(bsp_send(f.sp, f.fd, &options, &f.progress, NULL));
	lseek(f.fd, 0, SEEK_SET);
	assert_false(
		bsp_recv_into(f.fd, to.sp, &options, &to.progress, &error));
	assert_int_equal(to.progress.done, 0);
	fake_fail_flush(to.fake, 0);
	close_it(&to);
	close_it(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_byte_is_read_once),
		cmocka_unit_test(a_stream_starts_at_a_granule),
		cmocka_unit_test(a_marker_is_not_read_from_the_device),
		cmocka_unit_test(zeros_that_a_flush_lost_are_sent_as_zeros),
		cmocka_unit_test(sending_fails_after_the_medium_is_gone),
		cmocka_unit_test(zeros_that_the_device_knows_are_not_read),
		cmocka_unit_test(a_source_that_lies_is_not_sent),
		cmocka_unit_test(a_read_error_ends_the_stream_at_its_granule),
		cmocka_unit_test(an_error_behind_is_not_an_error_before),
		cmocka_unit_test(eight_reads_are_under_way),
		cmocka_unit_test(sending_can_be_interrupted),
		cmocka_unit_test(an_object_receives_the_content_that_was_sent),
		cmocka_unit_test(a_short_object_grows_and_has_no_stale_bytes),
		cmocka_unit_test(an_object_that_is_too_small_is_not_written),
		cmocka_unit_test(done_is_zero_if_the_object_cannot_flush),
	};

	return cmocka_run_group_tests_name("send", tests, NULL, NULL);
}
