/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writeback behind a sequential writer: which data is written back, and which
 * markers are flushed. The test writes to a fake device
 * and reads its list of calls, so that it sees each range once and in order.
 */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "blksparse-mount.h"
#include "fake-device.h"

enum { MIB = 1 << 20, SIZE = 256 * MIB };

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
	bsp_sparse_write_back(f->sp, NULL, NULL);
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

/* Asserts that catching up writes back one range, which starts at off. Returns
 * its end. */
static uint64_t write_back_from(struct fixture *f, uint64_t off)
{
	const struct fake_call *calls;

	(void)changed(f, FAKE_WRITE_BACK);
	catch_up(f);
	assert_int_equal(fake_changes(f->fake, &calls), 1);
	assert_int_equal(calls[0].kind, FAKE_WRITE_BACK);
	assert_int_equal(calls[0].off, off);
	return off + calls[0].len;
}

static void written_data_is_written_back_once(void **state)
{
	struct fixture *f = fixture_new();
	uint64_t off = 0, end;

	while (!write_data(f, off, MIB))
		off += MIB;
	assert_int_in_range(off, 4 * MIB, 16 * MIB);
	end = write_back_from(f, 0);
	assert_int_in_range(end, 1, off);
	/* Nothing is left to do. */
	catch_up(f);
	assert_int_equal(fake_changes(f->fake, NULL), 0);
	for (off += MIB; !write_data(f, off, MIB); off += MIB)
		;
	assert_int_in_range(write_back_from(f, end), end + 1, off);
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
	const struct fake_call *calls;
	unsigned seed = 3;
	size_t n;

	assert_int_equal(bsp_sparse_truncate(f->sp, SIZE), 0);
	for (unsigned i = 0; i < 500; i++) {
		uint64_t at = (uint64_t)rand_r(&seed) % (SIZE / 4096) * 4096;

		if (write_data(f, at, 4096))
			catch_up(f);
	}
	n = fake_changes(f->fake, &calls);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(calls[i].kind, FAKE_WRITE);
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
		cmocka_unit_test(written_data_is_written_back_once),
		cmocka_unit_test(markers_behind_the_writer_are_flushed_once),
		cmocka_unit_test(markers_right_behind_the_writer_are_left),
		cmocka_unit_test(random_writes_start_no_writeback),
		cmocka_unit_test(writes_that_are_reordered_belong_to_one_run),
	};

	return cmocka_run_group_tests_name("writeback", tests, NULL, NULL);
}
