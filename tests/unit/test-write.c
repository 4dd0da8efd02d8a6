/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes, punches and flushes, and the calls that reach the device for them.
 * Most tests use a fake device full of old bytes, and assert the exact list of
 * its changes: these calls and no others. Later ones let the device, its flush
 * or the memory fail, and assert that no old byte ever appears.
 */
#include "unit.h"

#include <errno.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blksparse-mount.h"
#include "fake-device.h"
#include "sparse/sparse.h"

enum {
	G = 4096,
	PUNCHES = 1 << FAKE_PUNCH,
	ZEROES_OUT = 1 << FAKE_ZERO_OUT,
	UNMAPS = 1 << FAKE_UNMAP,
	ALL_WAYS = PUNCHES | ZEROES_OUT | UNMAPS,
	PUNCH_MODE = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
};

struct fixture {
	struct fake *fake;
	struct bsp_sparse *sp;
};

/* A device of old bytes, 0xAA. */
static struct fixture open_old(uint64_t size, unsigned ways,
			       enum bsp_zero_mode zeroing)
{
	const struct bsp_sparse_options options = { .zero_mode = zeroing };
	struct fixture f = { .fake = fake_new(size) };

	memset(fake_bytes(f.fake), 0xaa, size);
	fake_make_writable(f.fake, ways);
	f.sp = bsp_sparse_new(fake_device(f.fake), &options, NULL);
	assert_non_null(f.sp);
	return f;
}

static void close_it(struct fixture f)
{
	bsp_sparse_free(f.sp);
}

static void put(struct fixture f, uint64_t off, size_t len, int byte)
{
	void *buf = malloc(len);

	memset(buf, byte, len);
	assert_int_equal(bsp_sparse_write(f.sp, off, buf, len), len);
	free(buf);
}

/* All of [off, off + len) reads as byte, through the file. */
static void reads_as(struct fixture f, uint64_t off, size_t len, int byte)
{
	unsigned char *buf = malloc(len);

	assert_int_equal(bsp_sparse_read(f.sp, off, buf, len), len);
	for (size_t i = 0; i < len; i++)
		if (buf[i] != byte)
			fail_msg("byte %zu is %#x, not %#x", (size_t)off + i,
				 buf[i], (unsigned)byte);
	free(buf);
}

/* All of [off, off + len) is byte on the device. */
static void holds(struct fixture f, uint64_t off, size_t len, int byte)
{
	for (size_t i = 0; i < len; i++)
		if (fake_bytes(f.fake)[off + i] != byte)
			fail_msg("the device's byte %zu is %#x, not %#x",
				 (size_t)off + i, fake_bytes(f.fake)[off + i],
				 (unsigned)byte);
}

/* All of [off, off + len) is byte on the device itself. */
static void disk_holds(struct fixture f, uint64_t off, size_t len, int byte)
{
	for (size_t i = 0; i < len; i++)
		if (fake_disk(f.fake)[off + i] != byte)
			fail_msg("the disk's byte %zu is %#x, not %#x",
				 (size_t)off + i, fake_disk(f.fake)[off + i],
				 (unsigned)byte);
}

/* The next changes of the device are these, and no others. */
static void changed(struct fixture f, const struct fake_call *want, size_t n)
{
	const struct fake_call *got;

	assert_int_equal(fake_changes(f.fake, &got), n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(got[i].kind, want[i].kind);
		assert_int_equal(got[i].off, want[i].off);
		assert_int_equal(got[i].len, want[i].len);
	}
}

static void nothing_changed(struct fixture f)
{
	changed(f, NULL, 0);
}

static int flush_markers(struct fixture f)
{
	return bsp_sparse_flush_markers(f.sp, NULL, NULL);
}

static bool pending(struct fixture f)
{
	struct bsp_stat st;

	bsp_sparse_stat(f.sp, &st);
	return st.pending;
}

/* --- Zeros are markers, carried out later --- */

static void written_zeros_reach_the_device_with_a_flush_only(void **state)
{
	static const struct fake_call punch = { 2 * G, 4 * G, FAKE_PUNCH };
	struct fixture f = open_old(16 * G, ALL_WAYS, BSP_ZERO_UNMAP);

	put(f, 2 * G, 2 * G, 0);
	put(f, 4 * G, 2 * G, 0);
	reads_as(f, 2 * G, 4 * G, 0);
	nothing_changed(f);
	assert_true(pending(f));
	assert_int_equal(fake_reads(f.fake, NULL), 0);
	assert_int_equal(flush_markers(f), 0);
	changed(f, &punch, 1); /* merged */
	assert_false(pending(f));
	holds(f, 2 * G, 4 * G, 0);
	holds(f, 0, 2 * G, 0xaa);
	holds(f, 6 * G, 10 * G, 0xaa);
	assert_int_equal(flush_markers(f), 0);
	nothing_changed(f);
	close_it(f);
}

static void flush_behind_a_writer_takes_finished_runs_only(void **state)
{
	static const struct fake_call want[] = {
		{ 0, 4 * G, FAKE_PUNCH },
		{ 5 * G, 7 * G, FAKE_PUNCH },
		{ 13 * G, 3 * G, FAKE_PUNCH },
	};
	struct fixture f = open_old(16 * G, ALL_WAYS, BSP_ZERO_UNMAP);
	uint64_t off = 0;

	assert_int_equal(bsp_sparse_truncate(f.sp, 0), 0);
	assert_int_equal(bsp_sparse_truncate(f.sp, 16 * G), 0);
	put(f, 4 * G, G, 'd');
	(void)fake_changes(f.fake, NULL);
	assert_int_equal(
		bsp_sparse_flush_markers_before(f.sp, &off, 4 * G, NULL, NULL),
		0);
	nothing_changed(f);
	assert_int_equal(
		bsp_sparse_flush_markers_before(f.sp, &off, 9 * G, NULL, NULL),
		0);
	changed(f, &want[0], 1);
	put(f, 12 * G, G, 'd');
	(void)fake_changes(f.fake, NULL);
	assert_int_equal(
		bsp_sparse_flush_markers_before(f.sp, &off, 13 * G, NULL, NULL),
		0);
	changed(f, &want[1], 1);
	assert_true(pending(f));
	assert_int_equal(
		bsp_sparse_flush_markers_before(f.sp, &off, 16 * G, NULL, NULL),
		0);
	changed(f, &want[2], 1);
	assert_false(pending(f));
	holds(f, 4 * G, G, 'd');
	holds(f, 12 * G, G, 'd');
	close_it(f);
}

/* Makes the file longer by a write, while markers below it are flushed. */
struct grower {
	struct fixture f;
	unsigned tries, done;
};

static void *grow_main(void *data)
{
	struct grower *grower = data;

	put(grower->f, 12 * G, G, 'd');
	return NULL;
}

static void grow_meanwhile(void *data)
{
	struct grower *grower = data;
	struct timespec until;
	pthread_t thread;

	if (grower->tries++)
		return;
	assert_int_equal(pthread_create(&thread, NULL, grow_main, grower), 0);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	grower->done = pthread_timedjoin_np(thread, NULL, &until) == 0;
	if (!grower->done)
		(void)pthread_detach(thread);
}

static void growing_write_does_not_wait_for_zeroing(void **state)
{
	struct grower grower = {
		.f = open_old(16 * G, ALL_WAYS, BSP_ZERO_UNMAP),
	};
	struct fixture f = grower.f;
	uint64_t off = 0;

	assert_int_equal(bsp_sparse_truncate(f.sp, 0), 0);
	put(f, 8 * G, G, 'd');
	fake_on_zeroing(f.fake, grow_meanwhile, &grower);
	assert_int_equal(
		bsp_sparse_flush_markers_before(f.sp, &off, 9 * G, NULL, NULL),
		0);
	assert_true(grower.done);
	assert_int_equal(bsp_sparse_size(f.sp), 13 * G);
	holds(f, 0, 8 * G, 0);
	reads_as(f, 0, 8 * G, 0);
	reads_as(f, 9 * G, 3 * G, 0);
	holds(f, 9 * G, 3 * G, 0xaa);
	close_it(f);
}

static void mixed_write_is_cut_at_granules(void **state)
{
	static const struct fake_call want[] = {
		{ G - 10, 10, FAKE_WRITE },
		{ 2 * G, G, FAKE_WRITE },
		{ 4 * G, 20, FAKE_WRITE },
	};
	struct fixture f = open_old(8 * G, ALL_WAYS, BSP_ZERO_UNMAP);
	char *buf = calloc(1, 3 * G + 30);

	/* In part, zero, data, zero, in part (of zeros, over unknown). */
	memset(buf, 'x', 10);
	buf[10 + G + 77] = 'x';
	assert_int_equal(bsp_sparse_write(f.sp, G - 10, buf, 3 * G + 30),
			 3 * G + 30);
	changed(f, want, 3);
	reads_as(f, G, G, 0);
	reads_as(f, 4 * G, 20, 0);
	reads_as(f, 4 * G + 20, G - 20, 0xaa);
	free(buf);
	close_it(f);
}

static void a_part_of_a_marker_is_filled_with_zeros(void **state)
{
	static const struct fake_call fill = { 2 * G, G, FAKE_THROUGH };
	struct fixture f = open_old(8 * G, ALL_WAYS, BSP_ZERO_UNMAP);

	put(f, 0, 8 * G, 0);
	put(f, 2 * G + 100, 50, 'x');
	changed(f, &fill, 1);
	holds(f, 2 * G, 100, 0);
	holds(f, 2 * G + 100, 50, 'x');
	holds(f, 2 * G + 150, G - 150, 0);
	reads_as(f, 2 * G, 100, 0);
	reads_as(f, 2 * G + 100, 50, 'x');
	/* Zeros in a part of a marker, or of a hole, are there already. */
	put(f, 3 * G + 1, 5, 0);
	nothing_changed(f);
	assert_int_equal(flush_markers(f), 0);
	(void)fake_changes(f.fake, NULL);
	put(f, 3 * G + 1, 5, 0);
	nothing_changed(f);
	close_it(f);
}

static void punches_zero_their_ragged_ends(void **state)
{
	static const struct fake_call ends[] = {
		{ 100, G - 100, FAKE_WRITE },
		{ 3 * G, 7, FAKE_WRITE },
	};
	struct fixture f = open_old(8 * G, ALL_WAYS, BSP_ZERO_UNMAP);

	assert_int_equal(
		bsp_sparse_fallocate(f.sp, PUNCH_MODE, 100, 3 * G + 7 - 100),
		0);
	changed(f, ends, 2);
	reads_as(f, 0, 100, 0xaa);
	reads_as(f, 100, 3 * G + 7 - 100, 0);
	reads_as(f, 3 * G + 7, G, 0xaa);
	/* Inside of one granule; exactly one; across an edge, without a whole
	 * granule. */
	assert_int_equal(bsp_sparse_fallocate(f.sp, PUNCH_MODE, 5 * G + 9, 9),
			 0);
	reads_as(f, 5 * G + 9, 9, 0);
	reads_as(f, 5 * G + 18, 1, 0xaa);
	assert_int_equal(bsp_sparse_fallocate(f.sp, PUNCH_MODE, 7 * G - 3, 6),
			 0);
	reads_as(f, 7 * G - 4, 1, 0xaa);
	reads_as(f, 7 * G - 3, 6, 0);
	reads_as(f, 7 * G + 3, 1, 0xaa);
	close_it(f);
}

static void fallocate_knows_its_modes(void **state)
{
	struct fixture f = open_old(8 * G, ALL_WAYS, BSP_ZERO_UNMAP);
	struct bsp_sparse *sp = f.sp;

	assert_int_equal(bsp_sparse_fallocate(sp, 0, 0, 8 * G), 0);
	assert_int_equal(bsp_sparse_fallocate(sp, 0, 0, 8 * G + 1), -ENOSPC);
	assert_int_equal(bsp_sparse_fallocate(sp, 0, UINT64_MAX, 2), -ENOSPC);
	assert_int_equal(bsp_sparse_fallocate(sp, FALLOC_FL_PUNCH_HOLE, 0, G),
			 -EOPNOTSUPP);
	assert_int_equal(
		bsp_sparse_fallocate(sp, FALLOC_FL_COLLAPSE_RANGE, 0, G),
		-EOPNOTSUPP);
	assert_int_equal(bsp_sparse_fallocate(sp, 0, 0, 0), -EINVAL);
	/* A hole past the end is no error and changes nothing. */
	assert_int_equal(bsp_sparse_fallocate(sp, PUNCH_MODE, 9 * G, G), 0);
	assert_int_equal(bsp_sparse_truncate(sp, G), 0);
	assert_int_equal(
		bsp_sparse_fallocate(sp, FALLOC_FL_KEEP_SIZE, 0, 4 * G), 0);
	assert_int_equal(bsp_sparse_size(sp), G);
	assert_int_equal(
		bsp_sparse_fallocate(sp, FALLOC_FL_ZERO_RANGE, 100, 2 * G), 0);
	assert_int_equal(bsp_sparse_size(sp), 2 * G + 100);
	reads_as(f, 0, 100, 0xaa);
	reads_as(f, 100, 2 * G, 0);
	assert_int_equal(bsp_sparse_fallocate(sp, 0, G, 2 * G), 0);
	assert_int_equal(bsp_sparse_size(sp), 3 * G);
	reads_as(f, 2 * G, G, 0);
	close_it(f);
}

/* --- Sizes --- */

static void cut_off_bytes_are_zero_when_the_file_grows(void **state)
{
	struct fixture f = open_old(8 * G, ALL_WAYS, BSP_ZERO_UNMAP);

	assert_int_equal(bsp_sparse_truncate(f.sp, 2 * G + 10), 0);
	assert_int_equal(bsp_sparse_size(f.sp), 2 * G + 10);
	nothing_changed(f);
	assert_int_equal(bsp_sparse_truncate(f.sp, 8 * G), 0);
	reads_as(f, 0, 2 * G + 10, 0xaa);
	reads_as(f, 2 * G + 10, 6 * G - 10, 0);
	assert_int_equal(bsp_sparse_truncate(f.sp, 8 * G + 1), -EFBIG);
	assert_int_equal(bsp_sparse_size(f.sp), 8 * G);
	assert_int_equal(flush_markers(f), 0);
	holds(f, 0, 2 * G + 10, 0xaa);
	holds(f, 2 * G + 10, 6 * G - 10, 0);
	close_it(f);
}

static void the_tail_past_the_end_is_kept_to_the_byte(void **state)
{
	struct fixture f = open_old(8 * G, ALL_WAYS, BSP_ZERO_UNMAP);

	assert_int_equal(bsp_sparse_truncate(f.sp, 0), 0);
	put(f, 0, 2 * G + 100, 'x');
	assert_int_equal(bsp_sparse_finish(f.sp, BSP_TAIL_KEEP), 0);
	holds(f, 0, 2 * G + 100, 'x');
	holds(f, 2 * G + 100, 6 * G - 100, 0xaa);
	close_it(f);

	f = open_old(8 * G, ALL_WAYS, BSP_ZERO_UNMAP);
	assert_int_equal(bsp_sparse_truncate(f.sp, 0), 0);
	assert_int_equal(bsp_sparse_truncate(f.sp, G + 1000), 0);
	assert_int_equal(bsp_sparse_finish(f.sp, BSP_TAIL_KEEP), 0);
	holds(f, 0, G + 1000, 0);
	holds(f, G + 1000, 7 * G - 1000, 0xaa);
	close_it(f);

	f = open_old(8 * G, ALL_WAYS, BSP_ZERO_UNMAP);
	assert_int_equal(bsp_sparse_truncate(f.sp, G + 1000), 0);
	assert_int_equal(bsp_sparse_finish(f.sp, BSP_TAIL_ZERO), 0);
	holds(f, 0, G + 1000, 0xaa);
	holds(f, G + 1000, 7 * G - 1000, 0);
	assert_true(fake_flushes(f.fake) > 0);
	close_it(f);
}

/*
 * The granule in which the file ends was flushed up to there: it is a hole with
 * old bytes behind its end, which must not appear when the file grows.
 */
static void a_hole_at_the_end_hides_its_stale_rest(void **state)
{
	for (int how = 0; how < 4; how++) {
		struct fixture f = open_old(8 * G, ALL_WAYS, BSP_ZERO_UNMAP);

		assert_int_equal(bsp_sparse_truncate(f.sp, 0), 0);
		assert_int_equal(bsp_sparse_truncate(f.sp, G + 1000), 0);
		assert_int_equal(flush_markers(f), 0);
		holds(f, G + 1000, G - 1000, 0xaa);
		if (how == 0)
			assert_int_equal(bsp_sparse_truncate(f.sp, 3 * G), 0);
		else if (how == 1)
			put(f, 2 * G + 5, 10, 'x');
		else if (how == 2)
			put(f, G + 1000, 96, 0); /* zeros, right at the end */
		else
			put(f, G + 2000, 96, 'x');
		reads_as(f, 0, G + 1000, 0);
		if (how == 2)
			assert_int_equal(bsp_sparse_size(f.sp), G + 1096);
		reads_as(f, G + 1000, 96, 0);
		assert_int_equal(bsp_sparse_truncate(f.sp, 2 * G + 5), 0);
		reads_as(f, G + 1000, 1000, 0);
		if (how != 3)
			reads_as(f, G + 2000, G - 2000, 0);
		else
			reads_as(f, G + 2096, G - 2096, 0);
		assert_int_equal(flush_markers(f), 0);
		holds(f, G + 1000, 1000, 0);
		close_it(f);
	}
}

static void a_hole_that_was_cut_off_hides_its_stale_rest(void **state)
{
	struct fixture f = open_old(8 * G, ALL_WAYS, BSP_ZERO_UNMAP);

	assert_int_equal(bsp_sparse_truncate(f.sp, 0), 0);
	assert_int_equal(bsp_sparse_truncate(f.sp, G + 1000), 0);
	assert_int_equal(flush_markers(f), 0);
	assert_int_equal(bsp_sparse_truncate(f.sp, 0), 0);
	assert_int_equal(bsp_sparse_truncate(f.sp, 4 * G), 0);
	assert_int_equal(flush_markers(f), 0);
	holds(f, 0, 4 * G, 0);
	close_it(f);
}

/* A reader that saw only zeros up to the file's end learned a hole. */
/* The file shrinks to the beginning of the granule in which it ended. */
static void a_hole_that_was_cut_off_whole_hides_its_stale_rest(void **state)
{
	struct fixture f = open_old(8 * G, ALL_WAYS, BSP_ZERO_UNMAP);

	assert_int_equal(bsp_sparse_truncate(f.sp, 2 * G + 100), 0);
	put(f, 2 * G, 100, 0);
	assert_int_equal(bsp_sparse_fallocate(f.sp, PUNCH_MODE, 2 * G, 100), 0);
	assert_int_equal(flush_markers(f), 0);
	holds(f, 2 * G + 100, G - 100, 0xaa);
	assert_int_equal(bsp_sparse_truncate(f.sp, 2 * G), 0);
	assert_int_equal(bsp_sparse_truncate(f.sp, 3 * G), 0);
	reads_as(f, 2 * G, G, 0);
	assert_int_equal(flush_markers(f), 0);
	holds(f, 2 * G, G, 0);
	close_it(f);
}

static void a_learned_hole_at_the_end_hides_its_stale_rest(void **state)
{
	struct fixture f = open_old(4 * G, ALL_WAYS, BSP_ZERO_UNMAP);

	memset(fake_bytes(f.fake), 0, 1000);
	assert_int_equal(bsp_sparse_truncate(f.sp, 1000), 0);
	reads_as(f, 0, 1000, 0);
	put(f, 1000, 10, 0);
	assert_int_equal(bsp_sparse_truncate(f.sp, G), 0);
	reads_as(f, 0, G, 0);
	assert_int_equal(flush_markers(f), 0);
	holds(f, 0, G, 0);
	holds(f, G, 3 * G, 0xaa);
	close_it(f);
}

static void writes_end_with_the_device(void **state)
{
	struct fixture f = open_old(2 * G + 512, ALL_WAYS, BSP_ZERO_UNMAP);
	char buf[G];

	memset(buf, 'x', G);
	assert_int_equal(bsp_sparse_write(f.sp, 2 * G, buf, G), 512);
	assert_int_equal(bsp_sparse_write(f.sp, 2 * G + 512, buf, G), -ENOSPC);
	assert_int_equal(bsp_sparse_write(f.sp, UINT64_MAX, buf, G), -ENOSPC);
	assert_int_equal(bsp_sparse_write(f.sp, UINT64_MAX, buf, 0), 0);
	holds(f, 2 * G, 512, 'x');
	memset(buf, 0, G);
	assert_int_equal(bsp_sparse_write(f.sp, 2 * G, buf, G), 512);
	assert_int_equal(flush_markers(f), 0);
	holds(f, 2 * G, 512, 0);
	holds(f, 0, 2 * G, 0xaa);
	close_it(f);
}

static void a_gap_reads_as_zeros(void **state)
{
	struct fixture f = open_old(8 * G, ALL_WAYS, BSP_ZERO_UNMAP);

	assert_int_equal(bsp_sparse_truncate(f.sp, 100), 0);
	put(f, 3 * G + 50, 10, 'x');
	assert_int_equal(bsp_sparse_size(f.sp), 3 * G + 60);
	reads_as(f, 0, 100, 0xaa);
	reads_as(f, 100, 3 * G - 50, 0);
	assert_int_equal(flush_markers(f), 0);
	holds(f, 100, 3 * G - 50, 0);
	holds(f, 3 * G + 60, 5 * G - 60, 0xaa);
	close_it(f);
}

/* --- The ladder --- */

/*
 * Zeros that are written to flush markers go through to the device: a marker
 * becomes a hole when the call returns, and a failure reported later would find
 * no marker.
 */
static void each_way_to_zero_is_tried_and_refusals_are_kept(void **state)
{
	static const struct {
		unsigned ways;
		enum bsp_zero_mode zeroing;
		struct fake_call want[4];
		size_t n;
		size_t n_again;
	} rows[] = {
		{ ALL_WAYS,
		  BSP_ZERO_UNMAP,
		  { { G, 2 * G, FAKE_PUNCH } },
		  1,
		  1 },
		/* Unmapping promises no zeros: the range is read back, and
		 * written where it is not zero. */
		{ UNMAPS | ZEROES_OUT,
		  BSP_ZERO_UNMAP,
		  { { G, 2 * G, FAKE_PUNCH },
		    { G, 2 * G, FAKE_UNMAP },
		    { G, G, FAKE_THROUGH } },
		  3,
		  2 },
		{ ZEROES_OUT,
		  BSP_ZERO_UNMAP,
		  { { G, 2 * G, FAKE_PUNCH },
		    { G, 2 * G, FAKE_UNMAP },
		    { G, 2 * G, FAKE_ZERO_OUT } },
		  3,
		  1 },
		{ 0,
		  BSP_ZERO_UNMAP,
		  { { G, 2 * G, FAKE_PUNCH },
		    { G, 2 * G, FAKE_UNMAP },
		    { G, 2 * G, FAKE_ZERO_OUT },
		    { G, 2 * G, FAKE_THROUGH } },
		  4,
		  1 },
		{ ALL_WAYS,
		  BSP_ZERO_KEEP,
		  { { G, 2 * G, FAKE_ZERO_OUT } },
		  1,
		  1 },
		{ PUNCHES,
		  BSP_ZERO_KEEP,
		  { { G, 2 * G, FAKE_ZERO_OUT }, { G, 2 * G, FAKE_THROUGH } },
		  2,
		  1 },
		{ ALL_WAYS,
		  BSP_ZERO_WRITE,
		  { { G, 2 * G, FAKE_THROUGH } },
		  1,
		  1 },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		struct fixture f =
			open_old(8 * G, rows[i].ways, rows[i].zeroing);

		put(f, G, 2 * G, 0);
		assert_int_equal(flush_markers(f), 0);
		changed(f, rows[i].want, rows[i].n);
		holds(f, G, 2 * G, 0);
		put(f, 5 * G, 2 * G, 0);
		assert_int_equal(flush_markers(f), 0);
		assert_int_equal(fake_changes(f.fake, NULL), rows[i].n_again);
		holds(f, 5 * G, 2 * G, 0);
		holds(f, 3 * G, 2 * G, 0xaa);
		close_it(f);
	}
}

static void zeros_are_not_written_over_zeros(void **state)
{
	static const struct fake_call want[] = {
		{ 0, 8 * G, FAKE_PUNCH },
		{ 0, 8 * G, FAKE_UNMAP },
		{ 0, 8 * G, FAKE_ZERO_OUT },
		{ 6 * G, G, FAKE_THROUGH },
	};
	struct fixture f = open_old(8 * G, 0, BSP_ZERO_UNMAP);

	memset(fake_bytes(f.fake), 0, 8 * G);
	fake_bytes(f.fake)[6 * G + 5] = 1;
	put(f, 0, 8 * G, 0);
	assert_int_equal(flush_markers(f), 0);
	changed(f, want, 4);
	holds(f, 0, 8 * G, 0);
	close_it(f);
}

/* A device that takes writes gets its zeros, even if all its commands fail. */
static void a_command_that_fails_is_not_the_end(void **state)
{
	static const struct {
		int errnum;
		size_t n;
		struct fake_call want[5];
	} rows[] = {
		/* Reads after this may find bytes that are only in a cache. */
		{ EIO,
		  4,
		  { { 0, 4 * G, FAKE_PUNCH },
		    { 0, 4 * G, FAKE_UNMAP },
		    { 0, 4 * G, FAKE_ZERO_OUT },
		    { 0, 4 * G, FAKE_THROUGH } } },
		{ EREMOTEIO,
		  4,
		  { { 0, 4 * G, FAKE_PUNCH },
		    { 0, 4 * G, FAKE_UNMAP },
		    { 0, 4 * G, FAKE_ZERO_OUT },
		    { 0, 4 * G, FAKE_THROUGH } } },
		/* The device is out of space: zeros are written only where it
		 * is not zero already. */
		{ ENOSPC,
		  4,
		  { { 0, 4 * G, FAKE_PUNCH },
		    { 0, 4 * G, FAKE_UNMAP },
		    { 0, 4 * G, FAKE_ZERO_OUT },
		    { 2 * G, G, FAKE_THROUGH } } },
		{ ENOMEM,
		  4,
		  { { 0, 4 * G, FAKE_PUNCH },
		    { 0, 4 * G, FAKE_UNMAP },
		    { 0, 4 * G, FAKE_ZERO_OUT },
		    { 2 * G, G, FAKE_THROUGH } } },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		struct fixture f = open_old(8 * G, ALL_WAYS, BSP_ZERO_UNMAP);

		memset(fake_bytes(f.fake), 0, 8 * G);
		fake_bytes(f.fake)[2 * G + 5] = 1;
		put(f, 0, 4 * G, 0);
		fake_fail_commands(f.fake, ALL_WAYS, 0, 8 * G, rows[i].errnum);
		assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
		changed(f, rows[i].want, rows[i].n);
		holds(f, 0, 8 * G, 0);
		/* It is asked again. */
		fake_fail_commands(f.fake, 0, 0, 0, 0);
		put(f, 5 * G, G, 0);
		assert_int_equal(flush_markers(f), 0);
		changed(f,
			(const struct fake_call[]){ { 5 * G, G, FAKE_PUNCH } },
			1);
		close_it(f);
	}
}

static void gone_device_is_tried_once(void **state)
{
	static const struct fake_call want = { 0, 4 * G, FAKE_PUNCH };
	struct fixture f = open_old(8 * G, ALL_WAYS, BSP_ZERO_UNMAP);

	put(f, 0, 4 * G, 0);
	put(f, 6 * G, G, 0);
	fake_fail_commands(f.fake, ALL_WAYS, 0, 8 * G, ENODEV);
	assert_int_equal(flush_markers(f), -ENODEV);
	changed(f, &want, 1);
	assert_true(pending(f));
	close_it(f);
}

/* One bad sector costs no more than a step of writing. */
static void little_is_written_where_a_long_command_fails(void **state)
{
	const uint64_t size = 64 << 20, step = 16 << 20;
	const uint64_t bad = 2 * step + 5 * G;
	struct fixture f = open_old(size, PUNCHES, BSP_ZERO_UNMAP);
	const struct fake_call *calls;
	size_t n;

	/* One command is enough for a long range. */
	put(f, 0, G, 0);
	assert_int_equal(flush_markers(f), 0);
	(void)fake_changes(f.fake, NULL);
	assert_int_equal(bsp_sparse_truncate(f.sp, 0), 0);
	assert_int_equal(bsp_sparse_truncate(f.sp, size), 0);
	fake_fail_commands(f.fake, PUNCHES, bad, 512, EIO);
	assert_int_equal(flush_markers(f), 0);
	holds(f, 0, size, 0);
	n = fake_changes(f.fake, &calls);
	for (size_t i = 0; i < n; i++)
		if (calls[i].kind == FAKE_THROUGH) {
			assert_true(calls[i].off >= bad - step);
			assert_true(calls[i].off + calls[i].len <= bad + step);
		}
	close_it(f);
}

/* --- Without memory --- */

static bool no_memory, no_leaves;

int __real_posix_memalign(void **ret_memory, size_t align, size_t size);
int __wrap_posix_memalign(void **ret_memory, size_t align, size_t size);

/* The linker sends the library's calls here (--wrap). */
int __wrap_posix_memalign(void **ret_memory, size_t align, size_t size)
{
	return no_memory ? ENOMEM
			 : __real_posix_memalign(ret_memory, align, size);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

/* The same; the map allocates its leaves with this. */
void *__wrap_calloc(size_t n, size_t size)
{
	return no_leaves ? NULL : __real_calloc(n, size);
}

/*
 * A write that makes the file longer, and fails, leaves no bytes that could
 * appear later, even without memory to punch them: until there is memory, the
 * file cannot grow.
 */
static void without_memory_nothing_is_left_past_the_end(void **state)
{
	const uint64_t granules = 16384; /* of one leaf of the map */
	struct fixture f = open_old(granules * G, PUNCHES, BSP_ZERO_UNMAP);
	char buf[2 * G];

	memset(fake_bytes(f.fake) + 9 * G, 0, (granules - 9) * G);
	put(f, 0, 9 * G, 'd');
	assert_int_equal(bsp_sparse_scan(f.sp, 0, UINT64_MAX, NULL, NULL, NULL),
			 0);
	/* Leaves granule 9 as the only hole past the end; the write fails in
	 * it. */
	assert_int_equal(bsp_sparse_truncate(f.sp, 9 * G), 0);
	assert_int_equal(bsp_map_event(f.sp->map, BSP_WRITTEN, 10, granules),
			 0);
	memset(buf, 'x', sizeof(buf));
	fake_fail_writes(f.fake, 9 * G + 512, 512, EIO);
	no_leaves = true;
	assert_int_equal(bsp_sparse_write(f.sp, 9 * G, buf, 2 * G), -EIO);
	no_leaves = false;
	assert_int_equal(bsp_sparse_size(f.sp), 9 * G);
	fake_fail_writes(f.fake, 0, 0, 0);
	no_leaves = true;
	assert_int_equal(bsp_sparse_truncate(f.sp, 11 * G), -ENOMEM);
	assert_int_equal(bsp_sparse_write(f.sp, 10 * G, buf, G), -ENOMEM);
	no_leaves = false;
	assert_int_equal(bsp_sparse_size(f.sp), 9 * G);
	assert_int_equal(bsp_sparse_truncate(f.sp, 12 * G), 0);
	reads_as(f, 9 * G, 3 * G, 0);
	close_it(f);
}

/* The file is cut completely, or not at all. */
static void without_memory_nothing_is_cut_off(void **state)
{
	const uint64_t granules = 3 * 16384;
	struct fixture f = open_old(granules * G, PUNCHES, BSP_ZERO_UNMAP);

	no_leaves = true;
	assert_int_equal(bsp_sparse_truncate(f.sp, 5 * G), -ENOMEM);
	no_leaves = false;
	assert_int_equal(bsp_sparse_size(f.sp), granules * G);
	reads_as(f, 0, granules * G, 0xaa);
	assert_false(pending(f));
	close_it(f);
}

/* A granule whose zeros cannot be recorded stays a marker. */
static void marker_stays_without_memory_to_record_its_zeros(void **state)
{
	struct fixture f = open_old(64 * G, PUNCHES, BSP_ZERO_UNMAP);

	put(f, 3 * G, G, 0);
	no_leaves = true;
	assert_int_equal(flush_markers(f), -ENOMEM);
	no_leaves = false;
	assert_true(pending(f));
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	assert_false(pending(f));
	holds(f, 3 * G, G, 0);
	close_it(f);
}

static void without_memory_zeros_are_written_unread(void **state)
{
	static const struct fake_call all = { 0, 4 * G, FAKE_THROUGH };
	static const struct fake_call one = { 6 * G, G, FAKE_THROUGH };
	struct fixture f = open_old(8 * G, 0, BSP_ZERO_UNMAP);

	memset(fake_bytes(f.fake), 0, 8 * G);
	/* A way that the device refused is not tried again. */
	put(f, 0, G, 0);
	assert_int_equal(flush_markers(f), 0);
	(void)fake_changes(f.fake, NULL);
	bsp_map_forget(f.sp->map, 0, 8);
	put(f, 0, 4 * G, 0);
	no_memory = true;
	assert_int_equal(flush_markers(f), 0);
	no_memory = false;
	changed(f, &all, 1);
	/* With memory, it reads first again. */
	fake_bytes(f.fake)[6 * G] = 1;
	put(f, 4 * G, 4 * G, 0);
	assert_int_equal(flush_markers(f), 0);
	changed(f, &one, 1);
	close_it(f);
}

/* --- Failures --- */

static void a_marker_survives_a_failure(void **state)
{
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);

	put(f, 0, 2 * G, 0);
	put(f, 4 * G, 4 * G, 0);
	fake_fail_writes(f.fake, G, 512, EIO);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
	assert_true(pending(f));
	reads_as(f, 0, 2 * G, 0);
	holds(f, G, G, 0xaa);
	/* The others were flushed all the same. */
	holds(f, 4 * G, 4 * G, 0);
	fake_fail_writes(f.fake, 0, 0, 0);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	assert_false(pending(f));
	holds(f, 0, 2 * G, 0);
	close_it(f);
}

static void a_tail_that_cannot_be_zeroed_is_reported(void **state)
{
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);

	assert_int_equal(bsp_sparse_truncate(f.sp, 2 * G), 0);
	fake_fail_writes(f.fake, 5 * G, G, EIO);
	assert_int_equal(bsp_sparse_finish(f.sp, BSP_TAIL_KEEP), 0);
	assert_int_equal(bsp_sparse_finish(f.sp, BSP_TAIL_ZERO), -EIO);
	assert_int_equal(fake_flushes(f.fake), 2);
	close_it(f);
}

static void a_failed_flush_is_reported(void **state)
{
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);

	fake_fail_flush(f.fake, EIO);
	assert_int_equal(bsp_sparse_failed_flushes(f.sp), 0);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
	assert_int_equal(bsp_sparse_failed_flushes(f.sp), 1);
	assert_int_equal(bsp_sparse_finish(f.sp, BSP_TAIL_KEEP), -EIO);
	close_it(f);
}

static void a_failed_write_over_a_marker_never_shows_stale_bytes(void **state)
{
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);
	char buf[4 * G];

	put(f, 0, 8 * G, 0);
	memset(buf, 'x', sizeof(buf));
	/* In the second of four granules. */
	fake_fail_writes(f.fake, 2 * G + 512, 512, EIO);
	assert_int_equal(bsp_sparse_write(f.sp, G, buf, 4 * G), G);
	reads_as(f, G, G, 'x');
	reads_as(f, 2 * G, 6 * G, 0);
	/* A part of one granule. */
	assert_int_equal(bsp_sparse_write(f.sp, 2 * G + 600, buf, 10), -EIO);
	reads_as(f, 2 * G, G, 0);
	fake_fail_writes(f.fake, 0, 0, 0);
	assert_int_equal(flush_markers(f), 0);
	holds(f, 2 * G, 6 * G, 0);
	holds(f, G, G, 'x');
	close_it(f);
}

static void a_failed_write_makes_a_hole_data(void **state)
{
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);
	uint64_t at = 0;
	char buf[2 * G];

	put(f, 0, 8 * G, 0);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	memset(buf, 'x', sizeof(buf));
	fake_fail_writes(f.fake, 3 * G - 512, 512, EIO);
	assert_int_equal(bsp_sparse_write(f.sp, 2 * G, buf, 2 * G), -EIO);
	/* The device's bytes there are not known: it is no hole. */
	assert_int_equal(bsp_sparse_seek_data(f.sp, 0, NULL, NULL, &at), 0);
	assert_int_equal(at, 2 * G);
	reads_as(f, 2 * G, G - 512, 'x');
	close_it(f);
}

/* If the device may lose its zeros, it becomes a marker: otherwise old bytes
 * would appear. */
static void a_failed_write_keeps_zeros_that_are_not_durable(void **state)
{
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);
	char buf[2 * G];

	fake_cache(f.fake, FAKE_LOSES_ALL);
	put(f, 0, 8 * G, 0);
	assert_int_equal(flush_markers(f), 0);
	memset(buf, 'x', sizeof(buf));
	fake_fail_writes(f.fake, 3 * G - 512, 512, EIO);
	assert_int_equal(bsp_sparse_write(f.sp, 2 * G, buf, 2 * G), -EIO);
	assert_int_equal(bsp_sparse_write(f.sp, 3 * G - 512, buf, 100), -EIO);
	fake_fail_writes(f.fake, 0, 0, 0);
	fake_fail_flush(f.fake, EIO);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
	reads_as(f, 0, 8 * G, 0);
	fake_fail_flush(f.fake, 0);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	disk_holds(f, 0, 8 * G, 0);
	close_it(f);
}

static void a_growing_write_that_fails_leaves_zeros_behind(void **state)
{
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);
	char buf[4 * G];

	put(f, 0, 8 * G, 0);
	assert_int_equal(flush_markers(f), 0); /* holes everywhere */
	assert_int_equal(bsp_sparse_truncate(f.sp, G), 0);
	memset(buf, 'x', sizeof(buf));
	fake_fail_writes(f.fake, 3 * G + 100, 10, EIO);
	assert_int_equal(bsp_sparse_write(f.sp, G, buf, 4 * G), 2 * G);
	assert_int_equal(bsp_sparse_size(f.sp), 3 * G);
	fake_fail_writes(f.fake, 0, 0, 0);
	assert_int_equal(bsp_sparse_truncate(f.sp, 8 * G), 0);
	reads_as(f, G, 2 * G, 'x');
	reads_as(f, 3 * G, 5 * G, 0);
	close_it(f);
}

struct swap {
	struct fixture f;
	pthread_t thread;
};

static void *look_at_table(void *data)
{
	struct swap *swap = data;

	(void)bsp_sparse_refresh_all(swap->f.sp);
	return NULL;
}

/* Another table is loaded, and noticed, while a range is zeroed. */
static void swap_hook(void *data)
{
	const struct timespec moment = { .tv_nsec = 1000000 };
	struct swap *swap = data;
	unsigned drops = fake_drops(swap->f.fake);

	fake_on_zeroing(swap->f.fake, NULL, NULL);
	fake_change_table(swap->f.fake);
	assert_int_equal(
		pthread_create(&swap->thread, NULL, look_at_table, swap), 0);
	while (fake_drops(swap->f.fake) == drops)
		(void)nanosleep(&moment, NULL);
}

/* It is not known whether these zeros reached the new table. */
static void zeros_written_during_a_table_change_are_written_again(void **state)
{
	struct swap swap = { open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP), 0 };

	put(swap.f, 2 * G, 2 * G, 0);
	fake_on_zeroing(swap.f.fake, swap_hook, &swap);
	assert_int_equal(flush_markers(swap.f), 0);
	pthread_join(swap.thread, NULL);
	assert_true(pending(swap.f));
	reads_as(swap.f, 2 * G, 2 * G, 0);
	(void)fake_changes(swap.f.fake, NULL);
	assert_int_equal(flush_markers(swap.f), 0);
	changed(swap.f, &(const struct fake_call){ 2 * G, 2 * G, FAKE_PUNCH },
		1);
	close_it(swap.f);
}

/* A hole that was learned where zeros beside data were not durable yet: after
 * another table the granule is unknown again. */
static void a_punched_hole_is_zeroed_where_zeros_were_lost(void **state)
{
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);
	uint64_t off;

	memset(fake_bytes(f.fake) + 2 * G, 0, G);
	memset(fake_bytes(f.fake) + 2 * G + 100, 0xaa, 100);
	fake_cache(f.fake, FAKE_LOSES_ALL);
	put(f, 2 * G + 100, 100, 0);
	fake_change_table(f.fake);
	(void)bsp_sparse_refresh_all(f.sp);
	assert_int_equal(bsp_sparse_seek_hole(f.sp, 0, NULL, NULL, &off), 0);
	assert_int_equal(off, 2 * G);
	assert_int_equal(bsp_sparse_fallocate(f.sp, PUNCH_MODE, 2 * G, G), 0);
	fake_fail_flush(f.fake, EIO);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
	fake_fail_flush(f.fake, 0);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	disk_holds(f, 2 * G, G, 0);
	close_it(f);
}

/* Zeros that were flushed before the failed flush of the device may be lost. */
static void zeros_that_a_flush_lost_are_flushed_again(void **state)
{
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);

	put(f, 0, 2 * G, 0);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	fake_cache(f.fake, FAKE_LOSES_ALL);
	put(f, 2 * G, 2 * G, 0);
	assert_int_equal(flush_markers(f), 0);
	put(f, 5 * G, 2 * G, 0);
	put(f, 3 * G, G, 'x'); /* data by now: no marker to flush */
	fake_fail_flush(f.fake, EIO);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
	assert_true(pending(f));
	reads_as(f, 2 * G, G, 0);
	reads_as(f, 5 * G, 2 * G, 0);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
	fake_fail_flush(f.fake, 0);
	(void)fake_changes(f.fake, NULL);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	changed(f,
		(const struct fake_call[]){ { 2 * G, G, FAKE_PUNCH },
					    { 5 * G, 2 * G, FAKE_PUNCH } },
		2);
	disk_holds(f, 0, 3 * G, 0);
	disk_holds(f, 5 * G, 2 * G, 0);
	disk_holds(f, 7 * G, G, 0xaa);
	/* Nothing else was written. */
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	nothing_changed(f);
	fake_fail_flush(f.fake, EIO);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
	assert_false(pending(f));
	close_it(f);
}

/* A hole that was learned belongs to the device: no flush writes over it. */
static void holes_that_were_learned_are_not_written(void **state)
{
	static const struct fake_call want[] = {
		{ 0, G, FAKE_PUNCH },
		{ 63 * G, G, FAKE_PUNCH },
	};
	struct fixture f = open_old(64 * G, PUNCHES, BSP_ZERO_UNMAP);
	uint64_t at;

	memset(fake_bytes(f.fake) + G, 0, 62 * G);
	fake_cache(f.fake, FAKE_LOSES_ALL);
	assert_int_equal(bsp_sparse_seek_data(f.sp, G, NULL, NULL, &at), 0);
	assert_int_equal(at, 63 * G);
	put(f, 0, G, 0);
	put(f, 63 * G, G, 0);
	assert_int_equal(flush_markers(f), 0);
	fake_fail_flush(f.fake, EIO);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
	fake_fail_flush(f.fake, 0);
	(void)fake_changes(f.fake, NULL);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	changed(f, want, 2);
	disk_holds(f, 0, 64 * G, 0);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	nothing_changed(f);
	close_it(f);
}

static void flush_markers_hook(void *data)
{
	const struct fixture *f = data;

	put(*f, 4 * G, G, 0);
	assert_int_equal(flush_markers(*f), 0);
}

/* Zeros that are written during a flush may not be covered by it. */
static void zeros_written_during_a_flush_belong_to_the_next(void **state)
{
	static const struct fake_call want = { 4 * G, G, FAKE_PUNCH };
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);

	put(f, 0, G, 0);
	fake_on_flush(f.fake, flush_markers_hook, &f);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	fake_on_flush(f.fake, NULL, NULL);
	fake_fail_flush(f.fake, EIO);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
	fake_fail_flush(f.fake, 0);
	(void)fake_changes(f.fake, NULL);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	changed(f, &want, 1);
	close_it(f);
}

/* Zeros beside data in one granule, on a device that loses all: each way to get
 * there, and the writes of the next flush. */
static void zeros_beside_data_are_written_again(void **state)
{
	static const struct fake_call around[] = {
		{ 2 * G, 100, FAKE_THROUGH },
		{ 2 * G + 150, G - 150, FAKE_THROUGH },
	};
	static const struct fake_call alone = { 2 * G + 100, 50, FAKE_THROUGH };

	for (int how = 0; how < 4; how++) {
		struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);
		bool zeros = how >= 2;

		fake_cache(f.fake, FAKE_LOSES_ALL);
		if (!zeros)
			put(f, 2 * G, G, 0);
		if (how == 1) /* a hole by now, but not durable */
			assert_int_equal(flush_markers(f), 0);
		if (how == 2)
			assert_int_equal(bsp_sparse_fallocate(f.sp, PUNCH_MODE,
							      2 * G + 100, 50),
					 0);
		else
			put(f, 2 * G + 100, 50, zeros ? 0 : 'x');
		fake_fail_flush(f.fake, EIO);
		assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
		assert_true(pending(f));
		fake_fail_writes(f.fake, 0, 8 * G, EIO);
		assert_int_equal(flush_markers(f), -EIO);
		assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
		/* While they cannot be written, no old byte appears either. */
		if (zeros) {
			reads_as(f, 2 * G + 100, 50, 0);
			reads_as(f, 2 * G + 150, 50, 0xaa);
		} else {
			reads_as(f, 2 * G, 100, 0);
			reads_as(f, 2 * G + 150, G - 150, 0);
		}
		fake_fail_writes(f.fake, 0, 0, 0);
		fake_fail_flush(f.fake, 0);
		(void)fake_changes(f.fake, NULL);
		assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
		if (zeros)
			changed(f, &alone, 1);
		else
			changed(f, around, 2);
		assert_false(pending(f));
		if (zeros) {
			disk_holds(f, 2 * G + 100, 50, 0);
			disk_holds(f, 2 * G, 100, 0xaa);
		} else {
			disk_holds(f, 2 * G, 100, 0);
			disk_holds(f, 2 * G + 150, G - 150, 0);
		}
		/* They are durable: another failure loses nothing. */
		fake_fail_flush(f.fake, EIO);
		assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
		assert_false(pending(f));
		nothing_changed(f);
		close_it(f);
	}
}

/* The kernel writes a page of a mapping with the zeros beside what the program
 * stored. A device that loses all does not lose these. */
static void zeros_in_pages_are_durable_before(void **state)
{
	for (int how = 0; how < 4; how++) {
		struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);
		uint64_t zero = how < 2 ? G : 100; /* bytes */
		char page[2 * G];

		fake_cache(f.fake, FAKE_LOSES_ALL);
		assert_int_equal(
			bsp_sparse_fallocate(f.sp, PUNCH_MODE, 2 * G, zero), 0);
		if (how == 1) /* a hole by now, but not durable */
			assert_int_equal(flush_markers(f), 0);
		if (how == 3) { /* lost already */
			fake_fail_flush(f.fake, EIO);
			assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL),
					 -EIO);
			fake_fail_flush(f.fake, 0);
		}
		memset(page, 0xaa, sizeof(page));
		memset(page, 0, zero);
		memset(page + 50, 'x', 20);
		/* Without these zeros, no page is written. */
		fake_fail_flush(f.fake, EIO);
		assert_int_equal(
			bsp_sparse_write_pages(f.sp, 2 * G, page, sizeof(page)),
			-EIO);
		fake_fail_flush(f.fake, 0);
		reads_as(f, 2 * G, 100, 0);
		assert_int_equal(
			bsp_sparse_write_pages(f.sp, 2 * G, page, sizeof(page)),
			sizeof(page));
		fake_fail_flush(f.fake, EIO);
		assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
		fake_fail_flush(f.fake, 0);
		put(f, 2 * G + 50, 20, 'x');
		assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
		disk_holds(f, 2 * G, 50, 0);
		disk_holds(f, 2 * G + 50, 20, 'x');
		disk_holds(f, 2 * G + 70, zero - 70, 0);
		disk_holds(f, 2 * G + zero, 2 * G - zero, 0xaa);
		close_it(f);
	}
}

static void count_flush(void *data)
{
	++*(unsigned *)data;
}

/* Pages without such zeros cost no flush. */
static void pages_of_data_are_not_flushed(void **state)
{
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);
	unsigned flushes = 0;
	char page[G];

	fake_on_flush(f.fake, count_flush, &flushes);
	memset(page, 'x', sizeof(page));
	put(f, 2 * G, G, 0);
	assert_int_equal(bsp_sparse_write_pages(f.sp, 2 * G, page, G), G);
	page[7] = 0;
	assert_int_equal(bsp_sparse_write_pages(f.sp, 2 * G, page, G), G);
	assert_int_equal(bsp_sparse_write_pages(f.sp, 4 * G, page, G), G);
	assert_int_equal(flushes, 0);
	put(f, 5 * G, G, 0);
	assert_int_equal(bsp_sparse_write_pages(f.sp, 5 * G, page, G), G);
	assert_int_equal(flushes, 1);
	assert_int_equal(bsp_sparse_write_pages(f.sp, 5 * G, page, G), G);
	assert_int_equal(flushes, 1);
	close_it(f);
}

/* Data that is written over such zeros is never zeroed again. */
static void data_over_lost_zeros_is_not_zeroed(void **state)
{
	static const struct fake_call rest = { 2 * G + 300, G - 300,
					       FAKE_THROUGH };
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);

	put(f, 0, 8 * G, 0);
	put(f, 2 * G, 100, 'x');
	put(f, 2 * G + 100, 200, 'y');
	put(f, 4 * G + 10, 10, 'z');
	put(f, 4 * G, G, 'w');
	put(f, 6 * G + 10, 10, 'z');
	put(f, 6 * G, G, 0);
	assert_int_equal(flush_markers(f), 0);
	fake_fail_flush(f.fake, EIO); /* but it loses nothing */
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
	fake_fail_flush(f.fake, 0);
	(void)fake_changes(f.fake, NULL);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	assert_true(fake_changes(f.fake, NULL) > 0);
	reads_as(f, 2 * G, 100, 'x');
	reads_as(f, 2 * G + 100, 200, 'y');
	reads_as(f, rest.off, rest.len, 0);
	reads_as(f, 4 * G, G, 'w');
	reads_as(f, 6 * G, G, 0);
	holds(f, 2 * G, 100, 'x');
	holds(f, 2 * G + 100, 200, 'y');
	holds(f, rest.off, rest.len, 0);
	holds(f, 4 * G, G, 'w');
	holds(f, 6 * G, G, 0);
	close_it(f);
}

/* A file that is cut has no zeros past its end to write. */
static void zeros_that_are_cut_off_are_not_written(void **state)
{
	static const struct fake_call want = { 2 * G + 200, 300, FAKE_THROUGH };
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);

	put(f, 2 * G, G, 0);
	put(f, 2 * G, 200, 'x');
	assert_int_equal(bsp_sparse_truncate(f.sp, 2 * G + 500), 0);
	fake_fail_flush(f.fake, EIO);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
	fake_fail_flush(f.fake, 0);
	(void)fake_changes(f.fake, NULL);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	changed(f, &want, 1);
	close_it(f);
}

/* The same for a file whose growth failed. */
static void zeros_of_a_growth_are_not_lost(void **state)
{
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);

	fake_cache(f.fake, FAKE_LOSES_ALL);
	assert_int_equal(bsp_sparse_truncate(f.sp, G + 100), 0);
	assert_int_equal(bsp_sparse_truncate(f.sp, 2 * G - 10), 0);
	fake_fail_flush(f.fake, EIO);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
	reads_as(f, G + 100, G - 110, 0);
	fake_fail_flush(f.fake, 0);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	reads_as(f, G, 100, 0xaa);
	reads_as(f, G + 100, G - 110, 0);
	disk_holds(f, G + 100, G - 110, 0);
	disk_holds(f, 2 * G - 10, 10, 0xaa);
	close_it(f);
}

static void zeros_of_a_failed_growth_are_not_written(void **state)
{
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);
	char buf[G];

	memset(buf, 'x', sizeof(buf));
	assert_int_equal(bsp_sparse_truncate(f.sp, 2 * G + 500), 0);
	fake_fail_writes(f.fake, 4 * G, G, EIO);
	assert_int_equal(bsp_sparse_write(f.sp, 4 * G, buf, G), -EIO);
	fake_fail_writes(f.fake, 0, 0, 0);
	fake_fail_flush(f.fake, EIO);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
	fake_fail_flush(f.fake, 0);
	(void)fake_changes(f.fake, NULL);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	nothing_changed(f);
	close_it(f);
}

/* Room for pieces is limited: when it is used up, the device is flushed. */
static void many_pieces_of_zeros_cause_a_flush(void **state)
{
	const unsigned granules = 3 * BSP_PIECES_MAX;
	struct fixture f =
		open_old((uint64_t)granules * G, PUNCHES, BSP_ZERO_UNMAP);
	unsigned flushes;

	fake_cache(f.fake, FAKE_LOSES_ALL);
	put(f, 0, (size_t)granules * G, 0);
	for (uint64_t i = 0; i < granules; i++)
		put(f, i * G + 100, 50, 'x');
	flushes = fake_flushes(f.fake);
	assert_true(flushes >= 5);
	assert_true(flushes <= 7);
	fake_fail_flush(f.fake, EIO);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
	fake_fail_flush(f.fake, 0);
	for (uint64_t i = 0; i < granules; i += 100) {
		reads_as(f, i * G, 100, 0);
		reads_as(f, i * G + 150, G - 150, 0);
	}
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	for (uint64_t i = 0; i < granules; i++) {
		disk_holds(f, i * G, 100, 0);
		disk_holds(f, i * G + 150, G - 150, 0);
	}
	/* If that flush fails, the write fails. */
	fake_fail_flush(f.fake, EIO);
	put(f, 0, (size_t)granules * G, 0);
	for (uint64_t i = 0; i < granules; i++) {
		ssize_t n = bsp_sparse_write(f.sp, i * G + 100, "y", 1);

		if (n == -EIO)
			break;
		assert_int_equal(n, 1);
		assert_true(i < BSP_PIECES_MAX);
	}
	close_it(f);
}

/* Where a granule was zero, no old byte shows after a lost write beside it. */
static void zeros_that_fill_a_marker_are_not_lost(void **state)
{
	for (int how = 0; how < 4; how++) {
		struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);
		uint64_t at = how < 2 ? 2 * G + 100 : 10;

		fake_cache(f.fake, FAKE_LOSES_WRITES);
		if (how == 0)
			put(f, 2 * G, G, 0);
		else
			assert_int_equal(bsp_sparse_truncate(f.sp, 0), 0);
		if (how < 2) {
			put(f, at, 50, 'x');
		} else {
			/* The end of data, then a gap. */
			put(f, 0, 10, 'x');
			if (how == 2)
				assert_int_equal(
					bsp_sparse_truncate(f.sp, 3 * G), 0);
			else
				put(f, 2 * G + 5, 10, 'x');
		}
		fake_fail_flush(f.fake, EIO);
		assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
		if (how < 2)
			reads_as(f, 2 * G, 100, 0);
		else
			reads_as(f, at, 2 * G - at, 0);
		fake_fail_flush(f.fake, 0);
		assert_int_equal(bsp_sparse_truncate(f.sp, 3 * G), 0);
		assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
		if (how < 2)
			disk_holds(f, 2 * G, 100, 0);
		else
			disk_holds(f, at, 2 * G - at, 0);
		if (how == 0)
			disk_holds(f, 2 * G + 150, G - 150, 0);
		close_it(f);
	}
}

/* The end of a file that is written piece by piece costs one write each. */
static void appending_needs_no_filling(void **state)
{
	static const struct fake_call want[] = {
		{ 0, 1000, FAKE_WRITE },
		{ 1000, 1000, FAKE_WRITE },
	};
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);

	assert_int_equal(bsp_sparse_truncate(f.sp, 0), 0);
	put(f, 0, 1000, 'x');
	put(f, 1000, 1000, 'x');
	changed(f, want, 2);
	close_it(f);
}

/* Zeros in a cache, even one below the device, are not zeros on the device. */
static void cache_is_not_trusted_after_a_failure(void **state)
{
	for (int how = 0; how < 2; how++) {
		struct fixture f = open_old(8 * G, 0, BSP_ZERO_UNMAP);

		fake_deceive(f.fake);
		fake_cache(f.fake, FAKE_LOSES_WRITES);
		if (how == 0) {
			fake_fail_writes(f.fake, 2 * G, G, EIO);
		} else {
			/* Written as data, which is only in the cache. */
			put(f, 2 * G, 100, 0);
			put(f, 2 * G + 100, G - 100, 0);
			fake_fail_flush(f.fake, EIO);
		}
		put(f, 0, 8 * G, 0);
		assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
		disk_holds(f, 2 * G, G, 0xaa);
		fake_fail_writes(f.fake, 0, 0, 0);
		fake_fail_flush(f.fake, 0);
		assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
		assert_false(pending(f));
		disk_holds(f, 0, 8 * G, 0);
		close_it(f);
	}
}

/* A device that refuses a command while it fails may take it later. */
static void a_refusal_is_forgotten_after_a_failure(void **state)
{
	static const struct fake_call punch = { 0, 2 * G, FAKE_PUNCH };
	struct fixture f = open_old(8 * G, 0, BSP_ZERO_UNMAP);

	put(f, 0, 2 * G, 0);
	fake_fail_writes(f.fake, 0, 8 * G, EIO);
	assert_int_equal(flush_markers(f), -EIO);
	fake_fail_writes(f.fake, 0, 0, 0);
	fake_make_writable(f.fake, PUNCHES);
	(void)fake_changes(f.fake, NULL);
	assert_int_equal(flush_markers(f), 0);
	changed(f, &punch, 1);
	close_it(f);
}

static void each_tail_is_found_by_its_name(void **state)
{
	static const struct {
		const char *name;
		enum bsp_tail tail;
	} cases[] = {
		{ "keep", BSP_TAIL_KEEP },
		{ "zero", BSP_TAIL_ZERO },
		{ "discard", BSP_TAIL_DISCARD },
	};
	g_autoptr(GError) error = NULL;
	enum bsp_tail tail;

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		assert_true(bsp_tail_from_name(cases[i].name, &tail, NULL));
		assert_int_equal(tail, cases[i].tail);
	}
	assert_false(bsp_tail_from_name("cut", &tail, &error));
	assert_true(g_error_matches(error, BSP_ERROR, BSP_ERROR_USAGE));
}

static bool always(void *data)
{
	return true;
}

static bool at_second(void *data)
{
	unsigned *calls = data;

	return ++*calls == 2;
}

static void an_interrupt_keeps_the_markers_that_are_left(void **state)
{
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);

	put(f, 0, G, 0);
	put(f, 4 * G, G, 0);
	assert_int_equal(bsp_sparse_flush(f.sp, always, NULL), -EINTR);
	assert_true(pending(f));
	reads_as(f, 4 * G, G, 0);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	holds(f, 4 * G, G, 0);
	close_it(f);
}

/* An interrupt waits for one step at most, or for none if it came before; one
 * command zeroes a long range if the device can do that. */
static void long_ranges_are_zeroed_in_steps(void **state)
{
	const uint64_t size = 64 << 20, step = 16 << 20;
	const struct fake_call *calls;
	struct fixture f = open_old(size, 0, BSP_ZERO_UNMAP);
	unsigned asked = 0;

	assert_int_equal(bsp_sparse_truncate(f.sp, 0), 0);
	assert_int_equal(bsp_sparse_truncate(f.sp, size), 0);
	assert_int_equal(bsp_sparse_flush(f.sp, always, NULL), -EINTR);
	holds(f, 0, size, 0xaa);
	assert_int_equal(bsp_sparse_flush(f.sp, at_second, &asked), -EINTR);
	holds(f, 0, step, 0);
	holds(f, step, size - step, 0xaa);
	close_it(f);

	f = open_old(size, PUNCHES, BSP_ZERO_UNMAP);
	assert_int_equal(bsp_sparse_truncate(f.sp, 0), 0);
	assert_int_equal(bsp_sparse_truncate(f.sp, size), 0);
	assert_int_equal(flush_markers(f), 0);
	assert_int_equal(fake_changes(f.fake, &calls), 2);
	assert_int_equal(calls[0].len, step);
	assert_int_equal(calls[1].len, size - step);
	close_it(f);
}

static void read_only_object_refuses_writes(void **state)
{
	struct fake *fake = fake_new(4 * G);
	struct bsp_sparse *sp = bsp_sparse_new(fake_device(fake), NULL, NULL);

	assert_int_equal(bsp_sparse_write(sp, 0, "x", 1), -EROFS);
	assert_int_equal(bsp_sparse_truncate(sp, 0), -EROFS);
	assert_int_equal(bsp_sparse_fallocate(sp, 0, 0, 1), -EROFS);
	assert_int_equal(bsp_sparse_flush(sp, NULL, NULL), -EROFS);
	assert_int_equal(bsp_sparse_flush_markers(sp, NULL, NULL), -EROFS);
	assert_int_equal(bsp_sparse_finish(sp, BSP_TAIL_ZERO), -EROFS);
	assert_int_equal(fake_changes(fake, NULL), 0);
	bsp_sparse_free(sp);
}

/* --- Another medium --- */

static void nothing_pending_reaches_another_medium(void **state)
{
	void (*const changes[])(struct fake *) = { fake_change_medium,
						   fake_change_file };
	char buf[G];
	uint64_t at;

	for (size_t i = 0; i < 2; i++) {
		struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);

		put(f, 0, 4 * G, 0); /* markers */
		changes[i](f.fake);
		(void)fake_changes(f.fake, NULL);
		/* Each call looks at the number; only a check looks at the
		 * file. */
		if (changes[i] == fake_change_file)
			(void)bsp_sparse_refresh(f.sp);
		assert_int_equal(bsp_sparse_write(f.sp, 0, "x", 1), -ENODEV);
		assert_int_equal(bsp_sparse_truncate(f.sp, G), -ENODEV);
		assert_int_equal(bsp_sparse_fallocate(f.sp, 0, 0, G), -ENODEV);
		assert_int_equal(flush_markers(f), -ENODEV);
		assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -ENODEV);
		assert_int_equal(bsp_sparse_read(f.sp, 0, buf, G), -ENODEV);
		assert_int_equal(bsp_sparse_seek_data(f.sp, 0, NULL, NULL, &at),
				 -ENODEV);
		assert_int_equal(bsp_sparse_seek_hole(f.sp, 0, NULL, NULL, &at),
				 -ENODEV);
		/* The object and its size never become valid again. */
		fake_resize(f.fake, 2 * G);
		(void)bsp_sparse_refresh(f.sp);
		assert_int_equal(bsp_sparse_size(f.sp), 8 * G);
		assert_int_equal(bsp_sparse_finish(f.sp, BSP_TAIL_ZERO),
				 -ENODEV);
		assert_int_equal(fake_changes(f.fake, NULL), 0);
		assert_int_equal(fake_flushes(f.fake), 0);
		close_it(f);
	}
}

static void swap_it(void *data)
{
	fake_change_medium(data);
}

static void flush_of_markers_ends_when_the_medium_changes(void **state)
{
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);

	put(f, 0, G, 0);
	put(f, 2 * G, G, 0);
	put(f, 4 * G, G, 0);
	(void)fake_changes(f.fake, NULL);
	fake_on_zeroing(f.fake, swap_it, f.fake);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -ENODEV);
	assert_int_equal(fake_changes(f.fake, NULL), 1);
	close_it(f);
}

static void on_gone(void *data, enum bsp_change change)
{
	unsigned *gone = data;

	*gone += change == BSP_CHANGE_GONE;
}

static void gone_medium_is_reported_once(void **state)
{
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);
	uint64_t changes = bsp_sparse_refresh_all(f.sp);
	struct bsp_stat st;
	unsigned gone = 0;

	bsp_sparse_set_changed(f.sp, on_gone, &gone);
	put(f, 0, G, 0);
	fake_change_medium(f.fake);
	/* A write finds out, and the next check reports it. */
	assert_int_equal(bsp_sparse_write(f.sp, 0, "x", 1), -ENODEV);
	assert_int_equal(gone, 0);
	assert_true(bsp_sparse_refresh_all(f.sp) != changes);
	assert_int_equal(gone, 1);
	changes = bsp_sparse_refresh_all(f.sp);
	assert_int_equal(bsp_sparse_refresh_all(f.sp), changes);
	assert_int_equal(gone, 1);
	/* No write is pending for the present medium. */
	bsp_sparse_stat(f.sp, &st);
	assert_false(st.pending);
	close_it(f);
}

/* LVM moves and resizes volumes in use: markers stay, the other granules become
 * unknown. */
static void another_table_leaves_the_markers(void **state)
{
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);

	memset(fake_bytes(f.fake) + 6 * G, 0, G);
	reads_as(f, 6 * G, G, 0); /* a hole */
	put(f, 0, 2 * G, 0);
	fake_change_table(f.fake);
	fake_put_beneath(f.fake, 6 * G, G, 'n');
	(void)bsp_sparse_refresh_all(f.sp);
	reads_as(f, 0, 2 * G, 0);
	reads_as(f, 6 * G, G, 'n');
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	holds(f, 0, 2 * G, 0);
	holds(f, 2 * G, 4 * G, 0xaa);
	close_it(f);
}

static void another_table_keeps_zeros_that_are_not_durable(void **state)
{
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);

	fake_cache(f.fake, FAKE_LOSES_ALL);
	put(f, 2 * G, G, 0);
	assert_int_equal(flush_markers(f), 0);
	fake_change_table(f.fake);
	(void)bsp_sparse_refresh_all(f.sp);
	fake_fail_flush(f.fake, EIO);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
	reads_as(f, 2 * G, G, 0);
	fake_fail_flush(f.fake, 0);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	disk_holds(f, 2 * G, G, 0);
	close_it(f);
}

static void past_the_end_all_is_zero_under_another_table(void **state)
{
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);

	put(f, 0, 8 * G, 0);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	assert_int_equal(bsp_sparse_truncate(f.sp, 2 * G), 0);
	fake_change_table(f.fake);
	memset(fake_bytes(f.fake), 0xaa, 8 * G);
	(void)bsp_sparse_refresh_all(f.sp);
	assert_int_equal(bsp_sparse_truncate(f.sp, 4 * G), 0);
	reads_as(f, 0, 2 * G, 0xaa);
	reads_as(f, 2 * G, 2 * G, 0);
	close_it(f);
}

/* --- Sizes that change from outside --- */

/* The page that the old end cuts holds zeros past the end. A write to a part of
 * the page would write them to the device. */
static void a_grown_part_is_dropped_from_the_cache_first(void **state)
{
	struct fixture f = { .fake = fake_new(8 * G) };

	fake_device(f.fake)->info.size = 2 * G + 512;
	fake_resize(f.fake, 2 * G + 512);
	fake_make_writable(f.fake, PUNCHES);
	f.sp = bsp_sparse_new(fake_device(f.fake), NULL, NULL);
	reads_as(f, 0, 2 * G + 512, 0);
	fake_resize(f.fake, 8 * G);
	fake_put_beneath(f.fake, 2 * G + 512, 6 * G - 512, 'B');
	fake_fail_drops(f.fake, 1);
	(void)bsp_sparse_refresh(f.sp);
	assert_int_equal(bsp_sparse_size(f.sp), 2 * G + 512);
	(void)bsp_sparse_refresh(f.sp);
	assert_int_equal(bsp_sparse_size(f.sp), 8 * G);
	put(f, 2 * G, 1, 'x');
	reads_as(f, 2 * G + 1, 511, 0);
	reads_as(f, 2 * G + 512, 6 * G - 512, 'B');
	close_it(f);
}

static void a_writable_device_that_grows_is_followed(void **state)
{
	for (int cut = 0; cut < 2; cut++) {
		struct fixture f = { .fake = fake_new(8 * G) };

		memset(fake_bytes(f.fake), 0xaa, 8 * G);
		fake_device(f.fake)->info.size = 2 * G + 512;
		fake_resize(f.fake, 2 * G + 512);
		fake_make_writable(f.fake, PUNCHES);
		f.sp = bsp_sparse_new(fake_device(f.fake), NULL, NULL);
		put(f, 2 * G, 512, 0); /* a marker, in a short granule */
		if (cut)
			assert_int_equal(bsp_sparse_truncate(f.sp, G), 0);
		fake_resize(f.fake, 8 * G);
		(void)bsp_sparse_refresh(f.sp);
		assert_int_equal(bsp_sparse_size(f.sp), cut ? G : 8 * G);
		if (cut)
			assert_int_equal(bsp_sparse_truncate(f.sp, 8 * G), 0);
		reads_as(f, 2 * G, 512, 0);
		reads_as(f, 2 * G + 512, 6 * G - 512, cut ? 0 : 0xaa);
		close_it(f);
	}
}

/* The granule in which the device ended is half old, half new. */
static void zeros_at_the_end_outlive_growth_and_a_failed_flush(void **state)
{
	static const struct fake_call want = { 2 * G, 512, FAKE_THROUGH };
	struct fixture f = { .fake = fake_new(8 * G) };

	memset(fake_bytes(f.fake), 0xaa, 8 * G);
	fake_device(f.fake)->info.size = 2 * G + 512;
	fake_resize(f.fake, 2 * G + 512);
	fake_make_writable(f.fake, PUNCHES);
	fake_cache(f.fake, FAKE_LOSES_ALL);
	f.sp = bsp_sparse_new(fake_device(f.fake), NULL, NULL);
	put(f, 2 * G, 512, 0);
	assert_int_equal(flush_markers(f), 0);
	fake_resize(f.fake, 8 * G);
	(void)bsp_sparse_refresh(f.sp);
	assert_int_equal(bsp_sparse_size(f.sp), 8 * G);
	fake_fail_flush(f.fake, EIO);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), -EIO);
	reads_as(f, 2 * G, 512, 0);
	reads_as(f, 2 * G + 512, 6 * G - 512, 0xaa);
	fake_fail_flush(f.fake, 0);
	(void)fake_changes(f.fake, NULL);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	changed(f, &want, 1);
	disk_holds(f, 2 * G, 512, 0);
	disk_holds(f, 2 * G + 512, 6 * G - 512, 0xaa);
	close_it(f);
}

/* The marker at the old end cannot be zeroed: the file stays as it is. */
static void growth_that_fails_leaves_nothing_past_the_end(void **state)
{
	struct fixture f = { .fake = fake_new(8 * G) };
	struct bsp_stat st;

	memset(fake_bytes(f.fake), 0xaa, 8 * G);
	fake_device(f.fake)->info.size = 2 * G + 512;
	fake_resize(f.fake, 2 * G + 512);
	fake_make_writable(f.fake, PUNCHES);
	f.sp = bsp_sparse_new(fake_device(f.fake), NULL, NULL);
	put(f, 0, 2 * G, 'n');
	put(f, 2 * G, 512, 0);
	fake_resize(f.fake, 8 * G);
	fake_fail_writes(f.fake, 2 * G, 512, EIO);
	(void)bsp_sparse_refresh(f.sp);
	bsp_sparse_stat_nowait(f.sp, &st);
	assert_int_equal(st.size, 2 * G + 512);
	assert_int_equal(st.unknown, 0);
	assert_int_equal(st.hole, 512);
	fake_fail_writes(f.fake, 0, 0, 0);
	(void)bsp_sparse_refresh(f.sp);
	assert_int_equal(bsp_sparse_size(f.sp), 8 * G);
	reads_as(f, 2 * G, 512, 0);
	reads_as(f, 2 * G + 512, 6 * G - 512, 0xaa);
	close_it(f);
}

static void a_writable_device_that_shrinks_is_followed(void **state)
{
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);

	put(f, 0, 8 * G, 0);
	fake_resize(f.fake, 2 * G + 512);
	(void)bsp_sparse_refresh(f.sp);
	assert_int_equal(bsp_sparse_size(f.sp), 2 * G + 512);
	assert_int_equal(flush_markers(f), 0);
	holds(f, 0, 2 * G + 512, 0);
	holds(f, 2 * G + 512, 6 * G - 512, 0xaa);
	close_it(f);
}

static void *write_zeros(void *data)
{
	struct fixture *f = data;
	char *zeros = calloc(1, 6 * G);
	ssize_t n = bsp_sparse_write(f->sp, 2 * G, zeros, 6 * G);

	free(zeros);
	return (void *)n;
}

static void write_ends_with_a_device_that_just_shrank(void **state)
{
	struct fixture f = open_old(8 * G, PUNCHES, BSP_ZERO_UNMAP);
	const struct timespec moment = { .tv_nsec = 50000000 };
	pthread_t writer;
	void *n;

	assert_int_equal(bsp_sparse_truncate(f.sp, 2 * G), 0);
	/* Shrinks the device while its size is looked at. */
	pthread_rwlock_wrlock(&f.sp->size_lock);
	assert_int_equal(pthread_create(&writer, NULL, write_zeros, &f), 0);
	nanosleep(&moment, NULL);
	atomic_store(&f.sp->capacity, 4 * G);
	pthread_rwlock_unlock(&f.sp->size_lock);
	pthread_join(writer, &n);
	assert_int_equal((ssize_t)n, 2 * G);
	assert_int_equal(bsp_sparse_size(f.sp), 4 * G);
	atomic_store(&f.sp->capacity, 8 * G);
	close_it(f);
}

/* --- Zeros that the device knows --- */

/* A device of old bytes, of which it knows that [off, off + len) is zero. */
static struct fixture open_knowing(uint64_t size, uint64_t off, uint64_t len,
				   enum bsp_zero_mode zeroing)
{
	struct fixture f = open_old(size, ALL_WAYS, zeroing);

	memset(fake_bytes(f.fake) + off, 0, len);
	fake_know_zeros(f.fake, off, len);
	return f;
}

/* Flushes markers, and checks that only these ranges were zeroed. */
static void only_punched(struct fixture f, const struct fake_call *want,
			 size_t n)
{
	assert_int_equal(flush_markers(f), 0);
	changed(f, want, n);
}

static void known_zeros_are_not_zeroed_again(void **state)
{
	/* The known zeros begin and end inside of granules 2 and 8. */
	static const struct fake_call cut[] = {
		{ 0, 3 * G, FAKE_PUNCH },
		{ 8 * G, 8 * G, FAKE_PUNCH },
	};
	static const struct fake_call part = { 2 * G, G, FAKE_PUNCH };
	struct fixture f =
		open_knowing(16 * G, 2 * G + 100, 6 * G, BSP_ZERO_UNMAP);

	assert_int_equal(bsp_sparse_truncate(f.sp, 0), 0);
	assert_int_equal(bsp_sparse_truncate(f.sp, 16 * G), 0);
	only_punched(f, cut, 2);
	reads_as(f, 0, 16 * G, 0);
	close_it(f);

	f = open_knowing(16 * G, 2 * G + 100, 6 * G, BSP_ZERO_UNMAP);
	assert_int_equal(
		bsp_sparse_fallocate(f.sp, PUNCH_MODE, 2 * G, 3 * G + 77), 0);
	assert_int_equal(
		bsp_sparse_fallocate(f.sp, FALLOC_FL_ZERO_RANGE, 6 * G + 5, G),
		0);
	put(f, 7 * G + 9, 10, 0);
	only_punched(f, &part, 1);
	close_it(f);

	f = open_knowing(16 * G, 2 * G + 100, 6 * G, BSP_ZERO_UNMAP);
	put(f, 2 * G, 6 * G, 0);
	only_punched(f, &part, 1);
	close_it(f);
}

static void modes_that_promise_blocks_zero_known_zeros(void **state)
{
	static const struct fake_call all = { 0, 8 * G, FAKE_ZERO_OUT };
	struct fixture f = open_knowing(8 * G, 0, 8 * G, BSP_ZERO_KEEP);

	put(f, 0, 8 * G, 0);
	only_punched(f, &all, 1);
	close_it(f);
}

static void granule_that_was_written_is_not_known_to_be_zero(void **state)
{
	static const struct fake_call want[] = {
		{ G, G, FAKE_PUNCH },
		{ 4 * G, G, FAKE_PUNCH },
	};
	/* The device goes on to claim that all is zero. */
	struct fixture f = open_knowing(8 * G, 0, 8 * G, BSP_ZERO_UNMAP);

	put(f, G, G, 'd');
	put(f, 4 * G + 10, 10, 'd');
	fake_fail_writes(f.fake, 6 * G, G, EIO);
	assert_int_equal(bsp_sparse_write(f.sp, 6 * G, "d", 1), -EIO);
	fake_fail_writes(f.fake, 0, 0, 0);
	(void)fake_changes(f.fake, NULL);
	reads_as(f, G, G, 'd');
	put(f, 0, 6 * G, 0);
	only_punched(f, want, 2);
	holds(f, 0, 6 * G, 0);
	put(f, 6 * G, G, 0);
	only_punched(f, &(struct fake_call){ 6 * G, G, FAKE_PUNCH }, 1);
	close_it(f);
}

/* The hook of a question: the device gets another table meanwhile. */
static void change_table(void *fake)
{
	fake_change_table(fake);
}

static void answers_of_an_old_table_are_not_relied_upon(void **state)
{
	static const struct fake_call all = { 0, 8 * G, FAKE_PUNCH };
	struct fixture f = open_knowing(8 * G, 0, 8 * G, BSP_ZERO_UNMAP);

	fake_on_question(f.fake, change_table, f.fake);
	put(f, 0, 8 * G, 0);
	fake_on_question(f.fake, NULL, NULL);
	(void)bsp_sparse_refresh_all(f.sp);
	only_punched(f, &all, 1);
	close_it(f);
}

static void known_zeros_are_made_durable(void **state)
{
	struct fixture f = open_knowing(8 * G, 0, 8 * G, BSP_ZERO_UNMAP);

	assert_int_equal(bsp_sparse_truncate(f.sp, 0), 0);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	nothing_changed(f);
	assert_int_equal(fake_flushes(f.fake), 1);
	close_it(f);
}

/* Starts the scan thread of an object. */
static void scan_ahead(struct fixture f)
{
	const struct bsp_scan_ahead_options options = { 0 };

	assert_int_equal(bsp_sparse_scan_ahead_start(f.sp, &options), 0);
}

static void take_a_while(void *data)
{
	(void)nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
}

static void a_writer_waits_until_known_zeros_are_learned(void **state)
{
	static const struct fake_call rest = { 6 * G, 2 * G, FAKE_PUNCH };
	struct fixture f = open_knowing(8 * G, 0, 6 * G, BSP_ZERO_UNMAP);

	fake_on_question(f.fake, take_a_while, NULL);
	scan_ahead(f);
	assert_int_equal(bsp_sparse_truncate(f.sp, 0), 0);
	assert_int_equal(bsp_sparse_truncate(f.sp, 8 * G), 0);
	only_punched(f, &rest, 1);
	/* All was asked: another writer does not ask again. */
	assert_true(fake_questions(f.fake) <= 2);
	put(f, 0, 8 * G, 0);
	assert_true(fake_questions(f.fake) <= 2);
	close_it(f);
}

/* A layer that gives no answer until the writer is done. */
struct hanging {
	pthread_mutex_t lock;
	pthread_cond_t done;
	bool is_done;
};

static void hang(void *data)
{
	struct hanging *hanging = data;

	pthread_mutex_lock(&hanging->lock);
	while (!hanging->is_done)
		pthread_cond_wait(&hanging->done, &hanging->lock);
	pthread_mutex_unlock(&hanging->lock);
}

static void no_writer_waits_for_a_layer_that_hangs(void **state)
{
	static const struct fake_call all = { 0, 8 * G, FAKE_PUNCH };
	struct hanging hanging = { .lock = PTHREAD_MUTEX_INITIALIZER,
				   .done = PTHREAD_COND_INITIALIZER };
	struct fixture f = open_knowing(8 * G, 0, 8 * G, BSP_ZERO_UNMAP);

	fake_on_question(f.fake, hang, &hanging);
	scan_ahead(f);
	assert_int_equal(bsp_sparse_truncate(f.sp, 0), 0);
	assert_int_equal(bsp_sparse_truncate(f.sp, 8 * G), 0);
	only_punched(f, &all, 1);
	pthread_mutex_lock(&hanging.lock);
	hanging.is_done = true;
	pthread_cond_signal(&hanging.done);
	pthread_mutex_unlock(&hanging.lock);
	close_it(f);
}

static void a_new_part_is_asked_about_by_the_scan_thread(void **state)
{
	static const struct fake_call old = { 0, 4 * G, FAKE_PUNCH };
	struct fixture f = open_knowing(8 * G, 4 * G, 4 * G, BSP_ZERO_UNMAP);
	uint64_t generation;

	fake_resize(f.fake, 4 * G);
	(void)bsp_sparse_refresh(f.sp);
	scan_ahead(f);
	fake_resize(f.fake, 8 * G);
	(void)bsp_sparse_refresh(f.sp);
	assert_int_equal(bsp_sparse_size(f.sp), 8 * G);
	generation = bsp_map_generation(f.sp->map);
	assert_int_equal(bsp_sparse_truncate(f.sp, 0), 0);
	assert_int_equal(bsp_sparse_truncate(f.sp, 8 * G), 0);
	assert_int_equal(bsp_map_generation(f.sp->map), generation);
	only_punched(f, &old, 1);
	close_it(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			written_zeros_reach_the_device_with_a_flush_only),
		cmocka_unit_test(
			flush_behind_a_writer_takes_finished_runs_only),
		cmocka_unit_test(growing_write_does_not_wait_for_zeroing),
		cmocka_unit_test(mixed_write_is_cut_at_granules),
		cmocka_unit_test(a_part_of_a_marker_is_filled_with_zeros),
		cmocka_unit_test(punches_zero_their_ragged_ends),
		cmocka_unit_test(fallocate_knows_its_modes),
		cmocka_unit_test(cut_off_bytes_are_zero_when_the_file_grows),
		cmocka_unit_test(the_tail_past_the_end_is_kept_to_the_byte),
		cmocka_unit_test(a_hole_at_the_end_hides_its_stale_rest),
		cmocka_unit_test(a_hole_that_was_cut_off_hides_its_stale_rest),
		cmocka_unit_test(
			a_hole_that_was_cut_off_whole_hides_its_stale_rest),
		cmocka_unit_test(
			a_learned_hole_at_the_end_hides_its_stale_rest),
		cmocka_unit_test(writes_end_with_the_device),
		cmocka_unit_test(a_gap_reads_as_zeros),
		cmocka_unit_test(
			each_way_to_zero_is_tried_and_refusals_are_kept),
		cmocka_unit_test(zeros_are_not_written_over_zeros),
		cmocka_unit_test(a_command_that_fails_is_not_the_end),
		cmocka_unit_test(gone_device_is_tried_once),
		cmocka_unit_test(little_is_written_where_a_long_command_fails),
		cmocka_unit_test(without_memory_zeros_are_written_unread),
		cmocka_unit_test(without_memory_nothing_is_left_past_the_end),
		cmocka_unit_test(without_memory_nothing_is_cut_off),
		cmocka_unit_test(
			marker_stays_without_memory_to_record_its_zeros),
		cmocka_unit_test(a_marker_survives_a_failure),
		cmocka_unit_test(a_tail_that_cannot_be_zeroed_is_reported),
		cmocka_unit_test(a_failed_flush_is_reported),
		cmocka_unit_test(
			a_failed_write_over_a_marker_never_shows_stale_bytes),
		cmocka_unit_test(a_failed_write_makes_a_hole_data),
		cmocka_unit_test(
			a_failed_write_keeps_zeros_that_are_not_durable),
		cmocka_unit_test(
			a_growing_write_that_fails_leaves_zeros_behind),
		cmocka_unit_test(
			zeros_written_during_a_table_change_are_written_again),
		cmocka_unit_test(
			a_punched_hole_is_zeroed_where_zeros_were_lost),
		cmocka_unit_test(zeros_that_a_flush_lost_are_flushed_again),
		cmocka_unit_test(holes_that_were_learned_are_not_written),
		cmocka_unit_test(
			zeros_written_during_a_flush_belong_to_the_next),
		cmocka_unit_test(zeros_beside_data_are_written_again),
		cmocka_unit_test(zeros_in_pages_are_durable_before),
		cmocka_unit_test(pages_of_data_are_not_flushed),
		cmocka_unit_test(data_over_lost_zeros_is_not_zeroed),
		cmocka_unit_test(zeros_that_are_cut_off_are_not_written),
		cmocka_unit_test(zeros_of_a_growth_are_not_lost),
		cmocka_unit_test(zeros_of_a_failed_growth_are_not_written),
		cmocka_unit_test(many_pieces_of_zeros_cause_a_flush),
		cmocka_unit_test(zeros_that_fill_a_marker_are_not_lost),
		cmocka_unit_test(appending_needs_no_filling),
		cmocka_unit_test(cache_is_not_trusted_after_a_failure),
		cmocka_unit_test(a_refusal_is_forgotten_after_a_failure),
		cmocka_unit_test(each_tail_is_found_by_its_name),
		cmocka_unit_test(an_interrupt_keeps_the_markers_that_are_left),
		cmocka_unit_test(long_ranges_are_zeroed_in_steps),
		cmocka_unit_test(read_only_object_refuses_writes),
		cmocka_unit_test(a_writable_device_that_grows_is_followed),
		cmocka_unit_test(
			zeros_at_the_end_outlive_growth_and_a_failed_flush),
		cmocka_unit_test(growth_that_fails_leaves_nothing_past_the_end),
		cmocka_unit_test(a_writable_device_that_shrinks_is_followed),
		cmocka_unit_test(write_ends_with_a_device_that_just_shrank),
		cmocka_unit_test(nothing_pending_reaches_another_medium),
		cmocka_unit_test(flush_of_markers_ends_when_the_medium_changes),
		cmocka_unit_test(gone_medium_is_reported_once),
		cmocka_unit_test(another_table_leaves_the_markers),
		cmocka_unit_test(
			another_table_keeps_zeros_that_are_not_durable),
		cmocka_unit_test(past_the_end_all_is_zero_under_another_table),
		cmocka_unit_test(a_grown_part_is_dropped_from_the_cache_first),
		cmocka_unit_test(known_zeros_are_not_zeroed_again),
		cmocka_unit_test(modes_that_promise_blocks_zero_known_zeros),
		cmocka_unit_test(
			granule_that_was_written_is_not_known_to_be_zero),
		cmocka_unit_test(answers_of_an_old_table_are_not_relied_upon),
		cmocka_unit_test(known_zeros_are_made_durable),
		cmocka_unit_test(a_writer_waits_until_known_zeros_are_learned),
		cmocka_unit_test(no_writer_waits_for_a_layer_that_hangs),
		cmocka_unit_test(a_new_part_is_asked_about_by_the_scan_thread),
	};

	return cmocka_run_group_tests_name("write", tests, NULL, NULL);
}
