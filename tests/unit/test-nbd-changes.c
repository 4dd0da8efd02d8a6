/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changes that a server knows (device/nbd-changes.h), with a server that
 * answers as it likes.
 */
#include "unit.h"

#include <string.h>

#include "blksparse.h"
#include "device/nbd-changes.h"
#include "nbd-server.h"

enum { DIRTY = 1, MIB = 1 << 20 };

#define CONTEXT "qemu:dirty-bitmap:one"

struct fixture {
	struct nbd_server *server;
	struct bsp_nbd_pool *pool;
	struct bsp_changes *changes;
	GError *error;
};

static struct fixture set_up(uint64_t size, nbd_extents_fn answer)
{
	const struct nbd_export export = {
		.size = size,
		.flags = NBD_ALL | NBD_READ_ONLY,
		.context = CONTEXT,
	};
	struct fixture f = { .server = nbd_server_new(&export) };

	nbd_server_extents(f.server, answer, NULL);
	f.pool = bsp_nbd_pool_new(nbd_server_uri(f.server), false, CONTEXT,
				  NULL);
	assert_non_null(f.pool);
	f.changes = bsp_changes_new(size);
	assert_non_null(f.changes);
	return f;
}

static void tear_down(struct fixture *f)
{
	bsp_changes_free(f->changes);
	bsp_nbd_pool_free(f->pool);
	nbd_server_free(f->server);
	g_clear_error(&f->error);
}

static bool read_changes(struct fixture *f)
{
	return bsp_nbd_changes_read(f->pool, f->changes, &f->error);
}

static void assert_fails(struct fixture *f, const char *message)
{
	assert_false(read_changes(f));
	assert_true(g_error_matches(f->error, BSP_ERROR, BSP_ERROR_FAILED));
	if (!strstr(f->error->message, message))
		fail_msg("%s", f->error->message);
	tear_down(f);
}

/* Every other MiB is dirty. Other bits mean nothing. The questions here go up
 * to the end of the export. */
static size_t every_other(void *data, const struct nbd_command *command,
			  uint32_t *entries, size_t max)
{
	uint64_t mib = command->off / MIB;
	uint64_t first = MIN(MIB - command->off % MIB, command->len);
	uint64_t second = MIN(MIB, command->len - first);

	entries[0] = (uint32_t)first;
	entries[1] = mib % 2 ? DIRTY : 2;
	entries[2] = (uint32_t)second;
	entries[3] = mib % 2 ? 6 : DIRTY | 4;
	return second ? 2 : 1;
}

static void changes_are_those_of_the_bitmap(void **state)
{
	struct fixture f = set_up(9 * MIB + 512, every_other);
	uint64_t off, end = 0;

	assert_true(read_changes(&f));
	for (uint64_t mib = 1; mib < 9; mib += 2) {
		assert_true(bsp_changes_find(f.changes, end, 4096, &off, &end));
		assert_int_equal(off, mib * MIB);
		assert_int_equal(end, (mib + 1) * MIB);
	}
	assert_true(bsp_changes_find(f.changes, end, 4096, &off, &end));
	assert_int_equal(off, 9 * MIB);
	assert_int_equal(end, 9 * MIB + 512);
	assert_true(bsp_changes_check(f.changes, &f.error));
	tear_down(&f);
}

/* The answer goes beyond the question, and beyond the export. */
static size_t endless(void *data, const struct nbd_command *command,
		      uint32_t *entries, size_t max)
{
	entries[0] = UINT32_MAX;
	entries[1] = DIRTY;
	return 1;
}

/* libnbd 1.24 leaves it out, so that nothing is left of the answer. */
static void an_answer_beyond_the_export_is_cut_or_an_error(void **state)
{
	struct fixture f = set_up(3 * MIB, endless);

	if (!read_changes(&f)) {
		assert_non_null(strstr(f.error->message, "makes no sense"));
	} else {
		assert_int_equal(bsp_changes_bytes(f.changes), 3 * MIB);
	}
	tear_down(&f);
}

static size_t empty_run(void *data, const struct nbd_command *command,
			uint32_t *entries, size_t max)
{
	entries[0] = 0;
	entries[1] = DIRTY;
	entries[2] = 4096;
	entries[3] = DIRTY;
	return 2;
}

static size_t no_answer(void *data, const struct nbd_command *command,
			uint32_t *entries, size_t max)
{
	return 0;
}

static void answers_without_sense_are_errors(void **state)
{
	struct fixture f = set_up(3 * MIB, empty_run);

	assert_fails(&f, "makes no sense");
	f = set_up(3 * MIB, no_answer);
	assert_fails(&f, "makes no sense");
}

static int fail_status(void *data, const struct nbd_command *command)
{
	return command->type == NBD_STATUS ? NBD_FAIL + NBD_EIO : NBD_SERVE;
}

static int drop_status(void *data, const struct nbd_command *command)
{
	return command->type == NBD_STATUS ? NBD_DROP : NBD_SERVE;
}

static void an_error_of_the_server_is_passed_on(void **state)
{
	struct fixture f = set_up(3 * MIB, every_other);

	nbd_server_script(f.server, fail_status, NULL);
	assert_fails(&f, "Input/output error");
	f = set_up(3 * MIB, every_other);
	nbd_server_script(f.server, drop_status, NULL);
	assert_fails(&f, "Input/output error");
}

static void an_export_without_the_bitmap_is_refused(void **state)
{
	struct fixture f = set_up(MIB, every_other);

	bsp_nbd_pool_free(f.pool);
	f.pool = bsp_nbd_pool_new(nbd_server_uri(f.server), false,
				  "qemu:dirty-bitmap:two", NULL);
	assert_fails(&f, "no such bitmap");
	f = set_up(MIB, every_other);
	bsp_nbd_pool_free(f.pool);
	f.pool = bsp_nbd_pool_new(nbd_server_uri(f.server), false, NULL, NULL);
	assert_fails(&f, "no such bitmap");
}

static void an_export_that_can_be_written_is_refused(void **state)
{
	const struct nbd_export export = { .size = MIB,
					   .flags = NBD_ALL,
					   .context = CONTEXT };
	struct fixture f = { .server = nbd_server_new(&export) };

	f.pool = bsp_nbd_pool_new(nbd_server_uri(f.server), false, CONTEXT,
				  NULL);
	f.changes = bsp_changes_new(MIB);
	assert_fails(&f, "read-only");
}

static void another_size_is_refused(void **state)
{
	struct fixture f = set_up(MIB, every_other);

	bsp_changes_free(f.changes);
	f.changes = bsp_changes_new(2 * MIB);
	assert_fails(&f, "size");
}

static void a_lost_connection_ends_the_changes(void **state)
{
	struct fixture f = set_up(3 * MIB, every_other);
	struct bsp_nbd_state before;

	assert_true(read_changes(&f));
	bsp_nbd_pool_get_state(f.pool, &before);
	nbd_server_drop(f.server);
	while (bsp_changes_check(f.changes, NULL))
		;
	assert_false(bsp_changes_check(f.changes, &f.error));
	assert_non_null(strstr(f.error->message, "was lost"));
	/* Another connection does not bring them back. */
	bsp_nbd_pool_reconnect(f.pool, before.generation + 1);
	assert_false(bsp_changes_check(f.changes, NULL));
	tear_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(changes_are_those_of_the_bitmap),
		cmocka_unit_test(
			an_answer_beyond_the_export_is_cut_or_an_error),
		cmocka_unit_test(answers_without_sense_are_errors),
		cmocka_unit_test(an_error_of_the_server_is_passed_on),
		cmocka_unit_test(an_export_without_the_bitmap_is_refused),
		cmocka_unit_test(an_export_that_can_be_written_is_refused),
		cmocka_unit_test(another_size_is_refused),
		cmocka_unit_test(a_lost_connection_ends_the_changes),
	};

	return cmocka_run_group_tests_name("nbd-changes", tests, NULL, NULL);
}
