/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bsp_file_extent() on real sparse files, and on a replacement for lseek() that
 * gives the answers that a test cannot get from a real file system on demand:
 * data in several pieces, errors, answers that change.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "blksparse.h"

/* --- The fake lseek()
 * --------------------------------------------------------- */

struct piece {
	uint64_t end;
	bool data;
};

/* The answers of the fake file system. Data pieces without a hole between them
 * give a boundary: SEEK_HOLE answers an offset that SEEK_DATA calls data. The
 * list ends with an end of 0. */
static struct {
	const struct piece *pieces; /* NULL: the real lseek() */
	int data_errno;		    /* of SEEK_DATA */
	int hole_errno;		    /* of SEEK_HOLE */
	bool stuck;		    /* SEEK_HOLE answers the offset it gets */
	unsigned slow_ms;	    /* the time that SEEK_HOLE takes */
	unsigned grow;		    /* after this many calls, all is data */
	unsigned calls;
} fake;

static const struct piece *piece_at(uint64_t off)
{
	const struct piece *piece = fake.pieces;

	while (piece->end && piece->end <= off)
		piece++;
	return piece->end ? piece : NULL;
}

static off_t fake_data(uint64_t off)
{
	const struct piece *piece = piece_at(off);
	uint64_t start = off;

	if (fake.data_errno) {
		errno = fake.data_errno;
		return -1;
	}
	if (fake.grow && fake.calls > fake.grow)
		return (off_t)off;
	for (; piece && piece->end && !piece->data; piece++)
		start = piece->end;
	if (piece && piece->end)
		return (off_t)start;
	errno = ENXIO;
	return -1;
}

static off_t fake_hole(uint64_t off)
{
	const struct piece *piece = piece_at(off);
	struct timespec pause = { .tv_sec = fake.slow_ms / 1000,
				  .tv_nsec = fake.slow_ms % 1000 * 1000000 };

	nanosleep(&pause, NULL);
	errno = fake.hole_errno ? fake.hole_errno : ENXIO;
	if (fake.hole_errno || !piece)
		return -1;
	if (fake.stuck || !piece->data)
		return (off_t)off;
	return (off_t)piece->end;
}

off_t lseek(int fd, off_t off, int whence)
{
	fake.calls++;
	if (!fake.pieces)
		return (off_t)syscall(SYS_lseek, fd, off, whence);
	return whence == SEEK_DATA ? fake_data((uint64_t)off)
				   : fake_hole((uint64_t)off);
}

/* --- Files -----------------------------------------------------------------
 */

/* A file of one hole; the kernel deletes it when it is closed. */
static int file_new(off_t size)
{
	int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	return fd;
}

static int reset(void **state)
{
	memset(&fake, 0, sizeof(fake));
	return 0;
}

static void assert_extent(int fd, uint64_t off, uint64_t len,
			  enum bsp_extent_type type)
{
	struct bsp_extent_source source = bsp_file_extent_source(fd);
	struct bsp_extent extent = { 0 };

	assert_int_equal(source.extent(source.data, off, &extent), 1);
	assert_int_equal(extent.off, off);
	assert_int_equal(extent.len, len);
	assert_int_equal(extent.type, type);
}

static void assert_end(int fd, uint64_t off)
{
	struct bsp_extent extent = { .off = 7, .len = 7 };

	assert_int_equal(bsp_file_extent(fd, off, &extent), 0);
	assert_int_equal(extent.off, 7);
	assert_int_equal(extent.len, 7);
}

static void a_real_file_is_walked_from_end_to_end(void **state)
{
	enum { K = 1024 };
	int fd = file_new(1024 * K + 5);
	char block[64 * K];

	memset(block, 'x', sizeof(block));
	assert_int_equal(pwrite(fd, block, sizeof(block), 256 * K), 64 * K);
	assert_int_equal(pwrite(fd, block, 5, 1024 * K), 5);
	if (lseek(fd, 0, SEEK_DATA) != 256 * K) {
		close(fd);
		skip(); /* /var/tmp has no holes */
	}
	assert_extent(fd, 0, 256 * K, BSP_EXTENT_HOLE);
	assert_extent(fd, 256 * K, 64 * K, BSP_EXTENT_DATA);
	assert_extent(fd, 300 * K, 20 * K, BSP_EXTENT_DATA);
	assert_extent(fd, 320 * K, 704 * K, BSP_EXTENT_HOLE);
	assert_extent(fd, 1024 * K, 5, BSP_EXTENT_DATA);
	assert_end(fd, 1024 * K + 5);
	assert_end(fd, UINT64_MAX);
	close(fd);
}

static void an_empty_file_has_no_extents(void **state)
{
	int fd = file_new(0);

	assert_end(fd, 0);
	close(fd);
}

static void a_file_of_one_hole_is_one_extent(void **state)
{
	static const struct piece pieces[] = { { 777777, false }, { 0 } };
	int fd = file_new(777777);

	fake.pieces = pieces;
	assert_extent(fd, 0, 777777, BSP_EXTENT_HOLE);
	assert_extent(fd, 777776, 1, BSP_EXTENT_HOLE);
	assert_end(fd, 777777);
	close(fd);
}

static void adjacent_data_is_merged(void **state)
{
	static const struct piece pieces[] = { { 100, true }, { 200, true },
					       { 300, true }, { 400, false },
					       { 500, true }, { 600, false },
					       { 700, true }, { 800, true },
					       { 0 } };
	int fd = file_new(800);

	fake.pieces = pieces;
	assert_extent(fd, 0, 300, BSP_EXTENT_DATA);
	assert_extent(fd, 300, 100, BSP_EXTENT_HOLE);
	assert_extent(fd, 400, 100, BSP_EXTENT_DATA);
	assert_extent(fd, 500, 100, BSP_EXTENT_HOLE);
	assert_extent(fd, 600, 200, BSP_EXTENT_DATA);
	assert_end(fd, 800);
	close(fd);
}

static void merging_ends_after_a_second(void **state)
{
	static const struct piece pieces[] = {
		{ 100, true }, { 200, true }, { 300, true }, { 0 }
	};
	int fd = file_new(300);

	fake.pieces = pieces;
	fake.slow_ms = 1050;
	assert_extent(fd, 0, 100, BSP_EXTENT_DATA);
	assert_extent(fd, 100, 100, BSP_EXTENT_DATA);
	close(fd);
}

static void a_file_system_without_holes_gives_one_extent_of_data(void **state)
{
	static const struct piece pieces[] = { { 5000, false }, { 0 } };
	static const int errors[] = { EINVAL, EOPNOTSUPP };
	int fd = file_new(5000);

	fake.pieces = pieces;
	for (size_t i = 0; i < G_N_ELEMENTS(errors); i++) {
		fake.data_errno = errors[i];
		assert_extent(fd, 0, 5000, BSP_EXTENT_DATA);
		assert_extent(fd, 4999, 1, BSP_EXTENT_DATA);
		assert_end(fd, 5000);
	}
	close(fd);
}

/* Another process may punch the data between the two seeks, and a file system
 * may answer so that a naive loop would never end. */
static void contradicting_answers_are_data(void **state)
{
	static const struct piece pieces[] = { { 100, true }, { 0 } };
	int fd = file_new(300);

	fake.pieces = pieces;
	fake.stuck = true;
	fake.calls = 0;
	assert_extent(fd, 0, 300, BSP_EXTENT_DATA);
	assert_true(fake.calls < 5);
	close(fd);
}

static void appended_data_is_never_reported_as_a_hole(void **state)
{
	static const struct piece pieces[] = { { 100, false }, { 0 } };
	int fd = file_new(300);

	fake.pieces = pieces;
	fake.grow = 1;
	assert_extent(fd, 0, 300, BSP_EXTENT_DATA);
	close(fd);
}

static void a_file_truncated_between_two_seeks_ends(void **state)
{
	static const struct piece pieces[] = { { 100, true }, { 0 } };
	int fd = file_new(0);

	fake.pieces = pieces;
	fake.hole_errno = ENXIO;
	assert_end(fd, 0);
	close(fd);
}

static void errors_are_passed_on(void **state)
{
	static const struct piece pieces[] = { { 100, true }, { 0 } };
	struct bsp_extent extent = { .off = 7 };
	int fd = file_new(100);

	fake.pieces = pieces;
	fake.hole_errno = EIO;
	assert_int_equal(bsp_file_extent(fd, 0, &extent), -EIO);
	fake.data_errno = EINTR;
	assert_int_equal(bsp_file_extent(fd, 0, &extent), -EINTR);
	assert_int_equal(extent.off, 7);
	close(fd);
	memset(&fake, 0, sizeof(fake));
	assert_int_equal(bsp_file_extent(fd, 0, &extent), -EBADF);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, reset)
	const struct CMUnitTest tests[] = {
		T(a_real_file_is_walked_from_end_to_end),
		T(an_empty_file_has_no_extents),
		T(a_file_of_one_hole_is_one_extent),
		T(adjacent_data_is_merged),
		T(merging_ends_after_a_second),
		T(a_file_system_without_holes_gives_one_extent_of_data),
		T(contradicting_answers_are_data),
		T(appended_data_is_never_reported_as_a_hole),
		T(a_file_truncated_between_two_seeks_ends),
		T(errors_are_passed_on),
	};

	return cmocka_run_group_tests_name("extent", tests, NULL, NULL);
}
