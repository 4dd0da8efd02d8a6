/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes that would change nothing are left out, and those that would are made:
 * the exact reads and changes of a device whose writes are compared first, and
 * the cases in which nothing may be left out.
 */
#include "unit.h"

#include <errno.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "blksparse-mount.h"
#include "fake-device.h"
#include "sparse/sparse.h"

enum { G = 4096, MIB = 1 << 20 };

struct fixture {
	struct fake *fake;
	struct bsp_sparse *sp;
};

/* A device of 'o' bytes, with zeros in [4 G, 8 G). */
static struct fixture open_device(uint64_t size)
{
	const struct bsp_sparse_options options = { .skip_same = true };
	struct fixture f = { .fake = fake_new(size) };

	memset(fake_bytes(f.fake), 'o', size);
	if (size >= 8 * G)
		memset(fake_bytes(f.fake) + (size_t)(4 * G), 0, 4 * G);
	fake_make_writable(f.fake, 1 << FAKE_PUNCH);
	f.sp = bsp_sparse_new(fake_device(f.fake), &options, NULL);
	assert_non_null(f.sp);
	return f;
}

static void put(struct fixture f, uint64_t off, size_t len, int byte)
{
	void *buf = malloc(len);

	memset(buf, byte, len);
	assert_int_equal(bsp_sparse_write(f.sp, off, buf, len), len);
	free(buf);
}

static void reads_as(struct fixture f, uint64_t off, size_t len, int byte)
{
	unsigned char *buf = malloc(len);

	assert_int_equal(bsp_sparse_read(f.sp, off, buf, len), len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(buf[i], byte);
	free(buf);
}

static void same_calls(const struct fake_call *got, size_t n,
		       const struct fake_call *want, size_t want_n)
{
	assert_int_equal(n, want_n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(got[i].kind, want[i].kind);
		assert_int_equal(got[i].off, want[i].off);
		assert_int_equal(got[i].len, want[i].len);
	}
}

/* The next changes of the device are these, and no others. */
static void changed(struct fixture f, const struct fake_call *want, size_t n)
{
	const struct fake_call *got;
	size_t got_n = fake_changes(f.fake, &got);

	same_calls(got, got_n, want, n);
}

static void nothing_changed(struct fixture f)
{
	changed(f, NULL, 0);
}

/* So are the reads. */
static void was_read(struct fixture f, const struct fake_call *want, size_t n)
{
	const struct fake_call *got;
	size_t got_n = fake_reads(f.fake, &got);

	same_calls(got, got_n, want, n);
}

static enum bsp_state state(struct fixture f, uint64_t granule)
{
	return bsp_map_get(f.sp->map, granule);
}

static int flush(struct fixture f)
{
	return bsp_sparse_flush(f.sp, NULL, NULL);
}

static void the_same_bytes_are_not_written(void **state_)
{
	struct fixture f = open_device(16 * G);

	put(f, 8 * G, 4 * G, 'o');
	was_read(f, (struct fake_call[]){ { 8 * G, 4 * G, FAKE_READ_THROUGH } },
		 1);
	nothing_changed(f);
	assert_int_equal(state(f, 8), BSP_DATA);
	/* The flush makes durable what was compared. */
	assert_int_equal(flush(f), 0);
	assert_int_equal(fake_flushes(f.fake), 1);
	nothing_changed(f);
	bsp_sparse_free(f.sp);
}

static void only_granules_that_differ_are_written(void **state_)
{
	struct fixture f = open_device(16 * G);
	char *buf = malloc(8 * G);

	memset(buf, 'o', 8 * G);
	buf[3 * G + 7] = 'n';
	buf[4 * G] = 'n';
	assert_int_equal(bsp_sparse_write(f.sp, 8 * G, buf, 8 * G), 8 * G);
	was_read(f, (struct fake_call[]){ { 8 * G, 8 * G, FAKE_READ_THROUGH } },
		 1);
	changed(f, (struct fake_call[]){ { 11 * G, 2 * G, FAKE_WRITE } }, 1);
	assert_int_equal(fake_bytes(f.fake)[12 * G], 'n');
	free(buf);
	bsp_sparse_free(f.sp);
}

static void zeros_that_are_there_become_a_hole(void **state_)
{
	struct fixture f = open_device(16 * G);

	put(f, 3 * G, 3 * G, 0);
	was_read(f, (struct fake_call[]){ { 3 * G, 3 * G, FAKE_READ_THROUGH } },
		 1);
	nothing_changed(f);
	assert_int_equal(state(f, 3), BSP_MARKER); /* 'o' is there */
	assert_int_equal(state(f, 4), BSP_HOLE);
	assert_int_equal(state(f, 5), BSP_HOLE);
	assert_int_equal(flush(f), 0);
	changed(f, (struct fake_call[]){ { 3 * G, G, FAKE_PUNCH } }, 1);
	bsp_sparse_free(f.sp);
}

static void holes_and_markers_are_not_read(void **state_)
{
	struct fixture f = open_device(256 * G);

	fake_know_zeros(f.fake, 64 * G, 64 * G);
	memset(fake_bytes(f.fake) + (size_t)(64 * G), 0, 64 * G);
	f.sp->spot_checks.unchecked = 0; /* no check */
	assert_int_equal(bsp_sparse_learn_known(f.sp, 64 * G, true), 0);
	assert_int_equal(
		bsp_sparse_fallocate(f.sp,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     128 * G, 64 * G),
		0);
	(void)fake_reads(f.fake, NULL);
	/* Zeros over both do nothing; data is written, even if the device holds
	 * it below the marker. */
	put(f, 64 * G, 128 * G, 0);
	put(f, 70 * G, 2 * G, 'n');
	put(f, 130 * G, 2 * G, 'o');
	was_read(f, NULL, 0);
	changed(f,
		(struct fake_call[]){ { 70 * G, 2 * G, FAKE_WRITE },
				      { 130 * G, 2 * G, FAKE_WRITE } },
		2);
	/* Between data, a long hole is not read, either; a short one is. */
	put(f, 63 * G, 130 * G, 'o');
	was_read(f,
		 (struct fake_call[]){ { 63 * G, 9 * G, FAKE_READ_THROUGH },
				       { 130 * G, 2 * G, FAKE_READ_THROUGH },
				       { 192 * G, G, FAKE_READ_THROUGH } },
		 3);
	bsp_sparse_free(f.sp);
}

static void a_part_of_a_granule_is_compared(void **state_)
{
	struct fixture f = open_device(16 * G);

	put(f, 100, 512, 'o');
	put(f, 5 * G - 100, 100, 0);
	nothing_changed(f);
	was_read(
		f,
		(struct fake_call[]){ { 100, 512, FAKE_READ_THROUGH },
				      { 5 * G - 100, 100, FAKE_READ_THROUGH } },
		2);
	put(f, 100, 512, 'n');
	changed(f, (struct fake_call[]){ { 100, 512, FAKE_WRITE } }, 1);
	put(f, 200, 100, 0);
	changed(f, (struct fake_call[]){ { 200, 100, FAKE_WRITE } }, 1);
	/* Parts at both ends, and whole granules between them. */
	put(f, 9 * G - 5, 2 * G + 10, 'o');
	nothing_changed(f);
	bsp_sparse_free(f.sp);
}

static void the_last_granule_may_be_short(void **state_)
{
	struct fixture f = open_device(16 * G + 512);

	put(f, 15 * G, G + 512, 'o');
	nothing_changed(f);
	put(f, 15 * G, G + 512, 'n');
	changed(f, (struct fake_call[]){ { 15 * G, G + 512, FAKE_WRITE } }, 1);
	bsp_sparse_free(f.sp);
}

static void a_long_write_is_compared_in_steps(void **state_)
{
	struct fixture f = open_device(3 * MIB);

	put(f, 8 * G, 2 * MIB, 'o');
	was_read(
		f,
		(struct fake_call[]){ { 8 * G, MIB, FAKE_READ_THROUGH },
				      { 8 * G + MIB, MIB, FAKE_READ_THROUGH } },
		2);
	nothing_changed(f);
	bsp_sparse_free(f.sp);
}

static void bytes_that_cannot_be_read_are_written(void **state_)
{
	struct fixture f = open_device(16 * G);

	fake_fail_reads(f.fake, 9 * G, 512, EIO);
	put(f, 8 * G, 3 * G, 'o');
	changed(f, (struct fake_call[]){ { 8 * G, 3 * G, FAKE_WRITE } }, 1);
	put(f, 9 * G + 5, 100, 'o');
	changed(f, (struct fake_call[]){ { 9 * G + 5, 100, FAKE_WRITE } }, 1);
	bsp_sparse_free(f.sp);
}

/* The device returns bytes that it has lost, as a layer below with a cache
 * does: the next flush would succeed without them. */
static void nothing_is_left_out_after_a_failed_flush(void **state_)
{
	struct fixture f = open_device(16 * G);

	fake_cache(f.fake, FAKE_LOSES_WRITES);
	fake_deceive(f.fake);
	put(f, 8 * G, 2 * G, 'n');
	put(f, 4 * G, G, 0);
	fake_fail_flush(f.fake, EIO);
	assert_int_equal(flush(f), -EIO);
	fake_fail_flush(f.fake, 0);
	assert_int_equal(fake_disk(f.fake)[8 * G], 'o');
	(void)fake_changes(f.fake, NULL);
	(void)fake_reads(f.fake, NULL);
	put(f, 8 * G, 2 * G, 'n');
	put(f, 8 * G + 5, 100, 'n');
	was_read(f, NULL, 0);
	changed(f,
		(struct fake_call[]){ { 8 * G, 2 * G, FAKE_WRITE },
				      { 8 * G + 5, 100, FAKE_WRITE } },
		2);
	assert_int_equal(flush(f), 0);
	assert_int_equal(fake_disk(f.fake)[8 * G], 'n');
	/* The zeros that were found were not certain any more, either. */
	changed(f, (struct fake_call[]){ { 4 * G, G, FAKE_PUNCH } }, 1);
	reads_as(f, 4 * G, G, 0);
	bsp_sparse_free(f.sp);
}

/* A piece of zeros that was left out is zeroed again, too. */
static void zeros_in_a_part_survive_a_failed_flush(void **state_)
{
	struct fixture f = open_device(16 * G);

	put(f, 4 * G + 100, 200, 0);
	nothing_changed(f);
	fake_fail_flush(f.fake, EIO);
	assert_int_equal(flush(f), -EIO);
	fake_fail_flush(f.fake, 0);
	fake_write(f.fake, 4 * G, G, 'x'); /* old bytes come back */
	reads_as(f, 4 * G + 100, 200, 0);
	assert_int_equal(flush(f), 0);
	changed(f, (struct fake_call[]){ { 4 * G + 100, 200, FAKE_THROUGH } },
		1);
	bsp_sparse_free(f.sp);
}

/* Lets the device fail in the read that compares. */
static void fail_meanwhile(void *data)
{
	struct fixture *f = data;

	fake_on_read(f->fake, NULL, NULL);
	fake_fail_flush(f->fake, EIO);
	assert_int_equal(bsp_sparse_flush(f->sp, NULL, NULL), -EIO);
	fake_fail_flush(f->fake, 0);
}

static void a_failure_while_it_compares_counts(void **state_)
{
	struct fixture f = open_device(16 * G);

	fake_on_read(f.fake, fail_meanwhile, &f);
	put(f, 8 * G, 2 * G, 'o');
	changed(f, (struct fake_call[]){ { 8 * G, 2 * G, FAKE_WRITE } }, 1);
	bsp_sparse_free(f.sp);
}

static void writes_are_made_unless_asked_otherwise(void **state_)
{
	struct fake *fake = fake_new(16 * G);
	struct fixture f = { .fake = fake };

	memset(fake_bytes(fake), 'o', 16 * G);
	fake_make_writable(fake, 1 << FAKE_PUNCH);
	f.sp = bsp_sparse_new(fake_device(fake), NULL, NULL);
	put(f, 8 * G, 2 * G, 'o');
	was_read(f, NULL, 0);
	changed(f, (struct fake_call[]){ { 8 * G, 2 * G, FAKE_WRITE } }, 1);
	bsp_sparse_free(f.sp);
}

/* --- More writers than buffers --- */

enum { WRITERS = BSP_SAME_BUFFERS + 4 };

struct writer {
	struct fixture f;
	pthread_barrier_t *all;
	unsigned i;
	ssize_t n;
};

/* Each waits in its read until all others have a buffer, too. */
static void wait_for_all(void *data)
{
	pthread_barrier_wait(data);
}

/* Half of a MiB differs, in a place of the writer's own. */
static void *write_own(void *data)
{
	struct writer *w = data;
	char *buf = malloc(MIB);

	memset(buf, 'o', MIB);
	memset(buf + (size_t)w->i * G, 'a' + (int)w->i, MIB / 2);
	w->n = bsp_sparse_write(w->f.sp, (uint64_t)w->i * MIB, buf, MIB);
	free(buf);
	return NULL;
}

static void each_of_many_writers_compares_its_own_bytes(void **state_)
{
	struct fixture f = open_device((uint64_t)WRITERS * MIB);
	struct writer writers[WRITERS];
	pthread_t threads[WRITERS];
	pthread_barrier_t all;

	memset(fake_bytes(f.fake), 'o', 8 * G);
	pthread_barrier_init(&all, NULL, WRITERS);
	for (int round = 0; round < 2; round++) {
		fake_on_read(f.fake, wait_for_all, &all);
		for (unsigned i = 0; i < WRITERS; i++) {
			writers[i] = (struct writer){ f, &all, i, 0 };
			assert_int_equal(pthread_create(&threads[i], NULL,
							write_own, &writers[i]),
					 0);
		}
		for (unsigned i = 0; i < WRITERS; i++) {
			pthread_join(threads[i], NULL);
			assert_int_equal(writers[i].n, MIB);
		}
		fake_on_read(f.fake, NULL, NULL);
		/* Only what differs was written, and only in the first round.
		 */
		assert_int_equal(atomic_load(&f.sp->same.written),
				 (uint64_t)WRITERS * MIB / 2);
		assert_int_equal(atomic_load(&f.sp->same.taken), 0);
	}
	for (unsigned i = 0; i < WRITERS; i++) {
		uint64_t off = (uint64_t)i * MIB + (uint64_t)i * G;

		reads_as(f, off, MIB / 2, 'a' + (int)i);
		reads_as(f, off + MIB / 2, MIB / 2 - (size_t)i * G, 'o');
	}
	pthread_barrier_destroy(&all);
	bsp_sparse_free(f.sp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_bytes_are_not_written),
		cmocka_unit_test(only_granules_that_differ_are_written),
		cmocka_unit_test(zeros_that_are_there_become_a_hole),
		cmocka_unit_test(holes_and_markers_are_not_read),
		cmocka_unit_test(a_part_of_a_granule_is_compared),
		cmocka_unit_test(the_last_granule_may_be_short),
		cmocka_unit_test(a_long_write_is_compared_in_steps),
		cmocka_unit_test(bytes_that_cannot_be_read_are_written),
		cmocka_unit_test(nothing_is_left_out_after_a_failed_flush),
		cmocka_unit_test(zeros_in_a_part_survive_a_failed_flush),
		cmocka_unit_test(a_failure_while_it_compares_counts),
		cmocka_unit_test(writes_are_made_unless_asked_otherwise),
		cmocka_unit_test(each_of_many_writers_compares_its_own_bytes),
	};

	return cmocka_run_group_tests_name("same", tests, NULL, NULL);
}
