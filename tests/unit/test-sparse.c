/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blksparse-mount.h"
#include "fake-device.h"
#include "sparse/sparse.h"

enum { G = 4096, MIB = 1 << 20 };

static struct bsp_sparse *sparse_of(struct fake *fake, uint64_t granule,
				    uint64_t lookahead, uint32_t budget_ms)
{
	const struct bsp_sparse_options options = {
		.granule = granule,
		.lookahead = lookahead,
		.budget_ms = budget_ms,
	};
	struct bsp_sparse *sp =
		bsp_sparse_new(fake_device(fake), &options, NULL);

	assert_non_null(sp);
	return sp;
}

/* Its seeks do not end early: they have a budget of 49 days. */
static struct bsp_sparse *patient(struct fake *fake, uint64_t granule)
{
	return sparse_of(fake, granule, UINT64_MAX, UINT32_MAX);
}

/* As patient(), but the first answer of the device is not checked. */
static struct bsp_sparse *patient_trusting(struct fake *fake)
{
	struct bsp_sparse *sp = patient(fake, G);

	sp->spot_checks.unchecked = 0;
	return sp;
}

static uint64_t data_at(struct bsp_sparse *sp, uint64_t off)
{
	uint64_t at = UINT64_MAX;

	assert_int_equal(bsp_sparse_seek_data(sp, off, NULL, NULL, &at), 0);
	return at;
}

static uint64_t hole_at(struct bsp_sparse *sp, uint64_t off)
{
	uint64_t at = UINT64_MAX;

	assert_int_equal(bsp_sparse_seek_hole(sp, off, NULL, NULL, &at), 0);
	return at;
}

static void assert_no_data(struct bsp_sparse *sp, uint64_t off)
{
	uint64_t at = 7;

	assert_int_equal(bsp_sparse_seek_data(sp, off, NULL, NULL, &at),
			 -ENXIO);
	assert_int_equal(at, 7);
}

static uint64_t bytes_read(struct fake *fake)
{
	const struct fake_call *reads;
	size_t n = fake_reads(fake, &reads);
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += reads[i].len;
	return sum;
}

/* --- The truth --- */

static bool truly_zero(const unsigned char *bytes, uint64_t size,
		       uint64_t granule, uint64_t off)
{
	uint64_t from = off / granule * granule;
	uint64_t to = from + granule < size ? from + granule : size;

	for (uint64_t i = from; i < to; i++)
		if (bytes[i])
			return false;
	return true;
}

/* Walks all extents and compares each granule with the bytes. */
static void check_extents(struct bsp_sparse *sp, const unsigned char *bytes,
			  uint64_t size, uint64_t granule)
{
	uint64_t off = 0;

	while (off < size) {
		uint64_t data = size, hole;
		int r = bsp_sparse_seek_data(sp, off, NULL, NULL, &data);

		assert_true(r == 0 || (r == -ENXIO && data == size));
		assert_true(data == size || data % granule == 0);
		for (; off < data; off += granule)
			assert_true(truly_zero(bytes, size, granule, off));
		if (data == size)
			return;
		hole = hole_at(sp, data);
		assert_true(hole > data);
		assert_true(hole == size || hole % granule == 0);
		for (off = data; off < hole; off += granule)
			assert_false(truly_zero(bytes, size, granule, off));
		off = hole;
	}
}

enum shape {
	ALL_ZERO,
	ALL_DATA,
	FIRST,
	LAST,
	ALTERNATING,
	FIRST_BYTES,
	LAST_BYTES,
	MIXED,
	SHAPES,
};

static void draw(unsigned char *bytes, uint64_t size, uint64_t g,
		 enum shape shape)
{
	unsigned seed = 42;

	for (uint64_t i = 0; i < size; i++) {
		uint64_t at = i / g, last = (size - 1) / g;
		bool edge = i % g == g - 1 || i == size - 1;
		bool on = false;

		switch (shape) {
		case ALL_ZERO:
			break;
		case ALL_DATA:
			on = true;
			break;
		case FIRST:
			on = at == 0;
			break;
		case LAST:
			on = at == last;
			break;
		case ALTERNATING:
			on = at % 2;
			break;
		case FIRST_BYTES:
			on = at % 3 == 1 && i % g == 0;
			break;
		case LAST_BYTES:
			on = at % 3 == 1 && edge;
			break;
		case MIXED:
			if (i % g == 0 && i / g % 5 == 0)
				seed = (unsigned)rand_r(&seed);
			on = seed % 3 == 0;
			break;
		case SHAPES:
			break;
		}
		bytes[i] = on ? 0xa5 : 0;
	}
}

static void check_known(struct bsp_sparse *sp, struct fake *fake,
			const unsigned char *bytes, uint64_t size,
			uint64_t granule)
{
	unsigned char *got = malloc(size + 1);
	struct bsp_stat st;
	uint64_t data = 0;

	(void)fake_reads(fake, NULL);
	check_extents(sp, bytes, size, granule);
	assert_int_equal(fake_reads(fake, NULL), 0);
	assert_int_equal(bsp_sparse_read(sp, 0, got, size + 1), size);
	assert_memory_equal(got, bytes, size);
	for (uint64_t off = 0; off < size; off += granule)
		if (!truly_zero(bytes, size, granule, off))
			data += off + granule < size ? granule : size - off;
	assert_int_equal(bytes_read(fake), data);
	bsp_sparse_stat(sp, &st);
	assert_int_equal(st.unknown, 0);
	assert_int_equal(st.data, data);
	assert_int_equal(st.hole, size - data);
	assert_int_equal(st.blocks, (data + 511) / 512);
	free(got);
}

static void extents_are_right_for_every_shape_and_size(void **state)
{
	static const uint64_t sizes[] = { 512,	     G,	      G + 512,	  5 * G,
					  MIB + 512, 2 * MIB, 3 * MIB + G };
	static const uint64_t granules[] = { 4096, 65536, MIB };

	for (size_t s = 0; s < G_N_ELEMENTS(sizes); s++)
		for (size_t g = 0; g < G_N_ELEMENTS(granules); g++)
			for (unsigned shape = 0; shape < SHAPES; shape++) {
				struct fake *fake = fake_new(sizes[s]);
				struct bsp_sparse *sp;

				draw(fake_bytes(fake), sizes[s], granules[g],
				     shape);
				sp = patient(fake, granules[g]);
				check_extents(sp, fake_bytes(fake), sizes[s],
					      granules[g]);
				/* Each byte was read, and once. */
				assert_int_equal(bytes_read(fake), sizes[s]);
				check_known(sp, fake, fake_bytes(fake),
					    sizes[s], granules[g]);
				bsp_sparse_free(sp);
			}
}

/* --- Reads --- */

static void reads_are_cut_at_the_end(void **state)
{
	struct fake *fake = fake_new(G + 512);
	struct bsp_sparse *sp;
	char buf[G];

	memset(fake_bytes(fake), 'x', G + 512);
	sp = patient(fake, G);
	assert_int_equal(bsp_sparse_read(sp, G, buf, G), 512);
	assert_int_equal(bsp_sparse_read(sp, G + 511, buf, G), 1);
	assert_int_equal(bsp_sparse_read(sp, G + 512, buf, G), 0);
	assert_int_equal(bsp_sparse_read(sp, UINT64_MAX, buf, G), 0);
	assert_int_equal(bsp_sparse_read(sp, 0, buf, 0), 0);
	bsp_sparse_free(sp);
}

static void read_learns_the_granules_it_covers_whole(void **state)
{
	struct fake *fake = fake_new(8 * G);
	struct bsp_sparse *sp;
	struct bsp_stat st;
	char buf[4 * G];

	fake_bytes(fake)[2 * G] = 1;
	sp = patient(fake, G);
	/* Granules 1 and 2 whole, 0 and 3 in part. */
	assert_int_equal(bsp_sparse_read(sp, 100, buf, 3 * G), 3 * G);
	bsp_sparse_stat(sp, &st);
	assert_int_equal(st.hole, G);
	assert_int_equal(st.data, G);
	assert_int_equal(st.unknown, 6 * G);
	(void)fake_reads(fake, NULL);
	assert_int_equal(hole_at(sp, G), G);
	assert_int_equal(data_at(sp, G), 2 * G);
	assert_int_equal(fake_reads(fake, NULL), 0);
	bsp_sparse_free(sp);
}

static void read_of_the_short_last_granule_learns_it(void **state)
{
	struct fake *fake = fake_new(G + 512);
	struct bsp_sparse *sp = patient(fake, G);
	struct bsp_stat st;
	char buf[2 * G];

	assert_int_equal(bsp_sparse_read(sp, 0, buf, 2 * G), G + 512);
	bsp_sparse_stat(sp, &st);
	assert_int_equal(st.unknown, 0);
	assert_int_equal(st.blocks, 0);
	bsp_sparse_free(sp);
}

static void holes_are_read_without_the_device(void **state)
{
	struct fake *fake = fake_new(6 * G);
	const struct fake_call *reads;
	struct bsp_sparse *sp;
	char buf[6 * G];

	memset(fake_bytes(fake) + 2 * G, 'd', 2 * G);
	sp = patient(fake, G);
	assert_int_equal(bsp_sparse_scan(sp, 0, UINT64_MAX, NULL, NULL, NULL),
			 0);
	(void)fake_reads(fake, NULL);
	memset(buf, 'x', sizeof(buf));
	assert_int_equal(bsp_sparse_read(sp, 10, buf, 6 * G - 20), 6 * G - 20);
	assert_memory_equal(buf, fake_bytes(fake) + 10, 6 * G - 20);
	assert_int_equal(fake_reads(fake, &reads), 1);
	assert_int_equal(reads[0].off, 2 * G);
	assert_int_equal(reads[0].len, 2 * G);
	bsp_sparse_free(sp);
}

static void short_reads_of_the_device_are_continued(void **state)
{
	struct fake *fake = fake_new(MIB + 512);
	struct bsp_sparse *sp;
	char *buf = malloc(MIB);

	draw(fake_bytes(fake), MIB + 512, G, MIXED);
	fake_limit_reads(fake, 7777);
	sp = patient(fake, G);
	assert_int_equal(bsp_sparse_read(sp, 100, buf, MIB), MIB);
	assert_memory_equal(buf, fake_bytes(fake) + 100, MIB);
	check_extents(sp, fake_bytes(fake), MIB + 512, G);
	free(buf);
	bsp_sparse_free(sp);

	/* Less than a granule at a time. */
	fake = fake_new(3 * G);
	fake_bytes(fake)[G] = 1;
	fake_limit_reads(fake, 1000);
	sp = patient(fake, G);
	check_extents(sp, fake_bytes(fake), 3 * G, G);
	bsp_sparse_free(sp);
}

/* --- Seeks --- */

static void seeks_at_or_past_the_end_find_nothing(void **state)
{
	struct fake *fake = fake_new(G);
	struct bsp_sparse *sp = patient(fake, G);
	uint64_t at;

	assert_no_data(sp, G);
	assert_no_data(sp, UINT64_MAX);
	assert_int_equal(bsp_sparse_seek_hole(sp, G, NULL, NULL, &at), -ENXIO);
	assert_int_equal(bsp_sparse_seek_hole(sp, UINT64_MAX, NULL, NULL, &at),
			 -ENXIO);
	assert_int_equal(fake_reads(fake, NULL), 0);
	bsp_sparse_free(sp);
}

static void seeks_from_the_middle_stay_there(void **state)
{
	struct fake *fake = fake_new(4 * G);
	struct bsp_sparse *sp;

	fake_bytes(fake)[G] = 1;
	sp = patient(fake, G);
	assert_int_equal(data_at(sp, G + 17), G + 17);
	assert_int_equal(hole_at(sp, G + 17), 2 * G);
	assert_int_equal(hole_at(sp, 17), 17);
	assert_int_equal(hole_at(sp, 3 * G + 4095), 3 * G + 4095);
	assert_int_equal(data_at(sp, 17), G);
	bsp_sparse_free(sp);
}

static void the_look_ahead_bounds_a_seek_for_a_hole(void **state)
{
	struct fake *fake = fake_new(8 * MIB);
	struct bsp_sparse *sp;
	uint64_t at;

	memset(fake_bytes(fake), 'd', 8 * MIB);
	sp = sparse_of(fake, G, 2 * MIB, UINT32_MAX);
	at = hole_at(sp, 5);
	assert_true(at > 2 * MIB && at <= 4 * MIB);
	assert_int_equal(at % G, 0);
	assert_int_equal(bytes_read(fake), at);
	/* A boundary is no hole. */
	assert_int_equal(data_at(sp, at), at);
	assert_true(hole_at(sp, at) > at);
	/* Known granules are passed without a bound. */
	assert_int_equal(bsp_sparse_scan(sp, 0, UINT64_MAX, NULL, NULL, NULL),
			 0);
	assert_int_equal(hole_at(sp, 5), 8 * MIB);
	bsp_sparse_free(sp);

	/* It ends at a granule, and no further one is read. */
	fake = fake_new(8 * MIB);
	memset(fake_bytes(fake), 'd', 8 * MIB);
	sp = sparse_of(fake, G, 2 * MIB, UINT32_MAX);
	assert_int_equal(hole_at(sp, 0), 2 * MIB);
	assert_int_equal(bytes_read(fake), 2 * MIB);
	bsp_sparse_free(sp);
}

static bool always(void *data)
{
	return true;
}

static void an_interrupted_seek_answers_with_a_boundary(void **state)
{
	struct fake *fake = fake_new(8 * MIB);
	struct bsp_sparse *sp = patient(fake, G);
	uint64_t at;

	assert_int_equal(bsp_sparse_seek_data(sp, 100, always, NULL, &at), 0);
	assert_true(at > 100);
	assert_int_equal(at % G, 0);
	assert_int_equal(fake_reads(fake, NULL), 1);
	/* It was treated as data, and stays data, for one granule. */
	assert_int_equal(data_at(sp, at), at);
	assert_int_equal(hole_at(sp, at), at + G);
	assert_no_data(sp, at + G);
	bsp_sparse_free(sp);

	fake = fake_new(8 * MIB);
	memset(fake_bytes(fake), 'd', 8 * MIB);
	sp = patient(fake, G);
	assert_int_equal(bsp_sparse_seek_hole(sp, 100, always, NULL, &at), 0);
	assert_true(at > 100 && at <= MIB);
	assert_int_equal(at % G, 0);
	assert_int_equal(fake_reads(fake, NULL), 1);
	bsp_sparse_free(sp);
}

static void pause_2ms(void *data)
{
	const struct timespec pause = { .tv_nsec = 2000000 };

	(void)nanosleep(&pause, NULL);
}

static void the_time_budget_bounds_a_seek(void **state)
{
	struct fake *fake = fake_new(8 * MIB);
	struct bsp_sparse *sp = sparse_of(fake, G, 0, 1);
	uint64_t off = 0, at;
	unsigned boundaries = 0;

	fake_on_read(fake, pause_2ms, NULL);
	while (bsp_sparse_seek_data(sp, off, NULL, NULL, &at) == 0) {
		assert_true(at > off);
		boundaries++;
		off = hole_at(sp, at);
		assert_true(off > at);
	}
	assert_true(boundaries > 0);
	bsp_sparse_free(sp);
}

/* --- stat --- */

static void some_blocks_are_missing_until_all_is_known(void **state)
{
	static const uint64_t sizes[] = { 512, 1024, G, G + 512, MIB };

	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		struct fake *fake = fake_new(sizes[i]);
		struct bsp_sparse *sp = patient(fake, G);
		struct bsp_stat st;

		bsp_sparse_stat(sp, &st);
		assert_int_equal(st.size, sizes[i]);
		assert_int_equal(st.unknown, sizes[i]);
		assert_true(st.blocks >= 1);
		assert_true(sizes[i] == 512 || st.blocks < sizes[i] / 512);
		assert_no_data(sp, 0);
		bsp_sparse_stat(sp, &st);
		assert_int_equal(st.blocks, 0);
		bsp_sparse_free(sp);
	}
}

static void blocks_stay_above_zero_while_one_granule_is_unknown(void **state)
{
	struct fake *fake = fake_new(4 * G);
	struct bsp_sparse *sp = patient(fake, G);
	struct bsp_stat st;
	char buf[3 * G];

	assert_int_equal(bsp_sparse_read(sp, 0, buf, 3 * G), 3 * G);
	bsp_sparse_stat(sp, &st);
	assert_int_equal(st.blocks, G / 512);
	assert_int_equal(fake_reads(fake, NULL), 1);
	bsp_sparse_free(sp);
}

/* --- Errors --- */

static void an_unreadable_granule_is_data_and_eio(void **state)
{
	for (int whole = 0; whole < 2; whole++) {
		struct fake *fake = fake_new(2 * MIB);
		struct bsp_sparse *sp;
		char buf[2 * G];

		/* One sector, in the middle of granule 3. */
		fake_fail_reads(fake, 3 * G + 512, 512, EIO);
		if (whole)
			fake_fail_whole(fake);
		sp = patient(fake, G);
		assert_int_equal(data_at(sp, 0), 3 * G);
		assert_int_equal(hole_at(sp, 3 * G), 4 * G);
		assert_no_data(sp, 4 * G);
		assert_int_equal(bsp_sparse_read(sp, 3 * G, buf, G), -EIO);
		assert_int_equal(bsp_sparse_read(sp, 2 * G, buf, 2 * G), -EIO);
		assert_int_equal(bsp_sparse_read(sp, 2 * G, buf, G), G);
		assert_int_equal(bsp_sparse_read(sp, 4 * G, buf, G), G);
		assert_int_equal(bsp_sparse_read(sp, 3 * G, buf, 512), 512);
		bsp_sparse_free(sp);
	}
}

static void a_dead_device_is_data_everywhere(void **state)
{
	struct fake *fake = fake_new(MIB + 512);
	struct bsp_sparse *sp;
	struct bsp_stat st;
	char buf[G];

	fake_fail_reads(fake, 0, MIB + 512, ENODEV);
	sp = patient(fake, G);
	assert_int_equal(data_at(sp, 0), 0);
	assert_int_equal(hole_at(sp, 0), MIB + 512);
	assert_int_equal(bsp_sparse_read(sp, MIB, buf, G), -ENODEV);
	bsp_sparse_stat(sp, &st);
	assert_int_equal(st.data, MIB + 512);
	bsp_sparse_free(sp);
}

static void options_that_do_not_fit_are_refused(void **state)
{
	static const struct bsp_sparse_options rows[] = {
		{ .granule = 512 },
		{ .granule = 2048 },
		{ .granule = 5000 },
		{ .granule = 2 * MIB },
		{ .granule = UINT64_MAX },
		{ .lookahead = 4095 },
		{ .granule = 65536, .lookahead = 4096 },
		{ .reserved = { [7] = 1 } },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_autoptr(GError) error = NULL;
		struct fake *fake = fake_new(MIB);

		/* It closes the device: a leak check would tell. */
		assert_null(
			bsp_sparse_new(fake_device(fake), &rows[i], &error));
		assert_true(g_error_matches(error, BSP_ERROR, BSP_ERROR_USAGE));
	}
}

static void object_without_a_device_is_null_and_keeps_the_error(void **state)
{
	g_autoptr(GError) error = NULL;

	assert_null(bsp_sparse_new(bsp_device_open("/nonexistent", &error),
				   NULL, &error));
	assert_non_null(strstr(error->message, "/nonexistent"));
}

/* --- Writes by other programs --- */

struct told {
	unsigned content, size, unwatchable, medium, gone;
};

static void on_change(void *data, enum bsp_change change)
{
	struct told *told = data;

	told->content += change == BSP_CHANGE_CONTENT;
	told->size += change == BSP_CHANGE_SIZE;
	told->unwatchable += change == BSP_CHANGE_UNWATCHABLE;
	told->medium += change == BSP_CHANGE_MEDIUM;
	told->gone += change == BSP_CHANGE_GONE;
}

static void outside_writes_are_seen_by_seeks_and_reads(void **state)
{
	for (int dirty = 0; dirty < 2; dirty++) {
		struct fake *fake = fake_new(MIB);
		struct bsp_sparse *sp = patient(fake, G);
		struct told told = { 0 };
		uint64_t changes;
		char buf[G];

		bsp_sparse_set_changed(sp, on_change, &told);
		assert_no_data(sp, 0);
		changes = bsp_sparse_refresh(sp);
		assert_int_equal(told.content, 0);
		(dirty ? fake_write_dirty : fake_write)(fake, 5 * G, 1, 'n');
		assert_int_equal(bsp_sparse_read(sp, 5 * G, buf, G), G);
		assert_int_equal(buf[0], 'n');
		assert_int_equal(told.content, 1);
		assert_true(bsp_sparse_refresh(sp) != changes);
		(dirty ? fake_write_dirty : fake_write)(fake, 9 * G, 1, 'n');
		assert_int_equal(data_at(sp, 0), 5 * G);
		assert_int_equal(data_at(sp, 6 * G), 9 * G);
		assert_int_equal(told.content, 2);
		bsp_sparse_free(sp);
	}
}

static void all_zero_is_no_longer_claimed_after_a_write(void **state)
{
	struct fake *fake = fake_new(MIB);
	struct bsp_sparse *sp = patient(fake, G);
	struct bsp_stat st;

	assert_no_data(sp, 0);
	bsp_sparse_stat(sp, &st);
	assert_int_equal(st.blocks, 0);
	fake_write(fake, 0, 1, 'n');
	bsp_sparse_stat(sp, &st);
	assert_true(st.blocks > 0);
	bsp_sparse_free(sp);
}

struct meddler {
	struct fake *fake;
	struct bsp_sparse *sp;
	bool look; /* another thread checks for changes just then */
	bool done;
};

/* Writes once, to bytes that were read a moment ago. */
static void meddle(void *data)
{
	struct meddler *m = data;

	if (m->done)
		return;
	m->done = true;
	fake_write(m->fake, 3 * G, 1, 'n');
	if (m->look)
		(void)bsp_sparse_refresh(m->sp);
}

static void a_write_beside_the_scan_is_not_learned_away(void **state)
{
	for (int look = 0; look < 2; look++) {
		struct fake *fake = fake_new(MIB);
		struct bsp_sparse *sp = patient(fake, G);
		struct meddler m = { fake, sp, look, false };
		uint64_t at = 0;

		fake_on_read(fake, meddle, &m);
		/* The seek during which it happens may miss it, if no check
		 * noticed it; a later one may not. */
		if (bsp_sparse_seek_data(sp, 0, NULL, NULL, &at))
			assert_false(look);
		assert_int_equal(data_at(sp, 0), 3 * G);
		bsp_sparse_free(sp);
	}
}

static void nothing_is_remembered_of_a_device_without_counters(void **state)
{
	struct fake *fake = fake_new(MIB);
	struct bsp_sparse *sp;
	struct told told = { 0 };
	char buf[G];

	fake_stop_counting(fake);
	sp = patient(fake, G);
	bsp_sparse_set_changed(sp, on_change, &told);
	assert_no_data(sp, 0);
	memset(fake_bytes(fake) + 5 * G, 'n', G); /* and no counter tells */
	assert_int_equal(bsp_sparse_read(sp, 5 * G, buf, G), G);
	assert_int_equal(buf[0], 'n');
	assert_int_equal(data_at(sp, 0), 5 * G);
	assert_int_equal(hole_at(sp, 0), 0);
	assert_true(told.unwatchable > 0);
	assert_int_equal(told.content, 0);
	bsp_sparse_free(sp);
}

static int64_t mtime_of(struct bsp_sparse *sp)
{
	struct bsp_stat st;

	bsp_sparse_stat(sp, &st);
	return (int64_t)st.mtime.tv_sec * 1000000000 + st.mtime.tv_nsec;
}

static void times_move_when_a_counted_device_was_written(void **state)
{
	struct fake *fake = fake_new(MIB);
	struct bsp_sparse *sp = patient(fake, G);
	int64_t at_first = mtime_of(sp), written;

	bsp_sparse_refresh_mtime(sp);
	assert_int_equal(mtime_of(sp), at_first);
	fake_write(fake, 0, G, 'n');
	assert_int_equal(mtime_of(sp), at_first); /* there was no check */
	bsp_sparse_refresh(sp);
	written = mtime_of(sp);
	assert_true(written > at_first);
	bsp_sparse_refresh_mtime(sp);
	assert_int_equal(mtime_of(sp), written);
	bsp_sparse_free(sp);
}

static void times_of_an_uncounted_device_move_at_a_stat_alone(void **state)
{
	struct fake *fake = fake_new(MIB);
	struct bsp_sparse *sp;
	int64_t at_first, moved, again;
	char buf[G];

	fake_stop_counting(fake);
	sp = patient(fake, G);
	at_first = mtime_of(sp);
	assert_no_data(sp, 0);
	assert_int_equal(bsp_sparse_read(sp, 0, buf, G), G);
	bsp_sparse_refresh(sp);
	assert_int_equal(mtime_of(sp), at_first);
	bsp_sparse_refresh_mtime(sp);
	moved = mtime_of(sp);
	assert_true(moved > at_first);
	assert_no_data(sp, 0);
	bsp_sparse_refresh(sp);
	assert_int_equal(mtime_of(sp), moved);
	/* The opening that follows a stat leaves them, if it is not slow. */
	bsp_sparse_refresh_mtime(sp);
	again = mtime_of(sp);
	assert_true(again == moved || again - moved >= 1000000000);
	bsp_sparse_free(sp);
}

struct slow_look {
	struct bsp_sparse *sp;
	sem_t begun, answer;
};

static void wait_for_answer(void *data)
{
	struct slow_look *slow = data;

	sem_post(&slow->begun);
	sem_wait(&slow->answer);
}

static void *look(void *data)
{
	struct slow_look *slow = data;

	bsp_sparse_refresh(slow->sp);
	return NULL;
}

static void a_peek_does_not_wait_for_a_device_that_hangs(void **state)
{
	struct fake *fake = fake_new(MIB);
	struct slow_look slow = { .sp = patient(fake, G) };
	struct bsp_stat st;
	pthread_t thread;

	assert_true(bsp_sparse_stat_nowait(slow.sp, &st));
	assert_int_equal(st.unknown, MIB);
	assert_no_data(slow.sp, 0);
	sem_init(&slow.begun, 0, 0);
	sem_init(&slow.answer, 0, 0);
	fake_on_sample(fake, wait_for_answer, &slow);
	assert_int_equal(pthread_create(&thread, NULL, look, &slow), 0);
	sem_wait(&slow.begun);
	/* No block: only a check can say this for sure. */
	assert_false(bsp_sparse_stat_nowait(slow.sp, &st));
	assert_int_equal(st.blocks, 0);
	assert_int_equal(st.size, MIB);
	sem_post(&slow.answer);
	pthread_join(thread, NULL);
	fake_on_sample(fake, NULL, NULL);
	fake_resize(fake, MIB / 2);
	assert_false(bsp_sparse_stat_nowait(slow.sp, &st));
	assert_int_equal(st.size, MIB);
	sem_destroy(&slow.begun);
	sem_destroy(&slow.answer);
	bsp_sparse_free(slow.sp);
}

/* --- Samples that are not settled --- */

/* The bytes come after the time has moved: no sample shows them. */
static void states_learned_before_a_sample_settles_are_not_kept(void **state)
{
	struct fake *fake = fake_new(MIB);
	struct told told = { 0 };
	struct bsp_sparse *sp;
	uint64_t changes;
	char buf[G];

	fake_set_settled(fake, false);
	sp = patient(fake, G);
	bsp_sparse_set_changed(sp, on_change, &told);
	assert_no_data(sp, 0);
	changes = bsp_sparse_refresh(sp);
	memset(fake_bytes(fake) + 5 * G, 'n', G);
	assert_int_equal(bsp_sparse_read(sp, 5 * G, buf, G), G);
	assert_int_equal(buf[0], 'n');
	assert_int_equal(data_at(sp, 0), 5 * G);
	assert_int_equal(bsp_sparse_refresh(sp), changes);
	assert_int_equal(told.content + told.unwatchable, 0);
	bsp_sparse_free(sp);
}

static void settling_is_one_change_and_moves_no_mtime(void **state)
{
	struct fake *fake = fake_new(MIB);
	struct told told = { 0 };
	struct bsp_sparse *sp;
	uint64_t changes;
	int64_t at_first;

	fake_set_settled(fake, false);
	sp = patient(fake, G);
	bsp_sparse_set_changed(sp, on_change, &told);
	at_first = mtime_of(sp);
	changes = bsp_sparse_refresh(sp);
	assert_no_data(sp, 0);
	memset(fake_bytes(fake) + 5 * G, 'n', G);
	fake_set_settled(fake, true);
	assert_true(bsp_sparse_refresh(sp) != changes);
	changes = bsp_sparse_refresh(sp);
	assert_int_equal(data_at(sp, 0), 5 * G);
	/* From here on states are kept. */
	(void)fake_reads(fake, NULL);
	assert_int_equal(data_at(sp, 0), 5 * G);
	assert_int_equal(fake_reads(fake, NULL), 0);
	assert_int_equal(bsp_sparse_refresh(sp), changes);
	assert_int_equal(mtime_of(sp), at_first);
	assert_int_equal(told.content + told.unwatchable, 0);
	bsp_sparse_free(sp);
}

/* Its bytes may come after the check that saw it begin. */
static void a_write_moves_the_time_again_when_it_is_settled(void **state)
{
	struct fake *fake = fake_new(MIB);
	struct bsp_sparse *sp = patient(fake, G);
	int64_t begun;

	fake_set_settled(fake, false);
	fake_write(fake, 0, G, 'n');
	bsp_sparse_refresh(sp);
	begun = mtime_of(sp);
	bsp_sparse_refresh(sp);
	assert_int_equal(mtime_of(sp), begun);
	fake_set_settled(fake, true);
	bsp_sparse_refresh(sp);
	assert_true(mtime_of(sp) > begun);
	begun = mtime_of(sp);
	bsp_sparse_refresh(sp);
	assert_int_equal(mtime_of(sp), begun);
	bsp_sparse_free(sp);
}

static void opening_keeps_nothing_of_an_unsettled_sample(void **state)
{
	struct fake *fake = fake_new(MIB);
	struct bsp_sparse *sp = patient(fake, G);
	uint64_t changes = bsp_sparse_refresh_mtime(sp);

	assert_int_equal(bsp_sparse_refresh_mtime(sp), changes);
	fake_set_settled(fake, false);
	fake_write(fake, 0, G, 'n');
	assert_true(bsp_sparse_refresh_mtime(sp) != changes);
	changes = bsp_sparse_refresh_mtime(sp);
	assert_true(bsp_sparse_refresh_mtime(sp) != changes);
	bsp_sparse_free(sp);
}

/* The map is right for all writes but one that goes on below the device. */
static void a_young_time_ends_the_states_once_when_it_settles(void **state)
{
	struct fake *fake = fake_new(MIB);
	struct told told = { 0 };
	struct bsp_sparse *sp;
	uint64_t changes;
	int64_t at_first;

	fake_set_young(fake, true);
	sp = patient(fake, G);
	bsp_sparse_set_changed(sp, on_change, &told);
	at_first = mtime_of(sp);
	assert_no_data(sp, 0);
	changes = bsp_sparse_refresh_mtime(sp);
	memset(fake_bytes(fake) + 5 * G, 'n', G);
	(void)fake_reads(fake, NULL);
	assert_no_data(sp, 0);
	assert_int_equal(fake_reads(fake, NULL), 0);
	assert_int_equal(bsp_sparse_refresh_mtime(sp), changes);
	fake_set_young(fake, false);
	assert_int_equal(data_at(sp, 0), 5 * G);
	assert_true(bsp_sparse_refresh(sp) != changes);
	(void)fake_reads(fake, NULL);
	assert_int_equal(data_at(sp, 0), 5 * G);
	assert_int_equal(fake_reads(fake, NULL), 0);
	/* No write was seen. */
	assert_int_equal(mtime_of(sp), at_first);
	assert_int_equal(told.content + told.unwatchable, 0);
	bsp_sparse_free(sp);
}

static void a_write_that_makes_a_time_young_moves_the_mtime_twice(void **state)
{
	struct fake *fake = fake_new(MIB);
	struct bsp_sparse *sp = patient(fake, G);
	int64_t begun;

	fake_write(fake, 0, G, 'n');
	fake_set_young(fake, true);
	bsp_sparse_refresh(sp);
	begun = mtime_of(sp);
	bsp_sparse_refresh(sp);
	assert_int_equal(mtime_of(sp), begun);
	fake_set_young(fake, false);
	bsp_sparse_refresh(sp);
	assert_true(mtime_of(sp) > begun);
	begun = mtime_of(sp);
	bsp_sparse_refresh(sp);
	assert_int_equal(mtime_of(sp), begun);
	bsp_sparse_free(sp);
}

/* --- Another medium --- */

static void another_medium_is_scanned_anew(void **state)
{
	void (*const changes[])(struct fake *) = {
		fake_change_medium,
		fake_change_file,
		fake_change_table,
	};

	for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
		struct fake *fake = fake_new(MIB);
		struct bsp_sparse *sp = patient(fake, G);
		struct told told = { 0 };
		uint64_t num;

		bsp_sparse_set_changed(sp, on_change, &told);
		assert_no_data(sp, 0);
		num = bsp_sparse_refresh_all(sp);
		changes[i](fake);
		fake_put_beneath(fake, 5 * G, G, 'n');
		/* Not every check asks for the table. */
		if (changes[i] == fake_change_table) {
			assert_int_equal(bsp_sparse_refresh(sp), num);
			assert_true(bsp_sparse_refresh_all(sp) != num);
		}
		assert_int_equal(data_at(sp, 0), 5 * G);
		assert_int_equal(told.medium, 1);
		assert_int_equal(told.content + told.gone, 0);
		num = bsp_sparse_refresh_all(sp);
		assert_int_equal(bsp_sparse_refresh_all(sp), num);
		bsp_sparse_free(sp);
	}
}

struct swapper {
	struct fake *fake;
	bool done;
};

/* Puts in another medium, after a read of the old one. */
static void swap_medium(void *data)
{
	struct swapper *s = data;

	if (s->done)
		return;
	s->done = true;
	fake_change_medium(s->fake);
	fake_put_beneath(s->fake, 3 * G, G, 'n');
}

static void reads_of_the_old_medium_are_not_learned(void **state)
{
	struct fake *fake = fake_new(MIB);
	struct bsp_sparse *sp = patient(fake, G);
	struct swapper s = { fake, false };
	uint64_t at;
	int r;

	fake_on_read(fake, swap_medium, &s);
	r = bsp_sparse_seek_data(sp, 0, NULL, NULL, &at);
	assert_true(r == 0 || r == -ENXIO);
	assert_int_equal(data_at(sp, 0), 3 * G);
	bsp_sparse_free(sp);
}

/* --- Sizes that change --- */

/* The kernel's pages past the old end hold old bytes. */
static void a_grown_part_is_never_read_from_old_pages(void **state)
{
	struct fake *fake = fake_new(2 * MIB);
	struct bsp_sparse *sp = patient(fake, G);

	assert_no_data(sp, 0);
	fake_resize(fake, MIB);
	(void)bsp_sparse_refresh(sp);
	fake_resize(fake, 2 * MIB);
	fake_put_beneath(fake, MIB + G, G, 'n');
	fake_fail_drops(fake, 2);
	for (int i = 0; i < 2; i++) {
		(void)bsp_sparse_refresh(sp);
		assert_int_equal(bsp_sparse_size(sp), MIB);
	}
	assert_int_equal(data_at(sp, 0), MIB + G);
	assert_int_equal(bsp_sparse_size(sp), 2 * MIB);
	bsp_sparse_free(sp);
}

static void the_size_follows_a_device_that_grows(void **state)
{
	struct fake *fake = fake_new(2 * MIB);
	struct told told = { 0 };
	struct bsp_sparse *sp;
	struct bsp_stat st;
	char buf[G];

	memset(fake_bytes(fake) + MIB + 512, 'n', 100);
	fake_device(fake)->info.size = MIB + 512;
	fake_resize(fake, MIB + 512);
	sp = patient(fake, G);
	bsp_sparse_set_changed(sp, on_change, &told);
	assert_no_data(sp, 0);
	fake_resize(fake, 2 * MIB);
	bsp_sparse_stat(sp, &st);
	assert_int_equal(st.size, 2 * MIB);
	assert_true(st.unknown > 0);
	assert_int_equal(told.size, 1);
	/* The granule that was short is a different one now. */
	assert_int_equal(bsp_sparse_read(sp, MIB, buf, G), G);
	assert_int_equal(buf[512], 'n');
	(void)fake_reads(fake, NULL);
	assert_int_equal(data_at(sp, 0), MIB);
	assert_int_equal(hole_at(sp, MIB), MIB + G);
	/* The states of the other granules are kept. */
	assert_int_equal(bytes_read(fake), MIB - G);
	bsp_sparse_free(sp);
}

static void the_size_follows_a_device_that_shrinks(void **state)
{
	struct fake *fake = fake_new(2 * MIB);
	struct bsp_sparse *sp;
	struct bsp_stat st;
	char buf[G];

	memset(fake_bytes(fake), 'd', 2 * MIB);
	sp = patient(fake, G);
	assert_int_equal(hole_at(sp, 0), 2 * MIB);
	fake_resize(fake, MIB + 512);
	assert_int_equal(hole_at(sp, 0), MIB + 512);
	assert_int_equal(bsp_sparse_size(sp), MIB + 512);
	assert_int_equal(bsp_sparse_read(sp, MIB, buf, G), 512);
	assert_int_equal(bsp_sparse_read(sp, MIB + G, buf, G), 0);
	bsp_sparse_stat(sp, &st);
	assert_int_equal(st.data, MIB + 512);
	assert_int_equal(st.unknown, 0);
	bsp_sparse_free(sp);
}

static void a_granule_that_becomes_short_is_read_anew(void **state)
{
	struct fake *fake = fake_new(4 * G);
	struct bsp_sparse *sp;

	fake_bytes(fake)[2 * G - 1] = 'd';
	sp = patient(fake, G);
	assert_int_equal(data_at(sp, 0), G);
	fake_resize(fake, G + 512);
	assert_no_data(sp, 0);
	bsp_sparse_free(sp);
}

static void a_read_beyond_a_device_that_just_shrank_is_short(void **state)
{
	struct fake *fake = fake_new(4 * G);
	struct bsp_sparse *sp = patient(fake, G);
	char buf[4 * G];

	fake_resize(fake, G + 512);
	assert_int_equal(bsp_sparse_read(sp, 0, buf, 4 * G), G + 512);
	assert_int_equal(bsp_sparse_size(sp), G + 512);
	bsp_sparse_free(sp);
}

static void a_device_that_is_gone_keeps_its_size_and_fails(void **state)
{
	struct fake *fake = fake_new(4 * G);
	struct bsp_sparse *sp = patient(fake, G);
	char buf[G];

	fake_resize(fake, 0);
	assert_int_equal(bsp_sparse_read(sp, 0, buf, G), -EIO);
	assert_int_equal(bsp_sparse_size(sp), 4 * G);
	assert_int_equal(data_at(sp, 0), 0);
	assert_int_equal(hole_at(sp, 0), 4 * G);
	bsp_sparse_free(sp);
}

/* --- Scanning, extents --- */

struct scan {
	uint64_t last, total;
	unsigned calls, stop_at;
};

static bool scan_interrupted(void *data)
{
	struct scan *scan = data;

	return scan->stop_at && scan->calls >= scan->stop_at;
}

static void scan_progress(void *data, const struct bsp_progress *now)
{
	struct scan *scan = data;

	assert_true(now->done >= scan->last && now->done <= now->size);
	scan->last = now->done;
	scan->total = now->size;
	scan->calls++;
}

static void scan_learns_all_and_reports_progress(void **state)
{
	struct fake *fake = fake_new(20 * MIB + 512);
	struct bsp_sparse *sp = patient(fake, G);
	struct scan scan = { .stop_at = 3 };
	struct bsp_stat st;

	assert_int_equal(bsp_sparse_scan(sp, 0, UINT64_MAX, scan_interrupted,
					 scan_progress, &scan),
			 -ECANCELED);
	bsp_sparse_stat(sp, &st);
	assert_true(st.hole >= MIB / 4 && st.hole < 20 * MIB);
	scan = (struct scan){ 0 };
	assert_int_equal(bsp_sparse_scan(sp, 0, UINT64_MAX, scan_interrupted,
					 scan_progress, &scan),
			 0);
	assert_int_equal(scan.last, 20 * MIB + 512);
	assert_int_equal(scan.total, 20 * MIB + 512);
	bsp_sparse_stat(sp, &st);
	assert_int_equal(st.unknown, 0);
	assert_int_equal(bytes_read(fake), 20 * MIB + 512);
	bsp_sparse_free(sp);
}

/* Answers as lseek would if zero runs shorter than minhole were data. */
static uint64_t find_with_minhole(const unsigned char *bytes, uint64_t size,
				  uint64_t minhole, uint64_t off, bool hole)
{
	while (off < size) {
		uint64_t from = off / G * G, to = from;
		bool is_hole;

		while (from > 0 && truly_zero(bytes, size, G, from - 1))
			from = (from - 1) / G * G;
		while (to < size && truly_zero(bytes, size, G, to))
			to += G;
		is_hole = to > off && to - from >= minhole;
		if (is_hole == hole)
			return off;
		off = off / G * G + G;
	}
	return size;
}

static void short_holes_are_data_for_seeks(void **state)
{
	enum { SIZE = 64 * G + 512 };
	static const uint64_t minholes[] = { G, 2 * G, 3 * G + 1, 16 * G };

	for (size_t m = 0; m < G_N_ELEMENTS(minholes); m++) {
		struct fake *fake = fake_new(SIZE);
		const struct bsp_sparse_options options = {
			.minhole = minholes[m], .budget_ms = UINT32_MAX
		};
		/* Only whole granules can differ. */
		uint64_t least = (minholes[m] / G) * G;
		struct bsp_sparse *sp;

		for (int g = 0, run = 1; g < 64; g += run + 1, run++)
			fake_bytes(fake)[g * G + 17] = 'd';
		sp = bsp_sparse_new(fake_device(fake), &options, NULL);
		assert_non_null(sp);
		for (uint64_t off = 0; off < SIZE; off += 2048) {
			const unsigned char *bytes = fake_bytes(fake);
			uint64_t hole = find_with_minhole(bytes, SIZE, least,
							  off, true);
			uint64_t data = find_with_minhole(bytes, SIZE, least,
							  off, false);

			assert_int_equal(hole_at(sp, off), hole);
			if (data < SIZE)
				assert_int_equal(data_at(sp, off), data);
			else
				assert_no_data(sp, off);
		}
		bsp_sparse_free(sp);
	}
}

static void zeros_that_the_device_knows_are_not_read(void **state)
{
	struct fake *fake = fake_new(4 * MIB);
	struct bsp_sparse *sp;

	memset(fake_bytes(fake) + 3 * MIB, 'd', G);
	/* Its zeros begin and end within granules. */
	fake_know_zeros(fake, 100, 3 * MIB - 200);
	sp = patient_trusting(fake);
	assert_int_equal(data_at(sp, 0), 3 * MIB);
	assert_int_equal(hole_at(sp, 3 * MIB), 3 * MIB + G);
	assert_no_data(sp, 3 * MIB + G);
	assert_int_equal(bytes_read(fake), MIB + 2 * G);
	bsp_sparse_free(sp);

	fake = fake_new(4 * MIB + 512);
	fake_know_zeros(fake, 0, 4 * MIB + 512);
	sp = patient_trusting(fake);
	assert_no_data(sp, 0);
	assert_int_equal(fake_reads(fake, NULL), 0);
	bsp_sparse_free(sp);
}

/* A bsp_known_fn. */
static void add_known(void *data, const struct bsp_known_layer *layer)
{
	assert_string_equal(layer->name, "fake");
	assert_null(layer->reason);
	*(uint64_t *)data += layer->zeros;
}

static uint64_t known_of(struct bsp_sparse *sp)
{
	uint64_t zeros = 0;

	bsp_sparse_known(sp, add_known, &zeros);
	return zeros;
}

static void known_zeros_count_once_until_the_map_forgets(void **state)
{
	struct fake *fake = fake_new(4 * MIB);
	struct bsp_sparse *sp;
	uint64_t read;
	char buf[G];

	fake_know_zeros(fake, 100, 3 * MIB - 200);
	sp = patient(fake, G);
	assert_int_equal(known_of(sp), 0);
	/* The granule that was read before is not counted. */
	assert_int_equal(bsp_sparse_read(sp, 2 * G, buf, G), G);
	assert_no_data(sp, 0);
	assert_int_equal(known_of(sp), 3 * MIB - 3 * G);
	read = bsp_sparse_bytes_read(sp);
	assert_int_equal(read, bytes_read(fake));
	assert_true(read >= MIB + 3 * G);
	/* After another program's write all is asked for anew. */
	fake_write(fake, 4 * MIB - G, G, 'w');
	assert_int_equal(data_at(sp, 0), 4 * MIB - G);
	assert_int_equal(known_of(sp), 3 * MIB - 2 * G);
	bsp_sparse_free(sp);
}

static void layers_are_asked_again_after_the_map_forgot(void **state)
{
	struct fake *fake = fake_new(4 * MIB);
	struct bsp_sparse *sp;
	unsigned questions;

	fake_know_zeros(fake, 3 * MIB, 2 * G + 100);
	sp = patient(fake, G);
	assert_int_equal(bsp_sparse_known_zeros(sp, 0, 4 * MIB, true), 0);
	questions = fake_questions(fake);
	assert_int_equal(bsp_sparse_known_zeros(sp, G, 4 * MIB, true), G);
	assert_int_equal(fake_questions(fake), questions);
	fake_know_zeros(fake, 0, 2 * G + 100);
	fake_write(fake, 4 * MIB - G, G, 'w');
	(void)bsp_sparse_refresh(sp);
	/* Up to a granule. */
	assert_int_equal(bsp_sparse_known_zeros(sp, 0, 4 * MIB, true), 2 * G);
	assert_int_equal(fake_questions(fake), questions + 1);
	bsp_sparse_free(sp);
}

/* Zeros that the device knew before a write of this object end at that write.
 */
static void known_zeros_end_where_this_object_wrote(void **state)
{
	struct fake *fake = fake_new(4 * MIB);
	struct bsp_sparse *sp;
	char buf[G];

	memset(buf, 'w', sizeof(buf));
	fake_make_writable(fake, 1 << FAKE_PUNCH);
	fake_know_zeros(fake, 0, 4 * MIB);
	sp = patient_trusting(fake);
	assert_int_equal(bsp_sparse_write(sp, MIB + G - 1, buf, 2), 2);
	assert_int_equal(bsp_sparse_known_zeros(sp, G, 2 * MIB, true), MIB);
	assert_int_equal(bsp_sparse_known_zeros(sp, MIB, 2 * MIB, true), MIB);
	assert_int_equal(bsp_sparse_known_zeros(sp, MIB + 2 * G, 2 * MIB, true),
			 2 * MIB);
	bsp_sparse_free(sp);
}

struct writer {
	struct fake *fake;
	struct bsp_sparse *sp;
};

/* Writes, and has the map forget it. */
static void write_and_forget(void *data)
{
	struct writer *writer = data;
	uint64_t generation = bsp_map_generation(writer->sp->map);

	fake_on_question(writer->fake, NULL, NULL);
	assert_int_equal(bsp_sparse_write(writer->sp, MIB, "w", 1), 1);
	fake_change_table(writer->fake);
	(void)bsp_sparse_refresh_all(writer->sp);
	assert_true(bsp_map_generation(writer->sp->map) != generation);
	assert_int_equal(bsp_map_get(writer->sp->map, MIB / G), BSP_UNKNOWN);
}

static void
known_zeros_from_before_the_map_forgot_a_write_are_none(void **state)
{
	struct fake *fake = fake_new(4 * MIB);
	struct writer writer = { .fake = fake };

	fake_make_writable(fake, 1 << FAKE_PUNCH);
	fake_know_zeros(fake, 0, 4 * MIB);
	writer.sp = patient_trusting(fake);
	fake_on_question(fake, write_and_forget, &writer);
	assert_int_equal(bsp_sparse_known_zeros(writer.sp, 0, 2 * MIB, true),
			 0);
	bsp_sparse_free(writer.sp);
}

static void known_zeros_of_a_short_last_granule_count_in_bytes(void **state)
{
	struct fake *fake = fake_new(4 * MIB + 512);
	struct bsp_sparse *sp;

	fake_know_zeros(fake, 0, 4 * MIB + 512);
	sp = patient(fake, G);
	assert_no_data(sp, 0);
	assert_int_equal(known_of(sp), 4 * MIB + 512);
	bsp_sparse_free(sp);
}

static void an_answer_from_before_the_map_forgot_does_not_count(void **state)
{
	struct fake *fake = fake_new(MIB);
	struct bsp_sparse *sp = patient(fake, G);
	const char *layer = g_intern_static_string("fake");

	bsp_sparse_count_known(sp, bsp_map_generation(sp->map), layer, 1);
	bsp_sparse_forget_all(sp);
	bsp_sparse_count_known(sp, bsp_map_generation(sp->map) - 1, layer, 2);
	bsp_sparse_count_known(sp, bsp_map_generation(sp->map), layer, 4);
	assert_int_equal(known_of(sp), 4);
	bsp_sparse_free(sp);
}

static void a_read_ends_where_long_known_zeros_begin(void **state)
{
	static const uint64_t lengths[] = { 64 << 10, 3 * MIB, 60 << 10 };

	for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
		uint64_t len = lengths[i];
		bool is_long = len >= 64 << 10;

		for (int seek = 0; seek < 2; seek++) {
			struct fake *fake = fake_new(4 * MIB);
			struct bsp_sparse *sp = patient_trusting(fake);

			memset(fake_bytes(fake), 'd', 5 * G);
			fake_know_zeros(fake, 5 * G, len);
			if (seek)
				assert_no_data(sp, 5 * G);
			else
				assert_int_equal(bsp_sparse_scan(sp, 0, 4 * MIB,
								 NULL, NULL,
								 NULL),
						 0);
			assert_int_equal(hole_at(sp, 0), 5 * G);
			assert_int_equal(data_at(sp, 0), 0);
			assert_int_equal(bytes_read(fake),
					 is_long || seek ? 4 * MIB - len
							 : 4 * MIB);
			bsp_sparse_free(sp);
		}
	}
}

static void extents_partition_known_and_unknown_granules(void **state)
{
	static const struct bsp_extent want[] = {
		{ 0, 2 * G, BSP_EXTENT_HOLE },
		{ 2 * G, G, BSP_EXTENT_DATA },
		{ 3 * G, G, BSP_EXTENT_HOLE },
		{ 4 * G, G + 512, BSP_EXTENT_UNKNOWN },
	};
	struct fake *fake = fake_new(5 * G + 512);
	struct bsp_sparse *sp;
	struct bsp_extent ext;
	uint64_t off = 0;
	char buf[4 * G];

	fake_bytes(fake)[2 * G] = 1;
	sp = patient(fake, G);
	assert_int_equal(bsp_sparse_read(sp, 0, buf, 4 * G), 4 * G);
	for (size_t i = 0; i < G_N_ELEMENTS(want); i++) {
		assert_int_equal(bsp_sparse_extent(sp, off, &ext), 1);
		assert_int_equal(ext.off, want[i].off);
		assert_int_equal(ext.len, want[i].len);
		assert_int_equal(ext.type, want[i].type);
		off += ext.len;
	}
	assert_int_equal(bsp_sparse_extent(sp, off, &ext), 0);
	bsp_sparse_free(sp);
}

static void the_info_is_that_of_the_device(void **state)
{
	struct fake *fake = fake_new(10 * G);
	struct bsp_sparse *sp = patient(fake, G);
	struct bsp_device_info info = { 0 };

	bsp_sparse_get_info(sp, &info);
	assert_int_equal(info.size, 10 * G);
	assert_int_equal(info.logical_block_size, 512);
	assert_false(info.writable);
	bsp_sparse_free(sp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_info_is_that_of_the_device),
		cmocka_unit_test(extents_are_right_for_every_shape_and_size),
		cmocka_unit_test(reads_are_cut_at_the_end),
		cmocka_unit_test(read_learns_the_granules_it_covers_whole),
		cmocka_unit_test(read_of_the_short_last_granule_learns_it),
		cmocka_unit_test(holes_are_read_without_the_device),
		cmocka_unit_test(short_reads_of_the_device_are_continued),
		cmocka_unit_test(seeks_at_or_past_the_end_find_nothing),
		cmocka_unit_test(seeks_from_the_middle_stay_there),
		cmocka_unit_test(the_look_ahead_bounds_a_seek_for_a_hole),
		cmocka_unit_test(an_interrupted_seek_answers_with_a_boundary),
		cmocka_unit_test(the_time_budget_bounds_a_seek),
		cmocka_unit_test(some_blocks_are_missing_until_all_is_known),
		cmocka_unit_test(
			blocks_stay_above_zero_while_one_granule_is_unknown),
		cmocka_unit_test(an_unreadable_granule_is_data_and_eio),
		cmocka_unit_test(a_dead_device_is_data_everywhere),
		cmocka_unit_test(options_that_do_not_fit_are_refused),
		cmocka_unit_test(
			object_without_a_device_is_null_and_keeps_the_error),
		cmocka_unit_test(outside_writes_are_seen_by_seeks_and_reads),
		cmocka_unit_test(all_zero_is_no_longer_claimed_after_a_write),
		cmocka_unit_test(a_write_beside_the_scan_is_not_learned_away),
		cmocka_unit_test(
			nothing_is_remembered_of_a_device_without_counters),
		cmocka_unit_test(the_size_follows_a_device_that_grows),
		cmocka_unit_test(the_size_follows_a_device_that_shrinks),
		cmocka_unit_test(a_granule_that_becomes_short_is_read_anew),
		cmocka_unit_test(
			a_read_beyond_a_device_that_just_shrank_is_short),
		cmocka_unit_test(
			a_device_that_is_gone_keeps_its_size_and_fails),
		cmocka_unit_test(scan_learns_all_and_reports_progress),
		cmocka_unit_test(short_holes_are_data_for_seeks),
		cmocka_unit_test(zeros_that_the_device_knows_are_not_read),
		cmocka_unit_test(a_peek_does_not_wait_for_a_device_that_hangs),
		cmocka_unit_test(times_move_when_a_counted_device_was_written),
		cmocka_unit_test(
			times_of_an_uncounted_device_move_at_a_stat_alone),
		cmocka_unit_test(known_zeros_count_once_until_the_map_forgets),
		cmocka_unit_test(layers_are_asked_again_after_the_map_forgot),
		cmocka_unit_test(
			known_zeros_of_a_short_last_granule_count_in_bytes),
		cmocka_unit_test(known_zeros_end_where_this_object_wrote),
		cmocka_unit_test(
			known_zeros_from_before_the_map_forgot_a_write_are_none),
		cmocka_unit_test(
			an_answer_from_before_the_map_forgot_does_not_count),
		cmocka_unit_test(a_read_ends_where_long_known_zeros_begin),
		cmocka_unit_test(extents_partition_known_and_unknown_granules),
		cmocka_unit_test(
			states_learned_before_a_sample_settles_are_not_kept),
		cmocka_unit_test(settling_is_one_change_and_moves_no_mtime),
		cmocka_unit_test(
			a_write_moves_the_time_again_when_it_is_settled),
		cmocka_unit_test(opening_keeps_nothing_of_an_unsettled_sample),
		cmocka_unit_test(
			a_young_time_ends_the_states_once_when_it_settles),
		cmocka_unit_test(
			a_write_that_makes_a_time_young_moves_the_mtime_twice),
		cmocka_unit_test(another_medium_is_scanned_anew),
		cmocka_unit_test(reads_of_the_old_medium_are_not_learned),
		cmocka_unit_test(a_grown_part_is_never_read_from_old_pages),
	};

	return cmocka_run_group_tests_name("sparse", tests, NULL, NULL);
}
