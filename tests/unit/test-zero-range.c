/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Zeroing a device that takes less than it is given, or fails in ways that
 * devices of other tests do not. The tests of writes have the other cases, on a
 * device with a content.
 */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "device/zero-range.h"

enum { BLOCK = 512, SIZE = 1 << 20 };

/* A device that takes a number of bytes in each write, and no more than that
 * many bytes in all. */
struct stubborn {
	struct bsp_device dev;
	size_t each, left;
	unsigned writes, refusals;
	uint64_t punched_from, punched_to;
};

static ssize_t write_through(struct bsp_device *dev, uint64_t off,
			     const void *buf, size_t len)
{
	struct stubborn *device = (struct stubborn *)dev;
	size_t n = len < device->each ? len : device->each;

	n = n < device->left ? n : device->left;
	device->left -= n;
	device->writes++;
	return (ssize_t)n;
}

static int wait_written(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return -ENOSPC;
}

static int punch(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	struct stubborn *device = (struct stubborn *)dev;

	device->punched_from = off;
	device->punched_to = off + len;
	return 0;
}

static int refuse_punch(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	((struct stubborn *)dev)->refusals++;
	return -EOPNOTSUPP;
}

static int punch_nothing(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return -ENODEV;
}

static ssize_t read_half(struct bsp_device *dev, uint64_t off, void *buf,
			 size_t len)
{
	memset(buf, 0, len);
	return (ssize_t)(len / 2);
}

static ssize_t read_ones(struct bsp_device *dev, uint64_t off, void *buf,
			 size_t len)
{
	memset(buf, 1, len);
	return (ssize_t)len;
}

static ssize_t interrupted_write(struct bsp_device *dev, uint64_t off,
				 const void *buf, size_t len)
{
	return -EINTR;
}

static ssize_t interrupted_read(struct bsp_device *dev, uint64_t off, void *buf,
				size_t len)
{
	return -EINTR;
}

static int interrupted_punch(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return -EINTR;
}

static const struct bsp_device_ops reading_half = {
	.write_through = write_through,
	.read_through = read_half,
};
static const struct bsp_device_ops plain = { .write_through = write_through };
static const struct bsp_device_ops failing_late = {
	.write_through = write_through,
	.wait_written = wait_written,
};
static const struct bsp_device_ops gone = {
	.write_through = write_through,
	.punch = punch_nothing,
};
static const struct bsp_device_ops refusing = {
	.write_through = write_through,
	.read_through = read_ones,
	.punch = refuse_punch,
};
static const struct bsp_device_ops punching = {
	.write_through = write_through,
	.punch = punch,
};

static void make_device(struct stubborn *device,
			const struct bsp_device_ops *ops, size_t each,
			size_t left)
{
	*device = (struct stubborn){
		.dev = { .ops = ops, .info = { .logical_block_size = BLOCK } },
		.each = each,
		.left = left,
	};
	pthread_mutex_init(&device->dev.through_lock, NULL);
}

static int zero_range(struct stubborn *device, const struct bsp_device_ops *ops,
		      enum bsp_zero_mode mode, size_t each, size_t left,
		      uint64_t off, uint64_t len)
{
	int r;

	make_device(device, ops, each, left);
	r = bsp_device_zero(&device->dev, mode, off, len);
	pthread_mutex_destroy(&device->dev.through_lock);
	return r;
}

static int zero(struct stubborn *device, const struct bsp_device_ops *ops,
		enum bsp_zero_mode mode, size_t each, size_t left)
{
	return zero_range(device, ops, mode, each, left, 0, SIZE);
}

static void short_writes_go_on(void **state)
{
	struct stubborn device;

	assert_int_equal(zero(&device, &plain, BSP_ZERO_WRITE, SIZE / 4, SIZE),
			 0);
	assert_int_equal(device.writes, 4);
	assert_false(bsp_device_has_failed(&device.dev));
}

static void a_device_that_takes_nothing_more_has_failed(void **state)
{
	struct stubborn device;

	assert_int_equal(
		zero(&device, &plain, BSP_ZERO_WRITE, SIZE / 4, SIZE / 2),
		-EIO);
	assert_int_equal(device.writes, 3);
	assert_true(bsp_device_has_failed(&device.dev));
}

static void a_writeback_that_fails_is_an_error(void **state)
{
	struct stubborn device;

	assert_int_equal(
		zero(&device, &failing_late, BSP_ZERO_WRITE, SIZE, SIZE),
		-ENOSPC);
	assert_true(bsp_device_has_failed(&device.dev));
}

static void a_device_that_is_gone_has_failed(void **state)
{
	struct stubborn device;

	assert_int_equal(zero(&device, &gone, BSP_ZERO_UNMAP, SIZE, SIZE),
			 -ENODEV);
	assert_int_equal(device.writes, 0);
	assert_true(bsp_device_has_failed(&device.dev));
}

static void a_way_that_was_refused_is_tried_after_a_failure_only(void **state)
{
	struct stubborn device;
	struct bsp_device *dev = &device.dev;

	make_device(&device, &refusing, SIZE, (size_t)3 * SIZE);
	assert_int_equal(bsp_device_zero(dev, BSP_ZERO_UNMAP, 0, SIZE), 0);
	assert_int_equal(bsp_device_zero(dev, BSP_ZERO_UNMAP, 0, SIZE), 0);
	assert_int_equal(device.refusals, 1);
	bsp_device_note_failure(dev);
	assert_int_equal(bsp_device_zero(dev, BSP_ZERO_UNMAP, 0, SIZE), 0);
	assert_int_equal(device.refusals, 2);
	assert_int_equal(device.left, 0);
	pthread_mutex_destroy(&dev->through_lock);
}

static void commands_get_whole_blocks(void **state)
{
	struct stubborn device;

	assert_int_equal(zero_range(&device, &punching, BSP_ZERO_UNMAP, SIZE,
				    SIZE, BLOCK - 1, 3 * BLOCK + 2),
			 0);
	assert_int_equal(device.punched_from, BLOCK);
	assert_int_equal(device.punched_to, 4 * BLOCK);
	assert_int_equal(device.writes, 2);
	assert_int_equal(device.left, SIZE - 2);
	/* Inside of one block, and up to its end. */
	assert_int_equal(zero_range(&device, &punching, BSP_ZERO_UNMAP, SIZE,
				    SIZE, BLOCK + 7, BLOCK - 7),
			 0);
	assert_int_equal(device.punched_to, 0);
	assert_int_equal(device.left, SIZE - BLOCK + 7);
}

static void a_range_that_cannot_be_read_whole_is_written(void **state)
{
	struct stubborn device;

	assert_int_equal(
		zero(&device, &reading_half, BSP_ZERO_UNMAP, SIZE, SIZE), 0);
	assert_int_equal(device.left, 0);
}

/* An interrupt ends the wait for a server, and tells nothing of the device. */
static void an_interrupt_is_no_failure_of_the_device(void **state)
{
	static const struct bsp_device_ops all[] = {
		{ .punch = interrupted_punch,
		  .zero_out = punch,
		  .write_through = write_through },
		{ .unmap = punch,
		  .read_through = interrupted_read,
		  .write_through = write_through },
		{ .read_through = interrupted_read,
		  .write_through = write_through },
		{ .write_through = interrupted_write },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
		struct stubborn device;

		assert_int_equal(zero(&device, &all[i],
				      i < 3 ? BSP_ZERO_UNMAP : BSP_ZERO_WRITE,
				      SIZE, SIZE),
				 -EINTR);
		/* No other way is tried. */
		assert_int_equal(device.writes, 0);
		assert_int_equal(device.punched_to, i == 1 ? SIZE : 0);
		assert_false(bsp_device_has_failed(&device.dev));
	}
}

/* A command that was interrupted is as fast as it was. */
static void an_interrupt_keeps_the_step(void **state)
{
	static const struct bsp_device_ops interrupted = {
		.punch = interrupted_punch,
	};
	struct stubborn device;
	struct bsp_device *dev = &device.dev;
	uint64_t step;

	make_device(&device, &punching, SIZE, SIZE);
	assert_int_equal(bsp_device_zero(dev, BSP_ZERO_UNMAP, 0, SIZE), 0);
	step = bsp_device_zero_step(dev, BSP_ZERO_UNMAP);
	dev->ops = &interrupted;
	assert_int_equal(bsp_device_zero(dev, BSP_ZERO_UNMAP, 0, SIZE), -EINTR);
	assert_int_equal(bsp_device_zero_step(dev, BSP_ZERO_UNMAP), step);
	pthread_mutex_destroy(&dev->through_lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_writes_go_on),
		cmocka_unit_test(a_device_that_takes_nothing_more_has_failed),
		cmocka_unit_test(
			a_way_that_was_refused_is_tried_after_a_failure_only),
		cmocka_unit_test(commands_get_whole_blocks),
		cmocka_unit_test(a_writeback_that_fails_is_an_error),
		cmocka_unit_test(a_device_that_is_gone_has_failed),
		cmocka_unit_test(a_range_that_cannot_be_read_whole_is_written),
		cmocka_unit_test(an_interrupt_is_no_failure_of_the_device),
		cmocka_unit_test(an_interrupt_keeps_the_step),
	};

	return cmocka_run_group_tests_name("zero-range", tests, NULL, NULL);
}
