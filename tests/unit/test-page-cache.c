/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is put into the kernel's cache, and when it is dropped. The test is the
 * kernel: it has the pages, and asks for those that are not there.
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

static unsigned char *pages; /* 0xff where there is none */

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
	uint64_t ahead; /* how far the kernel reads ahead, bytes */
	uint64_t asked; /* pages that the device had to be read for */
	uint64_t passed;
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

/* A generation that is current: a scan hands its own to whom it calls. */
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

/* The kernel asks for a page. */
static void ask(struct fixture *f, uint64_t off, bool *passed)
{
	unsigned char page[PAGE];

	if (page_cache_read(f->cache, (char *)page, PAGE, off, passed) == 0) {
		f->asked++;
		memcpy(page, fake_bytes(f->fake) + off, PAGE);
	}
	assert_memory_equal(page, fake_bytes(f->fake) + off, PAGE);
	memcpy(pages + off, page, PAGE);
}

/* Reads as a program does. For a page that is not there the kernel asks, and
 * for those behind it in the way that it reads ahead. */
static void read_pages(struct fixture *f, uint64_t from, uint64_t to)
{
	for (uint64_t off = from; off < to; off += PAGE) {
		bool missing = pages[off] == 0xff;
		uint64_t end = off + PAGE + f->ahead;
		unsigned passed = 0;

		for (uint64_t at = off; missing && at < end; at += PAGE) {
			bool one = false;

			if (at < SIZE && pages[at] == 0xff)
				ask(f, at, &one);
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

static void a_reader_leaves_little_behind_and_asks_for_nothing(void **state)
{
	struct fixture *f = fixture_new();

	learn_generation(f);
	/* The scan is some way ahead. */
	store(f, 0, 16 * MIB);
	for (uint64_t off = 0; off < SIZE; off += MIB) {
		if (off + 16 * MIB < SIZE)
			store(f, off + 16 * MIB, off + 17 * MIB);
		read_pages(f, off, off + MIB);
		assert_int_in_range(cached(), MIB, 28 * MIB);
	}
	assert_int_equal(f->asked, 0);
	assert_int_in_range(f->passed, 8, SIZE / (4 * MIB));
	assert_int_in_range(cached(), 0, 12 * MIB);
	fixture_free(f);
}

static void a_second_pass_reads_what_the_first_scanned(void **state)
{
	struct fixture *f = fixture_new();

	learn_generation(f);
	store(f, 0, SIZE);
	assert_int_in_range(cached(), SIZE - 16 * PAGE, SIZE - PAGE);
	read_pages(f, 0, SIZE);
	assert_int_equal(f->asked, 0);
	assert_int_in_range(cached(), 0, 12 * MIB);
	fixture_free(f);
}

/* A page that is not there any more sets off a read-ahead, which asks for a
 * mark that the reader has yet to come to. */
static void what_the_kernel_gave_up_is_all_that_is_read_again(void **state)
{
	struct fixture *f = fixture_new();

	learn_generation(f);
	store(f, 0, SIZE);
	f->ahead = 2 * MIB;
	for (uint64_t off = 0; off < SIZE; off += MIB) {
		pages[off + MIB / 2] = 0xff;
		read_pages(f, off, off + MIB);
	}
	assert_int_equal(f->asked, SIZE / MIB);
	assert_int_in_range(f->passed, 8, SIZE / (4 * MIB));
	assert_int_in_range(cached(), 0, 16 * MIB);
	fixture_free(f);
}

static void with_two_readers_all_stays(void **state)
{
	struct fixture *f = fixture_new();

	learn_generation(f);
	page_cache_set_readers(f->cache, 2);
	store(f, 0, SIZE);
	read_pages(f, 0, SIZE);
	assert_int_equal(f->asked, 0);
	assert_int_equal(f->passed, 0);
	assert_int_equal(cached(), SIZE);
	fixture_free(f);
}

static void who_reads_here_and_there_passes_nothing(void **state)
{
	struct fixture *f = fixture_new();

	learn_generation(f);
	store(f, 0, SIZE);
	for (uint64_t off = SIZE; off > 0; off -= MIB)
		read_pages(f, off - MIB, off);
	assert_int_equal(f->passed, 0);
	page_cache_drop_all(f->cache, never, NULL);
	read_pages(f, 0, PAGE);
	f->asked = 0;
	store(f, 0, SIZE);
	for (uint64_t off = 0; off < SIZE; off += 8 * MIB)
		read_pages(f, off, off + MIB);
	assert_int_equal(f->passed, 0);
	assert_int_equal(f->asked, 0);
	fixture_free(f);
}

static void for_nobody_no_page_is_kept_back(void **state)
{
	struct fixture *f = fixture_new();

	learn_generation(f);
	store(f, 0, 16 * MIB);
	page_cache_set_readers(f->cache, 0);
	store(f, 16 * MIB, SIZE);
	assert_int_in_range(cached(), SIZE - 4 * PAGE, SIZE - 2 * PAGE);
	page_cache_set_readers(f->cache, 1);
	read_pages(f, 0, SIZE);
	assert_int_in_range(f->asked, 2, 4);
	fixture_free(f);
}

static void for_who_only_seeks_the_memory_is_not_filled(void **state)
{
	struct fixture *f = fixture_new();
	bool passed;
	char page[PAGE];

	learn_generation(f);
	store(f, 0, SIZE);
	page_cache_drop_all(f->cache, never, NULL);
	/* As much again, and still nobody reads. */
	store(f, 0, 16 * MIB);
	assert_int_equal(cached(), 0);
	assert_int_equal(page_cache_read(f->cache, page, PAGE, 0, &passed), 0);
	store(f, 0, 16 * MIB);
	assert_int_in_range(cached(), 16 * MIB - 4 * PAGE, 16 * MIB);
	fixture_free(f);
}

static void nothing_old_is_put_there_or_kept(void **state)
{
	struct fixture *f = fixture_new();
	uint64_t marks = 0;

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
		marks++;
		assert_int_equal(
			page_cache_read(f->cache, page, PAGE, off, &passed), 0);
	}
	assert_int_in_range(marks, 2, 4);
	page_cache_drop_all(f->cache, never, NULL);
	assert_int_equal(cached(), 0);
	fixture_free(f);
}

/* Nobody has looked since: it does so itself. */
static void no_page_is_given_that_was_changed_since(void **state)
{
	struct fixture *f = fixture_new();
	uint64_t marks = 0;
	char page[PAGE];
	bool passed;

	learn_generation(f);
	store(f, 0, SIZE);
	fake_write(f->fake, 0, SIZE, 'n');
	for (uint64_t off = 0; off < SIZE; off += PAGE) {
		if (pages[off] != 0xff)
			continue;
		marks++;
		assert_int_equal(
			page_cache_read(f->cache, page, PAGE, off, &passed), 0);
	}
	assert_int_in_range(marks, 8, SIZE / (4 * MIB));
	fixture_free(f);
}

static void no_page_is_given_past_the_end(void **state)
{
	struct fixture *f = fixture_new();
	uint64_t marks = 0;
	char page[PAGE];
	bool passed;

	learn_generation(f);
	store(f, 0, SIZE);
	fake_resize(f->fake, SIZE / 2);
	for (uint64_t off = SIZE / 2; off < SIZE; off += PAGE) {
		if (pages[off] != 0xff)
			continue;
		marks++;
		assert_int_equal(
			page_cache_read(f->cache, page, PAGE, off, &passed), 0);
	}
	assert_int_in_range(marks, 4, SIZE / (4 * MIB));
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_reader_leaves_little_behind_and_asks_for_nothing),
		cmocka_unit_test(a_second_pass_reads_what_the_first_scanned),
		cmocka_unit_test(
			what_the_kernel_gave_up_is_all_that_is_read_again),
		cmocka_unit_test(with_two_readers_all_stays),
		cmocka_unit_test(who_reads_here_and_there_passes_nothing),
		cmocka_unit_test(for_nobody_no_page_is_kept_back),
		cmocka_unit_test(for_who_only_seeks_the_memory_is_not_filled),
		cmocka_unit_test(no_page_is_given_that_was_changed_since),
		cmocka_unit_test(no_page_is_given_past_the_end),
		cmocka_unit_test(nothing_old_is_put_there_or_kept),
	};

	return cmocka_run_group_tests_name("page-cache", tests, NULL, NULL);
}
