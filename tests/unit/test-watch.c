/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The watch of a file: whether an opening may use the kernel's cache, and which
 * times, size and blocks a stat gets after a write to the device or while it
 * hangs. The test plays the kernel, and can block drops, stores and looks.
 */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "blksparse-thread.h"
#include "fake-device.h"
#include "log.h"
#include "watch.h"

enum { G = 4096, SIZE = 1 << 20 };

/* Threads wait at the door while it is closed. */
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

static bool has_waiter(struct door *door)
{
	bool has;

	pthread_mutex_lock(&lock);
	has = door->waiting > 0;
	pthread_mutex_unlock(&lock);
	return has;
}

static void wait_for_waiter(struct door *door)
{
	pthread_mutex_lock(&lock);
	while (!door->waiting)
		pthread_cond_wait(&moved, &lock);
	pthread_mutex_unlock(&lock);
}

static void on_sample(void *data)
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

static atomic_uint errors_logged;

void log_line(int priority, const char *format, ...)
{
	if (priority == LOG_ERR)
		atomic_fetch_add(&errors_logged, 1);
}

struct fixture {
	struct fake *fake;
	struct bsp_sparse *sp;
	struct watch *watch;
	struct watch_lines *lines;
};

static struct fixture writable_new(void)
{
	struct fixture f = { .fake = fake_new(SIZE),
			     .lines = g_new0(struct watch_lines, 1) };

	memset(fake_bytes(f.fake), 'd', SIZE);
	fake_make_writable(f.fake, 1 << FAKE_PUNCH);
	f.sp = bsp_sparse_new(fake_device(f.fake), NULL, NULL);
	assert_non_null(f.sp);
	f.watch = watch_new(f.sp, "device", 2, f.lines);
	assert_int_equal(watch_start(f.watch, NULL, true, false), 0);
	return f;
}

/* Takes lines over. */
static struct fixture make(bool counted, struct watch_lines *lines)
{
	struct fixture f = { .fake = fake_new(SIZE), .lines = lines };

	memset(fake_bytes(f.fake), 'd', SIZE / 2);
	if (!counted)
		fake_stop_counting(f.fake);
	fake_on_sample(f.fake, on_sample, NULL);
	f.sp = bsp_sparse_new(fake_device(f.fake), NULL, NULL);
	assert_non_null(f.sp);
	f.watch = watch_new(f.sp, "device", 2, f.lines);
	assert_int_equal(watch_start(f.watch, NULL, false, false), 0);
	return f;
}

static struct fixture fixture_new(bool counted)
{
	return make(counted, g_new0(struct watch_lines, 1));
}

static void fixture_free(struct fixture *f)
{
	watch_stop(f->watch);
	watch_join(f->watch);
	bsp_sparse_free(f->sp);
	watch_free(f->watch);
	g_free(f->lines);
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
an_opening_keeps_the_cache_if_the_device_did_not_change(void **state)
{
	struct fixture f = fixture_new(true);

	assert_int_equal(opened(&f), WATCH_KEEP);
	assert_int_equal(opened(&f), WATCH_KEEP);
	fixture_free(&f);
}

static void openings_drop_the_cache_until_a_drop_has_ended(void **state)
{
	struct fixture f = fixture_new(true);

	set_closed(&dropping, true);
	fake_write(f.fake, 0, G, 'n');
	assert_int_equal(opened(&f), WATCH_DROP);
	assert_int_equal(opened(&f), WATCH_DROP);
	wait_for_waiter(&dropping);
	assert_int_equal(opened(&f), WATCH_DROP);
	set_closed(&dropping, false);
	while (opened(&f) != WATCH_KEEP)
		g_usleep(1000);
	fixture_free(&f);
}

static void a_change_during_a_drop_causes_another_drop(void **state)
{
	struct fixture f = fixture_new(true);

	set_closed(&dropping, true);
	fake_write(f.fake, 0, G, 'n');
	(void)opened(&f);
	wait_for_waiter(&dropping);
	fake_write(f.fake, 0, G, 'o');
	assert_int_equal(opened(&f), WATCH_DROP);
	set_closed(&dropping, false);
	while (opened(&f) != WATCH_KEEP)
		g_usleep(1000);
	fixture_free(&f);
}

static void
an_opening_bypasses_the_cache_while_a_store_has_old_bytes(void **state)
{
	struct fixture f = fixture_new(true);
	uint64_t at;

	set_closed(&storing, true);
	assert_int_equal(bsp_sparse_seek_hole(f.sp, 0, NULL, NULL, &at), 0);
	wait_for_waiter(&storing);
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

static void a_stat_of_a_closed_file_shows_a_write(void **state)
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

static void many_stats_cause_one_look_a_second(void **state)
{
	struct fixture f = fixture_new(true);
	int64_t at_first = mtime_of(&f);
	unsigned samples;
	gint64 began;

	fake_write(f.fake, 0, G, 'n');
	while (mtime_of(&f) == at_first)
		g_usleep(1000);
	samples = fake_samples(f.fake);
	began = g_get_monotonic_time();
	for (int i = 0; i < 1000; i++)
		(void)mtime_of(&f);
	assert_int_in_range(fake_samples(f.fake) - samples, 0,
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
	wait_for_waiter(&looking);
	/* If each of them waited, this would take hours. */
	for (int i = 0; i < 100000; i++)
		assert_int_equal(mtime_of(&f), at_first);
	set_closed(&looking, false);
	watch_closed(f.watch);
	fixture_free(&f);
}

/* The device may be slow because another program's writes go out. */
static void mtime_moves_while_a_look_takes_long(void **state)
{
	struct fixture f = fixture_new(true);
	int64_t at_first = mtime_of(&f);

	set_closed(&looking, true);
	while (mtime_of(&f) == at_first)
		g_usleep(1000);
	assert_true(has_waiter(&looking));
	set_closed(&looking, false);
	fixture_free(&f);
}

static void after_a_change_a_stat_reports_at_least_one_block(void **state)
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

static void an_opening_for_figures_does_not_wait(void **state)
{
	struct fixture f = fixture_new(true);

	set_closed(&looking, true);
	assert_int_equal(watch_opened_nowait(f.watch), WATCH_BYPASS);
	/* It counts as an opening: the thread looks. */
	wait_for_waiter(&looking);
	assert_int_equal(watch_opened_nowait(f.watch), WATCH_BYPASS);
	set_closed(&looking, false);
	watch_closed(f.watch);
	watch_closed(f.watch);
	fixture_free(&f);
}

static void a_stat_shows_a_new_size(void **state)
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

static uint64_t told_size(struct fixture *f)
{
	struct bsp_stat st;

	watch_stat(f->watch, &st);
	watch_sized(f->watch, &st);
	return st.size;
}

/* The kernel would write back changed pages of the old end up to the new one,
 * and their zeros would overwrite data of the device. */
static void a_larger_size_is_not_told_before_old_pages_are_dropped(void **state)
{
	struct fixture f = fixture_new(true);
	struct bsp_stat st;

	fake_resize(f.fake, SIZE / 2);
	while (told_size(&f) != SIZE / 2)
		g_usleep(1000);
	set_closed(&dropping, true);
	fake_resize(f.fake, SIZE);
	do
		watch_stat(f.watch, &st);
	while (st.size != SIZE);
	assert_int_equal(told_size(&f), SIZE / 2);
	wait_for_waiter(&dropping);
	assert_int_equal(told_size(&f), SIZE / 2);
	set_closed(&dropping, false);
	while (told_size(&f) != SIZE)
		g_usleep(1000);
	fixture_free(&f);
}

static void
mtime_of_an_uncounted_device_moves_while_the_file_is_closed(void **state)
{
	struct fixture f = fixture_new(false);
	int64_t at_first, closed;

	(void)watch_opened(f.watch);
	at_first = mtime_of(&f);
	/* The thread looks every second. */
	for (unsigned samples = fake_samples(f.fake);
	     fake_samples(f.fake) < samples + 2; g_usleep(1000))
		assert_int_equal(mtime_of(&f), at_first);
	watch_closed(f.watch);
	while ((closed = mtime_of(&f)) == at_first)
		g_usleep(1000);
	assert_true(closed > at_first);
	fixture_free(&f);
}

/* --- Zeros --- */

static void zeros_of_an_open_file_are_flushed_after_a_while(void **state)
{
	struct fixture f = writable_new();
	const char zeros[G] = { 0 };
	const struct fake_call *calls;
	int tries = 0;

	(void)watch_opened(f.watch);
	assert_int_equal(bsp_sparse_write(f.sp, G, zeros, G), G);
	while (fake_changes(f.fake, &calls) == 0) {
		assert_true(++tries < 3000);
		g_usleep(10000);
	}
	assert_int_equal(calls[0].kind, FAKE_PUNCH);
	assert_int_equal(calls[0].off, G);
	assert_int_equal(calls[0].len, G);
	watch_closed(f.watch);
	fixture_free(&f);
}

/* --- The log --- */

/* As a mount with --all does after the last close and at the next opening. */
static void open_anew(struct fixture *f)
{
	struct watch_lines *lines = f->lines;

	f->lines = NULL;
	fixture_free(f);
	*f = make(true, lines);
}

static void a_device_that_is_opened_anew_logs_no_more_lines(void **state)
{
	struct fixture f = fixture_new(true);
	char buf[G];

	atomic_store(&errors_logged, 0);
	for (int i = 0; i < 3; i++) {
		fake_fail_reads(f.fake, 0, G, EIO);
		assert_int_equal(bsp_sparse_read(f.sp, 0, buf, G), -EIO);
		/* At the latest, its end logs a failure. */
		if (i < 2)
			open_anew(&f);
	}
	fixture_free(&f);
	assert_int_equal(atomic_load(&errors_logged), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			an_opening_keeps_the_cache_if_the_device_did_not_change),
		cmocka_unit_test(
			openings_drop_the_cache_until_a_drop_has_ended),
		cmocka_unit_test(a_change_during_a_drop_causes_another_drop),
		cmocka_unit_test(
			an_opening_bypasses_the_cache_while_a_store_has_old_bytes),
		cmocka_unit_test(
			every_opening_of_an_uncounted_device_drops_the_cache),
		cmocka_unit_test(a_stat_of_a_closed_file_shows_a_write),
		cmocka_unit_test(many_stats_cause_one_look_a_second),
		cmocka_unit_test(a_stat_does_not_wait_for_a_device_that_hangs),
		cmocka_unit_test(mtime_moves_while_a_look_takes_long),
		cmocka_unit_test(
			after_a_change_a_stat_reports_at_least_one_block),
		cmocka_unit_test(an_opening_for_figures_does_not_wait),
		cmocka_unit_test(a_stat_shows_a_new_size),
		cmocka_unit_test(
			a_larger_size_is_not_told_before_old_pages_are_dropped),
		cmocka_unit_test(
			mtime_of_an_uncounted_device_moves_while_the_file_is_closed),
		cmocka_unit_test(
			zeros_of_an_open_file_are_flushed_after_a_while),
		cmocka_unit_test(
			a_device_that_is_opened_anew_logs_no_more_lines),
	};

	return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
