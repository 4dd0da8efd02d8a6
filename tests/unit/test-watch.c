/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The watch over a file: what an opening may use of the kernel's cache, and
 * what a stat is told of a device that was written or hangs. The test is the
 * kernel, which may take its time to drop pages or to take them.
 */
#include "unit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "blksparse-thread.h"
#include "fake-device.h"
#include "log.h"
#include "watch.h"

enum { G = 4096, SIZE = 1 << 20 };

/* A door that those who go through wait at while it is closed. */
struct door {
	bool closed;
	unsigned waiting;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static struct door dropping, storing, looking;

static void go_through(struct door *door)
{
	pthread_mutex_lock(&lock);
	door->waiting++;
	pthread_cond_broadcast(&moved);
	while (door->closed)
		pthread_cond_wait(&moved, &lock);
	door->waiting--;
	pthread_mutex_unlock(&lock);
}

static void set_closed(struct door *door, bool closed)
{
	pthread_mutex_lock(&lock);
	door->closed = closed;
	pthread_cond_broadcast(&moved);
	pthread_mutex_unlock(&lock);
}

static bool is_one_at(struct door *door)
{
	bool is;

	pthread_mutex_lock(&lock);
	is = door->waiting > 0;
	pthread_mutex_unlock(&lock);
	return is;
}

static void wait_for_one_at(struct door *door)
{
	pthread_mutex_lock(&lock);
	while (!door->waiting)
		pthread_cond_wait(&moved, &lock);
	pthread_mutex_unlock(&lock);
}

static void at_stamp(void *data)
{
	go_through(&looking);
}

int fuse_lowlevel_notify_store(struct fuse_session *se, fuse_ino_t ino,
			       off_t offset, struct fuse_bufvec *bufv,
			       enum fuse_buf_copy_flags flags)
{
	go_through(&storing);
	return 0;
}

int fuse_lowlevel_notify_inval_inode(struct fuse_session *se, fuse_ino_t ino,
				     off_t off, off_t len)
{
	go_through(&dropping);
	return 0;
}

void log_line(int priority, const char *format, ...)
{
}

struct fixture {
	struct fake *fake;
	struct bsp_sparse *sp;
	struct watch *watch;
};

static struct fixture fixture_new(bool counted)
{
	struct fixture f = { .fake = fake_new(SIZE) };

	memset(fake_bytes(f.fake), 'd', SIZE / 2);
	if (!counted)
		fake_stop_counting(f.fake);
	fake_on_sample(f.fake, at_stamp, NULL);
	f.sp = bsp_sparse_new(fake_device(f.fake), NULL, NULL);
	assert_non_null(f.sp);
	f.watch = watch_new(f.sp, "device", 2);
	assert_int_equal(watch_start(f.watch, NULL, false, false), 0);
	return f;
}

static void fixture_free(struct fixture *f)
{
	watch_stop(f->watch);
	watch_join(f->watch);
	bsp_sparse_free(f->sp);
	watch_free(f->watch);
}

static enum watch_cache opened(struct fixture *f)
{
	enum watch_cache cache = watch_opened(f->watch);

	watch_closed(f->watch);
	return cache;
}

static int64_t mtime_of(struct fixture *f)
{
	struct bsp_stat st;

	watch_stat(f->watch, &st);
	return (int64_t)st.mtime.tv_sec * 1000000000 + st.mtime.tv_nsec;
}

/* --- Openings --- */

static void
an_opening_keeps_the_cache_of_a_device_nothing_wrote_to(void **state)
{
	struct fixture f = fixture_new(true);

	assert_int_equal(opened(&f), WATCH_KEEP);
	assert_int_equal(opened(&f), WATCH_KEEP);
	fixture_free(&f);
}

static void no_opening_keeps_the_cache_before_it_was_dropped(void **state)
{
	struct fixture f = fixture_new(true);

	set_closed(&dropping, true);
	fake_write(f.fake, 0, G, 'n');
	assert_int_equal(opened(&f), WATCH_DROP);
	assert_int_equal(opened(&f), WATCH_DROP);
	wait_for_one_at(&dropping);
	assert_int_equal(opened(&f), WATCH_DROP);
	set_closed(&dropping, false);
	while (opened(&f) != WATCH_KEEP)
		g_usleep(1000);
	fixture_free(&f);
}

static void a_change_during_the_drop_is_dropped_again(void **state)
{
	struct fixture f = fixture_new(true);

	set_closed(&dropping, true);
	fake_write(f.fake, 0, G, 'n');
	(void)opened(&f);
	wait_for_one_at(&dropping);
	fake_write(f.fake, 0, G, 'o');
	assert_int_equal(opened(&f), WATCH_DROP);
	set_closed(&dropping, false);
	while (opened(&f) != WATCH_KEEP)
		g_usleep(1000);
	fixture_free(&f);
}

static void
an_opening_bypasses_the_cache_while_old_bytes_are_on_their_way(void **state)
{
	struct fixture f = fixture_new(true);
	uint64_t at;

	set_closed(&storing, true);
	assert_int_equal(bsp_sparse_seek_hole(f.sp, 0, NULL, NULL, &at), 0);
	wait_for_one_at(&storing);
	assert_int_equal(opened(&f), WATCH_KEEP);
	fake_write(f.fake, 0, G, 'n');
	assert_int_equal(opened(&f), WATCH_BYPASS);
	set_closed(&storing, false);
	while (opened(&f) != WATCH_KEEP)
		g_usleep(1000);
	fixture_free(&f);
}

static void every_opening_of_an_uncounted_device_drops_the_cache(void **state)
{
	struct fixture f = fixture_new(false);

	assert_int_equal(opened(&f), WATCH_DROP);
	assert_int_equal(opened(&f), WATCH_DROP);
	fixture_free(&f);
}

/* --- Stat --- */

static void a_stat_tells_of_a_write_without_an_opening(void **state)
{
	struct fixture f = fixture_new(true);
	int64_t at_first = mtime_of(&f), written;

	fake_write(f.fake, 0, G, 'n');
	while ((written = mtime_of(&f)) == at_first)
		g_usleep(1000);
	assert_true(written > at_first);
	assert_int_equal(mtime_of(&f), written);
	fixture_free(&f);
}

static void stats_one_behind_the_other_look_once(void **state)
{
	struct fixture f = fixture_new(true);
	int64_t at_first = mtime_of(&f);
	unsigned stamps;
	gint64 began;

	fake_write(f.fake, 0, G, 'n');
	while (mtime_of(&f) == at_first)
		g_usleep(1000);
	stamps = fake_samples(f.fake);
	began = g_get_monotonic_time();
	for (int i = 0; i < 1000; i++)
		(void)mtime_of(&f);
	assert_int_in_range(fake_samples(f.fake) - stamps, 0,
			    (g_get_monotonic_time() - began) / G_USEC_PER_SEC +
				    1);
	fixture_free(&f);
}

static void a_stat_does_not_wait_for_a_device_that_hangs(void **state)
{
	struct fixture f = fixture_new(true);
	int64_t at_first;

	(void)watch_opened(f.watch);
	at_first = mtime_of(&f);
	set_closed(&looking, true);
	wait_for_one_at(&looking);
	/* Were each of them to wait, this would take hours. */
	for (int i = 0; i < 100000; i++)
		assert_int_equal(mtime_of(&f), at_first);
	set_closed(&looking, false);
	watch_closed(f.watch);
	fixture_free(&f);
}

/* It may be writing back what another program wrote. */
static void times_move_while_a_look_takes_long(void **state)
{
	struct fixture f = fixture_new(true);
	int64_t at_first = mtime_of(&f);

	set_closed(&looking, true);
	while (mtime_of(&f) == at_first)
		g_usleep(1000);
	assert_true(is_one_at(&looking));
	set_closed(&looking, false);
	fixture_free(&f);
}

static void no_blocks_are_told_after_a_look_alone(void **state)
{
	struct fixture f = fixture_new(true);
	struct bsp_stat st;
	uint64_t at;

	fake_write(f.fake, 0, SIZE, 0);
	assert_int_equal(bsp_sparse_seek_data(f.sp, 0, NULL, NULL, &at),
			 -ENXIO);
	do
		watch_stat(f.watch, &st);
	while (st.blocks != 0);
	fake_write(f.fake, 0, G, 'n');
	watch_stat(f.watch, &st);
	assert_int_in_range(st.blocks, 1, SIZE / 512);

	assert_int_equal(bsp_sparse_seek_data(f.sp, 0, NULL, NULL, &at), 0);
	fake_write(f.fake, 0, SIZE, 0);
	assert_int_equal(bsp_sparse_seek_data(f.sp, 0, NULL, NULL, &at),
			 -ENXIO);
	set_closed(&looking, true);
	watch_stat(f.watch, &st);
	assert_int_equal(st.blocks, 1);
	set_closed(&looking, false);
	fixture_free(&f);
}

static void a_stat_follows_the_size(void **state)
{
	struct fixture f = fixture_new(true);
	struct bsp_stat st;

	fake_resize(f.fake, SIZE / 2);
	do
		watch_stat(f.watch, &st);
	while (st.size == SIZE);
	assert_int_equal(st.size, SIZE / 2);
	fixture_free(&f);
}

static void times_of_an_uncounted_device_move_while_it_is_not_open(void **state)
{
	struct fixture f = fixture_new(false);
	int64_t at_first, closed;

	(void)watch_opened(f.watch);
	at_first = mtime_of(&f);
	/* The thread looks every second meanwhile. */
	for (unsigned stamps = fake_samples(f.fake);
	     fake_samples(f.fake) < stamps + 2; g_usleep(1000))
		assert_int_equal(mtime_of(&f), at_first);
	watch_closed(f.watch);
	while ((closed = mtime_of(&f)) == at_first)
		g_usleep(1000);
	assert_true(closed > at_first);
	fixture_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			an_opening_keeps_the_cache_of_a_device_nothing_wrote_to),
		cmocka_unit_test(
			no_opening_keeps_the_cache_before_it_was_dropped),
		cmocka_unit_test(a_change_during_the_drop_is_dropped_again),
		cmocka_unit_test(
			an_opening_bypasses_the_cache_while_old_bytes_are_on_their_way),
		cmocka_unit_test(
			every_opening_of_an_uncounted_device_drops_the_cache),
		cmocka_unit_test(a_stat_tells_of_a_write_without_an_opening),
		cmocka_unit_test(stats_one_behind_the_other_look_once),
		cmocka_unit_test(a_stat_does_not_wait_for_a_device_that_hangs),
		cmocka_unit_test(times_move_while_a_look_takes_long),
		cmocka_unit_test(no_blocks_are_told_after_a_look_alone),
		cmocka_unit_test(a_stat_follows_the_size),
		cmocka_unit_test(
			times_of_an_uncounted_device_move_while_it_is_not_open),
	};

	return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
