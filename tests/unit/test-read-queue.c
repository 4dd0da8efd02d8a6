/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "device/read-queue.h"

enum { UNIT = 8192, DEPTH = 8, UNITS = 64 };

/* Opens a file as a device; each of its units holds the unit's number. */
static struct bsp_device *open_numbered(int *ret_fd)
{
	char path[] = "/tmp/test-read-queue-XXXXXX";
	unsigned char unit[UNIT];
	int fd = mkstemp(path);
	struct bsp_device *dev;

	assert_true(fd >= 0);
	for (int i = 0; i < UNITS; i++) {
		memset(unit, i, UNIT);
		assert_int_equal(write(fd, unit, UNIT), UNIT);
	}
	dev = bsp_device_open(path, NULL);
	assert_non_null(dev);
	unlink(path);
	*ret_fd = fd;
	return dev;
}

/* Reads all units, many at a time, from the last to the first, and one past the
 * end. Each read must be returned once, with its own bytes. */
static void read_all(struct bsp_read_queue *queue)
{
	struct bsp_read reads[DEPTH] = { 0 }, *back;
	bool seen[UNITS + 1] = { false };
	int next = UNITS;

	for (int i = 0; i < DEPTH; i++) {
		assert_int_equal(
			posix_memalign(&reads[i].buf, BSP_BUFFER_ALIGN, UNIT),
			0);
		reads[i].len = UNIT;
		reads[i].off = (uint64_t)next-- * UNIT;
		bsp_read_submit(queue, &reads[i]);
	}
	while ((back = bsp_read_wait(queue))) {
		uint64_t unit = back->off / UNIT;
		const unsigned char *bytes = back->buf;

		assert_false(seen[unit]);
		seen[unit] = true;
		assert_int_equal(back->result, unit < UNITS ? UNIT : 0);
		for (ssize_t i = 0; i < back->result; i++)
			assert_int_equal(bytes[i], unit);
		if (next < 0)
			continue;
		back->off = (uint64_t)next-- * UNIT;
		bsp_read_submit(queue, back);
	}
	for (int i = 0; i <= UNITS; i++)
		assert_true(seen[i]);
	for (int i = 0; i < DEPTH; i++)
		free(reads[i].buf);
}

static void threads_return_each_read_once(void **state)
{
	int fd;
	struct bsp_device *dev = open_numbered(&fd);
	struct bsp_read_queue *queue = bsp_read_queue_threads_new(dev, DEPTH);

	assert_non_null(queue);
	read_all(queue);
	bsp_read_queue_free(queue);
	bsp_device_close(dev);
	close(fd);
}

static void io_uring_returns_each_read_once(void **state)
{
	int fd;
	struct bsp_device *dev = open_numbered(&fd);
	struct bsp_read_queue *queue = bsp_read_queue_uring_new(fd, DEPTH);

	/* NULL: io_uring was not built in, or is not allowed here. */
	if (queue)
		read_all(queue);
	bsp_read_queue_free(queue);
	bsp_device_close(dev);
	close(fd);
	if (!queue)
		skip();
}

static void each_error_is_returned_with_its_read(void **state)
{
	int fd, wrong = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct bsp_device *dev = open_numbered(&fd);
	struct bsp_read_queue *queue = bsp_read_queue_uring_new(wrong, DEPTH);
	char buf[16];
	struct bsp_read read = { .buf = buf, .len = sizeof(buf) };

	if (queue) {
		bsp_read_submit(queue, &read);
		assert_ptr_equal(bsp_read_wait(queue), &read);
		assert_int_equal(read.result, -EISDIR);
		assert_null(bsp_read_wait(queue));
	}
	bsp_read_queue_free(queue);
	bsp_device_close(dev);
	close(wrong);
	close(fd);
	if (!queue)
		skip();
}

/* Returns a descriptor that refuses reads of less than 8 bytes
 * (timerfd_create(2)). */
static int refusing_fd(struct bsp_device *dev)
{
	static int fd = -1;

	if (fd < 0)
		fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	return fd;
}

static ssize_t read_r(struct bsp_device *dev, uint64_t off, void *buf,
		      size_t len)
{
	memset(buf, 'r', len);
	return (ssize_t)len;
}

static void the_device_repeats_reads_that_its_descriptor_refuses(void **state)
{
	static const struct bsp_device_ops ops = { .read = read_r,
						   .read_fd = refusing_fd };
	struct bsp_device dev = { .ops = &ops };
	struct bsp_read_queue *queue = bsp_read_queue_new(&dev, DEPTH);
	char buf[4] = "";
	struct bsp_read read = { .buf = buf, .len = sizeof(buf) };

	assert_non_null(queue);
	bsp_read_submit(queue, &read);
	assert_ptr_equal(bsp_read_wait(queue), &read);
	assert_int_equal(read.result, sizeof(buf));
	assert_memory_equal(buf, "rrrr", sizeof(buf));
	bsp_read_queue_free(queue);
	close(refusing_fd(&dev));
}

/* Reads in flight belong to the queue until it is freed. */
static void freeing_waits_for_reads_in_flight(void **state)
{
	int fd;
	struct bsp_device *dev = open_numbered(&fd);

	for (int kind = 0; kind < 2; kind++) {
		struct bsp_read_queue *queue =
			kind ? bsp_read_queue_uring_new(fd, DEPTH)
			     : bsp_read_queue_threads_new(dev, DEPTH);
		struct bsp_read read = { .len = UNIT, .result = -1 };

		if (!queue)
			continue;
		read.buf = malloc(UNIT);
		bsp_read_submit(queue, &read);
		bsp_read_queue_free(queue);
		assert_int_equal(read.result, UNIT);
		free(read.buf);
	}
	bsp_device_close(dev);
	close(fd);
}

static void *use_rings(void *data)
{
	const int *fd = data;

	for (int i = 0; i < 50; i++) {
		struct bsp_read_queue *queue =
			bsp_read_queue_uring_new(*fd, DEPTH);

		if (queue)
			read_all(queue);
		bsp_read_queue_free(queue);
	}
	return NULL;
}

/* For ThreadSanitizer: a ring may get the addresses of one that was freed. */
static void several_threads_make_and_free_rings(void **state)
{
	int fd;
	struct bsp_device *dev = open_numbered(&fd);
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, use_rings, &fd), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	bsp_device_close(dev);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_return_each_read_once),
		cmocka_unit_test(io_uring_returns_each_read_once),
		cmocka_unit_test(each_error_is_returned_with_its_read),
		cmocka_unit_test(
			the_device_repeats_reads_that_its_descriptor_refuses),
		cmocka_unit_test(several_threads_make_and_free_rings),
		cmocka_unit_test(freeing_waits_for_reads_in_flight),
	};

	return cmocka_run_group_tests_name("read-queue", tests, NULL, NULL);
}
