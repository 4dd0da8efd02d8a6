/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many threads on one object, for ThreadSanitizer to watch and against the
 * truth. Threads count what is wrong; only the main thread asserts.
 */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "blksparse.h"
#include "fake-device.h"
#include "range.h"

enum { G = 4096, MIB = 1 << 20, SIZE = 24 * MIB + 512, ROUNDS = 400 };

struct stress {
	struct fake *fake;
	struct bsp_sparse *sp;
	unsigned char *truth; /* where nobody writes */
	atomic_uint wrong;
	atomic_uint seed;
	atomic_bool stop;
	_Atomic uint64_t written; /* granules below it were made nonzero */
};

typedef void *(*worker_fn)(void *stress);

static void run(struct stress *s, const worker_fn *workers, size_t n)
{
	pthread_t threads[16];

	for (size_t i = 0; i < n; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, workers[i], s), 0);
	for (size_t i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

static uint64_t pick(unsigned *seed, uint64_t below)
{
	uint64_t high = (uint64_t)rand_r(seed);

	return (high << 20 ^ (uint64_t)rand_r(seed)) % below;
}

/* Any bytes against the truth. */
static void *reader(void *data)
{
	struct stress *s = data;
	unsigned seed = atomic_fetch_add(&s->seed, 1);
	unsigned char *buf = malloc(256 * 1024);

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t off = pick(&seed, SIZE);
		size_t len = pick(&seed, 256 * 1024);
		ssize_t n = bsp_sparse_read(s->sp, buf, len, off);

		if (n != (ssize_t)bsp_range_clamp(off, len, SIZE) ||
		    memcmp(buf, s->truth + off, (size_t)n))
			s->wrong++;
	}
	free(buf);
	return NULL;
}

static bool all_zero(const struct stress *s, uint64_t from, uint64_t to)
{
	while (from < to && !s->truth[from])
		from++;
	return from == to;
}

/* Nothing that is skipped holds a byte, and every seek moves on. */
static void *seeker(void *data)
{
	struct stress *s = data;
	unsigned seed = atomic_fetch_add(&s->seed, 1);

	for (int i = 0; i < ROUNDS / 4; i++) {
		uint64_t off = pick(&seed, SIZE), at = SIZE, hole = 0;
		int r = bsp_sparse_seek_data(s->sp, off, NULL, NULL, &at);

		if (r == -ENXIO)
			at = SIZE;
		if ((r && r != -ENXIO) || at < off || !all_zero(s, off, at))
			s->wrong++;
		if (r)
			continue;
		r = bsp_sparse_seek_hole(s->sp, at, NULL, NULL, &hole);
		if (r || hole <= at)
			s->wrong++;
	}
	return NULL;
}

static void *scanner(void *data)
{
	struct stress *s = data;
	struct bsp_stat st;

	if (bsp_sparse_scan(s->sp, 0, UINT64_MAX, NULL, NULL, NULL))
		s->wrong++;
	bsp_sparse_stat(s->sp, &st);
	if (st.unknown || st.data + st.hole != SIZE)
		s->wrong++;
	return NULL;
}

static struct stress *stress_new(bool filled)
{
	struct stress *s = calloc(1, sizeof(*s));
	unsigned seed = 7;

	assert_non_null(s);
	s->fake = fake_new(SIZE);
	for (uint64_t at = 0; filled && at < SIZE;) {
		uint64_t run = (1 + pick(&seed, 60)) * 1024;

		run = bsp_min(run, SIZE - at);
		memset(fake_bytes(s->fake) + at, 'd', run);
		at += run + pick(&seed, 200) * 1024;
	}
	s->truth = malloc(SIZE);
	memcpy(s->truth, fake_bytes(s->fake), SIZE);
	s->sp = bsp_sparse_new(fake_device(s->fake), NULL, NULL);
	assert_non_null(s->sp);
	return s;
}

static void stress_free(struct stress *s)
{
	bsp_sparse_free(s->sp);
	free(s->truth);
	free(s);
}

static void
readers_and_seekers_agree_with_the_truth_while_it_is_scanned(void **state)
{
	static const worker_fn workers[] = { scanner, reader, seeker, reader,
					     seeker,  reader, seeker, reader };
	struct stress *s = stress_new(true);

	run(s, workers, G_N_ELEMENTS(workers));
	assert_int_equal(s->wrong, 0);
	/* Once known, it was read once at most by seeks: nothing is left. */
	(void)fake_reads(s->fake, NULL);
	scanner(s);
	assert_int_equal(fake_reads(s->fake, NULL), 0);
	stress_free(s);
}

/* Another program makes granule after granule nonzero, and says how far. */
static void *other_writer(void *data)
{
	struct stress *s = data;

	for (uint64_t g = 0; g < SIZE / G; g++) {
		(g % 2 ? fake_write : fake_write_dirty)(s->fake, g * G, G, 'n');
		atomic_store(&s->written, g + 1);
	}
	atomic_store(&s->stop, true);
	return NULL;
}

/* What was written before the read began is not zero in it. */
static void *reader_after_writer(void *data)
{
	struct stress *s = data;
	unsigned seed = atomic_fetch_add(&s->seed, 1);
	unsigned char byte;

	while (!atomic_load(&s->stop)) {
		uint64_t written = atomic_load(&s->written);
		uint64_t g =
			written ? written - 1 - pick(&seed, written) / 8 : 0;

		if (bsp_sparse_read(s->sp, &byte, 1, g * G) != 1 ||
		    (written && byte != 'n'))
			s->wrong++;
	}
	return NULL;
}

static void *seeker_after_writer(void *data)
{
	struct stress *s = data;

	while (!atomic_load(&s->stop)) {
		uint64_t written = atomic_load(&s->written), at = 0;
		uint64_t off = written ? (written - 1) * G : 0;

		if (bsp_sparse_seek_data(s->sp, off, NULL, NULL, &at)) {
			s->wrong += written != 0;
			continue;
		}
		if (written && at != off)
			s->wrong++;
	}
	return NULL;
}

static void what_others_wrote_is_never_hidden_by_a_hole(void **state)
{
	static const worker_fn workers[] = { other_writer, reader_after_writer,
					     seeker_after_writer,
					     reader_after_writer };
	struct stress *s = stress_new(false);

	run(s, workers, G_N_ELEMENTS(workers));
	assert_int_equal(s->wrong, 0);
	stress_free(s);
}

/* The device's end moves in and out, a nonzero byte in its last granules. */
static void *resizer(void *data)
{
	struct stress *s = data;
	unsigned seed = 3;

	for (int i = 0; i < 2000; i++) {
		fake_resize(s->fake, SIZE - 64 * G + pick(&seed, 64 * 8) * 512);
		(void)bsp_sparse_refresh(s->sp);
	}
	fake_resize(s->fake, SIZE);
	atomic_store(&s->stop, true);
	return NULL;
}

static void *reader_at_the_end(void *data)
{
	struct stress *s = data;
	unsigned seed = atomic_fetch_add(&s->seed, 1);
	unsigned char buf[8 * G];

	while (!atomic_load(&s->stop)) {
		uint64_t off = SIZE - 64 * G + pick(&seed, 64 * 8) * 512;
		ssize_t n = bsp_sparse_read(s->sp, buf, sizeof(buf), off);

		if (n > 0 && memcmp(buf, s->truth + off, (size_t)n))
			s->wrong++;
	}
	return NULL;
}

static void bytes_are_right_while_the_size_changes(void **state)
{
	static const worker_fn workers[] = { resizer, reader_at_the_end,
					     reader_at_the_end };
	struct stress *s = stress_new(false);

	/* Zero but for the last byte of each granule: a hole learned for a
	 * short granule is wrong for the whole one. */
	for (uint64_t at = G - 1; at < SIZE; at += G)
		fake_bytes(s->fake)[at] = s->truth[at] = 'e';
	run(s, workers, G_N_ELEMENTS(workers));
	assert_int_equal(s->wrong, 0);
	assert_int_equal(bsp_sparse_refresh(s->sp), bsp_sparse_refresh(s->sp));
	assert_int_equal(bsp_sparse_size(s->sp), SIZE);
	stress_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			readers_and_seekers_agree_with_the_truth_while_it_is_scanned),
		cmocka_unit_test(what_others_wrote_is_never_hidden_by_a_hole),
		cmocka_unit_test(bytes_are_right_while_the_size_changes),
	};

	return cmocka_run_group_tests_name("stress", tests, NULL, NULL);
}
