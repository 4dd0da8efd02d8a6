/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads, seeks and scans that another operation crosses at the worst instant:
 * between two looks at the object. The functions that they call for the second
 * look are the test's own (unit_wrapped in meson.build), and run the other
 * operation before they look, or after.
 */
#include "unit.h"

#include <errno.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blksparse.h"
#include "fake-device.h"
#include "sparse/sparse.h"

enum { G = 4096, SIZE = 3 * G, SHORT = 2 * G + 100, PAUSE_US = 20000 };

struct fixture {
	struct fake *fake;
	struct bsp_sparse *sp;
};

/* --- In place of the library's functions --- */

/* Each is called once, by the thread that crosses, after a number of calls that
 * are skipped. */
static struct hook {
	void (*before)(struct fixture *f);
	void (*after)(struct fixture *f);
	struct fixture *f;
	unsigned skip;
} at_run_end, at_next, at_piece, at_resize, at_unlock;

static struct hook take(struct hook *hook)
{
	struct hook taken = *hook;

	if (hook->skip) {
		hook->skip--;
		return (struct hook){ 0 };
	}
	*hook = (struct hook){ 0 };
	if (taken.before)
		taken.before(taken.f);
	return taken;
}

static void leave(const struct hook *hook)
{
	if (hook->after)
		hook->after(hook->f);
}

uint64_t __real_bsp_sparse_run_end(struct bsp_sparse *sp, unsigned set,
				   uint64_t off, uint64_t end);
uint64_t __wrap_bsp_sparse_run_end(struct bsp_sparse *sp, unsigned set,
				   uint64_t off, uint64_t end);
uint64_t __real_bsp_map_next(struct bsp_map *map, unsigned set, uint64_t from,
			     uint64_t to);
uint64_t __wrap_bsp_map_next(struct bsp_map *map, unsigned set, uint64_t from,
			     uint64_t to);
bool __real_bsp_undurable_piece(struct bsp_undurable *u, uint64_t off,
				uint64_t *ret_from, uint64_t *ret_to);
bool __wrap_bsp_undurable_piece(struct bsp_undurable *u, uint64_t off,
				uint64_t *ret_from, uint64_t *ret_to);
void __real_bsp_range_unlock(struct bsp_range_lock *lock,
			     struct bsp_range_hold *hold);
void __wrap_bsp_range_unlock(struct bsp_range_lock *lock,
			     struct bsp_range_hold *hold);
int __real_bsp_map_resize(struct bsp_map *map, uint64_t granules);
int __wrap_bsp_map_resize(struct bsp_map *map, uint64_t granules);

uint64_t __wrap_bsp_sparse_run_end(struct bsp_sparse *sp, unsigned set,
				   uint64_t off, uint64_t end)
{
	struct hook hook = take(&at_run_end);
	uint64_t stop = __real_bsp_sparse_run_end(sp, set, off, end);

	leave(&hook);
	return stop;
}

uint64_t __wrap_bsp_map_next(struct bsp_map *map, unsigned set, uint64_t from,
			     uint64_t to)
{
	struct hook hook = take(&at_next);
	uint64_t next = __real_bsp_map_next(map, set, from, to);

	leave(&hook);
	return next;
}

bool __wrap_bsp_undurable_piece(struct bsp_undurable *u, uint64_t off,
				uint64_t *ret_from, uint64_t *ret_to)
{
	struct hook hook = take(&at_piece);
	bool found = __real_bsp_undurable_piece(u, off, ret_from, ret_to);

	leave(&hook);
	return found;
}

int __wrap_bsp_map_resize(struct bsp_map *map, uint64_t granules)
{
	struct hook hook = take(&at_resize);
	int r = __real_bsp_map_resize(map, granules);

	leave(&hook);
	return r;
}

void __wrap_bsp_range_unlock(struct bsp_range_lock *lock,
			     struct bsp_range_hold *hold)
{
	struct hook hook = take(&at_unlock);

	__real_bsp_range_unlock(lock, hold);
	leave(&hook);
}

/* --- The device's size --- */

/* Zeros up to SHORT, and data behind. */
static struct fixture open_with_tail(uint64_t size)
{
	struct fixture f = { .fake = fake_new(SIZE) };

	memset(fake_bytes(f.fake) + SHORT, 'x', SIZE - SHORT);
	fake_resize(f.fake, size);
	fake_device(f.fake)->info.size = size;
	f.sp = bsp_sparse_new(fake_device(f.fake), NULL, NULL);
	assert_non_null(f.sp);
	return f;
}

/* The last granule is short, and a hole. */
static void shrink_and_learn(struct fixture *f)
{
	char buf[100];

	fake_resize(f->fake, SHORT);
	(void)bsp_sparse_refresh(f->sp);
	assert_int_equal(bsp_sparse_read(f->sp, 2 * G, buf, 100), 100);
	assert_int_equal(bsp_map_get(f->sp->map, 2), BSP_HOLE);
}

static void grow_again(struct fixture *f)
{
	fake_resize(f->fake, SIZE);
	(void)bsp_sparse_refresh(f->sp);
}

static void a_read_that_new_sizes_cross_finds_the_data(void **state)
{
	struct fixture f = open_with_tail(SIZE);
	char buf[G];

	/* The granule may have been a hole when the read began. */
	memset(fake_bytes(f.fake) + SHORT, 0, SIZE - SHORT);
	assert_int_equal(bsp_sparse_read(f.sp, 2 * G, buf, G), G);
	memset(fake_bytes(f.fake) + SHORT, 'x', SIZE - SHORT);
	/* After the first look, the read checks for changes. */
	at_run_end = (struct hook){ shrink_and_learn, grow_again, &f, 1 };
	assert_int_equal(bsp_sparse_read(f.sp, 2 * G, buf, G), G);
	assert_int_equal(buf[99], 0);
	assert_int_equal(buf[100], 'x');
	assert_int_equal(buf[G - 1], 'x');
	bsp_sparse_free(f.sp);
}

static void a_seek_that_new_sizes_cross_finds_the_data(void **state)
{
	struct fixture f = open_with_tail(SIZE);
	uint64_t at;

	at_next = (struct hook){ shrink_and_learn, grow_again, &f };
	assert_int_equal(bsp_sparse_seek_data(f.sp, 2 * G, NULL, NULL, &at), 0);
	assert_int_equal(at, 2 * G);
	bsp_sparse_free(f.sp);
}

static pthread_t reader;

static void *read_last(void *data)
{
	struct fixture *f = data;
	char buf[100];

	if (bsp_sparse_read(f->sp, 2 * G, buf, 100) < 0)
		abort();
	return NULL;
}

/* The map has its new size, and the object still its old one. */
static void read_beside_growth(struct fixture *f)
{
	if (pthread_create(&reader, NULL, read_last, f))
		abort();
	usleep(PAUSE_US);
}

static void the_last_granule_is_not_learned_beside_growth(void **state)
{
	struct fixture f = open_with_tail(SHORT);
	uint64_t at;

	fake_resize(f.fake, SIZE);
	at_resize = (struct hook){ NULL, read_beside_growth, &f };
	(void)bsp_sparse_refresh(f.sp);
	pthread_join(reader, NULL);
	assert_int_equal(bsp_sparse_size(f.sp), SIZE);
	assert_int_equal(bsp_sparse_seek_data(f.sp, 0, NULL, NULL, &at), 0);
	assert_int_equal(at, 2 * G);
	bsp_sparse_free(f.sp);
}

/* --- Zeros that a flush lost --- */

/* The zeros are lost, and then zeros of the whole granule take their place. */
static void lose_and_punch(struct fixture *f)
{
	fake_fail_flush(f->fake, EIO);
	assert_int_equal(bsp_sparse_flush(f->sp, NULL, NULL), -EIO);
	fake_fail_flush(f->fake, 0);
	assert_int_equal(
		bsp_sparse_fallocate(f->sp,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     G, G),
		0);
}

static struct fixture open_writable(void)
{
	struct fixture f = { .fake = fake_new(SIZE) };

	memset(fake_bytes(f.fake), 0xaa, SIZE);
	fake_make_writable(f.fake, 0);
	f.sp = bsp_sparse_new(fake_device(f.fake), NULL, NULL);
	assert_non_null(f.sp);
	return f;
}

/* Zeros of the whole granule take their place, and are lost as well. */
static void punch_and_lose(struct fixture *f)
{
	assert_int_equal(
		bsp_sparse_fallocate(f->sp,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     G, G),
		0);
	fake_fail_flush(f->fake, EIO);
	assert_int_equal(bsp_sparse_flush(f->sp, NULL, NULL), -EIO);
	fake_fail_flush(f->fake, 0);
}

static void check_loss(void (*cross)(struct fixture *f))
{
	struct fixture f = open_writable();
	const char zeros[100] = { 0 };
	char buf[G];

	fake_cache(f.fake, FAKE_LOSES_ALL);
	assert_int_equal(bsp_sparse_write(f.sp, G + 200, zeros, 100), 100);
	at_piece = (struct hook){ cross, NULL, &f };
	assert_int_equal(bsp_sparse_read(f.sp, G, buf, G), G);
	for (size_t i = 200; i < 300; i++)
		assert_int_equal(buf[i], 0);
	bsp_sparse_free(f.sp);
}

static void a_read_that_a_loss_of_zeros_crosses_shows_no_old_byte(void **state)
{
	check_loss(lose_and_punch);
	check_loss(punch_and_lose);
}

/* --- A part of a marker --- */

static void *write_other_part(void *data)
{
	struct fixture *f = data;

	if (bsp_sparse_write(f->sp, G + 200, "b", 1) != 1)
		abort();
	return NULL;
}

static void have_other_part_written(struct fixture *f)
{
	pthread_t writer;

	if (pthread_create(&writer, NULL, write_other_part, f))
		abort();
	pthread_join(writer, NULL);
}

/* The writer has seen the marker, and waits for its lock. */
static void a_part_that_another_one_crosses_leaves_its_bytes(void **state)
{
	struct fixture f = open_writable();
	const char zeros[G] = { 0 };
	char buf[G];

	assert_int_equal(bsp_sparse_write(f.sp, G, zeros, G), G);
	at_unlock = (struct hook){ NULL, have_other_part_written, &f };
	assert_int_equal(bsp_sparse_write(f.sp, G + 100, "a", 1), 1);
	assert_int_equal(bsp_sparse_read(f.sp, G, buf, G), G);
	assert_int_equal(buf[100], 'a');
	assert_int_equal(buf[200], 'b');
	assert_int_equal(buf[150], 0);
	bsp_sparse_free(f.sp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_read_that_new_sizes_cross_finds_the_data),
		cmocka_unit_test(a_seek_that_new_sizes_cross_finds_the_data),
		cmocka_unit_test(the_last_granule_is_not_learned_beside_growth),
		cmocka_unit_test(
			a_read_that_a_loss_of_zeros_crosses_shows_no_old_byte),
		cmocka_unit_test(
			a_part_that_another_one_crosses_leaves_its_bytes),
	};

	return cmocka_run_group_tests_name("crossing", tests, NULL, NULL);
}
