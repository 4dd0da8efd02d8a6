/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Layers that say that bytes are zero which are not: an object notices that by
 * its checks, asks no more, and forgets all. It accuses no layer when a writer
 * or an I/O error was the reason.
 */
#include "unit.h"

#include <errno.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/zero.h"
#include "fake-device.h"
#include "sparse/sparse.h"

#define GIB ((uint64_t)1 << 30)
#define STRETCH (GIB / 2)

enum { G = 4096, MIB = 1 << 20 };

struct fixture {
	struct fake *fake;
	struct bsp_sparse *sp;
	unsigned told;	 /* of false zeros */
	unsigned others; /* other changes */
	unsigned steps;	 /* calls of a hook */
	sem_t asked;
};

static void on_change(void *data, enum bsp_change change)
{
	struct fixture *f = data;

	f->told += change == BSP_CHANGE_FALSE_ZEROS;
	f->others += change != BSP_CHANGE_FALSE_ZEROS;
}

/* A device that is zero, and says so. Its seeks do not end early. */
static void open_it(struct fixture *f, uint64_t size, bool writable)
{
	const struct bsp_sparse_options options = {
		.lookahead = UINT64_MAX,
		.budget_ms = UINT32_MAX,
	};

	*f = (struct fixture){ .fake = fake_new(size) };
	fake_know_zeros(f->fake, 0, size);
	if (writable)
		fake_make_writable(f->fake, 1 << FAKE_PUNCH);
	f->sp = bsp_sparse_new(fake_device(f->fake), &options, NULL);
	assert_non_null(f->sp);
	f->sp->spot_checks.patience_ms = 0;
	bsp_sparse_set_changed(f->sp, on_change, f);
}

/* A device that lies: all its bytes are 'x'. */
static void open_liar(struct fixture *f, uint64_t size, bool writable)
{
	open_it(f, size, writable);
	memset(fake_bytes(f->fake), 'x', size);
}

static void close_it(struct fixture *f)
{
	bsp_sparse_free(f->sp);
}

static void learn(struct fixture *f, uint64_t off)
{
	assert_int_equal(bsp_sparse_learn_known(f->sp, off, true), 0);
}

static uint64_t hole_bytes(struct fixture *f)
{
	struct bsp_stat st;

	bsp_sparse_stat(f->sp, &st);
	return st.hole;
}

static void reads_as(struct fixture *f, uint64_t off, int byte)
{
	unsigned char buf[G];

	assert_int_equal(bsp_sparse_read(f->sp, off, buf, G), G);
	for (size_t i = 0; i < G; i++)
		assert_int_equal(buf[i], byte);
}

static void was_trusted(struct fixture *f)
{
	assert_null(bsp_sparse_false_zeros(f->sp));
	assert_int_equal(f->told, 0);
}

/* --- Places --- */

static void first_answer_is_checked_at_a_random_place(void **state)
{
	uint64_t first = UINT64_MAX;
	bool differ = false;

	for (int i = 0; i < 32; i++) {
		const struct fake_call *reads;
		struct fixture f;

		open_it(&f, 8 * MIB + 512, false);
		fake_know_zeros(f.fake, MIB, 7 * MIB + 512);
		learn(&f, MIB);
		assert_int_equal(hole_bytes(&f), 7 * MIB + 512);
		assert_int_equal(fake_reads(f.fake, &reads), 1);
		assert_true(reads[0].off >= MIB);
		assert_true(reads[0].off + reads[0].len <= 8 * MIB + 512);
		assert_true(reads[0].len <= G);
		first = i ? first : reads[0].off;
		differ |= reads[0].off != first;
		close_it(&f);
	}
	assert_true(differ);
}

static void each_half_gib_is_checked_at_one_place(void **state)
{
	const struct fake_call *reads;
	struct fixture f;

	open_it(&f, GIB, false);
	f.sp->spot_checks.unchecked = 0;
	learn(&f, 0);
	assert_int_equal(hole_bytes(&f), GIB);
	assert_int_equal(fake_reads(f.fake, &reads), 2);
	assert_true(reads[0].off < STRETCH);
	assert_true(reads[1].off >= STRETCH);
	close_it(&f);
}

static bool is_connected(struct bsp_device *dev)
{
	return true;
}

static void checks_on_a_network_are_at_most_about_a_thousand(void **state)
{
	const struct bsp_device_ops local_ops = { 0 };
	const struct bsp_device_ops network_ops = { .is_connected =
							    is_connected };
	struct bsp_device dev = { .ops = &network_ops };
	struct bsp_spot_checks checks;
	struct fixture f;

	dev.info.size = 16384 * GIB;
	bsp_spot_checks_init(&checks, &dev);
	assert_int_equal(checks.stretch, 16 * GIB);
	assert_int_equal(checks.unchecked, 16 * GIB);
	dev.info.size = 64 * GIB;
	bsp_spot_checks_init(&checks, &dev);
	assert_int_equal(checks.stretch, STRETCH);
	dev.ops = &local_ops;
	dev.info.size = 16384 * GIB;
	bsp_spot_checks_init(&checks, &dev);
	assert_int_equal(checks.stretch, STRETCH);

	open_it(&f, 2 * GIB, false);
	f.sp->spot_checks.stretch = GIB;
	f.sp->spot_checks.unchecked = 0;
	learn(&f, 0);
	assert_int_equal(fake_reads(f.fake, NULL), 2);
	close_it(&f);
}

static void short_answers_add_up_to_a_check(void **state)
{
	struct fixture f;

	open_it(&f, GIB, false);
	for (uint64_t at = 0; at < GIB; at += GIB / 16) {
		fake_know_zeros(f.fake, at, GIB / 16);
		learn(&f, at);
	}
	assert_int_equal(hole_bytes(&f), GIB);
	assert_int_equal(fake_reads(f.fake, NULL), 3);
	close_it(&f);
}

/* The answer for 1 TiB takes several steps. */
static void checks_of_one_step_are_bounded(void **state)
{
	int fd = memfd_create("image", MFD_CLOEXEC);
	g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
	struct bsp_sparse *sp;
	struct bsp_stat st;

	assert_int_equal(ftruncate(fd, 1024 * (off_t)GIB), 0);
	sp = bsp_sparse_new(bsp_device_open(path, NULL), NULL, NULL);
	assert_non_null(sp);
	assert_int_equal(bsp_sparse_learn_known(sp, 0, true), 0);
	bsp_sparse_stat(sp, &st);
	assert_int_equal(st.hole, 64 * GIB);
	bsp_sparse_free(sp);
	close(fd);
}

/* --- Checks that are put off --- */

enum { LATE_SIZE = 64 * MIB };

/* Opens a device with a scan thread, which has nothing to do. Four places are
 * due to be checked when its zeros are learned. */
static void open_with_thread(struct fixture *f)
{
	const struct bsp_scan_ahead_options options = { 0 };

	open_it(f, LATE_SIZE, false);
	assert_int_equal(bsp_sparse_scan_ahead_start(f->sp, &options), 0);
	f->sp->spot_checks.unchecked = 4 * STRETCH - LATE_SIZE;
}

/* Learns its zeros; only one of the places is checked before. */
static void open_and_put_off(struct fixture *f)
{
	open_with_thread(f);
	f->sp->spot_checks.at_once = 0;
	learn(f, 0);
	assert_int_equal(hole_bytes(f), LATE_SIZE);
	assert_int_equal(fake_reads(f->fake, NULL), 1);
}

static void places_are_checked_later_where_a_thread_can_do_it(void **state)
{
	struct fixture f;

	open_and_put_off(&f);
	assert_true(bsp_sparse_spot_check_late(f.sp));
	assert_int_equal(fake_reads(f.fake, NULL), 3);
	assert_false(bsp_sparse_spot_check_late(f.sp));
	assert_int_equal(fake_reads(f.fake, NULL), 0);
	was_trusted(&f);
	close_it(&f);

	/* The first places are checked at once also then. */
	open_with_thread(&f);
	f.sp->spot_checks.at_once = 3;
	learn(&f, 0);
	assert_int_equal(fake_reads(f.fake, NULL), 3);
	close_it(&f);
}

static void a_late_check_finds_a_wrong_answer(void **state)
{
	struct fixture f;

	open_and_put_off(&f);
	memset(fake_bytes(f.fake), 'x', LATE_SIZE);
	assert_true(bsp_sparse_spot_check_late(f.sp));
	assert_int_equal(f.told, 1);
	assert_int_equal(hole_bytes(&f), 0);
	reads_as(&f, 5 * G, 'x');
	close_it(&f);
}

static void a_scan_makes_all_checks_before_it_ends(void **state)
{
	struct fixture f;

	open_it(&f, LATE_SIZE, false);
	f.sp->spot_checks.unchecked = 4 * STRETCH - LATE_SIZE;
	f.sp->spot_checks.at_once = 0;
	assert_int_equal(bsp_sparse_scan(f.sp, 0, UINT64_MAX, NULL, NULL, NULL),
			 0);
	assert_int_equal(hole_bytes(&f), LATE_SIZE);
	assert_int_equal(fake_reads(f.fake, NULL), 4);
	was_trusted(&f);
	close_it(&f);

	open_liar(&f, LATE_SIZE, false);
	f.sp->spot_checks.unchecked = 40 * STRETCH - LATE_SIZE;
	f.sp->spot_checks.at_once = 0;
	assert_int_equal(bsp_sparse_scan(f.sp, 0, UINT64_MAX, NULL, NULL, NULL),
			 0);
	assert_int_equal(f.told, 1);
	assert_int_equal(hole_bytes(&f), 0);
	close_it(&f);
}

static void a_late_check_of_what_is_forgotten_is_not_made(void **state)
{
	struct fixture f;

	open_and_put_off(&f);
	fake_write(f.fake, 0, LATE_SIZE, 'x');
	(void)bsp_sparse_refresh(f.sp);
	(void)fake_reads(f.fake, NULL);
	assert_false(bsp_sparse_spot_check_late(f.sp));
	assert_int_equal(fake_reads(f.fake, NULL), 0);
	was_trusted(&f);
	close_it(&f);
}

/* --- Wrong answers --- */

static void wrong_answer_ends_all_questions(void **state)
{
	g_autofree char *why = NULL;
	uint64_t changes, at;
	struct fixture f;

	open_liar(&f, 4 * MIB, false);
	changes = bsp_sparse_refresh(f.sp);
	assert_int_equal(bsp_sparse_seek_data(f.sp, MIB, NULL, NULL, &at), 0);
	assert_int_equal(at, MIB);
	assert_int_equal(f.told, 1);
	assert_int_equal(f.others, 0);
	assert_true(bsp_sparse_refresh(f.sp) != changes);
	why = bsp_sparse_false_zeros(f.sp);
	assert_non_null(strstr(why, "fake said that byte "));
	assert_non_null(strstr(why, " of fake is zero, and it is not"));

	assert_int_equal(bsp_sparse_scan(f.sp, 0, 4 * MIB, NULL, NULL, NULL),
			 0);
	assert_int_equal(hole_bytes(&f), 0);
	fake_know_zeros(f.fake, 0, MIB);
	assert_int_equal(bsp_sparse_known_zeros(f.sp, 0, MIB, true), 0);
	assert_int_equal(f.told, 1);
	close_it(&f);
}

/* Its granules that were learned before are read again. */
static void holes_from_before_a_wrong_answer_are_forgotten(void **state)
{
	for (int writable = 0; writable < 2; writable++) {
		struct fixture f;

		open_liar(&f, 4 * MIB, writable);
		fake_know_zeros(f.fake, 0, MIB);
		f.sp->spot_checks.unchecked = 0;
		learn(&f, 0);
		assert_int_equal(hole_bytes(&f), MIB);
		fake_know_zeros(f.fake, MIB, MIB);
		f.sp->spot_checks.unchecked = STRETCH;
		learn(&f, MIB);
		reads_as(&f, 0, 'x');
		reads_as(&f, 3 * G, 'x');
		assert_int_equal(f.told, 1);
		close_it(&f);
	}
}

/* The first question gets an unchecked lie, the second one a checked lie. */
static void on_question_of_seek(void *data)
{
	struct fixture *f = data;

	if (f->steps++ == 0)
		fake_know_zeros(f->fake, 0, 2 * MIB);
	else
		f->sp->spot_checks.unchecked = STRETCH;
}

static void seek_and_scan_start_over_after_a_wrong_answer(void **state)
{
	for (int i = 0; i < 4; i++) {
		struct fixture f;
		uint64_t at = UINT64_MAX;

		open_liar(&f, 4 * MIB, i & 1);
		fake_know_zeros(f.fake, 0, MIB);
		f.sp->spot_checks.unchecked = 0;
		fake_on_question(f.fake, on_question_of_seek, &f);
		if (i & 2)
			assert_int_equal(bsp_sparse_scan(f.sp, 0, UINT64_MAX,
							 NULL, NULL, NULL),
					 0);
		else
			assert_int_equal(
				bsp_sparse_seek_data(f.sp, 0, NULL, NULL, &at),
				0);
		assert_int_equal(at, i & 2 ? UINT64_MAX : 0);
		assert_int_equal(f.told, 1);
		assert_int_equal(hole_bytes(&f), 0);
		close_it(&f);
	}
}

static void zeros_that_were_written_outlive_a_wrong_answer(void **state)
{
	struct fixture f;

	open_liar(&f, 4 * MIB, true);
	fake_know_zeros(f.fake, MIB, MIB);
	assert_int_equal(
		bsp_sparse_fallocate(f.sp,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     0, MIB),
		0);
	assert_int_equal(bsp_sparse_truncate(f.sp, 3 * MIB), 0);
	learn(&f, MIB);
	assert_non_null(f.sp->spot_checks.error);
	reads_as(&f, 0, 0);
	reads_as(&f, MIB, 'x');
	assert_int_equal(bsp_sparse_truncate(f.sp, 4 * MIB), 0);
	reads_as(&f, 3 * MIB, 0);
	close_it(&f);
}

static void zeros_of_a_wrong_answer_are_zeroed(void **state)
{
	struct fixture f;

	/* The first answer is right, and the second is not. */
	open_liar(&f, 4 * MIB, true);
	memset(fake_bytes(f.fake), 0, MIB);
	fake_know_zeros(f.fake, 0, MIB);
	learn(&f, 0);
	assert_int_equal(hole_bytes(&f), MIB);
	fake_write(f.fake, 0, MIB, 'x');
	fake_know_zeros(f.fake, MIB, 3 * MIB);
	f.sp->spot_checks.unchecked = STRETCH;
	assert_int_equal(bsp_sparse_truncate(f.sp, 0), 0);
	assert_non_null(f.sp->spot_checks.error);
	assert_int_equal(bsp_sparse_truncate(f.sp, 4 * MIB), 0);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	assert_true(bsp_is_zero(fake_bytes(f.fake), 4 * MIB));
	close_it(&f);
}

/* Makes a writable liar whose first MiB is a false hole in its map. */
static void open_deceived(struct fixture *f)
{
	open_liar(f, 4 * MIB, true);
	fake_know_zeros(f->fake, 0, MIB);
	f->sp->spot_checks.unchecked = 0;
	learn(f, 0);
	assert_int_equal(hole_bytes(f), MIB);
}

/* Has the object find out. */
static void undeceive(struct fixture *f)
{
	fake_know_zeros(f->fake, 2 * MIB, MIB);
	f->sp->spot_checks.unchecked = STRETCH;
	learn(f, 2 * MIB);
	assert_true(atomic_load(&f->sp->distrusted));
}

static void device_holds(struct fixture *f, uint64_t off, uint64_t len,
			 int byte)
{
	for (uint64_t i = off; i < off + len; i++)
		assert_int_equal(fake_bytes(f->fake)[i], byte);
}

static void punch(struct fixture *f, uint64_t off, uint64_t len)
{
	assert_int_equal(
		bsp_sparse_fallocate(f->sp,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     off, len),
		0);
}

static void each_hole_that_is_punched_is_relied_upon(void **state)
{
	struct fixture f;

	open_deceived(&f);
	/* Data between two holes. */
	assert_int_equal(bsp_sparse_write(f.sp, 2 * G, "d", 1), 1);
	punch(&f, 0, 5 * G);
	assert_int_equal(bsp_map_get(f.sp->relied, 1), BSP_MARKER);
	assert_int_equal(bsp_map_get(f.sp->relied, 3), BSP_MARKER);
	assert_int_equal(bsp_map_get(f.sp->relied, 5), BSP_UNKNOWN);
	undeceive(&f);
	(void)bsp_sparse_refresh(f.sp);
	assert_int_equal(bsp_sparse_flush_markers(f.sp, NULL, NULL), 0);
	device_holds(&f, 0, 5 * G, 0);
	close_it(&f);
}

static void a_punched_hole_stays_zero_after_a_wrong_answer(void **state)
{
	for (int early_flush = 0; early_flush < 2; early_flush++) {
		struct fixture f;
		char buf[G];

		memset(buf, 'n', G);
		open_deceived(&f);
		punch(&f, 0, 64 * G);
		assert_int_equal(bsp_sparse_write(f.sp, 5 * G, buf, G), G);
		if (early_flush)
			assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
		device_holds(&f, 0, 5 * G, 'x');
		undeceive(&f);
		assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
		device_holds(&f, 0, 5 * G, 0);
		device_holds(&f, 5 * G, G, 'n');
		device_holds(&f, 6 * G, 58 * G, 0);
		device_holds(&f, 64 * G, 4 * MIB - 64 * G, 'x');
		reads_as(&f, 4 * G, 0);
		reads_as(&f, 5 * G, 'n');
		reads_as(&f, 64 * G, 'x');
		assert_int_equal(f.told, 1);
		close_it(&f);
	}
}

static void a_file_cut_and_grown_stays_zero_after_a_wrong_answer(void **state)
{
	struct fixture f;

	open_deceived(&f);
	assert_int_equal(bsp_sparse_truncate(f.sp, 0), 0);
	assert_int_equal(bsp_sparse_truncate(f.sp, 4 * MIB), 0);
	fake_know_zeros(f.fake, 0, 0);
	atomic_store(&f.sp->forget_due, true);
	(void)bsp_sparse_refresh(f.sp);
	for (uint64_t at = 0; at < 4 * MIB; at += MIB / 2)
		reads_as(&f, at, 0);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	device_holds(&f, 0, 4 * MIB, 0);
	close_it(&f);
}

/* A punch under one table says nothing of the holes of the next. */
static void another_table_ends_the_reliance_on_holes(void **state)
{
	struct fixture f;

	open_deceived(&f);
	punch(&f, 0, MIB);
	fake_change_table(f.fake);
	(void)bsp_sparse_refresh_all(f.sp);
	f.sp->spot_checks.unchecked = 0;
	learn(&f, 0);
	undeceive(&f);
	assert_int_equal(bsp_sparse_flush(f.sp, NULL, NULL), 0);
	device_holds(&f, 0, 4 * MIB, 'x');
	reads_as(&f, 0, 'x');
	close_it(&f);
}

/* --- Other reasons --- */

static void write_all(void *data)
{
	struct fixture *f = data;

	if (f->steps++ == 0)
		fake_write(f->fake, 0, MIB, 'n');
}

static void write_all_dirty(void *data)
{
	struct fixture *f = data;

	if (f->steps++ == 0)
		fake_write_dirty(f->fake, 0, MIB, 'n');
}

static void a_writer_beside_the_check_is_no_error_of_the_layer(void **state)
{
	for (int dirty = 0; dirty < 2; dirty++) {
		struct fixture f;
		uint64_t at = UINT64_MAX;

		open_it(&f, 4 * MIB, false);
		fake_know_zeros(f.fake, 0, MIB);
		fake_on_question(f.fake, dirty ? write_all_dirty : write_all,
				 &f);
		learn(&f, 0);
		was_trusted(&f);
		assert_int_equal(hole_bytes(&f), 0);
		fake_know_zeros(f.fake, MIB, MIB);
		learn(&f, MIB); /* it is still asked */
		assert_int_equal(hole_bytes(&f), MIB);
		assert_int_equal(bsp_sparse_seek_data(f.sp, 0, NULL, NULL, &at),
				 0);
		assert_int_equal(at, 0);
		close_it(&f);
	}
}

/* Counts the write at its third sample. */
static void count_late(void *data)
{
	struct fixture *f = data;

	if (++f->steps == 3)
		fake_write(f->fake, 0, 1, 'x');
}

static void a_write_that_is_counted_late_is_waited_for(void **state)
{
	struct fixture f;

	open_liar(&f, 4 * MIB, false);
	f.sp->spot_checks.patience_ms = 10000;
	fake_on_sample(f.fake, count_late, &f);
	learn(&f, 0);
	was_trusted(&f);
	assert_int_equal(f.steps, 3);
	close_it(&f);
}

/* Writes all but the last granules of the zeros that were asked for. */
static void write_own(void *data)
{
	struct fixture *f = data;
	static char buf[MIB - 2 * G];

	memset(buf, 'n', sizeof(buf));
	assert_int_equal(bsp_sparse_write(f->sp, 0, buf, sizeof(buf)),
			 sizeof(buf));
}

static void own_write_beside_the_check_is_no_error_of_the_layer(void **state)
{
	struct fixture f;

	open_it(&f, MIB, true);
	fake_on_question(f.fake, write_own, &f);
	for (int i = 0; i < 8; i++) {
		f.sp->spot_checks.unchecked = STRETCH;
		learn(&f, MIB - 2 * G);
		assert_int_equal(bsp_sparse_refresh(f.sp),
				 bsp_sparse_refresh(f.sp));
	}
	was_trusted(&f);
	reads_as(&f, 0, 'n');
	reads_as(&f, MIB - G, 0);
	close_it(&f);
}

static void unreadable_block_proves_nothing(void **state)
{
	struct fixture f;

	open_it(&f, 4 * MIB, false);
	fake_know_zeros(f.fake, MIB, MIB);
	fake_fail_whole(f.fake);
	fake_fail_reads(f.fake, MIB, MIB, EIO);
	learn(&f, MIB);
	assert_int_equal(bsp_sparse_known_zeros(f.sp, MIB, 4 * MIB, true), MIB);
	was_trusted(&f);
	assert_int_equal(hole_bytes(&f), 0);
	/* After the error the layer is asked, and checked, again. */
	fake_fail_reads(f.fake, 0, 0, 0);
	fake_know_zeros(f.fake, 2 * MIB, MIB);
	learn(&f, 2 * MIB);
	assert_int_equal(hole_bytes(&f), MIB);
	close_it(&f);
}

/* Each look at such a device ends a generation of the map, and each check that
 * finds data looks. A scan must get to the end all the same. */
static void scan_of_an_uncounted_liar_ends(void **state)
{
	struct fixture f;
	struct bsp_stat st;

	open_liar(&f, 160 * MIB, false);
	fake_stop_counting(f.fake);
	(void)bsp_sparse_refresh(f.sp);
	assert_int_equal(bsp_sparse_scan(f.sp, 0, UINT64_MAX, NULL, NULL, NULL),
			 0);
	was_trusted(&f);
	bsp_sparse_stat(f.sp, &st);
	assert_int_equal(st.hole, 0);
	reads_as(&f, 0, 'x');
	close_it(&f);
}

/* The place of a check may lie in data that the map has. The answer is checked
 * all the same, where the map would learn from it. */
static void answer_beside_known_data_is_checked(void **state)
{
	for (uint64_t i = 0; i < 32; i++) {
		struct fixture f;
		uint64_t generation;

		open_liar(&f, 4 * MIB, false);
		(void)bsp_sparse_refresh(f.sp);
		generation = bsp_map_generation(f.sp->map);
		assert_int_equal(bsp_sparse_learn_run(f.sp, generation, MIB,
						      3 * MIB, false),
				 0);
		f.sp->spot_checks.random = i;
		learn(&f, 0);
		assert_int_equal(f.told, 1);
		assert_int_equal(hole_bytes(&f), 0);
		close_it(&f);
	}
}

/* --- Writers in other threads --- */

static void was_asked(void *data)
{
	struct fixture *f = data;

	sem_post(&f->asked);
}

static void *learn_all(void *data)
{
	struct fixture *f = data;

	(void)bsp_sparse_learn_known(f->sp, 0, true);
	return NULL;
}

/* The writer has the granules locked when the check picks one of them. The
 * pause gives the check the time for that; without it the test proves less. */
static void a_granule_that_a_writer_has_locked_is_not_checked(void **state)
{
	struct bsp_range_hold hold;
	pthread_t thread;
	struct fixture f;

	open_it(&f, MIB, true);
	sem_init(&f.asked, 0, 0);
	fake_on_question(f.fake, was_asked, &f);
	bsp_range_lock(&f.sp->ranges, &hold, 0, MIB / G, true);
	assert_int_equal(pthread_create(&thread, NULL, learn_all, &f), 0);
	sem_wait(&f.asked);
	g_usleep(50000);
	fake_write(f.fake, 0, MIB, 'n');
	assert_int_equal(bsp_map_event(f.sp->map, BSP_WRITTEN, 0, MIB / G), 0);
	bsp_range_unlock(&f.sp->ranges, &hold);
	pthread_join(thread, NULL);
	was_trusted(&f);
	assert_int_equal(hole_bytes(&f), 0);
	sem_destroy(&f.asked);
	close_it(&f);
}

enum { WRITES = 20000 };

static void *write_at_random(void *data)
{
	struct fixture *f = data;
	char buf[G];

	memset(buf, 'n', sizeof(buf));
	for (unsigned i = 0, n = 1; i < WRITES; i++) {
		n = n * 1664525 + 1013904223;
		if (bsp_sparse_write(f->sp, n % (4 * MIB / 512) * 512, buf,
				     n % 3 ? G : 512) < 0)
			abort();
	}
	return NULL;
}

/* The layer's answers are from before all writes. */
static void own_writers_are_never_taken_for_errors(void **state)
{
	pthread_t writers[2];
	struct fixture f;

	open_it(&f, 8 * MIB, true);
	for (int i = 0; i < 2; i++)
		assert_int_equal(
			pthread_create(&writers[i], NULL, write_at_random, &f),
			0);
	for (int i = 0; i < 2000; i++) {
		uint64_t generation = bsp_map_generation(f.sp->map);

		pthread_mutex_lock(&f.sp->asked_lock);
		f.sp->spot_checks.unchecked = 4 * STRETCH;
		pthread_mutex_unlock(&f.sp->asked_lock);
		assert_true(bsp_sparse_spot_check(f.sp, generation, 0, 8 * MIB,
						  "fake"));
	}
	for (int i = 0; i < 2; i++)
		pthread_join(writers[i], NULL);
	was_trusted(&f);
	close_it(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_answer_is_checked_at_a_random_place),
		cmocka_unit_test(
			places_are_checked_later_where_a_thread_can_do_it),
		cmocka_unit_test(a_late_check_finds_a_wrong_answer),
		cmocka_unit_test(a_scan_makes_all_checks_before_it_ends),
		cmocka_unit_test(a_late_check_of_what_is_forgotten_is_not_made),
		cmocka_unit_test(each_half_gib_is_checked_at_one_place),
		cmocka_unit_test(
			checks_on_a_network_are_at_most_about_a_thousand),
		cmocka_unit_test(short_answers_add_up_to_a_check),
		cmocka_unit_test(checks_of_one_step_are_bounded),
		cmocka_unit_test(wrong_answer_ends_all_questions),
		cmocka_unit_test(
			holes_from_before_a_wrong_answer_are_forgotten),
		cmocka_unit_test(seek_and_scan_start_over_after_a_wrong_answer),
		cmocka_unit_test(
			zeros_that_were_written_outlive_a_wrong_answer),
		cmocka_unit_test(zeros_of_a_wrong_answer_are_zeroed),
		cmocka_unit_test(
			a_punched_hole_stays_zero_after_a_wrong_answer),
		cmocka_unit_test(
			a_file_cut_and_grown_stays_zero_after_a_wrong_answer),
		cmocka_unit_test(another_table_ends_the_reliance_on_holes),
		cmocka_unit_test(
			a_writer_beside_the_check_is_no_error_of_the_layer),
		cmocka_unit_test(a_write_that_is_counted_late_is_waited_for),
		cmocka_unit_test(
			own_write_beside_the_check_is_no_error_of_the_layer),
		cmocka_unit_test(each_hole_that_is_punched_is_relied_upon),
		cmocka_unit_test(unreadable_block_proves_nothing),
		cmocka_unit_test(scan_of_an_uncounted_liar_ends),
		cmocka_unit_test(answer_beside_known_data_is_checked),
		cmocka_unit_test(
			a_granule_that_a_writer_has_locked_is_not_checked),
		cmocka_unit_test(own_writers_are_never_taken_for_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
