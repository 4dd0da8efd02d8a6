/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lines about requests that wait for a device: one for each file and hang,
 * none for a request that is answered in time.
 */
#include "unit.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "hangs.h"
#include "log.h"

#define SECOND_NS INT64_C(1000000000)

static struct in_flight in_flight;
static char lines[4096];

void log_line(int priority, const char *format, ...)
{
	size_t used = strlen(lines);
	va_list args;

	va_start(args, format);
	(void)vsnprintf(lines + used, sizeof(lines) - used, format, args);
	va_end(args);
	strncat(lines, "\n", sizeof(lines) - strlen(lines) - 1);
}

void tree_each(const struct tree *tree, void (*fn)(struct file *, void *data),
	       void *data)
{
	for (size_t i = 0; i < tree->n_files; i++)
		fn(&tree->files[i], data);
}

static int setup(void **state)
{
	lines[0] = '\0';
	return in_flight_init(&in_flight);
}

static int teardown(void **state)
{
	in_flight_done(&in_flight);
	return 0;
}

static void assert_logs(const struct tree *tree, const char *expected)
{
	lines[0] = '\0';
	hangs_log(tree, &in_flight);
	assert_string_equal(lines, expected);
}

static struct slot *begin(uint64_t ino, int64_t seconds_ago)
{
	in_flight_came(&in_flight, in_flight_now() - seconds_ago * SECOND_NS);
	return in_flight_begin(&in_flight, ino, "read", 4096, 512);
}

static void a_hang_is_logged_once_and_its_end(void **state)
{
	struct file files[] = {
		{ .ino = 2, .path = "/dev/good" },
		{ .ino = 3, .path = "/dev/bad" },
	};
	struct tree tree = { .files = files, .n_files = 2 };
	struct slot *slot = begin(3, 40);

	assert_logs(
		&tree,
		"/dev/bad: read at byte 4096 has waited 40 seconds for the device (waiting requests: 1); see the kernel's log (dmesg), and blksparse stat\n");
	assert_logs(&tree, "");
	in_flight_end(slot);
	assert_logs(&tree, "/dev/bad: it answers again\n");
	assert_logs(&tree, "");
	slot = begin(2, 31);
	hangs_log(&tree, &in_flight);
	assert_non_null(strstr(lines, "/dev/good: read at byte 4096"));
	in_flight_end(slot);
}

static void a_request_in_time_is_not_logged(void **state)
{
	struct file files[] = { { .ino = 2, .path = "/dev/slow" } };
	struct tree tree = { .files = files, .n_files = 1 };
	struct slot *slot = begin(2, 20);

	assert_logs(&tree, "");
	in_flight_end(slot);
	assert_logs(&tree, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_hang_is_logged_once_and_its_end, setup, teardown),
		cmocka_unit_test_setup_teardown(a_request_in_time_is_not_logged,
						setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
