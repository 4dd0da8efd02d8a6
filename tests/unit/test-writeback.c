/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writeback behind a sequential writer: which data is written back and dropped
 * from a cache, and which markers are flushed. The test writes to a fake device
 * and reads its list of calls, so that it sees each range once and in order.
 */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "blksparse-mount.h"
#include "fake-device.h"

enum { MIB = 1 << 20, SIZE = 256 * MIB };

/* The range of the last bsp_writeback_fn call, and the bytes of all calls. */
static uint64_t last_off, last_len, total;

static void written(void *data, uint64_t off, uint64_t len)
{
	last_off = off;
	last_len = len;
	total += len;
}

struct fixture {
	struct fake *fake;
	struct bsp_sparse *sp;
};

static struct fixture *fixture_new(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->fake = fake_new(SIZE);
	memset(fake_bytes(f->fake), 0xaa, SIZE);
	fake_make_writable(f->fake, 1U << FAKE_PUNCH);
	f->sp = bsp_sparse_new(fake_device(f->fake), NULL, NULL);
	assert_non_null(f->sp);
	assert_int_equal(bsp_sparse_truncate(f->sp, 0), 0);
	last_off = last_len = total = 0;
	return f;
}

static void fixture_free(struct fixture *f)
{
	bsp_sparse_free(f->sp);
	free(f);
}

/* Writes data; true if writeback is due then. */
static bool write_data(struct fixture *f, uint64_t off, size_t len)
{
	char *buf = malloc(len);

	memset(buf, 'd', len);
	assert_int_equal(bsp_sparse_write(f->sp, off, buf, len), len);
	free(buf);
	return bsp_sparse_writeback_due(f->sp);
}

static void catch_up(struct fixture *f)
{
	bsp_sparse_write_back(f->sp, written, NULL, NULL, NULL);
}

/* The bytes of the changes of that kind since the last call of this. */
static uint64_t changed(struct fixture *f, enum fake_kind kind)
{
	const struct fake_call *calls;
	size_t n = fake_changes(f->fake, &calls);
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += calls[i].kind == kind ? calls[i].len : 0;
	return sum;
}

static void written_data_is_written_back_and_dropped_once(void **state)
{
	struct fixture *f = fixture_new();
	uint64_t off = 0;

	while (!write_data(f, off, MIB))
		off += MIB;
	assert_int_in_range(off, 4 * MIB, 16 * MIB);
	(void)changed(f, FAKE_WRITE_BACK);
	catch_up(f);
	assert_int_equal(last_off, 0);
	assert_int_in_range(last_len, 1, off);
	assert_int_equal(changed(f, FAKE_WRITE_BACK), last_len);
	/* Nothing is left to do. */
	catch_up(f);
	assert_int_equal(total, last_len);
	for (off += MIB; !write_data(f, off, MIB); off += MIB)
		;
	catch_up(f);
	assert_int_equal(last_off + last_len, total);
	fixture_free(f);
}

static void markers_behind_the_writer_are_flushed_once(void **state)
{
	struct fixture *f = fixture_new();
	uint64_t zeroed = 0, holes = 0;

	for (uint64_t off = 0; off + 2 * MIB <= SIZE; off += 2 * MIB) {
		if (write_data(f, off, MIB))
			catch_up(f);
		holes += MIB;
		zeroed += changed(f, FAKE_PUNCH);
	}
	assert_int_in_range(zeroed, holes / 2, holes - 16 * MIB);
	assert_int_equal(bsp_sparse_flush_markers(f->sp, NULL, NULL), 0);
	/* The file ends with data. */
	assert_int_equal(zeroed + changed(f, FAKE_PUNCH), holes - MIB);
	fixture_free(f);
}

static void markers_right_behind_the_writer_are_left(void **state)
{
	struct fixture *f = fixture_new();

	for (uint64_t off = 0; off < 16 * MIB; off += MIB)
		(void)write_data(f, off, MIB);
	(void)write_data(f, 200 * MIB, MIB);
	catch_up(f);
	for (uint64_t at = 170 * MIB; at < 200 * MIB; at += 4096)
		assert_int_equal(fake_bytes(f->fake)[at], 0xaa);
	assert_int_equal(fake_bytes(f->fake)[16 * MIB], 0);
	fixture_free(f);
}

static void random_writes_start_no_writeback(void **state)
{
	struct fixture *f = fixture_new();
	unsigned seed = 3;

	assert_int_equal(bsp_sparse_truncate(f->sp, SIZE), 0);
	for (unsigned i = 0; i < 500; i++) {
		uint64_t at = (uint64_t)rand_r(&seed) % (SIZE / 4096) * 4096;

		if (write_data(f, at, 4096))
			catch_up(f);
	}
	assert_int_equal(total, 0);
	assert_int_equal(changed(f, FAKE_PUNCH), 0);
	fixture_free(f);
}

static void writes_that_are_reordered_belong_to_one_run(void **state)
{
	static const unsigned order[] = { 2, 0, 3, 1 };
	struct fixture *f = fixture_new();
	uint64_t zeroed = 0;

	assert_int_equal(bsp_sparse_truncate(f->sp, SIZE), 0);
	for (uint64_t off = 0; off + 16 * MIB <= SIZE; off += 16 * MIB)
		for (unsigned i = 0; i < 4; i++) {
			if (write_data(f, off + order[i] * 4 * MIB, MIB))
				catch_up(f);
			zeroed += changed(f, FAKE_PUNCH);
		}
	assert_int_in_range(zeroed, SIZE / 4, SIZE);
	for (uint64_t off = 0; off < SIZE; off += 4 * MIB) {
		assert_int_equal(fake_bytes(f->fake)[off], 'd');
		assert_int_equal(fake_bytes(f->fake)[off + MIB - 1], 'd');
	}
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(written_data_is_written_back_and_dropped_once),
		cmocka_unit_test(markers_behind_the_writer_are_flushed_once),
		cmocka_unit_test(markers_right_behind_the_writer_are_left),
		cmocka_unit_test(random_writes_start_no_writeback),
		cmocka_unit_test(writes_that_are_reordered_belong_to_one_run),
	};

	return cmocka_run_group_tests_name("writeback", tests, NULL, NULL);
}
