/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Computing digest files: the same bytes however the content comes, the exact
 * reads of the device, and the result for the caller.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/zero.h"
#include "blksparse.h"
#include "dice.h"
#include "fake-device.h"
#include "sparse/sparse.h"
#include "transfer/digest-file.h"
#include "transfer/digester.h"

enum { G = 4096, PART = 1 << 20 };

struct bytes {
	size_t len;
	unsigned char at[1 << 20];
	size_t room; /* more than that is an error */
};

/* A bsp_write_fn. */
static int append(void *data, const void *buf, size_t len)
{
	struct bytes *out = data;

	if (len > out->room - out->len)
		return -ENOSPC;
	memcpy(out->at + out->len, buf, len);
	out->len += len;
	return 0;
}

/* The digest file, chunk by chunk. */
static void compute(struct bytes *out, const unsigned char *content,
		    uint64_t size, uint32_t chunk)
{
	static struct bsp_digest_encoder enc;
	struct bsp_digest_identity identity;
	unsigned char digest[BSP_SHA256];

	*out = (struct bytes){ .room = sizeof(out->at) };
	assert_int_equal(
		bsp_digest_encoder_begin(&enc, size, chunk, append, out), 0);
	for (uint64_t at = 0; at < size; at += chunk) {
		size_t len = size - at < chunk ? size - at : chunk;

		bsp_sha256(content + at, len, digest);
		assert_int_equal(bsp_is_zero(content + at, len)
					 ? bsp_digest_encoder_zeros(&enc, len)
					 : bsp_digest_encoder_add(&enc, digest),
				 0);
	}
	assert_int_equal(bsp_digest_encoder_end(&enc, &identity), 0);
	bsp_digest_encoder_clear(&enc);
}

static void assert_same(const struct bytes *a, const struct bytes *b)
{
	assert_int_equal(a->len, b->len);
	assert_memory_equal(a->at, b->at, a->len);
}

/* --- The digester --- */

/* Fills it with runs of data and zeros of lengths like those of chunks. */
static void fill(struct dice *dice, unsigned char *content, uint64_t size)
{
	for (uint64_t at = 0, len; at < size; at += len) {
		len = 1 +
		      dice_below(dice, dice_chance(dice, 500) ? 9000 : 300000);
		len = len < size - at ? len : size - at;
		memset(content + at,
		       dice_chance(dice, 500) ? 0 : (int)dice_below(dice, 256),
		       len);
	}
}

/* The parts that may be in work, and the next one. */
enum { BUFFERS = BSP_DIGESTER_PARTS + 1 };

/* Passes the content in parts of any length, from as few buffers as possible;
 * zeros sometimes as a hole. */
static void feed(struct dice *dice, struct bsp_digester *d,
		 const unsigned char *content, uint64_t size)
{
	static unsigned char buffers[BUFFERS][PART];
	bool small = dice_chance(dice, 300);
	unsigned waits = (unsigned)dice_below(dice, 500), i = 0;

	for (uint64_t at = 0, len; at < size; at += len) {
		unsigned char *buf = buffers[i++ % BUFFERS];

		len = 1 + dice_below(dice, small ? 5000 : PART);
		len = len < size - at ? len : size - at;
		memcpy(buf, content + at, len);
		if (bsp_is_zero(buf, len) && dice_chance(dice, 700))
			assert_int_equal(bsp_digester_hole(d, len), 0);
		else
			assert_int_equal(bsp_digester_start(d, buf, len), 0);
		assert_true(bsp_digester_pos(d) <= at + len);
		if (!dice_chance(dice, waits))
			continue;
		assert_int_equal(bsp_digester_wait(d), 0);
		assert_int_equal(bsp_digester_pos(d), at + len);
	}
	assert_int_equal(bsp_digester_wait(d), 0);
	assert_int_equal(bsp_digester_pos(d), size);
}

static void the_parts_of_the_content_do_not_matter(void **state)
{
	static struct bytes want, got;
	unsigned char *content = malloc(8 * PART);
	static struct bsp_digest_encoder enc;
	struct bsp_digest_identity identity;
	struct dice dice = { 1 };

	for (int i = 0; i < 60; i++) {
		uint64_t size = dice_below(&dice, 8 * PART);
		uint32_t chunk = 4096u << dice_below(&dice, 9);
		struct bsp_digester *d;

		fill(&dice, content, size);
		compute(&want, content, size, chunk);
		got = (struct bytes){ .room = sizeof(got.at) };
		assert_int_equal(bsp_digest_encoder_begin(&enc, size, chunk,
							  append, &got),
				 0);
		d = bsp_digester_new(size, chunk, (unsigned)i % 5,
				     bsp_digester_encode, &enc);
		assert_non_null(d);
		feed(&dice, d, content, size);
		assert_int_equal(bsp_digest_encoder_end(&enc, &identity), 0);
		bsp_digest_encoder_clear(&enc);
		bsp_digester_free(d);
		assert_same(&want, &got);
	}
	free(content);
}

static void it_may_end_while_parts_are_in_work(void **state)
{
	const uint64_t size = UINT64_C(1) * BSP_DIGESTER_PARTS * PART;
	unsigned char *content = malloc(PART);

	memset(content, 1, PART);
	for (int i = 0; i < 20; i++) {
		struct bsp_digester *d =
			bsp_digester_new(size, G, 3, NULL, NULL);

		for (int j = 0; j < BSP_DIGESTER_PARTS; j++)
			assert_int_equal(bsp_digester_start(d, content, PART),
					 0);
		bsp_digester_free(d);
	}
	bsp_digester_free(NULL);
	free(content);
}

struct counting {
	unsigned left, late;
};

/* A bsp_digester_fn: fails once. */
static int fail_later(void *data, uint64_t len, const unsigned char *digest,
		      const unsigned char *content)
{
	struct counting *counting = data;

	if (counting->left--)
		return 0;
	counting->late++;
	return -EIO;
}

static void an_error_is_returned_from_then_on(void **state)
{
	unsigned char *content = malloc(PART);

	memset(content, 1, PART);
	for (unsigned jobs = 1; jobs <= 3; jobs++) {
		/* The third part fails. */
		struct counting counting = { 2 * PART / G + 10, 0 };
		struct bsp_digester *d = bsp_digester_new(
			9 * PART, G, jobs, fail_later, &counting);

		for (int i = 0; i < 2 + BSP_DIGESTER_PARTS; i++)
			assert_int_equal(bsp_digester_start(d, content, PART),
					 0);
		assert_int_equal(bsp_digester_hole(d, PART), -EIO);
		assert_int_equal(bsp_digester_start(d, content, PART), -EIO);
		assert_int_equal(bsp_digester_wait(d), -EIO);
		assert_int_equal(counting.late, 1);
		bsp_digester_free(d);
	}
	free(content);
}

/* --- Digest files --- */

/* A file in memory with those bytes, and its path. */
static int file_of(const struct bytes *bytes, char path[32])
{
	int fd = memfd_create("digest", MFD_CLOEXEC);

	assert_int_equal(write(fd, bytes->at, bytes->len), bytes->len);
	(void)snprintf(path, 32, "/proc/self/fd/%d", fd);
	return fd;
}

/* Zeros, 2 chunks, zeros, and a short chunk. */
static const unsigned char *example(struct bytes *out, uint64_t *ret_size)
{
	static unsigned char content[6 * G];

	memset(content + G, 1, G);
	memset(content + 2 * G, 2, G);
	content[4 * G + 10] = 3;
	*ret_size = 4 * G + 100;
	compute(out, content, *ret_size, G);
	return content;
}

static void a_digest_file_is_found_by_offset(void **state)
{
	static struct bytes bytes;
	const unsigned char *content, *got;
	unsigned char want[BSP_SHA256];
	char path[32];
	uint64_t size, end;
	struct bsp_digest_file *file;
	int fd;

	content = example(&bytes, &size);
	fd = file_of(&bytes, path);
	file = bsp_digest_file_open(path, NULL);
	assert_non_null(file);
	assert_int_equal(bsp_digest_file_identity(file)->size, size);
	assert_int_equal(bsp_digest_file_identity(file)->chunk, G);
	for (uint64_t at = 0; at < size; at += G) {
		size_t len = size - at < G ? size - at : G;

		assert_int_equal(bsp_digest_file_find(file, at, &got, &end), 0);
		if (bsp_is_zero(content + at, len)) {
			assert_null(got);
			assert_int_equal(end, at + G);
			continue;
		}
		bsp_sha256(content + at, len, want);
		assert_memory_equal(got, want, BSP_SHA256);
	}
	bsp_digest_file_close(file);
	/* A later chunk first. */
	file = bsp_digest_file_open(path, NULL);
	assert_int_equal(bsp_digest_file_find(file, 4 * G, &got, &end), 0);
	assert_memory_equal(got, want, BSP_SHA256);
	assert_int_equal(bsp_digest_file_find(file, 5 * G, &got, &end),
			 -ESTALE);
	bsp_digest_file_close(file);
	close(fd);
}

static void a_damaged_digest_file_is_refused(void **state)
{
	static struct bytes bytes;
	uint64_t size;

	(void)example(&bytes, &size);
	for (size_t i = 0; i <= 3 * bytes.len; i++) {
		struct bytes bad = bytes;
		g_autoptr(GError) error = NULL;
		char path[32];
		int fd;

		if (i < bytes.len)
			bad.at[i] ^= 1;
		else if (i < 2 * bytes.len)
			bad.at[i - bytes.len] ^= 0x80;
		else if (i < 3 * bytes.len)
			bad.len = i - 2 * bytes.len;
		else
			bad.len++;
		fd = file_of(&bad, path);
		assert_null(bsp_digest_file_open(path, &error));
		assert_non_null(strstr(error->message, ": broken at byte "));
		close(fd);
	}
}

static void a_digest_file_that_changes_is_noticed(void **state)
{
	static struct bytes bytes;
	const unsigned char *got;
	char path[32];
	uint64_t size, end;
	struct bsp_digest_file *file;
	int fd, r = 0;

	(void)example(&bytes, &size);
	fd = file_of(&bytes, path);
	file = bsp_digest_file_open(path, NULL);
	assert_int_equal(pwrite(fd, "x", 1, (off_t)bytes.len - 100), 1);
	for (uint64_t at = 0; !r && at < size; at += G)
		r = bsp_digest_file_find(file, at, &got, &end);
	assert_int_equal(r, -ESTALE);
	bsp_digest_file_close(file);
	close(fd);
}

/* --- bsp_digest() and bsp_send() --- */

struct fixture {
	struct fake *fake;
	struct bsp_sparse *sp;
	struct bytes *out;
	struct bsp_progress progress;
};

static struct fixture open_new(uint64_t size)
{
	static struct bytes out;
	struct fixture f = { .fake = fake_new(size), .out = &out };

	out.room = sizeof(out.at);
	f.sp = bsp_sparse_new(fake_device(f.fake), NULL, NULL);
	assert_non_null(f.sp);
	return f;
}

static bool digest_it(struct fixture *f, uint32_t chunk, GError **error)
{
	const struct bsp_transfer_options options = {
		.digest = append,
		.data = f->out,
		.chunk = chunk,
	};

	f->out->len = 0;
	fake_reads(f->fake, &(const struct fake_call *){ NULL });
	return bsp_digest(f->sp, &options, &f->progress, error);
}

static bool send_it(struct fixture *f, uint64_t from, GError **error)
{
	const struct bsp_transfer_options options = {
		.digest = append,
		.data = f->out,
		.from = from,
	};
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	bool sent;

	f->out->len = 0;
	fake_reads(f->fake, &(const struct fake_call *){ NULL });
	sent = bsp_send(f->sp, null, &options, &f->progress, error);
	close(null);
	return sent;
}

static int compare_offsets(const void *a, const void *b)
{
	const struct fake_call *const *x = a, *const *y = b;

	return ((*x)->off > (*y)->off) - ((*x)->off < (*y)->off);
}

/* Asserts that each byte but [hole, hole + len) was read once. Several reads
 * are in flight, in any order. */
static void was_read_but(const struct fixture *f, uint64_t size, uint64_t hole,
			 uint64_t len)
{
	const struct fake_call *reads, **sorted;
	size_t n = fake_reads(f->fake, &reads);
	uint64_t at = 0;

	sorted = g_new(const struct fake_call *, n);
	for (size_t i = 0; i < n; i++)
		sorted[i] = &reads[i];
	qsort(sorted, n, sizeof(sorted[0]), compare_offsets);
	for (size_t i = 0; i < n; i++) {
		if (at == hole)
			at += len;
		assert_int_equal(sorted[i]->off, at);
		at += sorted[i]->len;
	}
	g_free(sorted);
	assert_int_equal(at == hole ? at + len : at, size);
}

static void a_device_is_read_once_but_for_known_holes(void **state)
{
	static struct bytes want;
	const uint64_t size = 5 * PART + 100;
	struct fixture f = open_new(size);

	memset(fake_bytes(f.fake) + G, 1, 3 * G);
	memset(fake_bytes(f.fake) + 4 * PART + 7, 2, 123456);
	fake_know_zeros(f.fake, PART + G, 2 * PART);
	f.sp->spot_checks.unchecked = 0; /* no check */
	compute(&want, fake_bytes(f.fake), size, BSP_CHUNK_DEFAULT);
	assert_true(digest_it(&f, 0, NULL));
	was_read_but(&f, size, PART + G, 2 * PART);
	assert_same(&want, f.out);
	assert_int_equal(f.progress.size, size);
	assert_int_equal(f.progress.done, size);
	assert_int_equal(f.progress.moved, want.len);
	/* One chunk, and two. */
	assert_int_equal(f.progress.data, 3 * BSP_CHUNK_DEFAULT);
	assert_int_equal(f.progress.hole, size - f.progress.data);

	assert_true(send_it(&f, 0, NULL));
	was_read_but(&f, size, PART + G, 2 * PART);
	assert_same(&want, f.out);
	bsp_sparse_free(f.sp);
}

static void the_chunk_may_be_chosen(void **state)
{
	static struct bytes want;
	struct fixture f = open_new(PART + 5);
	g_autoptr(GError) error = NULL;

	memset(fake_bytes(f.fake), 3, PART + 5);
	for (uint32_t chunk = BSP_CHUNK_MIN; chunk <= BSP_CHUNK_MAX;
	     chunk *= 2) {
		compute(&want, fake_bytes(f.fake), PART + 5, chunk);
		assert_true(digest_it(&f, chunk, NULL));
		assert_same(&want, f.out);
	}
	assert_false(digest_it(&f, 5000, &error));
	assert_int_equal(error->code, BSP_ERROR_USAGE);
	assert_int_equal(f.out->len, 0);
	bsp_sparse_free(f.sp);
}

static void a_stream_from_an_offset_has_no_digest(void **state)
{
	struct fixture f = open_new(PART);
	g_autoptr(GError) error = NULL;

	assert_false(send_it(&f, G, &error));
	assert_int_equal(error->code, BSP_ERROR_USAGE);
	assert_int_equal(f.out->len, 0);
	bsp_sparse_free(f.sp);
}

static void an_error_of_writing_ends_it(void **state)
{
	struct fixture f = open_new(4 * PART);

	memset(fake_bytes(f.fake), 1, 4 * PART);
	for (size_t room = 0; room < 4 * 16 * 32; room += 600) {
		g_autoptr(GError) first = NULL, second = NULL;

		f.out->room = room;
		assert_false(digest_it(&f, 0, &first));
		assert_non_null(
			strstr(first->message, "write the digest: No "));
		assert_false(send_it(&f, 0, &second));
		assert_non_null(
			strstr(second->message, "write the digest: No "));
	}
	bsp_sparse_free(f.sp);
}

static void a_read_error_ends_it(void **state)
{
	struct fixture f = open_new(2 * PART);
	g_autoptr(GError) error = NULL;

	memset(fake_bytes(f.fake), 1, 2 * PART);
	fake_fail_reads(f.fake, PART + 3 * G, G, EIO);
	assert_false(digest_it(&f, 0, &error));
	assert_non_null(
		strstr(error->message, "at byte 1060864: Input/output"));
	assert_int_equal(f.progress.done, PART + 3 * G);
	bsp_sparse_free(f.sp);
}

static void a_source_that_lies_gives_no_digest(void **state)
{
	static struct bytes want;
	struct fixture f = open_new(4 * PART);
	g_autoptr(GError) error = NULL;

	memset(fake_bytes(f.fake), 1, 4 * PART);
	fake_know_zeros(f.fake, 3 * PART, PART);
	assert_false(digest_it(&f, 0, &error));
	assert_non_null(strstr(error->message, "the digest may be wrong"));
	/* Now that the layer is not asked, all is read. */
	compute(&want, fake_bytes(f.fake), 4 * PART, BSP_CHUNK_DEFAULT);
	assert_true(digest_it(&f, 0, NULL));
	assert_same(&want, f.out);
	bsp_sparse_free(f.sp);
}

static bool at_once(void *data)
{
	return true;
}

static void it_can_be_interrupted(void **state)
{
	struct fixture f = open_new(PART);
	const struct bsp_transfer_options options = {
		.interrupted = at_once,
		.digest = append,
		.data = f.out,
	};
	g_autoptr(GError) error = NULL;

	assert_false(bsp_digest(f.sp, &options, NULL, &error));
	assert_int_equal(error->code, BSP_ERROR_INTERRUPTED);
	bsp_sparse_free(f.sp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_parts_of_the_content_do_not_matter),
		cmocka_unit_test(it_may_end_while_parts_are_in_work),
		cmocka_unit_test(an_error_is_returned_from_then_on),
		cmocka_unit_test(a_digest_file_is_found_by_offset),
		cmocka_unit_test(a_damaged_digest_file_is_refused),
		cmocka_unit_test(a_digest_file_that_changes_is_noticed),
		cmocka_unit_test(a_device_is_read_once_but_for_known_holes),
		cmocka_unit_test(the_chunk_may_be_chosen),
		cmocka_unit_test(a_stream_from_an_offset_has_no_digest),
		cmocka_unit_test(an_error_of_writing_ends_it),
		cmocka_unit_test(a_read_error_ends_it),
		cmocka_unit_test(a_source_that_lies_gives_no_digest),
		cmocka_unit_test(it_can_be_interrupted),
	};

	return cmocka_run_group_tests_name("digester", tests, NULL, NULL);
}
