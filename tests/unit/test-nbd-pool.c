/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The connections to one export (device/nbd-pool.h), with a server of the
 * tests' own.
 */
#include "unit.h"

#include <errno.h>
#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "blksparse-thread.h"
#include "device/nbd-pool.h"
#include "nbd-server.h"

enum { KIB = 1024, SIZE = 1 << 20, LEN = 4096, WAIT_S = 10 };

static const struct nbd_export plain = { .size = SIZE, .flags = NBD_ALL };

/* --- Helpers --- */

/* A request by a thread of its own. */
struct task {
	struct bsp_nbd_pool *pool;
	enum bsp_nbd_command command;
	unsigned flags;
	uint64_t off, len;
	char buf[LEN];
	bool interruptible;
	atomic_bool interrupted;
	atomic_bool done;
	int r;
	pthread_t thread;
};

struct fixture {
	struct nbd_server *server;
	struct bsp_nbd_pool *pool;
};

/* The action of the script for each type of command. */
static int actions[NBD_TYPES];

static int act(void *data, const struct nbd_command *command)
{
	return actions[command->type];
}

static void set_up_with(struct fixture *f, const struct nbd_export *export)
{
	g_autoptr(GError) error = NULL;

	memset(actions, 0, sizeof(actions));
	f->server = nbd_server_new(export);
	nbd_server_script(f->server, act, NULL);
	f->pool = bsp_nbd_pool_new(nbd_server_uri(f->server), false, NULL,
				   &error);
	if (error)
		fail_msg("%s", error->message);
}

/* The same, with a pool that writes; the server has seen another one before. */
static void set_up_writer_to(struct fixture *f, const struct nbd_export *export)
{
	set_up_with(f, export);
	bsp_nbd_pool_free(f->pool);
	f->pool = bsp_nbd_pool_new(nbd_server_uri(f->server), true, NULL, NULL);
	assert_non_null(f->pool);
}

static void set_up_writer(struct fixture *f)
{
	set_up_writer_to(f, &plain);
}

static void tear_down(struct fixture *f)
{
	bsp_nbd_pool_free(f->pool);
	nbd_server_free(f->server);
}

static bool is_set(void *data)
{
	return atomic_load((atomic_bool *)data);
}

static void *run_task(void *data)
{
	struct task *task = data;

	if (task->interruptible)
		bsp_interrupt_set(is_set, &task->interrupted);
	task->r = bsp_nbd_pool_run(
		task->pool, task->command, task->flags, task->off,
		task->command == BSP_NBD_READ || task->command == BSP_NBD_WRITE
			? task->buf
			: NULL,
		task->len);
	atomic_store(&task->done, true);
	return NULL;
}

static void start(struct task *task, struct bsp_nbd_pool *pool,
		  enum bsp_nbd_command command, uint64_t off)
{
	task->pool = pool;
	task->command = command;
	task->off = off;
	task->len = command == BSP_NBD_FLUSH ? 0 : LEN;
	assert_int_equal(bsp_thread_start(&task->thread, run_task, task), 0);
}

static int result(struct task *task)
{
	assert_int_equal(pthread_join(task->thread, NULL), 0);
	return task->r;
}

static int interrupt(struct task *task)
{
	atomic_store(&task->interrupted, true);
	return result(task);
}

static int run(struct bsp_nbd_pool *pool, enum bsp_nbd_command command,
	       uint64_t off, char fill)
{
	char buf[LEN];

	memset(buf, fill, LEN);
	return bsp_nbd_pool_run(
		pool, command, 0, off,
		command == BSP_NBD_READ || command == BSP_NBD_WRITE ? buf
								    : NULL,
		command == BSP_NBD_FLUSH ? 0 : LEN);
}

static int read_byte(struct bsp_nbd_pool *pool, uint64_t off)
{
	unsigned char buf[LEN];
	int r = bsp_nbd_pool_run(pool, BSP_NBD_READ, 0, off, buf, LEN);

	return r ? r : buf[0];
}

/* A read that no connection for small reads is for. */
static int read_long(struct bsp_nbd_pool *pool)
{
	g_autofree char *buf = g_malloc(128 * KIB);

	return bsp_nbd_pool_run(pool, BSP_NBD_READ, 0, 512 * KIB, buf,
				128 * KIB);
}

static struct bsp_nbd_state state_of(struct bsp_nbd_pool *pool)
{
	struct bsp_nbd_state state;

	bsp_nbd_pool_get_state(pool, &state);
	return state;
}

/* Waits until the pool knows that a connection died. */
static struct bsp_nbd_state state_after_death(struct bsp_nbd_pool *pool)
{
	gint64 limit = g_get_monotonic_time() + WAIT_S * G_USEC_PER_SEC;

	while (state_of(pool).connected && g_get_monotonic_time() < limit)
		g_usleep(1000);
	return state_of(pool);
}

/* --- Connections --- */

/* Six reads in flight have the server see so many connections. */
static void six_reads_get(struct fixture *f, unsigned least, unsigned most)
{
	struct task tasks[6] = { 0 };

	actions[NBD_READ] = NBD_HOLD;
	for (unsigned i = 0; i < 6; i++) {
		start(&tasks[i], f->pool, BSP_NBD_READ, i * LEN);
		assert_true(nbd_server_wait_held(f->server, i + 1));
	}
	assert_int_in_range(nbd_server_connections(f->server), least, most);
	nbd_server_release(f->server, true);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(result(&tasks[i]), 0);
}

static void requests_in_flight_get_further_connections(void **state)
{
	struct fixture f;

	set_up_with(&f, &plain);
	six_reads_get(&f, 2, 4);
	tear_down(&f);
}

/* A second one would not make writes to a server on this host faster. */
static void a_writer_gets_a_second_connection_when_it_reads(void **state)
{
	enum { BEFORE = 1 };
	struct task tasks[6] = { 0 };
	struct fixture f;

	set_up_writer(&f);
	actions[NBD_WRITE] = actions[NBD_READ] = NBD_HOLD;
	for (unsigned i = 0; i < 6; i++) {
		bool checks = i % 2;

		tasks[i].flags = checks ? BSP_NBD_CHECK : 0;
		start(&tasks[i], f.pool, checks ? BSP_NBD_READ : BSP_NBD_WRITE,
		      i * LEN);
		assert_true(nbd_server_wait_held(f.server, i + 1));
	}
	assert_int_equal(nbd_server_connections(f.server), BEFORE + 1);
	nbd_server_release(f.server, true);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(result(&tasks[i]), 0);
	six_reads_get(&f, BEFORE + 2, BEFORE + 2);
	tear_down(&f);
}

/* Holds n writes in flight, and returns how many connections they are on. */
static unsigned connections_of_writes(struct fixture *f, unsigned n)
{
	g_autofree struct task *tasks = g_new0(struct task, n);
	unsigned before = nbd_server_connections(f->server);

	actions[NBD_WRITE] = NBD_HOLD;
	for (unsigned i = 0; i < n; i++) {
		start(&tasks[i], f->pool, BSP_NBD_WRITE, i * LEN);
		assert_true(nbd_server_wait_held(f->server, i + 1));
	}
	nbd_server_release(f->server, true);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(result(&tasks[i]), 0);
	return 1 + nbd_server_connections(f->server) - before;
}

static void many_writes_get_a_second_connection(void **state)
{
	struct fixture f;

	set_up_writer(&f);
	assert_int_equal(connections_of_writes(&f, 8), 1);
	assert_int_equal(connections_of_writes(&f, 20), 2);
	tear_down(&f);
}

/* The connections that flushes went over, since the log was cleared. */
static unsigned flushed_connections(struct fixture *f)
{
	unsigned n = nbd_server_count(f->server, NBD_FLUSH), seen = 0;

	for (unsigned i = 0; i < n; i++)
		seen |= 1U << nbd_server_command(f->server, NBD_FLUSH, i)
				      .connection;
	nbd_server_clear(f->server);
	return (unsigned)__builtin_popcount(seen);
}

/* Behind one, another server may have taken over the address. */
static void each_connection_with_writes_is_flushed(void **state)
{
	struct fixture f;

	set_up_writer(&f);
	assert_int_equal(run(f.pool, BSP_NBD_FLUSH, 0, 0), 0);
	assert_int_equal(flushed_connections(&f), 1);
	assert_int_equal(connections_of_writes(&f, 20), 2);
	actions[NBD_FLUSH] = NBD_FAIL + NBD_EIO;
	assert_int_equal(run(f.pool, BSP_NBD_FLUSH, 0, 0), -EIO);
	actions[NBD_FLUSH] = NBD_SERVE;
	nbd_server_clear(f.server);
	assert_int_equal(run(f.pool, BSP_NBD_FLUSH, 0, 0), 0);
	assert_int_equal(flushed_connections(&f), 2);
	assert_int_equal(run(f.pool, BSP_NBD_FLUSH, 0, 0), 0);
	assert_int_equal(flushed_connections(&f), 1);
	tear_down(&f);
}

/* A write that ends after a flush is not flushed. */
static void connections_with_writes_in_flight_are_flushed_again(void **state)
{
	enum { N = 20 };
	g_autofree struct task *tasks = g_new0(struct task, N);
	struct fixture f;

	set_up_writer(&f);
	actions[NBD_WRITE] = NBD_HOLD;
	for (unsigned i = 0; i < N; i++) {
		start(&tasks[i], f.pool, BSP_NBD_WRITE, i * LEN);
		assert_true(nbd_server_wait_held(f.server, i + 1));
	}
	assert_int_equal(run(f.pool, BSP_NBD_FLUSH, 0, 0), 0);
	assert_int_equal(flushed_connections(&f), 2);
	nbd_server_release(f.server, false);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(result(&tasks[i]), 0);
	assert_int_equal(run(f.pool, BSP_NBD_FLUSH, 0, 0), 0);
	assert_int_equal(flushed_connections(&f), 2);
	assert_int_equal(run(f.pool, BSP_NBD_FLUSH, 0, 0), 0);
	assert_int_equal(flushed_connections(&f), 1);
	tear_down(&f);
}

static void writes_over_tcp_get_two_connections(void **state)
{
	struct nbd_export export = plain;
	struct fixture f;

	export.tcp = true;
	set_up_writer_to(&f, &export);
	assert_int_equal(connections_of_writes(&f, 2), 2);
	tear_down(&f);
}

static void writes_do_not_wait_behind_a_queue(void **state)
{
	struct bsp_nbd_conn *conn;
	struct fixture f;

	set_up_writer(&f);
	assert_int_equal(bsp_nbd_pool_get(f.pool, true, &conn), 0);
	assert_int_equal(connections_of_writes(&f, 2), 2);
	bsp_nbd_pool_put(f.pool, true, conn);
	tear_down(&f);
}

static void writes_do_not_wait_behind_one_that_hangs(void **state)
{
	enum { BEFORE = 1 };
	struct task hung = { .interruptible = true };
	struct fixture f;

	set_up_writer(&f);
	actions[NBD_WRITE] = NBD_HOLD;
	start(&hung, f.pool, BSP_NBD_WRITE, 0);
	assert_true(nbd_server_wait_held(f.server, 1));
	assert_int_equal(interrupt(&hung), -EINTR);
	actions[NBD_WRITE] = NBD_SERVE;
	assert_int_equal(run(f.pool, BSP_NBD_WRITE, LEN, 'x'), 0);
	assert_int_equal(nbd_server_connections(f.server), BEFORE + 2);
	nbd_server_release(f.server, false);
	tear_down(&f);
}

static void a_server_without_multi_conn_gets_one_connection(void **state)
{
	struct nbd_export export = plain;
	struct fixture f;
	struct task tasks[3] = { 0 };

	export.flags &= ~(unsigned)NBD_MULTI_CONN;
	set_up_with(&f, &export);
	actions[NBD_READ] = NBD_HOLD;
	for (unsigned i = 0; i < 3; i++)
		start(&tasks[i], f.pool, BSP_NBD_READ, i * LEN);
	assert_true(nbd_server_wait_held(f.server, 3));
	nbd_server_release(f.server, true);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(result(&tasks[i]), 0);
	assert_int_equal(nbd_server_connections(f.server), 1);
	tear_down(&f);
}

static void replies_out_of_order_find_their_requests(void **state)
{
	struct nbd_export export = plain;
	struct fixture f;
	struct task tasks[4] = { 0 };

	export.flags &= ~(unsigned)NBD_MULTI_CONN;
	set_up_with(&f, &export);
	for (int i = 0; i < 4; i++)
		assert_int_equal(run(f.pool, BSP_NBD_WRITE, (uint64_t)i * LEN,
				     (char)(i + 1)),
				 0);
	actions[NBD_READ] = NBD_HOLD;
	for (unsigned i = 0; i < 4; i++) {
		start(&tasks[i], f.pool, BSP_NBD_READ, i * LEN);
		assert_true(nbd_server_wait_held(f.server, i + 1));
	}
	nbd_server_release(f.server, true);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(result(&tasks[i]), 0);
		assert_int_equal(tasks[i].buf[LEN - 1], i + 1);
	}
	tear_down(&f);
}

static void long_requests_are_split(void **state)
{
	const struct nbd_export export = { .size = SIZE,
					   .flags = NBD_ALL,
					   .block_min = 512,
					   .block_max = 64 * KIB };
	g_autofree char *buf = g_malloc(300 * KIB);
	g_autofree char *back = g_malloc(300 * KIB);
	struct fixture f;

	for (int i = 0; i < 300 * KIB; i++)
		buf[i] = (char)(i / 1000);
	set_up_with(&f, &export);
	assert_int_equal(
		bsp_nbd_pool_run(f.pool, BSP_NBD_WRITE, 0, 512, buf, 300 * KIB),
		0);
	assert_int_equal(
		bsp_nbd_pool_run(f.pool, BSP_NBD_READ, 0, 512, back, 300 * KIB),
		0);
	assert_memory_equal(buf, back, 300 * KIB);
	assert_int_equal(nbd_server_count(f.server, NBD_WRITE), 5);
	assert_int_equal(nbd_server_count(f.server, NBD_READ), 5);
	assert_int_equal(nbd_server_command(f.server, NBD_WRITE, 4).len,
			 44 * KIB);
	tear_down(&f);
}

/* A thread that can be interrupted has memory of its own for requests, and uses
 * it again. */
static void requests_of_other_lengths_use_the_same_memory(void **state)
{
	static const size_t lens[] = { 512,	   300 * KIB,  4 * KIB,
				       2048 * KIB, 1024 * KIB, 100 * KIB,
				       2048 * KIB, 512 };
	const struct nbd_export export = { .size = 4096 * KIB,
					   .flags = NBD_ALL };
	g_autofree unsigned char *buf = g_malloc(2048 * KIB);
	g_autofree unsigned char *back = g_malloc(2048 * KIB);
	atomic_bool never = false;
	struct fixture f;

	set_up_with(&f, &export);
	bsp_interrupt_set(is_set, &never);
	for (unsigned i = 0; i < G_N_ELEMENTS(lens); i++) {
		uint64_t off = 512 * i;

		for (size_t at = 0; at < lens[i]; at++)
			buf[at] = (unsigned char)(at / 100 + i);
		assert_int_equal(bsp_nbd_pool_run(f.pool, BSP_NBD_WRITE, 0, off,
						  buf, lens[i]),
				 0);
		nbd_server_get(f.server, off, back, lens[i]);
		assert_memory_equal(back, buf, lens[i]);
		memset(back, 0, lens[i]);
		assert_int_equal(run(f.pool, BSP_NBD_FLUSH, 0, 0), 0);
		assert_int_equal(bsp_nbd_pool_run(f.pool, BSP_NBD_READ, 0, off,
						  back, lens[i]),
				 0);
		assert_memory_equal(back, buf, lens[i]);
	}
	bsp_interrupt_set(NULL, NULL);
	tear_down(&f);
}

static void one_failed_part_fails_the_request(void **state)
{
	const struct nbd_export export = { .size = SIZE,
					   .flags = NBD_ALL,
					   .block_min = 512,
					   .block_max = 64 * KIB };
	g_autofree char *buf = g_malloc0(300 * KIB);
	struct fixture f;

	set_up_with(&f, &export);
	actions[NBD_WRITE] = NBD_FAIL + NBD_ENOSPC;
	assert_int_equal(
		bsp_nbd_pool_run(f.pool, BSP_NBD_WRITE, 0, 0, buf, 300 * KIB),
		-ENOSPC);
	/* The connection lives on. */
	assert_int_equal(read_byte(f.pool, 0), 0);
	assert_int_equal(state_of(f.pool).generation, 1);
	tear_down(&f);
}

/* A server may say that it has read, without any byte, or without some. */
static void a_read_without_all_of_its_data_fails(void **state)
{
	struct nbd_export export = plain;

	for (int simple = 0; simple < 2; simple++) {
		struct fixture f;

		export.simple = simple;
		set_up_with(&f, &export);
		assert_int_equal(run(f.pool, BSP_NBD_WRITE, 0, 'x'), 0);
		assert_int_equal(read_byte(f.pool, 0), 'x');
		if (!simple) {
			actions[NBD_READ] = NBD_WITHOUT_DATA;
			assert_int_equal(read_byte(f.pool, 0), -EIO);
			actions[NBD_READ] = NBD_HALF;
			assert_int_equal(read_byte(f.pool, 0), -EIO);
			actions[NBD_READ] = NBD_SERVE;
			assert_int_equal(read_byte(f.pool, 0), 'x');
		}
		tear_down(&f);
	}
}

/* Of reads that are not to be fragmented, it refuses the long ones. */
static int refuse_long(void *data, const struct nbd_command *command)
{
	bool *always = data;

	return *always || (command->flags & NBD_DF && command->len > LEN)
		       ? NBD_FAIL + NBD_EOVERFLOW
		       : NBD_SERVE;
}

/* QEMU ends the connection if a read fails that it may fragment. */
static void reads_come_in_one_piece_if_the_server_can(void **state)
{
	g_autofree char *buf = g_malloc(128 * KIB);
	struct nbd_export export = plain;
	bool always = false;
	struct fixture f;

	set_up_with(&f, &plain);
	assert_int_equal(read_byte(f.pool, 0), 0);
	assert_int_equal(nbd_server_command(f.server, NBD_READ, 0).flags, 0);
	tear_down(&f);

	export.flags |= NBD_CAN_DF;
	set_up_with(&f, &export);
	nbd_server_script(f.server, refuse_long, &always);
	nbd_server_set(f.server, 0, "x", 1);
	nbd_server_set(f.server, 128 * KIB - 1, "y", 1);
	assert_int_equal(read_byte(f.pool, 0), 'x');
	assert_int_equal(nbd_server_command(f.server, NBD_READ, 0).flags,
			 NBD_DF);
	assert_int_equal(
		bsp_nbd_pool_run(f.pool, BSP_NBD_READ, 0, 0, buf, 128 * KIB),
		0);
	assert_int_equal(buf[0], 'x');
	assert_int_equal(buf[128 * KIB - 1], 'y');
	assert_int_equal(nbd_server_count(f.server, NBD_READ), 3);
	assert_int_equal(nbd_server_command(f.server, NBD_READ, 2).flags, 0);
	/* It is not asked a second time, but for short reads. */
	assert_int_equal(
		bsp_nbd_pool_run(f.pool, BSP_NBD_READ, 0, 0, buf, 128 * KIB),
		0);
	assert_int_equal(nbd_server_count(f.server, NBD_READ), 4);
	assert_int_equal(read_byte(f.pool, 0), 'x');
	assert_int_equal(nbd_server_command(f.server, NBD_READ, 4).flags,
			 NBD_DF);
	always = true;
	assert_int_equal(read_byte(f.pool, 0), -EIO);
	assert_int_equal(nbd_server_count(f.server, NBD_READ), 7);
	tear_down(&f);
}

/* --- Connections with simple replies --- */

enum { MANY = 100 };

/* Reads one small piece after another. */
static void read_many(struct fixture *f)
{
	for (uint64_t i = 0; i < MANY; i++)
		assert_int_equal(read_byte(f->pool, i * LEN), 0);
}

static struct nbd_command last_read(struct fixture *f)
{
	return nbd_server_command(f->server, NBD_READ,
				  nbd_server_count(f->server, NBD_READ) - 1);
}

/* Many small reads stay on the only connection that is of use. */
static void reads_stay_on_the_first(struct fixture *f, unsigned tried)
{
	read_many(f);
	assert_int_equal(last_read(f).connection, 1);
	assert_int_equal(nbd_server_connections(f->server), tried);
	assert_int_equal(state_of(f->pool).generation, 1);
}

static void small_reads_get_a_connection_with_simple_replies(void **state)
{
	g_autofree char *buf = g_malloc(128 * KIB);
	struct bsp_nbd_conn *conn;
	struct fixture f;

	set_up_with(&f, &plain);
	nbd_server_set(f.server, 5 * LEN, "y", 1);
	assert_int_equal(read_byte(f.pool, 0), 0);
	assert_int_equal(nbd_server_connections(f.server), 1);
	read_byte(f.pool, 0);
	for (uint64_t i = 0; i < MANY; i++)
		assert_int_equal(read_byte(f.pool, i * LEN), i == 5 ? 'y' : 0);
	assert_int_equal(nbd_server_connections(f.server), 2);
	assert_int_equal(last_read(&f).connection, 2);
	assert_false(last_read(&f).structured);
	assert_int_equal(read_byte(f.pool, 5 * LEN), 'y');

	/* All else stays where replies are structured. */
	assert_int_equal(
		bsp_nbd_pool_run(f.pool, BSP_NBD_READ, 0, 0, buf, 128 * KIB),
		0);
	assert_int_equal(last_read(&f).connection, 1);
	assert_true(last_read(&f).structured);
	assert_int_equal(run(f.pool, BSP_NBD_FLUSH, 0, 0), 0);
	assert_int_equal(nbd_server_command(f.server, NBD_FLUSH, 0).connection,
			 1);
	for (int for_long = 0; for_long < 2; for_long++) {
		assert_int_equal(bsp_nbd_pool_get(f.pool, for_long, &conn), 0);
		assert_true(bsp_nbd_conn_export(conn)->has_extents);
		bsp_nbd_pool_put(f.pool, for_long, conn);
	}
	assert_int_equal(nbd_server_connections(f.server), 2);
	tear_down(&f);
}

/* A server promises little about reads beside writes on other connections. */
static void a_writer_reads_where_it_writes(void **state)
{
	struct fixture f;

	set_up_writer(&f);
	assert_int_equal(run(f.pool, BSP_NBD_WRITE, 0, 0), 0);
	read_many(&f);
	assert_int_equal(nbd_server_command(f.server, NBD_WRITE, 0).connection,
			 2);
	assert_int_equal(last_read(&f).connection, 2);
	assert_int_equal(nbd_server_connections(f.server), 2);
	tear_down(&f);
}

static void an_error_of_a_simple_reply_fails_its_read_alone(void **state)
{
	struct task tasks[2] = { 0 };
	struct fixture f;

	set_up_with(&f, &plain);
	read_many(&f);
	actions[NBD_READ] = NBD_HOLD;
	start(&tasks[0], f.pool, BSP_NBD_READ, 0);
	assert_true(nbd_server_wait_held(f.server, 1));
	assert_false(last_read(&f).structured);
	actions[NBD_READ] = NBD_FAIL + NBD_EIO;
	assert_int_equal(read_byte(f.pool, 0), -EIO);
	nbd_server_release(f.server, false);
	assert_int_equal(result(&tasks[0]), 0);
	assert_int_equal(read_byte(f.pool, 0), -EIO);
	actions[NBD_READ] = NBD_SERVE;
	assert_int_equal(read_byte(f.pool, 0), 0);
	assert_int_equal(state_of(f.pool).generation, 1);
	tear_down(&f);
}

static void
without_a_further_connection_small_reads_stay_on_the_first(void **state)
{
	struct nbd_export other = plain;
	struct fixture f;

	set_up_with(&f, &plain);
	nbd_server_limit(f.server, 1);
	reads_stay_on_the_first(&f, 2);
	tear_down(&f);

	set_up_with(&f, &plain);
	other.size += LEN;
	nbd_server_set_export(f.server, &other);
	reads_stay_on_the_first(&f, 2);
	tear_down(&f);

	other = plain;
	other.flags &= ~(unsigned)NBD_MULTI_CONN;
	set_up_with(&f, &other);
	reads_stay_on_the_first(&f, 1);
	tear_down(&f);

	other = plain;
	other.simple = true;
	set_up_with(&f, &other);
	reads_stay_on_the_first(&f, 1);
	tear_down(&f);
}

static void connect_anew(struct fixture *f)
{
	uint64_t generation = state_after_death(f->pool).generation;

	bsp_nbd_pool_reconnect(f->pool, generation);
	assert_true(state_of(f->pool).connected);
}

static int end_simple(void *data, const struct nbd_command *command)
{
	return command->structured ? NBD_SERVE : NBD_DROP;
}

/* A server can tell of an error in the middle of a simple reply only so. */
static void a_server_that_ends_simple_connections_gets_no_more(void **state)
{
	struct fixture f;

	set_up_with(&f, &plain);
	read_many(&f);
	assert_false(last_read(&f).structured);
	nbd_server_script(f.server, end_simple, NULL);
	assert_int_equal(read_byte(f.pool, 0), -EIO);
	assert_int_equal(state_of(f.pool).generation, 2);
	connect_anew(&f);
	read_many(&f);
	assert_int_equal(last_read(&f).connection, 3);
	assert_true(last_read(&f).structured);
	assert_int_equal(nbd_server_connections(f.server), 3);
	tear_down(&f);
}

static void a_server_that_ends_all_connections_gets_simple_ones(void **state)
{
	struct fixture f;

	set_up_with(&f, &plain);
	read_many(&f);
	nbd_server_drop(f.server);
	assert_int_equal(read_byte(f.pool, 0), -EIO);
	connect_anew(&f);
	read_many(&f);
	assert_false(last_read(&f).structured);
	assert_int_equal(nbd_server_connections(f.server), 4);
	tear_down(&f);
}

/* --- The end of a generation --- */

static void the_death_of_one_connection_ends_all(void **state)
{
	struct fixture f;
	struct task held = { 0 };
	struct bsp_nbd_state after;

	set_up_with(&f, &plain);
	actions[NBD_READ] = NBD_HOLD;
	start(&held, f.pool, BSP_NBD_READ, 0);
	assert_true(nbd_server_wait_held(f.server, 1));
	/* On another connection. */
	actions[NBD_READ] = NBD_SERVE;
	assert_int_equal(read_long(f.pool), 0);
	actions[NBD_READ] = NBD_DROP;
	assert_int_equal(read_long(f.pool), -EIO);
	assert_int_equal(result(&held), -EIO);
	after = state_of(f.pool);
	assert_int_equal(after.generation, 2);
	assert_false(after.connected);
	assert_false(after.lost);
	assert_int_equal(nbd_server_connections(f.server), 2);
	assert_int_equal(run(f.pool, BSP_NBD_READ, 0, 0), -EIO);
	assert_int_equal(nbd_server_connections(f.server), 2);
	tear_down(&f);
}

static void a_closed_connection_is_noticed_without_a_request(void **state)
{
	struct fixture f;

	set_up_with(&f, &plain);
	assert_true(state_of(f.pool).connected);
	nbd_server_drop(f.server);
	assert_int_equal(state_after_death(f.pool).generation, 2);
	tear_down(&f);
}

/* A scan keeps a connection for itself while it does nothing. */
static void an_idle_owner_does_not_hide_a_closed_connection(void **state)
{
	struct fixture f;
	struct bsp_nbd_conn *conn;

	set_up_with(&f, &plain);
	assert_int_equal(bsp_nbd_pool_get(f.pool, true, &conn), 0);
	nbd_server_drop(f.server);
	assert_int_equal(state_after_death(f.pool).generation, 2);
	assert_false(state_of(f.pool).connected);
	bsp_nbd_pool_put(f.pool, true, conn);
	tear_down(&f);
}

/* The server that answers a further connection may be another one. The end of
 * the connection to the first has come, but no thread has taken it yet. */
static void a_further_connection_notices_that_another_ended(void **state)
{
	struct bsp_nbd_conn *conns[2];
	struct fixture f;

	set_up_with(&f, &plain);
	assert_int_equal(bsp_nbd_pool_get(f.pool, true, &conns[0]), 0);
	nbd_server_drop(f.server);
	nbd_server_set(f.server, 0, "y", 1);
	assert_int_equal(bsp_nbd_pool_get(f.pool, true, &conns[1]), -EIO);
	assert_int_equal(state_of(f.pool).generation, 2);
	assert_int_equal(run(f.pool, BSP_NBD_READ, 0, 0), -EIO);
	bsp_nbd_pool_put(f.pool, true, conns[0]);
	tear_down(&f);
}

/* Two reads in flight stay on the first connection, since the server promises
 * something else on a further one. */
static void check_other_promise(const struct nbd_export *other)
{
	struct task tasks[2] = { 0 };
	struct fixture f;

	set_up_with(&f, &plain);
	nbd_server_set_export(f.server, other);
	actions[NBD_READ] = NBD_HOLD;
	for (unsigned i = 0; i < 2; i++) {
		start(&tasks[i], f.pool, BSP_NBD_READ, i * LEN);
		assert_true(nbd_server_wait_held(f.server, i + 1));
	}
	assert_int_equal(nbd_server_connections(f.server), 2);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(
			nbd_server_command(f.server, NBD_READ, i).connection,
			1);
	nbd_server_release(f.server, false);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(result(&tasks[i]), 0);
	tear_down(&f);
}

static void a_further_connection_has_the_promises_of_the_first(void **state)
{
	static const unsigned flags[] = { NBD_READ_ONLY,    NBD_CAN_FLUSH,
					  NBD_CAN_FUA,	    NBD_CAN_TRIM,
					  NBD_CAN_ZERO,	    NBD_MULTI_CONN,
					  NBD_CAN_FAST_ZERO };
	struct nbd_export other = plain;

	other.size += 4096;
	check_other_promise(&other);
	other = plain;
	other.block_min = 1;
	other.block_max = 1 << 20;
	check_other_promise(&other);
	for (unsigned i = 0; i < G_N_ELEMENTS(flags); i++) {
		other = plain;
		other.flags ^= flags[i];
		check_other_promise(&other);
	}
}

/* Requests that are not small reads get no further connection either. */
static void check_other_structured_promise(const struct nbd_export *other)
{
	struct bsp_nbd_conn *conns[2];
	struct fixture f;

	set_up_with(&f, &plain);
	nbd_server_set_export(f.server, other);
	for (int i = 0; i < 2; i++)
		assert_int_equal(bsp_nbd_pool_get(f.pool, true, &conns[i]), 0);
	assert_int_equal(nbd_server_connections(f.server), 2);
	assert_ptr_equal(conns[0], conns[1]);
	for (int i = 0; i < 2; i++)
		bsp_nbd_pool_put(f.pool, true, conns[i]);
	tear_down(&f);
}

static void a_further_connection_for_all_requests_has_the_promises_of_the_first(
	void **state)
{
	struct nbd_export other = plain;

	other.size += 4096;
	check_other_structured_promise(&other);
	other = plain;
	other.simple = true; /* so it tells no extents */
	check_other_structured_promise(&other);
}

/* The reply and the end of the connection come in one. */
static void a_reply_before_the_end_counts(void **state)
{
	struct fixture f;

	set_up_with(&f, &plain);
	assert_int_equal(run(f.pool, BSP_NBD_WRITE, 0, 'x'), 0);
	assert_int_equal(run(f.pool, BSP_NBD_FLUSH, 0, 0), 0);
	actions[NBD_READ] = NBD_REPLY_DROP;
	assert_int_equal(read_byte(f.pool, 0), 'x');
	assert_false(state_after_death(f.pool).lost);
	tear_down(&f);
}

/* Late replies lie before the end of the connection. */
static void one_look_takes_late_replies_and_the_end(void **state)
{
	struct fixture f;
	struct task reads[4] = { 0 };
	struct nbd_export export = plain;

	export.flags &= ~(unsigned)NBD_MULTI_CONN;
	set_up_with(&f, &export);
	actions[NBD_READ] = NBD_HOLD;
	for (unsigned i = 0; i < 4; i++) {
		reads[i].interruptible = true;
		start(&reads[i], f.pool, BSP_NBD_READ, i * LEN);
		assert_true(nbd_server_wait_held(f.server, i + 1));
	}
	for (int i = 0; i < 4; i++)
		assert_int_equal(interrupt(&reads[i]), -EINTR);
	nbd_server_release(f.server, false);
	nbd_server_drop(f.server);
	assert_false(state_of(f.pool).connected);
	tear_down(&f);
}

/* --- Writes that may be lost --- */

static void unflushed_writes_make_the_pool_lost(void **state)
{
	static const enum bsp_nbd_command commands[] = { BSP_NBD_WRITE,
							 BSP_NBD_ZERO,
							 BSP_NBD_TRIM };

	for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
		struct fixture f;

		set_up_with(&f, &plain);
		assert_int_equal(run(f.pool, commands[i], 0, 'x'), 0);
		nbd_server_drop(f.server);
		assert_true(state_after_death(f.pool).lost);
		bsp_nbd_pool_reconnect(f.pool, 2);
		assert_int_equal(run(f.pool, BSP_NBD_READ, 0, 0), -ENODEV);
		assert_int_equal(run(f.pool, BSP_NBD_FLUSH, 0, 0), -ENODEV);
		assert_int_equal(nbd_server_connections(f.server), 1);
		tear_down(&f);
	}
}

static void flushed_writes_are_not_lost(void **state)
{
	struct fixture f;

	set_up_with(&f, &plain);
	assert_int_equal(run(f.pool, BSP_NBD_WRITE, 0, 'x'), 0);
	assert_int_equal(run(f.pool, BSP_NBD_FLUSH, 0, 0), 0);
	nbd_server_drop(f.server);
	assert_false(state_after_death(f.pool).lost);
	tear_down(&f);
}

/* The server holds the bytes, but they may be of a write by another program
 * that was not flushed. */
static void writes_that_were_left_out_are_lost(void **state)
{
	enum { UNDER_WAY, WITHOUT_CHANGE, CHANGED, WAYS };

	for (int way = 0; way < WAYS; way++) {
		struct fixture f;

		set_up_with(&f, &plain);
		bsp_nbd_pool_begin_write(f.pool);
		if (way != UNDER_WAY)
			bsp_nbd_pool_end_write(f.pool, way == CHANGED);
		nbd_server_drop(f.server);
		assert_int_equal(state_after_death(f.pool).lost,
				 way != WITHOUT_CHANGE);
		tear_down(&f);
	}
}

static void a_failed_flush_makes_nothing_durable(void **state)
{
	struct fixture f;

	set_up_with(&f, &plain);
	assert_int_equal(run(f.pool, BSP_NBD_WRITE, 0, 'x'), 0);
	actions[NBD_FLUSH] = NBD_FAIL + NBD_EIO;
	assert_int_equal(run(f.pool, BSP_NBD_FLUSH, 0, 0), -EIO);
	nbd_server_drop(f.server);
	assert_true(state_after_death(f.pool).lost);
	tear_down(&f);
}

static void a_write_that_ends_during_a_flush_is_not_flushed(void **state)
{
	struct fixture f;
	struct task flush = { 0 };

	set_up_with(&f, &plain);
	actions[NBD_FLUSH] = NBD_HOLD;
	start(&flush, f.pool, BSP_NBD_FLUSH, 0);
	assert_true(nbd_server_wait_held(f.server, 1));
	assert_int_equal(run(f.pool, BSP_NBD_WRITE, 0, 'x'), 0);
	nbd_server_release(f.server, false);
	assert_int_equal(result(&flush), 0);
	nbd_server_drop(f.server);
	assert_true(state_after_death(f.pool).lost);
	tear_down(&f);
}

static void
a_write_that_began_before_a_flush_and_ends_after_it_is_not_flushed(void **state)
{
	struct fixture f;
	struct task write = { 0 };

	set_up_with(&f, &plain);
	actions[NBD_WRITE] = NBD_HOLD;
	start(&write, f.pool, BSP_NBD_WRITE, 0);
	assert_true(nbd_server_wait_held(f.server, 1));
	assert_int_equal(run(f.pool, BSP_NBD_FLUSH, 0, 0), 0);
	nbd_server_release(f.server, false);
	assert_int_equal(result(&write), 0);
	nbd_server_drop(f.server);
	assert_true(state_after_death(f.pool).lost);
	tear_down(&f);
}

/* The server may carry it out after the connection was closed, and after later
 * writes by another connection. */
static void a_write_in_flight_makes_the_pool_lost(void **state)
{
	for (int interrupted = 0; interrupted < 2; interrupted++) {
		struct fixture f;
		struct task write = { .interruptible = interrupted };

		set_up_with(&f, &plain);
		actions[NBD_WRITE] = NBD_HOLD;
		start(&write, f.pool, BSP_NBD_WRITE, 0);
		assert_true(nbd_server_wait_held(f.server, 1));
		if (interrupted)
			assert_int_equal(interrupt(&write), -EINTR);
		assert_int_equal(run(f.pool, BSP_NBD_FLUSH, 0, 0), 0);
		nbd_server_drop(f.server);
		assert_true(state_after_death(f.pool).lost);
		if (!interrupted)
			assert_int_equal(result(&write), -EIO);
		tear_down(&f);
	}
}

/* The pool closes the write's connection, and looks before the writer knows of
 * that, in most rounds. */
static void a_write_on_another_connection_makes_the_pool_lost(void **state)
{
	for (unsigned round = 0; round < 8; round++) {
		struct fixture f;
		struct task write = { 0 };

		set_up_with(&f, &plain);
		actions[NBD_WRITE] = NBD_HOLD;
		start(&write, f.pool, BSP_NBD_WRITE, 0);
		assert_true(nbd_server_wait_held(f.server, 1));
		actions[NBD_READ] = NBD_DROP;
		assert_int_equal(read_long(f.pool), -EIO);
		assert_int_equal(nbd_server_connections(f.server), 2);
		assert_true(state_after_death(f.pool).lost);
		assert_int_equal(result(&write), -EIO);
		tear_down(&f);
	}
}

/* Without a connection, a write is not sent. */
static void a_write_that_was_never_sent_is_not_lost(void **state)
{
	struct fixture f;

	set_up_with(&f, &plain);
	nbd_server_drop(f.server);
	assert_false(state_after_death(f.pool).connected);
	assert_int_equal(run(f.pool, BSP_NBD_WRITE, 0, 'x'), -EIO);
	bsp_nbd_pool_reconnect(f.pool, 2);
	assert_true(state_of(f.pool).connected);
	nbd_server_drop(f.server);
	assert_false(state_after_death(f.pool).lost);
	tear_down(&f);
}

static void a_server_without_flush_loses_nothing_that_was_synced(void **state)
{
	struct nbd_export export = plain;
	struct fixture f;

	export.flags = NBD_MULTI_CONN;
	set_up_with(&f, &export);
	assert_int_equal(run(f.pool, BSP_NBD_WRITE, 0, 'x'), 0);
	assert_int_equal(run(f.pool, BSP_NBD_FLUSH, 0, 0), 0);
	assert_int_equal(nbd_server_count(f.server, NBD_FLUSH), 0);
	nbd_server_drop(f.server);
	assert_false(state_after_death(f.pool).lost);
	tear_down(&f);
}

/* --- Connecting anew --- */

static void only_a_caller_that_forgot_all_connects_anew(void **state)
{
	struct fixture f;

	set_up_with(&f, &plain);
	nbd_server_drop(f.server);
	assert_int_equal(state_after_death(f.pool).generation, 2);
	/* It forgot all before the connection died. */
	bsp_nbd_pool_reconnect(f.pool, 1);
	assert_false(state_of(f.pool).connected);
	assert_int_equal(nbd_server_connections(f.server), 1);
	bsp_nbd_pool_reconnect(f.pool, 2);
	assert_true(state_of(f.pool).connected);
	assert_int_equal(read_byte(f.pool, 0), 0);
	/* It is connected. */
	bsp_nbd_pool_reconnect(f.pool, 2);
	assert_int_equal(nbd_server_connections(f.server), 2);
	tear_down(&f);
}

static void connecting_rests_after_each_try(void **state)
{
	struct fixture f;
	gint64 began;

	set_up_with(&f, &plain);
	nbd_server_stop(f.server);
	assert_int_equal(state_after_death(f.pool).generation, 2);
	began = g_get_monotonic_time();
	bsp_nbd_pool_reconnect(f.pool, 2);
	nbd_server_start(f.server, NULL);
	while (!state_of(f.pool).connected &&
	       g_get_monotonic_time() < began + WAIT_S * G_USEC_PER_SEC) {
		bsp_nbd_pool_reconnect(f.pool, 2);
		g_usleep(1000);
	}
	assert_true(state_of(f.pool).connected);
	assert_true(g_get_monotonic_time() >= began + 900000);
	assert_int_equal(nbd_server_connections(f.server), 2);
	tear_down(&f);
}

static void the_next_server_may_have_another_export(void **state)
{
	struct nbd_export other = { .size = 3 * KIB,
				    .flags = NBD_READ_ONLY,
				    .block_min = 1,
				    .block_max = 1 << 20 };
	struct bsp_nbd_export export;
	struct fixture f;

	set_up_with(&f, &plain);
	nbd_server_stop(f.server);
	assert_false(state_after_death(f.pool).connected);
	nbd_server_start(f.server, &other);
	bsp_nbd_pool_reconnect(f.pool, 2);
	assert_true(state_of(f.pool).connected);
	(void)bsp_nbd_pool_get_export(f.pool, &export);
	assert_int_equal(export.size, 3 * KIB);
	assert_true(export.read_only);
	assert_false(export.multi_conn);
	assert_int_equal(export.block_min, 1);
	tear_down(&f);
}

static void a_server_that_came_back_is_found_over_tcp(void **state)
{
	struct nbd_export export = plain;
	struct fixture f;

	export.tcp = true;
	set_up_with(&f, &export);
	nbd_server_stop(f.server);
	assert_false(state_after_death(f.pool).connected);
	nbd_server_start(f.server, NULL);
	bsp_nbd_pool_reconnect(f.pool, 2);
	assert_true(state_of(f.pool).connected);
	tear_down(&f);
}

/* A part of a block is written together with bytes that were read before. They
 * must not reach another server. */
static void a_write_of_an_earlier_generation_is_refused(void **state)
{
	char buf[LEN] = "old";
	struct bsp_nbd_export export;
	struct fixture f;

	set_up_with(&f, &plain);
	assert_int_equal(bsp_nbd_pool_get_export(f.pool, &export), 1);
	nbd_server_drop(f.server);
	assert_false(state_after_death(f.pool).connected);
	bsp_nbd_pool_reconnect(f.pool, 2);
	assert_true(state_of(f.pool).connected);
	assert_int_equal(
		bsp_nbd_pool_run_in(f.pool, 1, BSP_NBD_WRITE, 0, 0, buf, LEN),
		-EIO);
	assert_int_equal(nbd_server_count(f.server, NBD_WRITE), 0);
	assert_int_equal(bsp_nbd_pool_get_export(f.pool, &export), 2);
	assert_int_equal(
		bsp_nbd_pool_run_in(f.pool, 2, BSP_NBD_WRITE, 0, 0, buf, LEN),
		0);
	tear_down(&f);
}

/* Threads keep connections of a generation that ended. */
static void old_connections_are_freed_by_their_last_user(void **state)
{
	struct fixture f;
	struct bsp_nbd_conn *conns[3];

	set_up_with(&f, &plain);
	assert_int_equal(bsp_nbd_pool_get(f.pool, true, &conns[0]), 0);
	assert_int_equal(bsp_nbd_pool_get(f.pool, true, &conns[1]), 0);
	assert_int_equal(bsp_nbd_pool_get(f.pool, false, &conns[2]), 0);
	assert_ptr_not_equal(conns[0], conns[1]);
	nbd_server_drop(f.server);
	assert_false(state_after_death(f.pool).connected);
	bsp_nbd_pool_reconnect(f.pool, 2);
	assert_int_equal(read_byte(f.pool, 0), 0);
	assert_true(bsp_nbd_conn_is_dead(conns[0]));
	assert_true(bsp_nbd_conn_is_dead(conns[1]));
	bsp_nbd_pool_put(f.pool, true, conns[1]);
	bsp_nbd_pool_put(f.pool, false, conns[2]);
	bsp_nbd_pool_put(f.pool, true, conns[0]);
	assert_int_equal(state_of(f.pool).generation, 2);
	assert_true(state_of(f.pool).connected);
	tear_down(&f);
}

/* --- The end --- */

static void cancelling_ends_all_requests(void **state)
{
	struct fixture f;
	struct task tasks[3] = { 0 };

	set_up_with(&f, &plain);
	actions[NBD_READ] = NBD_HOLD;
	for (unsigned i = 0; i < 3; i++) {
		start(&tasks[i], f.pool, BSP_NBD_READ, i * LEN);
		assert_true(nbd_server_wait_held(f.server, i + 1));
	}
	bsp_nbd_pool_cancel(f.pool);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(result(&tasks[i]), -EIO);
	bsp_nbd_pool_reconnect(f.pool, state_of(f.pool).generation);
	assert_false(state_of(f.pool).connected);
	assert_int_equal(run(f.pool, BSP_NBD_READ, 0, 0), -EIO);
	tear_down(&f);
}

/* --- Interruptions --- */

static void a_late_reply_to_an_interrupted_read_is_harmless(void **state)
{
	struct fixture f;
	struct task read = { .interruptible = true };

	set_up_with(&f, &plain);
	assert_int_equal(run(f.pool, BSP_NBD_WRITE, 0, 'x'), 0);
	actions[NBD_READ] = NBD_HOLD;
	start(&read, f.pool, BSP_NBD_READ, 0);
	assert_true(nbd_server_wait_held(f.server, 1));
	memset(read.buf, 'o', LEN);
	assert_int_equal(interrupt(&read), -EINTR);
	nbd_server_release(f.server, false);
	actions[NBD_READ] = NBD_SERVE;
	assert_int_equal(read_byte(f.pool, 0), 'x');
	assert_int_equal(state_of(f.pool).generation, 1);
	for (int i = 0; i < LEN; i++)
		assert_int_equal(read.buf[i], 'o');
	tear_down(&f);
}

/* The end of the connection may be behind the reply. */
static void a_late_reply_is_taken_without_another_request(void **state)
{
	struct fixture f;
	struct task read = { .interruptible = true };
	struct bsp_nbd_conn *conn;

	set_up_with(&f, &plain);
	assert_int_equal(bsp_nbd_pool_get(f.pool, false, &conn), 0);
	bsp_nbd_pool_put(f.pool, false, conn);
	actions[NBD_READ] = NBD_HOLD;
	start(&read, f.pool, BSP_NBD_READ, 0);
	assert_true(nbd_server_wait_held(f.server, 1));
	assert_int_equal(interrupt(&read), -EINTR);
	assert_int_equal(bsp_nbd_conn_load(conn), 1);
	nbd_server_release(f.server, false);
	for (int i = 0; i < 500 && bsp_nbd_conn_load(conn); i++) {
		assert_true(state_of(f.pool).connected);
		g_usleep(10000);
	}
	assert_int_equal(bsp_nbd_conn_load(conn), 0);
	tear_down(&f);
}

/* The server has not carried it out, and a newer write of the same bytes must
 * not be overtaken by it. No other thread waits for its reply. */
static void a_newer_write_waits_for_an_interrupted_one(void **state)
{
	struct fixture f;
	struct task old = { .interruptible = true }, new = { 0 };

	set_up_with(&f, &plain);
	actions[NBD_WRITE] = NBD_HOLD;
	memset(old.buf, 'o', LEN);
	memset(new.buf, 'n', LEN);
	start(&old, f.pool, BSP_NBD_WRITE, 0);
	assert_true(nbd_server_wait_held(f.server, 1));
	assert_int_equal(interrupt(&old), -EINTR);
	actions[NBD_WRITE] = NBD_SERVE;
	/* Beside it, a write goes on. */
	assert_int_equal(run(f.pool, BSP_NBD_WRITE, LEN, 'b'), 0);
	start(&new, f.pool, BSP_NBD_WRITE, 0);
	g_usleep(50000);
	assert_false(atomic_load(&new.done));
	nbd_server_release(f.server, false);
	assert_int_equal(result(&new), 0);
	assert_int_equal(read_byte(f.pool, 0), 'n');
	assert_int_equal(read_byte(f.pool, LEN), 'b');
	assert_int_equal(nbd_server_count(f.server, NBD_WRITE), 3);
	tear_down(&f);
}

/* Leaves a write of the first bytes at the server. */
static void leave_write(struct fixture *f)
{
	struct task old = { .interruptible = true };

	actions[NBD_WRITE] = NBD_HOLD;
	memset(old.buf, 'o', LEN);
	start(&old, f->pool, BSP_NBD_WRITE, 0);
	assert_true(nbd_server_wait_held(f->server, 1));
	assert_int_equal(interrupt(&old), -EINTR);
	actions[NBD_WRITE] = NBD_SERVE;
}

/* A caller would leave out a write of the bytes that it reads, or keep them. */
static void a_read_waits_for_an_interrupted_write(void **state)
{
	struct fixture f;
	struct task read = { 0 };

	set_up_with(&f, &plain);
	leave_write(&f);
	assert_int_equal(read_byte(f.pool, LEN), 0);
	start(&read, f.pool, BSP_NBD_READ, 0);
	g_usleep(50000);
	assert_false(atomic_load(&read.done));
	nbd_server_release(f.server, false);
	assert_int_equal(result(&read), 0);
	assert_int_equal(read.buf[0], 'o');
	tear_down(&f);
}

static void a_read_beside_a_write_that_is_interrupted_is_repeated(void **state)
{
	struct fixture f;
	struct task read = { 0 };

	set_up_with(&f, &plain);
	actions[NBD_READ] = NBD_HOLD;
	start(&read, f.pool, BSP_NBD_READ, 0);
	assert_true(nbd_server_wait_held(f.server, 1));
	actions[NBD_WRITE] = NBD_HOLD;
	{
		struct task old = { .interruptible = true };

		memset(old.buf, 'o', LEN);
		start(&old, f.pool, BSP_NBD_WRITE, 0);
		assert_true(nbd_server_wait_held(f.server, 2));
		assert_int_equal(interrupt(&old), -EINTR);
	}
	actions[NBD_READ] = NBD_SERVE;
	nbd_server_release(f.server, false); /* the read first */
	assert_int_equal(result(&read), 0);
	assert_int_equal(read.buf[0], 'o');
	tear_down(&f);
}

static void all_interrupted_writes_can_be_waited_for(void **state)
{
	struct fixture f;

	set_up_with(&f, &plain);
	assert_int_equal(bsp_nbd_pool_wait_for_left(f.pool, 0, UINT64_MAX), 0);
	leave_write(&f);
	assert_int_equal(bsp_nbd_pool_wait_for_left(f.pool, LEN, UINT64_MAX),
			 0);
	nbd_server_release(f.server, false);
	assert_int_equal(bsp_nbd_pool_wait_for_left(f.pool, 0, UINT64_MAX), 0);
	assert_int_equal(read_byte(f.pool, 0), 'o');
	tear_down(&f);
}

/* A server may tell only once of a write that it has lost. */
static void the_error_of_an_interrupted_flush_is_not_lost(void **state)
{
	for (int beside = 0; beside < 2; beside++) {
		struct fixture f;
		struct task old = { .interruptible = true }, new = { 0 };

		set_up_with(&f, &plain);
		assert_int_equal(run(f.pool, BSP_NBD_WRITE, 0, 'x'), 0);
		actions[NBD_FLUSH] = NBD_HOLD;
		start(&old, f.pool, BSP_NBD_FLUSH, 0);
		assert_true(nbd_server_wait_held(f.server, 1));
		assert_int_equal(interrupt(&old), -EINTR);
		actions[NBD_FLUSH] = NBD_SERVE;
		if (beside) {
			start(&new, f.pool, BSP_NBD_FLUSH, 0);
			g_usleep(50000);
			assert_false(atomic_load(&new.done));
		}
		nbd_server_refuse(f.server, NBD_EIO);
		assert_int_equal(beside ? result(&new)
					: run(f.pool, BSP_NBD_FLUSH, 0, 0),
				 -EIO);
		/* It may have been the last one. */
		assert_int_equal(nbd_server_count(f.server, NBD_FLUSH), 2);
		assert_int_equal(run(f.pool, BSP_NBD_FLUSH, 0, 0), 0);
		nbd_server_drop(f.server);
		assert_false(state_after_death(f.pool).lost);
		tear_down(&f);
	}
}

/* It would be lost otherwise. */
static void a_pool_that_is_connected_anew_has_flushed_all(void **state)
{
	struct fixture f;
	struct task old = { .interruptible = true };

	set_up_with(&f, &plain);
	actions[NBD_FLUSH] = NBD_HOLD;
	start(&old, f.pool, BSP_NBD_FLUSH, 0);
	assert_true(nbd_server_wait_held(f.server, 1));
	assert_int_equal(interrupt(&old), -EINTR);
	actions[NBD_FLUSH] = NBD_SERVE;
	nbd_server_drop(f.server);
	assert_false(state_after_death(f.pool).lost);
	bsp_nbd_pool_reconnect(f.pool, 2);
	assert_int_equal(run(f.pool, BSP_NBD_FLUSH, 0, 0), 0);
	tear_down(&f);
}

static void
a_flush_after_an_interrupted_one_that_went_well_succeeds(void **state)
{
	struct fixture f;
	struct task old = { .interruptible = true };

	set_up_with(&f, &plain);
	actions[NBD_FLUSH] = NBD_HOLD;
	start(&old, f.pool, BSP_NBD_FLUSH, 0);
	assert_true(nbd_server_wait_held(f.server, 1));
	assert_int_equal(interrupt(&old), -EINTR);
	actions[NBD_FLUSH] = NBD_SERVE;
	nbd_server_release(f.server, false);
	assert_int_equal(run(f.pool, BSP_NBD_FLUSH, 0, 0), 0);
	tear_down(&f);
}

static void the_wait_for_an_interrupted_flush_can_be_interrupted(void **state)
{
	struct fixture f;
	struct task old = { .interruptible = true };
	struct task new = { .interruptible = true };

	set_up_with(&f, &plain);
	actions[NBD_FLUSH] = NBD_HOLD;
	start(&old, f.pool, BSP_NBD_FLUSH, 0);
	assert_true(nbd_server_wait_held(f.server, 1));
	assert_int_equal(interrupt(&old), -EINTR);
	start(&new, f.pool, BSP_NBD_FLUSH, 0);
	assert_int_equal(interrupt(&new), -EINTR);
	assert_int_equal(nbd_server_count(f.server, NBD_FLUSH), 1);
	tear_down(&f);
}

static void the_wait_for_an_interrupted_write_can_be_interrupted(void **state)
{
	struct fixture f;
	struct task old = { .interruptible = true };
	struct task new = { .interruptible = true };

	set_up_with(&f, &plain);
	actions[NBD_WRITE] = NBD_HOLD;
	start(&old, f.pool, BSP_NBD_WRITE, 0);
	assert_true(nbd_server_wait_held(f.server, 1));
	assert_int_equal(interrupt(&old), -EINTR);
	start(&new, f.pool, BSP_NBD_ZERO, 0);
	assert_int_equal(interrupt(&new), -EINTR);
	assert_int_equal(nbd_server_count(f.server, NBD_ZERO), 0);
	tear_down(&f);
}

static void the_end_of_the_connection_ends_an_interrupted_write(void **state)
{
	struct fixture f;
	struct task old = { .interruptible = true }, new = { 0 };

	set_up_with(&f, &plain);
	actions[NBD_WRITE] = NBD_HOLD;
	start(&old, f.pool, BSP_NBD_WRITE, 0);
	assert_true(nbd_server_wait_held(f.server, 1));
	assert_int_equal(interrupt(&old), -EINTR);
	start(&new, f.pool, BSP_NBD_WRITE, 0);
	nbd_server_drop(f.server);
	assert_int_equal(result(&new), -ENODEV);
	tear_down(&f);
}

static void
a_server_that_hangs_in_the_handshake_can_be_interrupted(void **state)
{
	struct fixture f;
	atomic_bool interrupted = true;

	set_up_with(&f, &plain);
	bsp_interrupt_set(is_set, &interrupted);
	assert_null(
		bsp_nbd_pool_new(nbd_server_uri(f.server), false, NULL, NULL));
	bsp_interrupt_set(NULL, NULL);
	tear_down(&f);
}

/* An interrupted thread says nothing about the server. */
static void
an_interrupted_thread_does_not_end_the_making_of_connections(void **state)
{
	struct fixture f;
	struct task tasks[2] = { 0 };
	struct task given_up = { .interruptible = true, .interrupted = true };

	set_up_with(&f, &plain);
	actions[NBD_READ] = NBD_HOLD;
	start(&tasks[0], f.pool, BSP_NBD_READ, 0);
	assert_true(nbd_server_wait_held(f.server, 1));
	start(&given_up, f.pool, BSP_NBD_READ, LEN);
	assert_int_equal(result(&given_up), -EINTR);
	start(&tasks[1], f.pool, BSP_NBD_READ, 2 * LEN);
	assert_true(nbd_server_wait_held(f.server, 3));
	nbd_server_release(f.server, false);
	assert_int_equal(result(&tasks[0]), 0);
	assert_int_equal(result(&tasks[1]), 0);
	assert_int_equal(nbd_server_command(f.server, NBD_READ, 0).connection,
			 1);
	assert_true(nbd_server_command(f.server, NBD_READ,
				       nbd_server_count(f.server, NBD_READ) - 1)
			    .connection > 1);
	tear_down(&f);
}

static int send_buffer(int fd)
{
	int size = 0;
	socklen_t len = sizeof(size);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &len), 0);
	return size;
}

/* Otherwise server and client wait for each other within each write. */
static void a_socket_on_this_host_holds_more_than_usual(void **state)
{
	int usual = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct bsp_nbd_conn *conn;
	struct fixture f;

	set_up_with(&f, &plain);
	assert_int_equal(bsp_nbd_pool_get(f.pool, false, &conn), 0);
	assert_true(usual >= 0);
	assert_true(send_buffer(bsp_nbd_conn_fd(conn)) > send_buffer(usual));
	bsp_nbd_pool_put(f.pool, false, conn);
	close(usual);
	tear_down(&f);
}

/* --- Other programs --- */

static void sockets_are_closed_when_a_program_is_executed(void **state)
{
	struct fixture f;
	struct task read = { 0 };
	g_autofree char *out = NULL;
	g_auto(GStrv) arguments =
		g_strsplit("/bin/ls -l /proc/self/fd", " ", -1);

	set_up_with(&f, &plain);
	actions[NBD_READ] = NBD_HOLD;
	start(&read, f.pool, BSP_NBD_READ, 0);
	assert_true(nbd_server_wait_held(f.server, 1));
	actions[NBD_READ] = NBD_SERVE;
	assert_int_equal(read_long(f.pool), 0);
	assert_int_equal(nbd_server_connections(f.server), 2);
	assert_true(g_spawn_sync(NULL, arguments, NULL,
				 G_SPAWN_LEAVE_DESCRIPTORS_OPEN, NULL, NULL,
				 &out, NULL, NULL, NULL));
	assert_null(strstr(out, "socket:"));
	assert_null(strstr(out, "eventfd"));
	nbd_server_release(f.server, false);
	assert_int_equal(result(&read), 0);
	tear_down(&f);
}

/* An end of a wait that says yes after some calls. */
struct end {
	unsigned yes_after, calls, calls_after_yes;
	bool said_yes;
};

static bool is_at_end(void *data)
{
	struct end *end = data;

	end->calls_after_yes += end->said_yes;
	end->said_yes = ++end->calls > end->yes_after;
	return end->said_yes;
}

/* The owner of a queue takes a finished read when it asks for the end. */
static void a_wait_does_not_ask_for_its_end_again(void **state)
{
	atomic_bool interrupted = true;
	struct bsp_nbd_waiter waiter;
	struct bsp_nbd_conn *conn;
	struct fixture f;

	set_up_with(&f, &plain);
	assert_int_equal(bsp_nbd_pool_get(f.pool, false, &conn), 0);
	bsp_nbd_waiter_init(&waiter);
	for (unsigned yes_after = 0; yes_after < 8; yes_after++) {
		struct end end = { .yes_after = yes_after };

		/* Each return before the end is an interrupt. */
		bsp_interrupt_set(is_set, &interrupted);
		while (bsp_nbd_conn_wait(conn, &waiter, is_at_end, &end))
			;
		bsp_interrupt_set(NULL, NULL);
		assert_true(end.said_yes);
		assert_int_equal(end.calls_after_yes, 0);
	}
	bsp_nbd_waiter_done(&waiter);
	bsp_nbd_pool_put(f.pool, false, conn);
	tear_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_in_flight_get_further_connections),
		cmocka_unit_test(
			a_writer_gets_a_second_connection_when_it_reads),
		cmocka_unit_test(many_writes_get_a_second_connection),
		cmocka_unit_test(each_connection_with_writes_is_flushed),
		cmocka_unit_test(
			connections_with_writes_in_flight_are_flushed_again),
		cmocka_unit_test(writes_over_tcp_get_two_connections),
		cmocka_unit_test(writes_do_not_wait_behind_a_queue),
		cmocka_unit_test(writes_do_not_wait_behind_one_that_hangs),
		cmocka_unit_test(
			a_server_without_multi_conn_gets_one_connection),
		cmocka_unit_test(replies_out_of_order_find_their_requests),
		cmocka_unit_test(long_requests_are_split),
		cmocka_unit_test(requests_of_other_lengths_use_the_same_memory),
		cmocka_unit_test(one_failed_part_fails_the_request),
		cmocka_unit_test(a_read_without_all_of_its_data_fails),
		cmocka_unit_test(reads_come_in_one_piece_if_the_server_can),
		cmocka_unit_test(
			small_reads_get_a_connection_with_simple_replies),
		cmocka_unit_test(a_writer_reads_where_it_writes),
		cmocka_unit_test(
			an_error_of_a_simple_reply_fails_its_read_alone),
		cmocka_unit_test(
			without_a_further_connection_small_reads_stay_on_the_first),
		cmocka_unit_test(
			a_server_that_ends_simple_connections_gets_no_more),
		cmocka_unit_test(
			a_server_that_ends_all_connections_gets_simple_ones),
		cmocka_unit_test(the_death_of_one_connection_ends_all),
		cmocka_unit_test(
			a_closed_connection_is_noticed_without_a_request),
		cmocka_unit_test(
			an_idle_owner_does_not_hide_a_closed_connection),
		cmocka_unit_test(
			a_further_connection_notices_that_another_ended),
		cmocka_unit_test(
			a_further_connection_has_the_promises_of_the_first),
		cmocka_unit_test(
			a_further_connection_for_all_requests_has_the_promises_of_the_first),
		cmocka_unit_test(a_reply_before_the_end_counts),
		cmocka_unit_test(one_look_takes_late_replies_and_the_end),
		cmocka_unit_test(unflushed_writes_make_the_pool_lost),
		cmocka_unit_test(flushed_writes_are_not_lost),
		cmocka_unit_test(writes_that_were_left_out_are_lost),
		cmocka_unit_test(a_failed_flush_makes_nothing_durable),
		cmocka_unit_test(
			a_write_that_ends_during_a_flush_is_not_flushed),
		cmocka_unit_test(
			a_write_that_began_before_a_flush_and_ends_after_it_is_not_flushed),
		cmocka_unit_test(a_write_in_flight_makes_the_pool_lost),
		cmocka_unit_test(
			a_write_on_another_connection_makes_the_pool_lost),
		cmocka_unit_test(a_write_that_was_never_sent_is_not_lost),
		cmocka_unit_test(
			a_server_without_flush_loses_nothing_that_was_synced),
		cmocka_unit_test(only_a_caller_that_forgot_all_connects_anew),
		cmocka_unit_test(connecting_rests_after_each_try),
		cmocka_unit_test(the_next_server_may_have_another_export),
		cmocka_unit_test(a_server_that_came_back_is_found_over_tcp),
		cmocka_unit_test(a_write_of_an_earlier_generation_is_refused),
		cmocka_unit_test(old_connections_are_freed_by_their_last_user),
		cmocka_unit_test(cancelling_ends_all_requests),
		cmocka_unit_test(
			a_late_reply_to_an_interrupted_read_is_harmless),
		cmocka_unit_test(a_late_reply_is_taken_without_another_request),
		cmocka_unit_test(a_newer_write_waits_for_an_interrupted_one),
		cmocka_unit_test(a_read_waits_for_an_interrupted_write),
		cmocka_unit_test(
			a_read_beside_a_write_that_is_interrupted_is_repeated),
		cmocka_unit_test(all_interrupted_writes_can_be_waited_for),
		cmocka_unit_test(the_error_of_an_interrupted_flush_is_not_lost),
		cmocka_unit_test(a_pool_that_is_connected_anew_has_flushed_all),
		cmocka_unit_test(
			a_flush_after_an_interrupted_one_that_went_well_succeeds),
		cmocka_unit_test(
			the_wait_for_an_interrupted_flush_can_be_interrupted),
		cmocka_unit_test(
			the_wait_for_an_interrupted_write_can_be_interrupted),
		cmocka_unit_test(
			the_end_of_the_connection_ends_an_interrupted_write),
		cmocka_unit_test(
			a_server_that_hangs_in_the_handshake_can_be_interrupted),
		cmocka_unit_test(
			an_interrupted_thread_does_not_end_the_making_of_connections),
		cmocka_unit_test(a_socket_on_this_host_holds_more_than_usual),
		cmocka_unit_test(sockets_are_closed_when_a_program_is_executed),
		cmocka_unit_test(a_wait_does_not_ask_for_its_end_again),
	};

	return cmocka_run_group_tests_name("nbd-pool", tests, NULL, NULL);
}
