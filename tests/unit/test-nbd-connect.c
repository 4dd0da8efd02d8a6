/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connecting to a host whose name is resolved slowly, or never
 * (device/nbd-connect.h). nbd_aio_connect_uri() of this test waits until the
 * test releases it, as getaddrinfo(3) waits for a name server.
 */
#include "unit.h"

#include <glib.h>
#include <libnbd.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "blksparse-thread.h"
#include "device/nbd-conn.h"
#include "device/nbd-pool.h"
#include "nbd-server.h"

enum { SIZE = 1 << 20, WAIT_MS = 10000, SHORT_MS = 100 };

static const struct nbd_export plain = {
	.size = SIZE,
	.flags = NBD_ALL,
	.tcp = true,
};

/* --- The functions of libnbd --- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
/* Protected by lock: */
static bool held;	       /* calls wait */
static bool failing;	       /* calls fail */
static unsigned calls, closed; /* since the start of the test */
static pthread_t caller;       /* of the last call */

int __real_nbd_aio_connect_uri(struct nbd_handle *nbd, const char *uri);
int __wrap_nbd_aio_connect_uri(struct nbd_handle *nbd, const char *uri);
void __real_nbd_close(struct nbd_handle *nbd);
void __wrap_nbd_close(struct nbd_handle *nbd);

/* A URI that libnbd refuses. */
#define NO_URI "no-scheme"

int __wrap_nbd_aio_connect_uri(struct nbd_handle *nbd, const char *uri)
{
	struct timespec until = bsp_cond_limit(WAIT_MS);
	int timeout = 0;
	bool fails;

	pthread_mutex_lock(&lock);
	calls++;
	pthread_cond_broadcast(&changed);
	caller = pthread_self();
	while (held && !timeout)
		timeout = pthread_cond_timedwait(&changed, &lock, &until);
	fails = failing;
	pthread_mutex_unlock(&lock);
	return __real_nbd_aio_connect_uri(nbd, fails ? NO_URI : uri);
}

void __wrap_nbd_close(struct nbd_handle *nbd)
{
	__real_nbd_close(nbd);
	pthread_mutex_lock(&lock);
	closed += nbd != NULL;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void hold(bool value)
{
	pthread_mutex_lock(&lock);
	held = value;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static bool is_held(void)
{
	bool is;

	pthread_mutex_lock(&lock);
	is = held;
	pthread_mutex_unlock(&lock);
	return is;
}

/* Waits until a count reaches n. Returns the count. */
static unsigned wait_count(const unsigned *count, unsigned n)
{
	struct timespec until = bsp_cond_limit(WAIT_MS);
	int timeout = 0;

	pthread_mutex_lock(&lock);
	while (*count < n && !timeout)
		timeout = pthread_cond_timedwait(&changed, &lock, &until);
	n = *count;
	pthread_mutex_unlock(&lock);
	return n;
}

static unsigned wait_calls(unsigned n)
{
	return wait_count(&calls, n);
}

static unsigned wait_closed(unsigned n)
{
	return wait_count(&closed, n);
}

/* --- Helpers --- */

static struct nbd_server *server;

static int set_up(void **state)
{
	server = nbd_server_new(&plain);
	held = failing = false;
	calls = closed = 0;
	return 0;
}

/* Every handle that connected, late or not, is closed once. */
static int tear_down(void **state)
{
	hold(false);
	(void)wait_closed(wait_calls(0));
	nbd_server_free(server);
	return closed == calls ? 0 : -1;
}

static bool always(void *data)
{
	return true;
}

/* The waiting thread asks, so it waits. */
static bool release_when_asked(void *data)
{
	hold(false);
	return false;
}

/* The same, and the thread does not wait any more. */
static bool interrupt_at_the_end(void *data)
{
	hold(false);
	while (nbd_server_connections(server) == 0)
		g_usleep(1000);
	g_usleep(10000);
	return true;
}

/* An attempt that is interrupted, or fails after SHORT_MS. */
static void leave_interrupted(void)
{
	g_autoptr(GError) error = NULL;

	bsp_interrupt_set(always, NULL);
	assert_null(bsp_nbd_conn_new(nbd_server_uri(server), NULL, WAIT_MS,
				     WAIT_MS, &error));
	bsp_interrupt_set(NULL, NULL);
	assert_true(g_error_matches(error, BSP_ERROR, BSP_ERROR_INTERRUPTED));
}

static void leave_late(const char *uri, const char *changes)
{
	g_autoptr(GError) error = NULL;

	assert_null(bsp_nbd_conn_new(uri, changes, SHORT_MS, SHORT_MS, &error));
	assert_true(g_error_matches(error, BSP_ERROR, BSP_ERROR_FAILED));
	assert_non_null(strstr(error->message, "name"));
}

/* --- Tests --- */

static void an_interrupt_ends_the_wait_for_a_name(void **state)
{
	hold(true);
	leave_interrupted();
	assert_true(is_held());
	assert_int_equal(wait_calls(1), 1);
	assert_int_equal(wait_closed(0), 0);
}

static void the_limit_of_time_ends_the_wait_for_a_name(void **state)
{
	hold(true);
	leave_late(nbd_server_uri(server), NULL);
	assert_true(is_held());
	assert_int_equal(wait_calls(1), 1);
	assert_int_equal(wait_closed(0), 0);
}

static void a_late_connection_is_closed(void **state)
{
	struct bsp_nbd_conn *conn;

	hold(true);
	leave_interrupted();
	hold(false);
	assert_int_equal(wait_closed(1), 1);
	/* The next one is not affected. */
	conn = bsp_nbd_conn_new(nbd_server_uri(server), NULL, WAIT_MS, WAIT_MS,
				NULL);
	assert_non_null(conn);
	assert_int_equal(wait_calls(2), 2);
	bsp_nbd_conn_free(conn);
}

static void a_late_failure_is_harmless(void **state)
{
	hold(true);
	leave_interrupted();
	failing = true; /* read after the release */
	hold(false);
	assert_int_equal(wait_closed(1), 1);
}

static void a_connection_at_the_time_of_the_interrupt_is_closed(void **state)
{
	g_autoptr(GError) error = NULL;

	hold(true);
	bsp_interrupt_set(interrupt_at_the_end, NULL);
	assert_null(bsp_nbd_conn_new(nbd_server_uri(server), NULL, WAIT_MS,
				     WAIT_MS, &error));
	bsp_interrupt_set(NULL, NULL);
	assert_true(g_error_matches(error, BSP_ERROR, BSP_ERROR_INTERRUPTED));
	assert_int_equal(wait_closed(1), 1);
}

static void retries_wait_for_the_same_call(void **state)
{
	hold(true);
	leave_interrupted();
	leave_late(nbd_server_uri(server), NULL);
	leave_interrupted();
	leave_late(nbd_server_uri(server), NULL);
	assert_int_equal(wait_calls(1), 1);
}

static void a_retry_takes_over_the_connection(void **state)
{
	struct bsp_nbd_conn *conn;

	hold(true);
	leave_interrupted();
	bsp_interrupt_set(release_when_asked, NULL);
	conn = bsp_nbd_conn_new(nbd_server_uri(server), NULL, WAIT_MS, WAIT_MS,
				NULL);
	bsp_interrupt_set(NULL, NULL);
	assert_non_null(conn);
	assert_int_equal(bsp_nbd_conn_export(conn)->size, SIZE);
	assert_int_equal(wait_calls(1), 1);
	assert_int_equal(wait_closed(0), 0);
	bsp_nbd_conn_free(conn);
}

static void a_retry_gets_the_error(void **state)
{
	g_autoptr(GError) error = NULL;

	hold(true);
	leave_interrupted();
	failing = true; /* read after the release */
	bsp_interrupt_set(release_when_asked, NULL);
	assert_null(bsp_nbd_conn_new(nbd_server_uri(server), NULL, WAIT_MS,
				     WAIT_MS, &error));
	bsp_interrupt_set(NULL, NULL);
	assert_true(g_error_matches(error, BSP_ERROR, BSP_ERROR_FAILED));
	assert_int_equal(wait_calls(1), 1);
}

static void a_retry_takes_over_its_own_kind_only(void **state)
{
	const char *uri = nbd_server_uri(server);
	g_autofree char *other = g_strconcat(uri, "/other", NULL);
	struct bsp_nbd_conn *conn;

	hold(true);
	leave_late(uri, NULL);
	assert_null(bsp_nbd_conn_new_simple(uri, SHORT_MS, NULL));
	assert_int_equal(wait_calls(2), 2);
	leave_late(uri, "some:context");
	assert_int_equal(wait_calls(3), 3);
	leave_late(other, NULL);
	assert_int_equal(wait_calls(4), 4);
	bsp_interrupt_set(release_when_asked, NULL);
	conn = bsp_nbd_conn_new_simple(uri, WAIT_MS, NULL);
	bsp_interrupt_set(NULL, NULL);
	assert_non_null(conn);
	assert_false(bsp_nbd_conn_export(conn)->structured);
	assert_int_equal(wait_calls(4), 4);
	assert_int_equal(wait_closed(3), 3);
	bsp_nbd_conn_free(conn);
}

static void the_reason_of_libnbd_is_told(void **state)
{
	struct nbd_handle *nbd = nbd_create();
	g_autoptr(GError) error = NULL;
	const char *reason;

	assert_int_equal(__real_nbd_aio_connect_uri(nbd, NO_URI), -1);
	reason = strstr(nbd_get_error(), ": ");
	assert_non_null(reason);
	failing = true;
	assert_null(bsp_nbd_conn_new(nbd_server_uri(server), NULL, WAIT_MS,
				     WAIT_MS, &error));
	assert_non_null(strstr(error->message, reason));
	__real_nbd_close(nbd);
}

static void a_pool_may_be_freed_meanwhile(void **state)
{
	struct bsp_nbd_pool *pool =
		bsp_nbd_pool_new(nbd_server_uri(server), false, NULL, NULL);
	gint64 limit = g_get_monotonic_time() + WAIT_MS * 1000;
	struct bsp_nbd_state now;

	assert_non_null(pool);
	nbd_server_drop(server);
	do
		bsp_nbd_pool_get_state(pool, &now);
	while (now.connected && g_get_monotonic_time() < limit);
	assert_false(now.connected);
	assert_int_equal(wait_closed(1), 1);
	hold(true);
	bsp_interrupt_set(always, NULL);
	bsp_nbd_pool_reconnect(pool, now.generation);
	bsp_interrupt_set(NULL, NULL);
	assert_int_equal(wait_calls(2), 2);
	bsp_nbd_pool_free(pool);
	assert_int_equal(wait_closed(0), 1);
	hold(false);
	assert_int_equal(wait_closed(2), 2);
}

/* That costs nothing where no name is resolved. */
static void a_socket_of_this_host_needs_no_thread(void **state)
{
	const struct nbd_export local = { .size = SIZE, .flags = NBD_ALL };
	struct nbd_server *other = nbd_server_new(&local);
	struct bsp_nbd_conn *conn = bsp_nbd_conn_new(
		nbd_server_uri(other), NULL, WAIT_MS, WAIT_MS, NULL);

	assert_non_null(conn);
	assert_true(pthread_equal(caller, pthread_self()));
	bsp_nbd_conn_free(conn);
	nbd_server_free(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_interrupt_ends_the_wait_for_a_name),
		TEST(the_limit_of_time_ends_the_wait_for_a_name),
		TEST(a_late_connection_is_closed),
		TEST(a_late_failure_is_harmless),
		TEST(a_connection_at_the_time_of_the_interrupt_is_closed),
		TEST(retries_wait_for_the_same_call),
		TEST(a_retry_takes_over_the_connection),
		TEST(a_retry_gets_the_error),
		TEST(a_retry_takes_over_its_own_kind_only),
		TEST(the_reason_of_libnbd_is_told),
		TEST(a_pool_may_be_freed_meanwhile),
		TEST(a_socket_of_this_host_needs_no_thread),
	};

	bsp_cond_init(&changed);
	return cmocka_run_group_tests_name("nbd-connect", tests, NULL, NULL);
}
