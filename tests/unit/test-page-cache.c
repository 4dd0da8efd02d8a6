/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which pages a scan stores in the kernel's cache, and when they are dropped.
 * The test plays the kernel: it keeps the pages, and requests those that it
 * lacks.
 */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "fake-device.h"
#include "page-cache.h"

enum {
	PAGE = 4096,
	MIB = 1 << 20,
	SIZE = 64 * MIB,
	PIECE = 256 << 10,
	LIMIT = SIZE,
};

static unsigned char *pages; /* 0xff: not cached */

int fuse_lowlevel_notify_store(struct fuse_session *se, fuse_ino_t ino,
			       off_t offset, struct fuse_bufvec *bufv,
			       enum fuse_buf_copy_flags flags)
{
	assert_int_equal(bufv->count, 1);
	assert_int_equal(offset % PAGE, 0);
	memcpy(pages + offset, bufv->buf[0].mem, bufv->buf[0].size);
	return 0;
}

int fuse_lowlevel_notify_inval_inode(struct fuse_session *se, fuse_ino_t ino,
				     off_t off, off_t len)
{
	memset(pages + off, 0xff, len > 0 ? (size_t)len : (size_t)(SIZE - off));
	return 0;
}

static bool never(void *data)
{
	return false;
}

struct fixture {
	struct fake *fake;
	struct bsp_sparse *sp;
	struct page_cache *cache;
	uint64_t ahead;	       /* how far the kernel reads ahead, bytes */
	uint64_t device_reads; /* pages that the device was read for */
	uint64_t passed;       /* how often pages behind the reader could go */
};

static struct fixture *fixture_new(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->fake = fake_new(SIZE);
	for (size_t i = 0; i < SIZE; i++)
		fake_bytes(f->fake)[i] = (unsigned char)(1 + i / PAGE % 250);
	f->sp = bsp_sparse_new(fake_device(f->fake), NULL, NULL);
	assert_non_null(f->sp);
	f->cache = page_cache_new(f->sp, 2, LIMIT);
	page_cache_start(f->cache, NULL);
	page_cache_set_readers(f->cache, 1);
	pages = malloc(SIZE);
	memset(pages, 0xff, SIZE);
	return f;
}

static void fixture_free(struct fixture *f)
{
	page_cache_free(f->cache);
	bsp_sparse_free(f->sp);
	free(pages);
	free(f);
}

/* A current generation, learned from a scan. */
static uint64_t generation;

static void remember(void *data, uint64_t now, uint64_t off, const void *buf,
		     uint64_t len)
{
	generation = now;
}

static void learn_generation(struct fixture *f)
{
	const struct bsp_scan_ahead_options options = { .scanned = remember };
	uint64_t at;

	assert_int_equal(bsp_sparse_scan_ahead_start(f->sp, &options), 0);
	assert_int_equal(bsp_sparse_seek_data(f->sp, 0, NULL, NULL, &at), 0);
	bsp_sparse_scan_ahead_join(f->sp);
}

static void store(struct fixture *f, uint64_t from, uint64_t to)
{
	for (uint64_t off = from; off < to; off += PIECE)
		page_cache_store(f->cache, generation, off,
				 fake_bytes(f->fake) + off, PIECE);
}

/* The kernel requests a page. */
static void request_page(struct fixture *f, uint64_t off, bool *passed)
{
	unsigned char page[PAGE];

	if (page_cache_read(f->cache, (char *)page, PAGE, off, passed) == 0) {
		f->device_reads++;
		memcpy(page, fake_bytes(f->fake) + off, PAGE);
	}
	assert_memory_equal(page, fake_bytes(f->fake) + off, PAGE);
	memcpy(pages + off, page, PAGE);
}

/* Reads as a program does. The kernel requests a page that it lacks, and the
 * pages behind it by read-ahead. */
static void read_pages(struct fixture *f, uint64_t from, uint64_t to)
{
	for (uint64_t off = from; off < to; off += PAGE) {
		bool missing = pages[off] == 0xff;
		uint64_t end = off + PAGE + f->ahead;
		unsigned passed = 0;

		for (uint64_t at = off; missing && at < end; at += PAGE) {
			bool one = false;

			if (at < SIZE && pages[at] == 0xff)
				request_page(f, at, &one);
			passed += one;
		}
		f->passed += passed;
		if (passed)
			page_cache_drop_passed(f->cache);
		assert_memory_equal(pages + off, fake_bytes(f->fake) + off,
				    PAGE);
	}
}

static uint64_t cached(void)
{
	uint64_t n = 0;

	for (size_t at = 0; at < SIZE; at += PAGE)
		n += pages[at] != 0xff;
	return n * PAGE;
}

static void
pages_behind_a_reader_are_dropped_and_none_is_read_again(void **state)
{
	struct fixture *f = fixture_new();

	learn_generation(f);
	/* The scan is ahead of the reader. */
	store(f, 0, 16 * MIB);
	for (uint64_t off = 0; off < SIZE; off += MIB) {
		if (off + 16 * MIB < SIZE)
			store(f, off + 16 * MIB, off + 17 * MIB);
		read_pages(f, off, off + MIB);
		assert_int_in_range(cached(), MIB, 28 * MIB);
	}
	assert_int_equal(f->device_reads, 0);
	assert_int_in_range(f->passed, 8, SIZE / (4 * MIB));
	assert_int_in_range(cached(), 0, 12 * MIB);
	fixture_free(f);
}

static void a_reader_after_a_scan_does_not_read_the_device(void **state)
{
	struct fixture *f = fixture_new();

	learn_generation(f);
	store(f, 0, SIZE);
	assert_int_in_range(cached(), SIZE - 16 * PAGE, SIZE - PAGE);
	read_pages(f, 0, SIZE);
	assert_int_equal(f->device_reads, 0);
	assert_int_in_range(cached(), 0, 12 * MIB);
	fixture_free(f);
}

/* A page that the kernel dropped triggers a read-ahead, which requests a probe
 * page before the reader gets to it. */
static void only_pages_that_the_kernel_dropped_are_read_again(void **state)
{
	struct fixture *f = fixture_new();

	learn_generation(f);
	store(f, 0, SIZE);
	f->ahead = 2 * MIB;
	for (uint64_t off = 0; off < SIZE; off += MIB) {
		pages[off + MIB / 2] = 0xff;
		read_pages(f, off, off + MIB);
	}
	assert_int_equal(f->device_reads, SIZE / MIB);
	assert_int_in_range(f->passed, 8, SIZE / (4 * MIB));
	assert_int_in_range(cached(), 0, 16 * MIB);
	fixture_free(f);
}

static void with_two_readers_all_pages_stay(void **state)
{
	struct fixture *f = fixture_new();

	learn_generation(f);
	page_cache_set_readers(f->cache, 2);
	store(f, 0, SIZE);
	read_pages(f, 0, SIZE);
	assert_int_equal(f->device_reads, 0);
	assert_int_equal(f->passed, 0);
	assert_int_equal(cached(), SIZE);
	fixture_free(f);
}

static void behind_a_reader_that_jumps_no_pages_are_dropped(void **state)
{
	struct fixture *f = fixture_new();

	learn_generation(f);
	store(f, 0, SIZE);
	for (uint64_t off = SIZE; off > 0; off -= MIB)
		read_pages(f, off - MIB, off);
	assert_int_equal(f->passed, 0);
	page_cache_drop_all(f->cache, never, NULL);
	read_pages(f, 0, PAGE);
	f->device_reads = 0;
	store(f, 0, SIZE);
	for (uint64_t off = 0; off < SIZE; off += 8 * MIB)
		read_pages(f, off, off + MIB);
	assert_int_equal(f->passed, 0);
	assert_int_equal(f->device_reads, 0);
	fixture_free(f);
}

static void without_a_reader_there_are_no_probe_pages(void **state)
{
	struct fixture *f = fixture_new();

	learn_generation(f);
	store(f, 0, 16 * MIB);
	page_cache_set_readers(f->cache, 0);
	store(f, 16 * MIB, SIZE);
	assert_int_in_range(cached(), SIZE - 4 * PAGE, SIZE - 2 * PAGE);
	page_cache_set_readers(f->cache, 1);
	read_pages(f, 0, SIZE);
	assert_int_in_range(f->device_reads, 2, 4);
	fixture_free(f);
}

static void without_reads_only_a_limited_number_of_pages_is_stored(void **state)
{
	struct fixture *f = fixture_new();
	bool passed;
	char page[PAGE];

	learn_generation(f);
	store(f, 0, SIZE);
	page_cache_drop_all(f->cache, never, NULL);
	/* The same again, still without a read. */
	store(f, 0, 16 * MIB);
	assert_int_equal(cached(), 0);
	assert_int_equal(page_cache_read(f->cache, page, PAGE, 0, &passed), 0);
	store(f, 0, 16 * MIB);
	assert_int_in_range(cached(), 16 * MIB - 4 * PAGE, 16 * MIB);
	fixture_free(f);
}

static void no_data_from_before_a_change_is_stored_or_kept(void **state)
{
	struct fixture *f = fixture_new();
	uint64_t probes = 0;

	learn_generation(f);
	store(f, 0, 16 * MIB);
	fake_write(f->fake, 0, SIZE, 'n');
	(void)bsp_sparse_refresh(f->sp);
	store(f, 16 * MIB, 32 * MIB);
	assert_int_in_range(cached(), 1, 16 * MIB - PAGE);
	for (uint64_t off = 0; off < 16 * MIB; off += PAGE) {
		char page[PAGE];
		bool passed;

		if (pages[off] != 0xff)
			continue;
		probes++;
		assert_int_equal(
			page_cache_read(f->cache, page, PAGE, off, &passed), 0);
	}
	assert_int_in_range(probes, 2, 4);
	page_cache_drop_all(f->cache, never, NULL);
	assert_int_equal(cached(), 0);
	fixture_free(f);
}

/* page_cache_read() itself looks for the change. */
static void no_probe_page_from_before_a_change_is_returned(void **state)
{
	struct fixture *f = fixture_new();
	uint64_t probes = 0;
	char page[PAGE];
	bool passed;

	learn_generation(f);
	store(f, 0, SIZE);
	fake_write(f->fake, 0, SIZE, 'n');
	for (uint64_t off = 0; off < SIZE; off += PAGE) {
		if (pages[off] != 0xff)
			continue;
		probes++;
		assert_int_equal(
			page_cache_read(f->cache, page, PAGE, off, &passed), 0);
	}
	assert_int_in_range(probes, 8, SIZE / (4 * MIB));
	fixture_free(f);
}

static void no_probe_page_past_the_end_is_returned(void **state)
{
	struct fixture *f = fixture_new();
	uint64_t probes = 0;
	char page[PAGE];
	bool passed;

	learn_generation(f);
	store(f, 0, SIZE);
	fake_resize(f->fake, SIZE / 2);
	for (uint64_t off = SIZE / 2; off < SIZE; off += PAGE) {
		if (pages[off] != 0xff)
			continue;
		probes++;
		assert_int_equal(
			page_cache_read(f->cache, page, PAGE, off, &passed), 0);
	}
	assert_int_in_range(probes, 4, SIZE / (4 * MIB));
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			pages_behind_a_reader_are_dropped_and_none_is_read_again),
		cmocka_unit_test(
			a_reader_after_a_scan_does_not_read_the_device),
		cmocka_unit_test(
			only_pages_that_the_kernel_dropped_are_read_again),
		cmocka_unit_test(with_two_readers_all_pages_stay),
		cmocka_unit_test(
			behind_a_reader_that_jumps_no_pages_are_dropped),
		cmocka_unit_test(without_a_reader_there_are_no_probe_pages),
		cmocka_unit_test(
			without_reads_only_a_limited_number_of_pages_is_stored),
		cmocka_unit_test(
			no_probe_page_from_before_a_change_is_returned),
		cmocka_unit_test(no_probe_page_past_the_end_is_returned),
		cmocka_unit_test(
			no_data_from_before_a_change_is_stored_or_kept),
	};

	return cmocka_run_group_tests_name("page-cache", tests, NULL, NULL);
}
