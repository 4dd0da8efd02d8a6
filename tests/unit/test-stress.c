/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many threads on one object, compared with the truth, and to be watched by
 * ThreadSanitizer. Threads count mistakes; only the main thread asserts.
 */
#include "unit.h"

#include <errno.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blksparse-mount.h"
#include "fake-device.h"
#include "base/range.h"
#include "sparse/sparse.h"

enum {
	G = 4096,
	MIB = 1 << 20,
	SIZE = 24 * MIB + 512,
	ROUNDS = 400,
	RESIZES = 2000
};

struct stress {
	struct fake *fake;
	struct bsp_sparse *sp;
	unsigned char *truth; /* where no thread writes */
	atomic_uint wrong;
	atomic_uint seed;
	atomic_bool stop;
	_Atomic uint64_t written; /* granules below it were made nonzero */
	atomic_uint learned;	  /* granules, as holes that the device knows */
	uint64_t sizes[RESIZES];  /* the device's, one after another, */
	atomic_uint resized;	  /* and up to which it may have come */
};

typedef void *(*worker_fn)(void *stress);

static void run(void *s, const worker_fn *workers, size_t n)
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
		ssize_t n = bsp_sparse_read(s->sp, off, buf, len);

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

/* No skipped range holds a byte, and every seek moves on. */
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

/* With a scan ahead of seeks, or without. */
static struct stress *stress_new(bool filled, bool ahead)
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
	if (ahead)
		assert_int_equal(
			bsp_sparse_scan_ahead_start(
				s->sp, &(struct bsp_scan_ahead_options){ 0 }),
			0);
	return s;
}

static void stress_free(struct stress *s)
{
	bsp_sparse_free(s->sp);
	free(s->truth);
	free(s);
}

static void readers_and_seekers_see_the_truth_during_a_scan(void **state)
{
	const bool *ahead = *state;
	static const worker_fn workers[] = { scanner, reader, seeker, reader,
					     seeker,  reader, seeker, reader };
	struct stress *s = stress_new(true, *ahead);

	run(s, workers, G_N_ELEMENTS(workers));
	assert_int_equal(s->wrong, 0);
	/* Seeks read each granule once at most: nothing is left to read. */
	(void)fake_reads(s->fake, NULL);
	scanner(s);
	assert_int_equal(fake_reads(s->fake, NULL), 0);
	stress_free(s);
}

/* Another program makes granule after granule nonzero, and publishes how
 * far. */
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

/* Bytes written before the read began are not zero in it. */
static void *reader_after_writer(void *data)
{
	struct stress *s = data;
	unsigned seed = atomic_fetch_add(&s->seed, 1);
	unsigned char byte;

	while (!atomic_load(&s->stop)) {
		uint64_t written = atomic_load(&s->written);
		uint64_t g =
			written ? written - 1 - pick(&seed, written) / 8 : 0;

		if (bsp_sparse_read(s->sp, g * G, &byte, 1) != 1 ||
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

static void outside_writes_are_never_hidden_by_a_hole(void **state)
{
	const bool *ahead = *state;
	static const worker_fn workers[] = { other_writer, reader_after_writer,
					     seeker_after_writer,
					     reader_after_writer };
	struct stress *s = stress_new(false, *ahead);

	run(s, workers, G_N_ELEMENTS(workers));
	assert_int_equal(s->wrong, 0);
	stress_free(s);
}

/* As other_writer(), with pauses in which an answer can be checked and learned.
 */
static void *slow_writer(void *data)
{
	const struct timespec pause = { .tv_nsec = 20000 };
	struct stress *s = data;

	for (uint64_t g = 0; g < SIZE / G; g++) {
		(g % 2 ? fake_write : fake_write_dirty)(s->fake, g * G, G, 'n');
		atomic_store(&s->written, g + 1);
		(void)nanosleep(&pause, NULL);
	}
	atomic_store(&s->stop, true);
	return NULL;
}

/* Asks the layers below for unknown granules, as a scan does, mostly near the
 * place of the next writes. */
static void *asker(void *data)
{
	struct stress *s = data;
	unsigned seed = atomic_fetch_add(&s->seed, 1);

	while (!atomic_load(&s->stop)) {
		uint64_t written = atomic_load(&s->written);
		uint64_t g = written + pick(&seed, 4);

		g = bsp_min(g - bsp_min(g, 2), SIZE / G - 1);
		if (bsp_map_get(s->sp->map, g) != BSP_UNKNOWN)
			continue;
		if (bsp_sparse_learn_known(s->sp, g * G, true))
			s->wrong++;
		s->learned += bsp_map_get(s->sp->map, g) == BSP_HOLE;
	}
	return NULL;
}

static void outside_writes_are_never_hidden_by_a_known_hole(void **state)
{
	const bool *ahead = *state;
	static const worker_fn workers[] = {
		slow_writer,	    asker, asker, asker, seeker_after_writer,
		reader_after_writer
	};
	struct stress *s = stress_new(false, *ahead);

	fake_know_true_zeros(s->fake);
	run(s, workers, G_N_ELEMENTS(workers));
	assert_int_equal(s->wrong, 0);
	assert_true(s->learned > 0);
	/* All but the short last granule are written by now. */
	(void)bsp_sparse_refresh(s->sp);
	assert_int_equal(bsp_map_next(s->sp->map, BSP_IN_HOLE, 0, SIZE / G),
			 SIZE / G);
	/* No spot check took a write for an error of the layer. */
	assert_null(bsp_sparse_false_zeros(s->sp));
	stress_free(s);
}

/* Holes are learned and forgotten. */
static void *forgetter(void *data)
{
	struct stress *s = data;

	for (int i = 0; i < 20000; i++) {
		uint64_t at;

		/* The first call forgets, the second one learns. */
		fake_write(s->fake, SIZE - 1, 1, 0);
		if (bsp_sparse_seek_data(s->sp, SIZE - 8 * G, NULL, NULL,
					 &at) != -ENXIO)
			s->wrong++;
	}
	atomic_store(&s->stop, true);
	return NULL;
}

static void *reader_of_zeros(void *data)
{
	struct stress *s = data;
	uint64_t off = SIZE - 5 * G;
	struct bsp_extent extent;
	char byte = 'x';

	while (!atomic_load(&s->stop)) {
		if (bsp_sparse_read(s->sp, off, &byte, 1) != 1 || byte)
			s->wrong++;
		if (bsp_sparse_extent(s->sp, off, &extent) != 1 ||
		    extent.len == 0)
			s->wrong++;
	}
	return NULL;
}

static void no_read_fails_while_holes_are_found(void **state)
{
	static const worker_fn workers[] = { forgetter, reader_of_zeros,
					     reader_of_zeros };
	const bool *ahead = *state;
	struct stress *s = stress_new(false, *ahead);

	run(s, workers, G_N_ELEMENTS(workers));
	assert_int_equal(s->wrong, 0);
	stress_free(s);
}

/* The device's end moves in and out, a nonzero byte in its last granules. */
static void *resizer(void *data)
{
	struct stress *s = data;
	unsigned seed = 3;

	for (unsigned i = 1; i < RESIZES; i++) {
		s->sizes[i] = SIZE - 64 * G + pick(&seed, 64 * 8) * 512;
		atomic_store(&s->resized, i);
		fake_resize(s->fake, s->sizes[i]);
		(void)bsp_sparse_refresh(s->sp);
	}
	fake_resize(s->fake, SIZE);
	atomic_store(&s->stop, true);
	return NULL;
}

/* Did the device end in the granule at some time since resized was from? */
static bool was_cut(struct stress *s, uint64_t granule, unsigned from)
{
	/* It may have had the size before that one still. */
	for (unsigned i = from ? from - 1 : 0; i <= atomic_load(&s->resized);
	     i++) {
		if (s->sizes[i] / G == granule && s->sizes[i] % G)
			return true;
	}
	return false;
}

static void *reader_at_the_end(void *data)
{
	struct stress *s = data;
	unsigned seed = atomic_fetch_add(&s->seed, 1);
	unsigned char buf[8 * G];

	while (!atomic_load(&s->stop)) {
		uint64_t off = SIZE - 64 * G + pick(&seed, 64 * 8) * 512;
		ssize_t n = bsp_sparse_read(s->sp, off, buf, sizeof(buf));

		if (n > 0 && memcmp(buf, s->truth + off, (size_t)n))
			s->wrong++;
	}
	return NULL;
}

/* Whole granules have a byte there, so no seek skips one; one that is cut is a
 * hole while it is. */
static void *seeker_at_the_end(void *data)
{
	struct stress *s = data;
	unsigned seed = atomic_fetch_add(&s->seed, 1);

	while (!atomic_load(&s->stop)) {
		uint64_t g = SIZE / G - 64 + pick(&seed, 32), at = g * G;
		uint64_t hole = g * G + 1;
		unsigned resized = atomic_load(&s->resized);
		int r = bsp_sparse_seek_data(s->sp, g * G, NULL, NULL, &at);

		if (!r)
			r = bsp_sparse_seek_hole(s->sp, at, NULL, NULL, &hole);
		if ((r && r != -ENXIO) || at >= (g + 2) * G ||
		    (hole <= g * G && !was_cut(s, g, resized)))
			s->wrong++;
	}
	return NULL;
}

static void bytes_are_right_while_the_size_changes(void **state)
{
	const bool *ahead = *state;
	static const worker_fn workers[] = { resizer, reader_at_the_end,
					     reader_at_the_end,
					     seeker_at_the_end };
	struct stress *s = stress_new(false, *ahead);

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

/* --- Writing --- */

enum { WRITERS = 4, PART = 3 * MIB + 777, WRITER_ROUNDS = 600 };

/* A file that is written, and the bytes that it must read as. */
struct written {
	struct fake *fake;
	struct bsp_sparse *sp;
	unsigned char *shadow;
	atomic_uint wrong;
	atomic_uint next; /* which part a writer takes */
	atomic_bool stop;
};

static struct written *written_new(unsigned ways, bool ahead)
{
	struct written *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->fake = fake_new(SIZE);
	memset(fake_bytes(w->fake), 0xaa, SIZE);
	fake_make_writable(w->fake, ways);
	w->shadow = malloc(SIZE);
	memset(w->shadow, 0xaa, SIZE);
	w->sp = bsp_sparse_new(fake_device(w->fake), NULL, NULL);
	assert_non_null(w->sp);
	if (ahead) {
		assert_int_equal(
			bsp_sparse_scan_ahead_start(
				w->sp, &(struct bsp_scan_ahead_options){ 0 }),
			0);
		bsp_sparse_scan_ahead_set_background(w->sp, true);
	}
	return w;
}

static void written_free(struct written *w)
{
	bsp_sparse_free(w->sp);
	free(w->shadow);
	free(w);
}

/* Bytes of which about half the granules are zero. */
static void mix(unsigned char *buf, size_t len, unsigned *seed)
{
	for (size_t at = 0; at < len;) {
		size_t run = bsp_min(len - at, 1 + pick(seed, 3 * G));

		memset(buf + at, rand_r(seed) % 2 ? 0 : 1 + rand_r(seed) % 255,
		       run);
		at += run;
	}
}

static void check_bytes(struct written *w, unsigned char *buf, uint64_t off,
			size_t len)
{
	ssize_t n = bsp_sparse_read(w->sp, off, buf, len);

	if (n != (ssize_t)len || memcmp(buf, w->shadow + off, len))
		w->wrong++;
}

static void write_step(struct written *w, unsigned char *buf, uint64_t off,
		       size_t len, unsigned *seed)
{
	const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	switch (rand_r(seed) % 4) {
	case 0:
		check_bytes(w, buf, off, len);
		break;
	case 1:
		if (bsp_sparse_fallocate(w->sp, punch, off, len))
			w->wrong++;
		memset(w->shadow + off, 0, len);
		break;
	default:
		mix(buf, len, seed);
		if (bsp_sparse_write(w->sp, off, buf, len) != (ssize_t)len)
			w->wrong++;
		memcpy(w->shadow + off, buf, len);
		break;
	}
}

/* Writes to a part of the file that no other thread writes to; the part's ends
 * lie inside of granules. */
static void *writer(void *data)
{
	struct written *w = data;
	unsigned part = atomic_fetch_add(&w->next, 1), seed = 100 + part;
	unsigned char *buf = malloc(64 * 1024);

	for (int i = 0; i < WRITER_ROUNDS; i++) {
		uint64_t at = pick(&seed, PART - 1);
		size_t len =
			1 + pick(&seed, bsp_min(PART - 1 - at, 64 * 1024 - 1));

		write_step(w, buf, part * PART + at, len, &seed);
	}
	check_bytes(w, buf, part * PART, 64 * 1024);
	free(buf);
	if (atomic_fetch_add(&w->next, 1) == 2 * WRITERS - 1)
		atomic_store(&w->stop, true);
	return NULL;
}

static void *flusher(void *data)
{
	struct written *w = data;

	while (!atomic_load(&w->stop))
		if (bsp_sparse_flush(w->sp, NULL, NULL))
			w->wrong++;
	return NULL;
}

/* Now and then the device reports an error, but keeps the data. */
static void *failing_flusher(void *data)
{
	struct written *w = data;

	for (unsigned i = 0; !atomic_load(&w->stop); i++) {
		int r;

		fake_fail_flush(w->fake, i % 3 ? 0 : EIO);
		r = bsp_sparse_flush(w->sp, NULL, NULL);
		if (i % 3 ? r != 0 : r != -EIO)
			w->wrong++;
	}
	fake_fail_flush(w->fake, 0);
	return NULL;
}

static void *marker_flusher(void *data)
{
	struct written *w = data;
	unsigned seed = 6;

	while (!atomic_load(&w->stop)) {
		uint64_t off = pick(&seed, SIZE);
		uint64_t limit = pick(&seed, 2 * SIZE);
		int r = bsp_sparse_flush_markers_before(w->sp, &off, limit,
							NULL, NULL);

		if (!r)
			r = bsp_sparse_flush_markers(w->sp, NULL, NULL);
		/* A flush failed while it zeroed. */
		if (r && r != -EIO)
			w->wrong++;
	}
	return NULL;
}

/* Seeks move on, whatever writers do. */
static void *looker(void *data)
{
	struct written *w = data;
	unsigned seed = 1;

	while (!atomic_load(&w->stop)) {
		uint64_t off = pick(&seed, SIZE), at = 0;
		int r = bsp_sparse_seek_data(w->sp, off, NULL, NULL, &at);

		if ((r && r != -ENXIO) || (!r && (at < off || at >= SIZE)))
			w->wrong++;
	}
	return NULL;
}

static void parallel_writers_keep_their_bytes(void **state)
{
	const bool *ahead = *state;
	static const worker_fn workers[] = { writer, writer,  writer,
					     writer, flusher, looker };
	static const worker_fn failing[] = { writer,	     writer,
					     writer,	     writer,
					     marker_flusher, failing_flusher };
	static const unsigned ways[] = { 1 << FAKE_PUNCH, 1 << FAKE_UNMAP, 0 };

	for (size_t i = 0; i < 2 * G_N_ELEMENTS(ways); i++) {
		struct written *w = written_new(ways[i / 2], *ahead);

		run(w, i % 2 ? failing : workers, G_N_ELEMENTS(workers));
		assert_int_equal(w->wrong, 0);
		assert_int_equal(bsp_sparse_finish(w->sp, BSP_TAIL_KEEP), 0);
		assert_memory_equal(fake_bytes(w->fake), w->shadow, SIZE);
		written_free(w);
	}
}

/* No range that a seek skips holds a byte. */
static void check_seek(struct written *w, uint64_t off, uint64_t size)
{
	uint64_t at = size;
	int r = bsp_sparse_seek_data(w->sp, off, NULL, NULL, &at);

	if (r && r != -ENXIO)
		w->wrong++;
	for (uint64_t i = off; i < at; i++)
		if (w->shadow[i])
			w->wrong++;
}

/* One thread, all operations, sizes too. */
static void random_step(struct written *w, unsigned char *buf, uint64_t *size,
			unsigned *seed)
{
	uint64_t off = pick(seed, SIZE - 1);
	size_t len = 1 + pick(seed, bsp_min(SIZE - 1 - off, 64 * 1024 - 1));

	switch (rand_r(seed) % 8) {
	case 0:
		if (bsp_sparse_truncate(w->sp, off))
			w->wrong++;
		if (off < *size)
			memset(w->shadow + off, 0, SIZE - off);
		*size = off;
		break;
	case 1:
		if (bsp_sparse_flush_markers(w->sp, NULL, NULL))
			w->wrong++;
		break;
	case 2:
		check_seek(w, pick(seed, *size + 1), *size);
		break;
	case 3:
		len = bsp_range_clamp(off, len, *size);
		check_bytes(w, buf, off, len);
		break;
	default:
		if (off + len > *size) { /* a write grows the file */
			mix(buf, len, seed);
			if (bsp_sparse_write(w->sp, off, buf, len) !=
			    (ssize_t)len)
				w->wrong++;
			memcpy(w->shadow + off, buf, len);
			*size = off + len;
		} else {
			write_step(w, buf, off, len, seed);
		}
		break;
	}
	if (bsp_sparse_size(w->sp) != *size)
		w->wrong++;
}

static void random_operations_read_as_their_shadow(void **state)
{
	const bool *ahead = *state;
	static const unsigned ways[] = { 1 << FAKE_PUNCH, 1 << FAKE_UNMAP, 0 };
	unsigned char *buf = malloc(64 * 1024);

	for (unsigned seed = 1; seed <= 6; seed++) {
		struct written *w = written_new(ways[seed % 3], *ahead);
		unsigned s = seed;
		uint64_t size = SIZE;

		for (int i = 0; i < 400; i++) {
			random_step(w, buf, &size, &s);
			if (w->wrong)
				fail_msg("seed %u, step %d", seed, i);
		}
		assert_int_equal(bsp_sparse_finish(w->sp, BSP_TAIL_KEEP), 0);
		assert_memory_equal(fake_bytes(w->fake), w->shadow, size);
		written_free(w);
	}
	free(buf);
}

#ifdef __SANITIZE_THREAD__
enum { PIECE = 100, LOSSES = 200 };
#else
enum { PIECE = 100, LOSSES = 5000 };
#endif

/* Zeros that follow the part in its granule, and are never anything else. */
static void *zeros_reader(void *data)
{
	struct stress *s = data;
	static const unsigned char zeros[64];
	unsigned char buf[64];

	while (!s->stop) {
		ssize_t n = bsp_sparse_read(s->sp, 2 * PIECE, buf, sizeof(buf));

		if (n != (ssize_t)sizeof(buf) ||
		    memcmp(buf, zeros, sizeof(buf)))
			s->wrong++;
	}
	return NULL;
}

/* Writes a part, loses the zeros beside it, and punches all of it. */
static void *loser(void *data)
{
	struct stress *s = data;
	char piece[PIECE];

	memset(piece, 'x', sizeof(piece));
	for (int i = 0; i < LOSSES; i++) {
		s->wrong += bsp_sparse_write(s->sp, 0, piece, PIECE) != PIECE;
		s->wrong += bsp_sparse_flush(s->sp, NULL, NULL) != -EIO;
		s->wrong += bsp_sparse_fallocate(s->sp,
						 FALLOC_FL_PUNCH_HOLE |
							 FALLOC_FL_KEEP_SIZE,
						 0, G) != 0;
		(void)fake_changes(s->fake, NULL);
	}
	s->stop = true;
	return NULL;
}

static void punch_never_exposes_old_bytes(void **state)
{
	static const worker_fn workers[] = { loser, zeros_reader,
					     zeros_reader };
	struct stress s = { .fake = fake_new(G) };

	memset(fake_bytes(s.fake), 0xaa, G);
	fake_make_writable(s.fake, 0);
	s.sp = bsp_sparse_new(fake_device(s.fake), NULL, NULL);
	assert_non_null(s.sp);
	fake_cache(s.fake, FAKE_LOSES_ALL);
	fake_fail_flush(s.fake, EIO);
	assert_int_equal(
		bsp_sparse_fallocate(
			s.sp, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, G),
		0);
	run(&s, workers, 3);
	assert_int_equal(s.wrong, 0);
	bsp_sparse_free(s.sp);
}

enum { PATIENCE = 50000, TRUNCATIONS = 5 };

static const struct bsp_device_ops *fast_ops;

static ssize_t slow_write(struct bsp_device *dev, uint64_t off, const void *buf,
			  size_t len)
{
	const struct timespec moment = { .tv_nsec = 200000 };

	(void)nanosleep(&moment, NULL);
	return fast_ops->write(dev, off, buf, len);
}

/* Gives up when that many writes were made in vain. */
static void *waiting_writer(void *data)
{
	struct stress *s = data;
	uint64_t off = atomic_fetch_add(&s->seed, 1) * G;
	char buf[G];

	memset(buf, 'x', G);
	while (!s->stop) {
		s->wrong += bsp_sparse_write(s->sp, off, buf, G) != G;
		s->wrong += atomic_fetch_add(&s->written, 1) >= PATIENCE;
		s->stop |= s->wrong != 0;
	}
	return NULL;
}

static void *truncator(void *data)
{
	struct stress *s = data;

	for (uint64_t i = 0; i < TRUNCATIONS; i++) {
		uint64_t before = s->written;

		while (!s->stop && s->written < before + 16)
			(void)sched_yield();
		s->wrong += bsp_sparse_truncate(s->sp, (31 - i) * G) != 0;
	}
	s->stop = true;
	return NULL;
}

static void truncation_comes_before_new_writers(void **state)
{
	static const worker_fn workers[] = {
		truncator,	waiting_writer, waiting_writer,
		waiting_writer, waiting_writer, waiting_writer,
		waiting_writer, waiting_writer, waiting_writer,
	};
	struct stress s = { .fake = fake_new(32 * G) };
	struct bsp_device *dev = fake_device(s.fake);
	struct bsp_device_ops ops;

	fake_make_writable(s.fake, 0);
	fast_ops = dev->ops;
	ops = *fast_ops;
	ops.write = slow_write;
	dev->ops = &ops;
	s.sp = bsp_sparse_new(dev, NULL, NULL);
	assert_non_null(s.sp);
	run(&s, workers, 9);
	assert_int_equal(s.wrong, 0);
	bsp_sparse_free(s.sp);
}

static bool without = false, with_ahead = true;

#define BOTH(test)                                                             \
	cmocka_unit_test_prestate(test, &without),                             \
		cmocka_unit_test_prestate(test, &with_ahead)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(readers_and_seekers_see_the_truth_during_a_scan),
		BOTH(outside_writes_are_never_hidden_by_a_hole),
		BOTH(outside_writes_are_never_hidden_by_a_known_hole),
		BOTH(no_read_fails_while_holes_are_found),
		BOTH(bytes_are_right_while_the_size_changes),
		BOTH(parallel_writers_keep_their_bytes),
		BOTH(random_operations_read_as_their_shadow),
		cmocka_unit_test(punch_never_exposes_old_bytes),
		cmocka_unit_test(truncation_comes_before_new_writers),
	};

	return cmocka_run_group_tests_name("stress", tests, NULL, NULL);
}
