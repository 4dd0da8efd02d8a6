/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request that can be interrupted has a buffer of its own. libnbd keeps the
 * buffer of a request until the server replies, so the caller could not have
 * its own back. Its bytes are copied, which costs little beside the socket's
 * own copies. An interrupt of a transfer ends all use of the device, and so
 * its threads read and write without that copy: the connection is closed.
 *
 * An interrupted write may be carried out at any time later, also after a newer
 * request for the same bytes: NBD keeps no order among requests in flight. So
 * its range stays in a list until the server replies, and newer writes, reads
 * and questions wait: a caller that relies on old bytes would leave out a write
 * that they equal, or keep them.
 *
 * A server may tell only once of a write that it has lost, and an interrupted
 * flush may get that error. So the next flush waits for it, and returns it when
 * it has flushed as well: it may be the last one.
 */
#include "device/nbd-pool.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/error.h"
#include "base/interrupt.h"
#include "blksparse-thread.h"

enum {
	/* To a server that allows several. Most file systems let one program
	 * write to a file at a time, so more are of no use to a writer. */
	CONNS_MAX = 4,
	CONNS_OF_WRITER = 2,
	SMALL_MAX = 64 << 10, /* bytes of a read */
	SMALL_READS = 64,     /* after so many, they get a connection */
	CONNECT_MS = 5000,
	/* Longer, if the first of several name servers does not answer. A later
	 * try gets the answer that an earlier one waited for. */
	FIRST_NAME_MS = 15000,
	FURTHER_MS = 1000, /* for another connection to a server */
	RETRY_US = 1000000,
	BUSY = 12,	     /* requests in flight on a connection */
	SPARE_MAX = 1 << 20, /* bytes that a thread keeps for a request */
	SPARES_MAX = 16,     /* threads that do */
	LEFT_MS = 10,	     /* between two looks for a reply */
};

struct member {
	struct bsp_nbd_conn *conn;
	bool simple;	 /* for small reads alone */
	unsigned users;	 /* threads that have it now */
	unsigned owners; /* of these, those that keep it for long */
	bool dirty;	 /* it may have carried a write since the last flush */
};

/* A write that a thread was interrupted in. */
struct left_over {
	uint64_t off, len;
	struct left_over *next;
};

struct bsp_nbd_pool {
	/* Fixed. */
	char *uri;
	char *changes; /* a metadata context, or NULL */
	bool writes;
	unsigned conns_max;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Protected by lock: */
	struct bsp_nbd_export export;
	/* Of this generation. The first is not simple. */
	struct member members[2 * CONNS_MAX];
	unsigned n, n_simple; /* of all, and of those that are simple */
	unsigned n_max; /* of those that are not; for small reads, of all */
	unsigned simple_max;
	unsigned small_reads; /* up to SMALL_READS */
	bool no_simple;	      /* also in later generations */
	int ends_fd; /* an epoll of the ends of all; -1: look at each */
	bool connecting;
	uint64_t generation;
	bool lost, cancelled;
	int64_t next_try;
	/* Those of earlier generations that a thread still has. */
	GPtrArray *old;	  /* of struct member */
	uint64_t flushed; /* the count of written that the last flush was for */

	/* Atomic: writes that are in flight, also those that a thread was
	 * interrupted in; and those that have ended, also with an error. A
	 * write is never in neither of them. Those of the callers
	 * (bsp_nbd_pool_begin_write()) are among them. */
	_Atomic uint64_t writing, written;
	_Atomic uint64_t n_left; /* writes that were ever in left */

	pthread_mutex_t left_lock; /* a leaf lock */
	pthread_cond_t left_changed;
	/* Protected by left_lock: */
	struct left_over *left;
	unsigned flushes_left; /* that a thread was interrupted in */
	bool flush_failed;     /* one of these, and no flush has told yet */
};

/* --- The end of a generation --- */

/* Are there writes that the server may lose, or may still carry out after the
 * connection is closed? lock held. */
static bool has_unflushed(struct bsp_nbd_pool *pool)
{
	return atomic_load(&pool->writing) ||
	       atomic_load(&pool->written) != pool->flushed;
}

/* lock held. */
static void end_generation(struct bsp_nbd_pool *pool)
{
	for (unsigned i = 0; i < pool->n; i++) {
		struct member *member = &pool->members[i];

		bsp_nbd_conn_kill(member->conn);
		if (member->users)
			g_ptr_array_add(pool->old,
					g_memdup2(member, sizeof(*member)));
		else
			bsp_nbd_conn_free(member->conn);
	}
	/* Nothing is sent any more. */
	pool->lost |= has_unflushed(pool);
	pool->n = pool->n_simple = 0;
	pool->generation++;
}

/* lock held. */
static bool has_dead(const struct bsp_nbd_pool *pool)
{
	for (unsigned i = 0; i < pool->n; i++) {
		if (bsp_nbd_conn_is_dead(pool->members[i].conn))
			return true;
	}
	return false;
}

/* Whether a connection ended, also if no thread has noticed it yet. */
static bool is_ended(const struct member *member)
{
	struct pollfd fd = { .fd = bsp_nbd_conn_fd(member->conn),
			     .events = POLLRDHUP };

	return bsp_nbd_conn_is_dead(member->conn) || poll(&fd, 1, 0) != 0;
}

/* lock held. */
static bool any_ended(const struct bsp_nbd_pool *pool)
{
	for (unsigned i = 0; i < pool->n; i++) {
		if (is_ended(&pool->members[i]))
			return true;
	}
	return false;
}

/* Whether simple connections ended, and no others. lock held. */
static bool only_simple_ended(const struct bsp_nbd_pool *pool)
{
	for (unsigned i = 0; i < pool->n; i++) {
		if (!pool->members[i].simple && is_ended(&pool->members[i]))
			return false;
	}
	return pool->n_simple > 0;
}

/*
 * Ends the generation if a connection died. In the middle of a simple reply, a
 * server can tell of an error only by ending the connection. If a server ended
 * simple connections alone, no more are made: the next error would end the
 * generation again, and fail the reads beside it. lock held.
 */
static void notice_deaths(struct bsp_nbd_pool *pool)
{
	if (!has_dead(pool))
		return;
	pool->no_simple |= only_simple_ended(pool);
	end_generation(pool);
}

/* Takes what came on connections that no thread waits for. lock held. */
static void check(struct bsp_nbd_pool *pool)
{
	for (unsigned i = 0; i < pool->n; i++)
		bsp_nbd_conn_check(pool->members[i].conn);
	notice_deaths(pool);
}

/* --- Connecting --- */

/* Has ends_fd tell when the server ends the connection. The kernel forgets that
 * when the socket is closed. */
static void watch_end(struct bsp_nbd_pool *pool, struct bsp_nbd_conn *conn)
{
	struct epoll_event event = { .events = EPOLLRDHUP };

	if (epoll_ctl(pool->ends_fd, EPOLL_CTL_ADD, bsp_nbd_conn_fd(conn),
		      &event) == 0 ||
	    pool->ends_fd < 0)
		return;
	close(pool->ends_fd);
	pool->ends_fd = -1;
}

/* lock held. */
static void add_member(struct bsp_nbd_pool *pool, struct bsp_nbd_conn *conn,
		       bool simple)
{
	watch_end(pool, conn);
	pool->members[pool->n++] =
		(struct member){ .conn = conn, .simple = simple };
	pool->n_simple += simple;
}

/* Takes the first connection of a generation. lock held. */
static void begin_generation(struct bsp_nbd_pool *pool,
			     struct bsp_nbd_conn *conn)
{
	pool->export = *bsp_nbd_conn_export(conn);
	pool->n_max = pool->export.multi_conn ? pool->conns_max : 1;
	pool->simple_max =
		pool->writes || pool->no_simple || !pool->export.structured
			? 0
			: pool->n_max - 1;
	pool->small_reads = 0;
	/* All was flushed, or the pool would be lost. */
	pthread_mutex_lock(&pool->left_lock);
	pool->flush_failed = false;
	pthread_mutex_unlock(&pool->left_lock);
	add_member(pool, conn, false);
}

struct bsp_nbd_pool *bsp_nbd_pool_new(const char *uri, bool writes,
				      const char *changes, GError **error)
{
	struct bsp_nbd_conn *conn = bsp_nbd_conn_new(
		uri, changes, FIRST_NAME_MS, CONNECT_MS, error);
	struct bsp_nbd_pool *pool;

	if (!conn)
		return NULL;
	pool = g_new0(struct bsp_nbd_pool, 1);
	pool->uri = g_strdup(uri);
	pool->changes = g_strdup(changes);
	pool->writes = writes;
	pool->conns_max = writes ? CONNS_OF_WRITER : CONNS_MAX;
	pthread_mutex_init(&pool->lock, NULL);
	bsp_cond_init(&pool->changed);
	pthread_mutex_init(&pool->left_lock, NULL);
	bsp_cond_init(&pool->left_changed);
	pool->old = g_ptr_array_new_with_free_func(g_free);
	pool->generation = 1;
	pool->ends_fd = epoll_create1(EPOLL_CLOEXEC);
	begin_generation(pool, conn);
	return pool;
}

void bsp_nbd_pool_free(struct bsp_nbd_pool *pool)
{
	if (!pool)
		return;
	for (unsigned i = 0; i < pool->n; i++)
		bsp_nbd_conn_free(pool->members[i].conn);
	if (pool->ends_fd >= 0)
		close(pool->ends_fd);
	g_ptr_array_unref(pool->old);
	pthread_cond_destroy(&pool->left_changed);
	pthread_mutex_destroy(&pool->left_lock);
	pthread_cond_destroy(&pool->changed);
	pthread_mutex_destroy(&pool->lock);
	g_free(pool->changes);
	g_free(pool->uri);
	g_free(pool);
}

/* simple: one of them is of a connection with simple replies. */
static bool is_same_export(const struct bsp_nbd_export *a,
			   const struct bsp_nbd_export *b, bool simple)
{
	return a->size == b->size && a->block_min == b->block_min &&
	       a->read_only == b->read_only && a->can_flush == b->can_flush &&
	       a->can_fua == b->can_fua && a->multi_conn == b->multi_conn &&
	       a->can_zero == b->can_zero &&
	       a->can_fast_zero == b->can_fast_zero &&
	       a->can_trim == b->can_trim &&
	       (simple || (a->has_extents == b->has_extents &&
			   a->has_changes == b->has_changes));
}

/*
 * Makes another connection of this generation. A server may allow fewer than it
 * promises, or differ from itself: then those that are there have to do. lock
 * held; let go of meanwhile.
 */
static void add_connection(struct bsp_nbd_pool *pool, bool simple)
{
	uint64_t generation = pool->generation;
	g_autoptr(GError) error = NULL;
	struct bsp_nbd_conn *conn;

	pool->connecting = true;
	pthread_mutex_unlock(&pool->lock);
	conn = simple ? bsp_nbd_conn_new_simple(pool->uri, FURTHER_MS, &error)
		      : bsp_nbd_conn_new(pool->uri, pool->changes, FURTHER_MS,
					 FURTHER_MS, &error);
	pthread_mutex_lock(&pool->lock);
	pool->connecting = false;
	/* If the server of the others is gone, another one may have answered,
	 * whose content and flushes are not those of this generation. */
	check(pool);
	if (conn && generation == pool->generation && pool->n &&
	    !any_ended(pool) &&
	    is_same_export(bsp_nbd_conn_export(conn), &pool->export, simple)) {
		add_member(pool, conn, simple);
		return;
	}
	bsp_nbd_conn_free(conn);
	if (generation == pool->generation &&
	    !g_error_matches(error, BSP_ERROR, BSP_ERROR_INTERRUPTED)) {
		pool->n_max = pool->n - pool->n_simple;
		pool->simple_max = pool->n_simple;
	}
}

/* lock held. */
static bool needs_connection(const struct bsp_nbd_pool *pool,
			     uint64_t generation)
{
	return !pool->n && !pool->lost && !pool->cancelled &&
	       pool->generation == generation;
}

void bsp_nbd_pool_reconnect(struct bsp_nbd_pool *pool, uint64_t generation)
{
	struct bsp_nbd_conn *conn;

	pthread_mutex_lock(&pool->lock);
	while (pool->connecting && needs_connection(pool, generation))
		pthread_cond_wait(&pool->changed, &pool->lock);
	if (!needs_connection(pool, generation) ||
	    g_get_monotonic_time() < pool->next_try)
		goto unlock;
	pool->connecting = true;
	pthread_mutex_unlock(&pool->lock);
	conn = bsp_nbd_conn_new(pool->uri, pool->changes, CONNECT_MS,
				CONNECT_MS, NULL);
	pthread_mutex_lock(&pool->lock);
	pool->connecting = false;
	if (conn && !pool->cancelled)
		begin_generation(pool, conn);
	else
		bsp_nbd_conn_free(conn);
	pool->next_try = g_get_monotonic_time() + RETRY_US;
	pthread_cond_broadcast(&pool->changed);
unlock:
	pthread_mutex_unlock(&pool->lock);
}

void bsp_nbd_pool_cancel(struct bsp_nbd_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->cancelled = true;
	end_generation(pool);
	pthread_mutex_unlock(&pool->lock);
}

/* --- State --- */

/* Whether a server may have ended a connection. lock held. */
static bool has_ended(struct bsp_nbd_pool *pool)
{
	struct epoll_event event;

	return epoll_wait(pool->ends_fd, &event, 1, 0) != 0;
}

/*
 * Whether a connection has only requests that were given up: no thread sends
 * the rest of them, or takes what comes, and its end may be behind that. lock
 * held.
 */
static bool is_left_alone(const struct bsp_nbd_pool *pool)
{
	for (unsigned i = 0; i < pool->n; i++) {
		const struct member *member = &pool->members[i];

		if (!member->users && bsp_nbd_conn_load(member->conn))
			return true;
	}
	return false;
}

/* Notices connections that have ended. lock held. */
static void notice_ends(struct bsp_nbd_pool *pool)
{
	if (has_ended(pool) || is_left_alone(pool))
		check(pool);
	else
		notice_deaths(pool);
}

const char *bsp_nbd_pool_uri(const struct bsp_nbd_pool *pool)
{
	return pool->uri;
}

uint64_t bsp_nbd_pool_get_export(struct bsp_nbd_pool *pool,
				 struct bsp_nbd_export *ret_export)
{
	uint64_t generation;

	pthread_mutex_lock(&pool->lock);
	*ret_export = pool->export;
	generation = pool->generation;
	pthread_mutex_unlock(&pool->lock);
	return generation;
}

void bsp_nbd_pool_get_state(struct bsp_nbd_pool *pool,
			    struct bsp_nbd_state *ret_state)
{
	pthread_mutex_lock(&pool->lock);
	notice_ends(pool);
	*ret_state = (struct bsp_nbd_state){
		.generation = pool->generation,
		.connected = pool->n > 0,
		.lost = pool->lost,
	};
	pthread_mutex_unlock(&pool->lock);
}

bool bsp_nbd_pool_is_connected(struct bsp_nbd_pool *pool)
{
	bool is;

	pthread_mutex_lock(&pool->lock);
	notice_ends(pool);
	is = pool->n > 0 || pool->lost;
	pthread_mutex_unlock(&pool->lock);
	return is;
}

/* --- Connections for requests --- */

/* A caller gets a connection for it. */
enum use { SMALL_READ, WRITE, REQUEST, MANY_REQUESTS };

static unsigned burden(const struct member *member, enum use use)
{
	return use == MANY_REQUESTS ? member->owners
				    : bsp_nbd_conn_load(member->conn);
}

/* Returns the member with the least burden; of two, the simple one. There is
 * one. lock held. */
static struct member *choose(struct bsp_nbd_pool *pool, enum use use)
{
	struct member *best = &pool->members[0];

	for (unsigned i = 1; i < pool->n; i++) {
		struct member *member = &pool->members[i];
		unsigned more = burden(member, use), less = burden(best, use);

		if (member->simple && use != SMALL_READ)
			continue;
		if (more < less ||
		    (more == less && member->simple && !best->simple))
			best = member;
	}
	return best;
}

/*
 * Whether one connection is enough. A server on this host takes the bytes of
 * writes as fast as they come; over a network, or encrypted, two connections
 * carry more. But a server works on some 16 requests of a connection at a time,
 * and other requests are not to wait behind a queue, or a request that hangs.
 * lock held.
 */
static bool is_enough(const struct bsp_nbd_pool *pool, enum use use)
{
	const struct member *first = &pool->members[0];

	return use == WRITE && pool->export.local && !first->owners &&
	       bsp_nbd_conn_load(first->conn) < BUSY && !is_left_alone(pool);
}

/* Makes another connection if it is of use, and allowed. lock held; let go of
 * meanwhile. */
static void add_if_due(struct bsp_nbd_pool *pool, enum use use)
{
	bool small = use == SMALL_READ;
	bool simple = small && pool->n_simple < pool->simple_max;
	unsigned n = small ? pool->n : pool->n - pool->n_simple;
	bool due;

	if (!pool->n || pool->connecting || is_enough(pool, use))
		return;
	due = burden(choose(pool, use), use) && (simple || n < pool->n_max);
	if (simple && !pool->n_simple)
		due |= ++pool->small_reads >= SMALL_READS;
	if (!due)
		return;
	add_connection(pool, simple);
	pthread_cond_broadcast(&pool->changed);
	notice_deaths(pool);
}

enum { ANY_GENERATION = 0 };

/* As bsp_nbd_pool_get(), in that generation. */
static int get_conn(struct bsp_nbd_pool *pool, uint64_t generation,
		    enum use use, struct bsp_nbd_conn **ret_conn)
{
	struct member *member;
	int r = 0;

	pthread_mutex_lock(&pool->lock);
	notice_deaths(pool);
	add_if_due(pool, use);
	if (pool->lost) {
		r = -ENODEV;
	} else if (!pool->n || (generation != ANY_GENERATION &&
				generation != pool->generation)) {
		r = -EIO;
	} else {
		member = choose(pool, use);
		member->users++;
		member->owners += use == MANY_REQUESTS;
		member->dirty |= use == WRITE;
		*ret_conn = member->conn;
	}
	pthread_mutex_unlock(&pool->lock);
	return r;
}

int bsp_nbd_pool_get(struct bsp_nbd_pool *pool, bool for_long,
		     struct bsp_nbd_conn **ret_conn)
{
	return get_conn(pool, ANY_GENERATION,
			for_long ? MANY_REQUESTS : REQUEST, ret_conn);
}

/* Finds the member of a connection of an earlier generation. lock held. */
static bool put_old(struct bsp_nbd_pool *pool, struct bsp_nbd_conn *conn)
{
	for (guint i = 0; i < pool->old->len; i++) {
		struct member *member = g_ptr_array_index(pool->old, i);

		if (member->conn != conn)
			continue;
		if (--member->users == 0) {
			bsp_nbd_conn_free(conn);
			g_ptr_array_remove_index_fast(pool->old, i);
		}
		return true;
	}
	return false;
}

/* put: the connection, and what to change of its member: whether it is dirty,
 * and the number of owners to take off. */
static void put_conn(struct bsp_nbd_pool *pool, struct member put)
{
	pthread_mutex_lock(&pool->lock);
	if (!put_old(pool, put.conn)) {
		for (unsigned i = 0; i < pool->n; i++) {
			if (pool->members[i].conn != put.conn)
				continue;
			pool->members[i].users--;
			pool->members[i].owners -= put.owners;
			pool->members[i].dirty |= put.dirty;
		}
		notice_deaths(pool);
	}
	pthread_mutex_unlock(&pool->lock);
}

void bsp_nbd_pool_put(struct bsp_nbd_pool *pool, bool for_long,
		      struct bsp_nbd_conn *conn)
{
	put_conn(pool, (struct member){ .conn = conn, .owners = for_long });
}

/* --- Memory for requests --- */

/* A request with memory of its own. */
struct own {
	struct bsp_nbd_request request; /* first */
	struct bsp_nbd_pool *pool;
	struct left_over left;
	size_t capacity; /* of buf, bytes */
	char buf[];
};

static atomic_uint n_spares;

/* Called at the end of a thread. */
static void free_spare(void *own)
{
	atomic_fetch_sub(&n_spares, 1);
	free(own);
}

/* One that the thread used before. To get a large block from the kernel for
 * each read, and to return it, took more time than the read. */
static GPrivate spare_of_thread = G_PRIVATE_INIT(free_spare);

/* Returns NULL if memory is short. */
static struct own *take_own(size_t size)
{
	struct own *own = g_private_get(&spare_of_thread);

	if (own) {
		g_private_set(&spare_of_thread, NULL);
		atomic_fetch_sub(&n_spares, 1);
		if (own->capacity >= size)
			return own;
		free(own);
	}
	own = malloc(sizeof(*own) + size);
	if (own)
		own->capacity = size;
	return own;
}

/* The thread has no spare one now. */
static void return_own(struct own *own)
{
	if (own->capacity > SPARE_MAX) {
		free(own);
	} else if (atomic_fetch_add(&n_spares, 1) < SPARES_MAX) {
		g_private_set(&spare_of_thread, own);
	} else {
		free_spare(own);
	}
}

/* --- Requests --- */

static bool writes(enum bsp_nbd_command command)
{
	return command == BSP_NBD_WRITE || command == BSP_NBD_ZERO ||
	       command == BSP_NBD_TRIM;
}

/* Whether this thread's requests can go on without it. */
static bool can_abandon(void)
{
	return bsp_interrupt_is_set() && !bsp_interrupt_ends();
}

static enum use use_of(const struct bsp_nbd_request *what)
{
	if (writes(what->command) || (what->flags & BSP_NBD_CHECK))
		return WRITE;
	return what->command == BSP_NBD_READ && what->len <= SMALL_MAX
		       ? SMALL_READ
		       : REQUEST;
}

static bool is_left(const struct bsp_nbd_pool *pool, uint64_t off, uint64_t len)
{
	for (const struct left_over *left = pool->left; left;
	     left = left->next) {
		if (off < left->off + left->len && left->off < off + len)
			return true;
	}
	return false;
}

/* Waits for a request that a thread was interrupted in, a little while. No
 * other thread may wait for its connection, so this one takes the replies.
 * Returns 0 or -EINTR. left_lock held; let go of meanwhile. */
static int wait_a_little(struct bsp_nbd_pool *pool)
{
	struct timespec limit = bsp_cond_limit(LEFT_MS);
	bool interrupted;

	if (pthread_cond_timedwait(&pool->left_changed, &pool->left_lock,
				   &limit) == 0)
		return 0;
	pthread_mutex_unlock(&pool->left_lock);
	interrupted = bsp_interrupted();
	pthread_mutex_lock(&pool->lock);
	check(pool);
	pthread_mutex_unlock(&pool->lock);
	pthread_mutex_lock(&pool->left_lock);
	return interrupted ? -EINTR : 0;
}

int bsp_nbd_pool_wait_for_left(struct bsp_nbd_pool *pool, uint64_t off,
			       uint64_t len)
{
	int r = 0;

	pthread_mutex_lock(&pool->left_lock);
	while (!r && is_left(pool, off, len))
		r = wait_a_little(pool);
	pthread_mutex_unlock(&pool->left_lock);
	return r;
}

/* Waits for flushes that a thread was interrupted in. Returns 0, -EINTR, or
 * -EIO if one of them has failed. */
static int wait_for_flushes(struct bsp_nbd_pool *pool)
{
	int r = 0;

	pthread_mutex_lock(&pool->left_lock);
	while (!r && pool->flushes_left)
		r = wait_a_little(pool);
	if (!r && pool->flush_failed) {
		pool->flush_failed = false;
		r = -EIO;
	}
	pthread_mutex_unlock(&pool->left_lock);
	return r;
}

void bsp_nbd_pool_begin_write(struct bsp_nbd_pool *pool)
{
	atomic_fetch_add(&pool->writing, 1);
}

void bsp_nbd_pool_end_write(struct bsp_nbd_pool *pool, bool changed)
{
	if (changed)
		atomic_fetch_add(&pool->written, 1);
	atomic_fetch_sub(&pool->writing, 1);
}

/* A done() of a request that was given up. */
static void free_left(struct bsp_nbd_request *request)
{
	struct own *own = (struct own *)request;
	struct bsp_nbd_pool *pool = own->pool;
	struct left_over **at = &pool->left;

	pthread_mutex_lock(&pool->left_lock);
	if (writes(request->command)) {
		while (*at != &own->left)
			at = &(*at)->next;
		*at = own->left.next;
		bsp_nbd_pool_end_write(pool, true);
	} else if (request->command == BSP_NBD_FLUSH) {
		pool->flushes_left--;
		pool->flush_failed |= request->error != 0;
	}
	pthread_cond_broadcast(&pool->left_changed);
	pthread_mutex_unlock(&pool->left_lock);
	free(own);
}

/* Gives the request up. Returns -EINTR, also if it is done by now. */
static int give_up(struct bsp_nbd_pool *pool, struct bsp_nbd_conn *conn,
		   struct own *own)
{
	struct bsp_nbd_request *request = &own->request;

	pthread_mutex_lock(&pool->left_lock);
	if (writes(request->command)) {
		own->left = (struct left_over){ request->off, request->len,
						pool->left };
		pool->left = &own->left;
		atomic_fetch_add(&pool->n_left, 1);
	}
	pool->flushes_left += request->command == BSP_NBD_FLUSH;
	pthread_mutex_unlock(&pool->left_lock);
	if (!bsp_nbd_conn_abandon(conn, request, free_left))
		free_left(request);
	return -EINTR;
}

static int run_own(struct bsp_nbd_pool *pool, struct bsp_nbd_conn *conn,
		   const struct bsp_nbd_request *what)
{
	size_t size = what->buf ? (size_t)what->len : 0;
	struct own *own = take_own(size);
	int r;

	if (!own)
		return -ENOMEM;
	own->request = *what;
	own->pool = pool;
	if (size)
		own->request.buf = own->buf;
	if (what->command == BSP_NBD_WRITE)
		memcpy(own->buf, what->buf, size);
	r = bsp_nbd_conn_run(conn, &own->request);
	if (r == -EINTR)
		return give_up(pool, conn, own);
	if (!r && what->command == BSP_NBD_READ)
		memcpy(what->buf, own->buf, size);
	return_own(own);
	return r;
}

static int run(struct bsp_nbd_pool *pool, uint64_t generation,
	       const struct bsp_nbd_request *what)
{
	struct bsp_nbd_request request = *what;
	bool is_write = writes(what->command);
	struct bsp_nbd_conn *conn;
	int r = get_conn(pool, generation, use_of(what), &conn);

	if (r)
		return r;
	if (is_write)
		bsp_nbd_pool_begin_write(pool);
	r = can_abandon() ? run_own(pool, conn, what)
			  : bsp_nbd_conn_run(conn, &request);
	if (is_write && !(can_abandon() && r == -EINTR)) /* that ends later */
		bsp_nbd_pool_end_write(pool, true);
	bsp_nbd_pool_put(pool, false, conn);
	return r;
}

/* Runs a request when no interrupted write of its bytes is in flight. If a
 * thread was interrupted in one during a read, the bytes may be those of before
 * the write, and the read is repeated. */
static int run_after_left(struct bsp_nbd_pool *pool, uint64_t generation,
			  const struct bsp_nbd_request *what)
{
	uint64_t n;
	int r;

	do {
		n = atomic_load(&pool->n_left);
		r = bsp_nbd_pool_wait_for_left(pool, what->off, what->len);
		if (!r)
			r = run(pool, generation, what);
	} while (!r && what->command == BSP_NBD_READ &&
		 atomic_load(&pool->n_left) != n);
	return r;
}

static struct bsp_nbd_conn *take_to_flush(struct member *member)
{
	/* A write that is in flight now may end after the flush. */
	member->dirty = member->users || bsp_nbd_conn_load(member->conn);
	member->users++;
	return member->conn;
}

/*
 * Takes the connections that carried writes since the last flush; or else the
 * first. A server that allows several flushes the writes of all with one
 * command. But another server may have taken over the address while a
 * connection hangs, and the newer connection is to that one. Returns their
 * number. One flush at a time; lock held; there is a connection.
 */
static unsigned take_dirty(struct bsp_nbd_pool *pool,
			   struct bsp_nbd_conn **ret_conns)
{
	unsigned n = 0;

	for (unsigned i = 0; i < pool->n; i++) {
		if (pool->members[i].dirty)
			ret_conns[n++] = take_to_flush(&pool->members[i]);
	}
	if (n == 0)
		ret_conns[n++] = take_to_flush(&pool->members[0]);
	return n;
}

/* A flush of one connection. */
struct flush {
	struct own *own;
	struct bsp_nbd_waiter waiter;
};

static void start_flush(struct flush *flush, struct bsp_nbd_pool *pool,
			struct bsp_nbd_conn *conn,
			const struct bsp_nbd_request *what)
{
	flush->own = g_new0(struct own, 1);
	flush->own->pool = pool;
	flush->own->request = *what;
	bsp_nbd_conn_start(conn, &flush->own->request, &flush->waiter);
}

static int finish_flush(struct flush *flush, struct bsp_nbd_pool *pool,
			struct bsp_nbd_conn *conn)
{
	struct own *own = flush->own;
	int r = bsp_nbd_conn_finish(conn, &own->request, &flush->waiter);

	if (r == -EINTR && can_abandon())
		return give_up(pool, conn, own);
	free(own);
	return r;
}

/* Flushes the connections side by side, and returns them. */
static int flush_conns(struct bsp_nbd_pool *pool, struct bsp_nbd_conn **conns,
		       unsigned n, const struct bsp_nbd_request *what)
{
	struct flush flush[2 * CONNS_MAX];
	int first = 0;

	for (unsigned i = 0; i < n; i++)
		start_flush(&flush[i], pool, conns[i], what);
	for (unsigned i = 0; i < n; i++) {
		int r = finish_flush(&flush[i], pool, conns[i]);

		put_conn(pool,
			 (struct member){ .conn = conns[i], .dirty = r != 0 });
		first = first ? first : r;
	}
	return first;
}

/* A server without this command has no cache of its own. With nothing to flush,
 * a flush does not fail because the server is gone. Writes that a thread was
 * interrupted in, and that are done by now, are flushed as well. */
static int run_flush(struct bsp_nbd_pool *pool,
		     const struct bsp_nbd_request *what)
{
	struct bsp_nbd_conn *conns[2 * CONNS_MAX];
	int before = wait_for_flushes(pool), r = 0;
	unsigned n_conns = 0;
	uint64_t n;

	if (before == -EINTR)
		return before;
	pthread_mutex_lock(&pool->lock);
	check(pool);
	n = atomic_load(&pool->written);
	if (pool->lost)
		r = -ENODEV;
	/* After the end of a generation, all was flushed, or the pool is lost.
	 */
	if (!r && pool->export.can_flush && pool->n)
		n_conns = take_dirty(pool, conns);
	pthread_mutex_unlock(&pool->lock);
	if (!r)
		r = flush_conns(pool, conns, n_conns, what);
	r = r ? r : before;
	pthread_mutex_lock(&pool->lock);
	if (!r && n > pool->flushed)
		pool->flushed = n;
	pthread_mutex_unlock(&pool->lock);
	return r;
}

int bsp_nbd_pool_run(struct bsp_nbd_pool *pool, enum bsp_nbd_command command,
		     unsigned flags, uint64_t off, void *buf, uint64_t len)
{
	return bsp_nbd_pool_run_in(pool, ANY_GENERATION, command, flags, off,
				   buf, len);
}

int bsp_nbd_pool_run_in(struct bsp_nbd_pool *pool, uint64_t generation,
			enum bsp_nbd_command command, unsigned flags,
			uint64_t off, void *buf, uint64_t len)
{
	const struct bsp_nbd_request what = {
		.command = command,
		.flags = flags,
		.off = off,
		.len = len,
		.buf = buf,
	};

	if (command == BSP_NBD_FLUSH)
		return run_flush(pool, &what);
	return run_after_left(pool, generation, &what);
}
