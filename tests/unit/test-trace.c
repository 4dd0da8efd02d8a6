/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lines of a trace. A process reads the environment once, so each test runs
 * its body in a child, whose standard error is a file, a pipe or closed.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/trace.h"
#include "device/device.h"

static char path[] = "/tmp/test-trace-XXXXXX";

/* Runs body in a child with value as BLKSPARSE_TRACE (NULL: unset) and fd as
 * standard error; returns the child's exit status. */
static int in_child(const char *value, int fd, int (*body)(void))
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		if (value)
			setenv("BLKSPARSE_TRACE", value, 1);
		else
			unsetenv("BLKSPARSE_TRACE");
		if (fd < 0)
			close(STDERR_FILENO);
		else
			dup2(fd, STDERR_FILENO);
		bsp_trace_init();
		_exit(body());
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int new_file(void)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC,
		      0600);

	assert_true(fd >= 0);
	return fd;
}

static off_t size_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_size;
}

static int trace_one(void)
{
	uint64_t started = bsp_trace_start();

	errno = ENOTTY;
	bsp_trace_end(started, "device.read", "/dev/a disk", 65536, 4096, -EIO);
	return errno != ENOTTY;
}

static void a_line_has_all_of_an_operation(void **state)
{
	int fd = new_file();
	char line[256] = "", expected[256];
	char *us;

	assert_int_equal(in_child("1", fd, trace_one), 0);
	assert_true(pread(fd, line, sizeof(line) - 1, 0) > 0);
	us = strstr(line, "us=");
	assert_non_null(us);
	(void)snprintf(expected, sizeof(expected),
		       "trace: device.read off=65536 len=4096 result=%d "
		       "us=%" PRIu64 " path=/dev/a disk\n",
		       -EIO, (uint64_t)strtoull(us + 3, NULL, 10));
	assert_string_equal(line, expected);
	close(fd);
}

static void other_values_write_nothing(void **state)
{
	static const char *const values[] = { NULL, "", "0", "yes" };
	int fd = new_file();

	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++)
		assert_int_equal(in_child(values[i], fd, trace_one), 0);
	assert_int_equal(size_of(fd), 0);
	close(fd);
}

/* Opens the file, as a program would a disk, and gets descriptor 2 for it. */
static int trace_into_reused_descriptor(void)
{
	int fd;

	close(STDERR_FILENO);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd != STDERR_FILENO || trace_one();
}

static void a_file_that_took_descriptor_2_gets_no_line(void **state)
{
	int fd = new_file(), null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	/* Standard error is closed before the trace begins, and after it. */
	assert_int_equal(in_child("1", -1, trace_into_reused_descriptor), 0);
	assert_int_equal(in_child("1", null, trace_into_reused_descriptor), 0);
	assert_int_equal(size_of(fd), 0);
	close(null);
	close(fd);
}

enum { THREADS = 4, LINES = 500 };

static void *trace_many(void *data)
{
	for (unsigned i = 0; i < LINES; i++)
		bsp_trace_end(bsp_trace_start(), "sparse.read", "/dev/disk", i,
			      1, 1);
	return NULL;
}

static int trace_from_threads(void)
{
	pthread_t threads[THREADS];

	for (unsigned i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, trace_many, NULL))
			return 1;
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

static void lines_of_threads_do_not_mix(void **state)
{
	int fd = new_file();
	unsigned seen[LINES] = { 0 };
	char line[256];
	FILE *file;

	assert_int_equal(in_child("1", fd, trace_from_threads), 0);
	file = fdopen(fd, "r");
	assert_non_null(file);
	rewind(file);
	while (fgets(line, sizeof(line), file)) {
		unsigned off;
		int end = 0;

		(void)sscanf(line,
			     "trace: sparse.read off=%u len=1 result=1 us=%*u "
			     "path=/dev/disk%n",
			     &off, &end);
		assert_true(end > 0);
		assert_string_equal(line + end, "\n");
		assert_true(off < LINES);
		seen[off]++;
	}
	for (unsigned i = 0; i < LINES; i++)
		assert_int_equal(seen[i], THREADS);
	(void)fclose(file);
}

/* A path may be longer than a line. */
static int trace_long_path(void)
{
	char name[4000];

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	bsp_trace_end(bsp_trace_start(), "sparse.fallocate", name, UINT64_MAX,
		      UINT64_MAX, INT64_MIN);
	return 0;
}

static void a_long_path_is_cut(void **state)
{
	int fd = new_file();
	char line[2048] = "";

	assert_int_equal(in_child("1", fd, trace_long_path), 0);
	assert_true(pread(fd, line, sizeof(line) - 1, 0) > 0);
	assert_int_equal(line[strlen(line) - 1], '\n');
	assert_non_null(strstr(line, "path=xxx"));
	close(fd);
}

/* --- The operations of a device --- */

/* The operation of the kind that was called last. */
static const char *called;

static int note(const char *operation, uint64_t off, uint64_t len)
{
	called = operation;
	return (int)(off + len);
}

static ssize_t kind_read(struct bsp_device *dev, uint64_t off, void *buf,
			 size_t len)
{
	return note("read", off, len);
}

static ssize_t kind_read_through(struct bsp_device *dev, uint64_t off,
				 void *buf, size_t len)
{
	return note("read-through", off, len);
}

static ssize_t kind_write(struct bsp_device *dev, uint64_t off, const void *buf,
			  size_t len)
{
	return note("write", off, len);
}

static ssize_t kind_write_through(struct bsp_device *dev, uint64_t off,
				  const void *buf, size_t len)
{
	return note("write-through", off, len);
}

static int kind_wait_written(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return note("wait-written", off, len);
}

static int kind_punch(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return note("punch", off, len);
}

static int kind_zero_out(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return note("zero-out", off, len);
}

static int kind_unmap(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return note("unmap", off, len);
}

static int kind_discard(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return note("discard", off, len);
}

static void kind_write_back(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	(void)note("write-back", off, len);
}

static int kind_flush(struct bsp_device *dev)
{
	return note("flush", 0, 0);
}

static int kind_resize(struct bsp_device *dev, uint64_t size)
{
	return note("resize", size, 0);
}

static int kind_drop_pages(struct bsp_device *dev, uint64_t from)
{
	return note("drop-pages", from, 0);
}

static void kind_close(struct bsp_device *dev)
{
	called = "close";
}

static const struct bsp_device_ops kind = {
	.read = kind_read,
	.read_through = kind_read_through,
	.write = kind_write,
	.write_through = kind_write_through,
	.wait_written = kind_wait_written,
	.punch = kind_punch,
	.zero_out = kind_zero_out,
	.unmap = kind_unmap,
	.discard = kind_discard,
	.write_back = kind_write_back,
	.flush = kind_flush,
	.resize = kind_resize,
	.drop_pages = kind_drop_pages,
	.close = kind_close,
};

/* The operations in the order in which the child calls them. */
static const char *const operations[] = {
	"read",	  "read-through", "write", "write-through", "wait-written",
	"punch",  "zero-out",	  "unmap", "discard",	    "write-back",
	"resize", "drop-pages",	  "flush",
};

/* Calls operation i of the range [64, 64 + 8). Returns its result. */
static ssize_t call(struct bsp_device *dev, unsigned i)
{
	const struct bsp_device_ops *ops = dev->ops;
	char buf[8];

	switch (i) {
	case 0:
		return ops->read(dev, 64, buf, 8);
	case 1:
		return ops->read_through(dev, 64, buf, 8);
	case 2:
		return ops->write(dev, 64, buf, 8);
	case 3:
		return ops->write_through(dev, 64, buf, 8);
	case 4:
		return ops->wait_written(dev, 64, 8);
	case 5:
		return ops->punch(dev, 64, 8);
	case 6:
		return ops->zero_out(dev, 64, 8);
	case 7:
		return ops->unmap(dev, 64, 8);
	case 8:
		return ops->discard(dev, 64, 8);
	case 9:
		ops->write_back(dev, 64, 8);
		return 72;
	case 10:
		return ops->resize(dev, 72);
	case 11:
		return ops->drop_pages(dev, 72);
	default:
		return 72 + ops->flush(dev);
	}
}

/* Returns 0, or the number of the first operation that went wrong. */
static int trace_operations(void)
{
	struct bsp_device dev = { .ops = &kind, .path = path };

	bsp_device_trace(&dev);
	if (dev.ops == &kind || dev.ops->known || dev.ops->content)
		return 100; /* not traced, or with what the kind lacks */
	for (unsigned i = 0; i < G_N_ELEMENTS(operations); i++) {
		if (call(&dev, i) != 72 || strcmp(called, operations[i]) != 0)
			return 1 + (int)i;
	}
	dev.ops->close(&dev);
	return strcmp(called, "close") != 0;
}

static void each_operation_is_passed_on_under_its_name(void **state)
{
	int fd = new_file();
	char line[256];
	FILE *file;

	assert_int_equal(in_child("1", fd, trace_operations), 0);
	file = fdopen(fd, "r");
	assert_non_null(file);
	rewind(file);
	for (unsigned i = 0; i < G_N_ELEMENTS(operations); i++) {
		g_autofree char *start =
			g_strdup_printf("trace: device.%s off=", operations[i]);

		assert_non_null(fgets(line, sizeof(line), file));
		assert_true(g_str_has_prefix(line, start));
	}
	assert_null(fgets(line, sizeof(line), file));
	(void)fclose(file);
}

static int make_path(void **state)
{
	int fd = mkstemp(path);

	return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_has_all_of_an_operation),
		cmocka_unit_test(other_values_write_nothing),
		cmocka_unit_test(a_file_that_took_descriptor_2_gets_no_line),
		cmocka_unit_test(lines_of_threads_do_not_mix),
		cmocka_unit_test(a_long_path_is_cut),
		cmocka_unit_test(each_operation_is_passed_on_under_its_name),
	};

	return cmocka_run_group_tests_name("trace", tests, make_path,
					   remove_path);
}
