/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/nbd-conn.h"

#include <errno.h>
#include <libnbd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/range.h"
#include "blksparse-thread.h"
#include "device/nbd-connect.h"

enum {
	/* Sizes that every server takes (doc/proto.md of NBD,
	 * "Block size constraints"). */
	BLOCK_MIN_DEFAULT = 512,
	BLOCK_MAX_DEFAULT = 32 << 20,
	BLOCK_MIN_LIMIT = 1 << 20,
	/* Bytes that a server sends in one piece if it can do that at all (the
	 * same, NBD_CMD_FLAG_DF). */
	DF_ALWAYS = 64 << 10,
	/* A host that is gone without a word is noticed after a minute:
	 * seconds. */
	KEEPALIVE_IDLE = 30,
	KEEPALIVE_INTERVAL = 10,
	KEEPALIVE_COUNT = 3,
	SEND_BUFFER = 1 << 20,
	CHECK_MAX = 64, /* pieces of replies that are taken at a time */
	SPIN_US = 200,	/* the longest wait without sleep */
	SKIPS_MAX = 15, /* waits without a spin, after some that failed */
};

struct bsp_nbd_conn {
	/* Fixed after connecting. */
	struct bsp_nbd_export export;
	int wake_fd; /* an eventfd: wakes the thread that polls */

	pthread_mutex_t lock; /* a leaf lock, but for those of done() */
	/* Protected by lock: */
	struct nbd_handle *nbd; /* NULL: closed */
	bool polling;		/* a thread polls, without the lock */
	unsigned skip_spins;	/* waits that are not to spin */
	unsigned spins_missed;	/* skip_spins after the last spin */
	uint64_t df_max;	/* bytes of a read that is sent in one piece */
	struct bsp_nbd_waiter *waiters;
	struct bsp_nbd_request *requests; /* in flight */

	atomic_uint load;
	atomic_bool dead; /* written with the lock; never unset */
};

/* --- Connecting --- */

static int to_errno(int errnum)
{
	if (errnum == 0 || errnum == ENOTCONN || errnum == ESHUTDOWN)
		return EIO;
	return errnum;
}

static void drive(struct nbd_handle *nbd, unsigned direction, short revents)
{
	const short failed = POLLERR | POLLHUP | POLLNVAL;

	if ((direction & LIBNBD_AIO_DIRECTION_READ) &&
	    (revents & (POLLIN | failed)))
		(void)nbd_aio_notify_read(nbd);
	else if ((direction & LIBNBD_AIO_DIRECTION_WRITE) &&
		 (revents & (POLLOUT | failed)))
		(void)nbd_aio_notify_write(nbd);
}

static short events_of(unsigned direction)
{
	return (short)((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
		       (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0));
}

/* Drives the handshake until it is done. */
static bool shake_hands(struct nbd_handle *nbd, const char *uri, int64_t limit,
			GError **error)
{
	while (!nbd_aio_is_ready(nbd)) {
		struct pollfd fd;
		unsigned direction;

		/* Other calls fail then, and replace the message. */
		if (nbd_aio_is_dead(nbd) || nbd_aio_is_closed(nbd))
			return bsp_nbd_refuse_libnbd(uri, error);
		if (g_get_monotonic_time() > limit)
			return bsp_nbd_refuse(
				uri,
				"the server does not answer (is it stopped, or are its connections all in use?)",
				error);
		if (bsp_interrupted())
			return bsp_error_set(error, BSP_ERROR_INTERRUPTED,
					     "interrupted");
		direction = nbd_aio_get_direction(nbd);
		fd = (struct pollfd){ .fd = nbd_aio_get_fd(nbd),
				      .events = events_of(direction) };
		if (poll(&fd, 1, BSP_INTERRUPT_MS) > 0)
			drive(nbd, direction, fd.revents);
	}
	return true;
}

static bool is_unix_socket(int fd)
{
	int domain = AF_UNSPEC;
	socklen_t len = sizeof(domain);

	(void)getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
	return domain == AF_UNIX;
}

static bool is_power_of_two(uint64_t n)
{
	return n && (n & (n - 1)) == 0;
}

/* Takes the sizes of requests. Returns false if they make no sense. */
static bool take_blocks(struct nbd_handle *nbd, struct bsp_nbd_export *export)
{
	int64_t min = nbd_get_block_size(nbd, LIBNBD_SIZE_MINIMUM);
	int64_t max = nbd_get_block_size(nbd, LIBNBD_SIZE_MAXIMUM);

	min = min > 0 ? min : BLOCK_MIN_DEFAULT;
	max = max > 0 ? MIN(max, BLOCK_MAX_DEFAULT) : BLOCK_MAX_DEFAULT;
	if (!is_power_of_two((uint64_t)min) || min > BLOCK_MIN_LIMIT ||
	    max < min)
		return false;
	export->block_min = (uint32_t)min;
	export->block_max = (uint32_t)(max - max % min);
	return true;
}

static bool take_export(struct nbd_handle *nbd,
			const struct bsp_nbd_target *target,
			struct bsp_nbd_export *export, GError **error)
{
	int64_t size = nbd_get_size(nbd);

	*export = (struct bsp_nbd_export){
		.size = (uint64_t)size,
		.read_only = nbd_is_read_only(nbd) != 0,
		.local = is_unix_socket(nbd_aio_get_fd(nbd)) &&
			 nbd_get_tls_negotiated(nbd) == 0,
		.multi_conn = nbd_can_multi_conn(nbd) > 0,
		.can_flush = nbd_can_flush(nbd) > 0,
		.can_fua = nbd_can_fua(nbd) > 0,
		.can_zero = nbd_can_zero(nbd) > 0,
		.can_fast_zero = nbd_can_fast_zero(nbd) > 0,
		.can_trim = nbd_can_trim(nbd) > 0,
		.structured = nbd_get_structured_replies_negotiated(nbd) > 0,
		.has_extents = nbd_can_meta_context(
				       nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0,
		.has_changes = target->changes &&
			       nbd_can_meta_context(nbd, target->changes) > 0,
	};
	if (size < 0)
		return bsp_nbd_refuse(target->uri,
				      "the server gives no size below 8 EiB",
				      error);
	if (size == 0)
		return bsp_nbd_refuse(target->uri,
				      "the export is empty (0 bytes)", error);
	if (!take_blocks(nbd, export))
		return bsp_nbd_refuse(
			target->uri,
			"the server's block sizes make no sense (see nbdinfo)",
			error);
	return true;
}

/* Fails, without harm, for sockets that are not TCP. */
static void keep_alive(int fd)
{
	const int on = 1, idle = KEEPALIVE_IDLE, interval = KEEPALIVE_INTERVAL,
		  count = KEEPALIVE_COUNT;

	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval,
			 sizeof(interval));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

/*
 * Lets a socket to a server on this host hold as much as a long write. With the
 * usual fifth of it, the kernel would wake server and client in turns several
 * times for each write. A socket of TCP finds its size itself. The kernel may
 * give less, without harm.
 */
static void enlarge_send_buffer(int fd)
{
	const int size = SEND_BUFFER;

	if (is_unix_socket(fd) &&
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size,
				 sizeof(size));
}

static int64_t after(unsigned ms)
{
	return g_get_monotonic_time() + (int64_t)ms * 1000;
}

static struct nbd_handle *connect_handle(const struct bsp_nbd_target *target,
					 unsigned name_ms, unsigned timeout_ms,
					 struct bsp_nbd_export *export,
					 GError **error)
{
	struct nbd_handle *nbd = bsp_nbd_connect(target, after(name_ms), error);

	if (nbd && shake_hands(nbd, target->uri, after(timeout_ms), error) &&
	    take_export(nbd, target, export, error)) {
		keep_alive(nbd_aio_get_fd(nbd));
		enlarge_send_buffer(nbd_aio_get_fd(nbd));
		return nbd;
	}
	nbd_close(nbd);
	return NULL;
}

static struct bsp_nbd_conn *connect_to(const struct bsp_nbd_target *target,
				       unsigned name_ms, unsigned timeout_ms,
				       GError **error)
{
	struct bsp_nbd_export export;
	struct nbd_handle *nbd =
		connect_handle(target, name_ms, timeout_ms, &export, error);
	struct bsp_nbd_conn *conn = NULL;
	int fd = -1;

	if (!nbd)
		return NULL;
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd >= 0)
		conn = calloc(1, sizeof(*conn));
	if (!conn) {
		bsp_nbd_refuse(target->uri, g_strerror(errno), error);
		if (fd >= 0)
			close(fd);
		nbd_close(nbd);
		return NULL;
	}
	conn->export = export;
	conn->nbd = nbd;
	conn->df_max = nbd_can_df(nbd) > 0 ? UINT64_MAX : 0;
	conn->wake_fd = fd;
	pthread_mutex_init(&conn->lock, NULL);
	return conn;
}

struct bsp_nbd_conn *bsp_nbd_conn_new(const char *uri, const char *changes,
				      unsigned name_ms, unsigned timeout_ms,
				      GError **error)
{
	const struct bsp_nbd_target target = { uri, changes, false };

	return connect_to(&target, name_ms, timeout_ms, error);
}

struct bsp_nbd_conn *
bsp_nbd_conn_new_simple(const char *uri, unsigned timeout_ms, GError **error)
{
	const struct bsp_nbd_target target = { uri, NULL, true };

	return connect_to(&target, timeout_ms, timeout_ms, error);
}

const struct bsp_nbd_export *
bsp_nbd_conn_export(const struct bsp_nbd_conn *conn)
{
	return &conn->export;
}

int bsp_nbd_conn_fd(struct bsp_nbd_conn *conn)
{
	int fd;

	pthread_mutex_lock(&conn->lock);
	fd = conn->nbd ? nbd_aio_get_fd(conn->nbd) : -1;
	pthread_mutex_unlock(&conn->lock);
	return fd;
}

/* --- Requests --- */

static void link_request(struct bsp_nbd_conn *conn,
			 struct bsp_nbd_request *request)
{
	request->prev = NULL;
	request->next = conn->requests;
	if (request->next)
		request->next->prev = request;
	conn->requests = request;
	atomic_fetch_add(&conn->load, 1);
}

static void unlink_request(struct bsp_nbd_conn *conn,
			   struct bsp_nbd_request *request)
{
	if (request->prev)
		request->prev->next = request->next;
	else
		conn->requests = request->next;
	if (request->next)
		request->next->prev = request->prev;
	atomic_fetch_sub(&conn->load, 1);
}

/* done() may free the request. lock held. */
static void finish(struct bsp_nbd_request *request)
{
	unlink_request(request->conn, request);
	request->finished = true;
	if (request->waiter && request->waiter->waiting)
		pthread_cond_signal(&request->waiter->cond);
	if (request->done)
		request->done(request);
}

/* Mixes the bits of an offset (the finalizer of SplitMix64). */
static uint64_t mix(uint64_t off)
{
	off = (off ^ (off >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	off = (off ^ (off >> 27)) * UINT64_C(0x94d049bb133111eb);
	return off ^ (off >> 31);
}

/* A sum over parts that is that of the whole range if they fill it, each byte
 * once, in any order. A plain sum of lengths would miss a part that came twice
 * in place of another one. */
static uint64_t sum_of(uint64_t off, uint64_t len)
{
	return mix(off + len) - mix(off);
}

/* A server may say that a read is done without having sent all of it. libnbd
 * tells only callers that have no callback. */
static bool lacks_data(const struct bsp_nbd_request *request)
{
	return request->command == BSP_NBD_READ &&
	       request->received != sum_of(request->off, request->len);
}

/* Ends one part of the request. lock held. */
static void end_part(struct bsp_nbd_request *request, int error)
{
	if (error && !request->error)
		request->error = error;
	if (--request->parts)
		return;
	if (!request->error && lacks_data(request))
		request->error = EIO;
	finish(request);
}

/* Called by libnbd, so with the lock held. */
static int part_done(void *data, int *error)
{
	end_part(data, *error ? to_errno(*error) : 0);
	return 1; /* libnbd may forget the command */
}

static int data_came(void *data, const void *buf, size_t len, uint64_t off,
		     unsigned status, int *error)
{
	struct bsp_nbd_request *request = data;

	if (status != LIBNBD_READ_ERROR)
		request->received += sum_of(off, len);
	return 0;
}

static int extents_came(void *data, const char *context, uint64_t off,
			uint32_t *entries, size_t n, int *error)
{
	struct bsp_nbd_request *request = data;
	bool is_base = strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) == 0;

	if (!*error && off == request->off &&
	    is_base == (request->command == BSP_NBD_EXTENTS))
		request->extents(request, entries, n);
	return 0;
}

/*
 * Reads are not to be fragmented. qemu-nbd, asked for fragments, looks for
 * zeros before each read, and if reading fails then, it ends the connection:
 * the error of one read would fail all, and lose writes that were not flushed.
 */
static uint32_t to_libnbd_flags(const struct bsp_nbd_conn *conn,
				const struct bsp_nbd_request *request)
{
	unsigned flags = request->flags;
	bool df = request->command == BSP_NBD_READ &&
		  request->len <= conn->df_max && !(flags & BSP_NBD_FRAGMENTS);

	return (flags & BSP_NBD_FUA ? LIBNBD_CMD_FLAG_FUA : 0) |
	       (flags & BSP_NBD_NO_HOLE ? LIBNBD_CMD_FLAG_NO_HOLE : 0) |
	       (flags & BSP_NBD_FAST_ZERO ? LIBNBD_CMD_FLAG_FAST_ZERO : 0) |
	       (df ? LIBNBD_CMD_FLAG_DF : 0);
}

/* Returns false if libnbd does not take the command. lock held. */
static bool issue(const struct bsp_nbd_conn *conn,
		  struct bsp_nbd_request *request, uint64_t at, size_t len)
{
	struct nbd_handle *nbd = conn->nbd;
	const nbd_completion_callback done = { .callback = part_done,
					       .user_data = request };
	const nbd_chunk_callback chunk = { .callback = data_came,
					   .user_data = request };
	const nbd_extent_callback extents = { .callback = extents_came,
					      .user_data = request };
	uint32_t flags = to_libnbd_flags(conn, request);
	uint64_t off = request->off + at;
	char *buf = request->buf;

	switch (request->command) {
	case BSP_NBD_READ:
		return nbd_aio_pread_structured(nbd, buf + at, len, off, chunk,
						done, flags) >= 0;
	case BSP_NBD_WRITE:
		return nbd_aio_pwrite(nbd, buf + at, len, off, done, flags) >=
		       0;
	case BSP_NBD_ZERO:
		return nbd_aio_zero(nbd, len, off, done, flags) >= 0;
	case BSP_NBD_TRIM:
		return nbd_aio_trim(nbd, len, off, done, flags) >= 0;
	case BSP_NBD_EXTENTS:
	case BSP_NBD_CHANGES:
		return nbd_aio_block_status(nbd, len, off, extents, done,
					    flags) >= 0;
	default:
		return nbd_aio_flush(nbd, done, flags) >= 0;
	}
}

/* Issues all parts of the request. The request has one part more until that is
 * done, so that it does not end before. lock held. */
static void issue_parts(struct bsp_nbd_conn *conn,
			struct bsp_nbd_request *request)
{
	bool splits = request->command == BSP_NBD_READ ||
		      request->command == BSP_NBD_WRITE;
	uint64_t at = 0;

	request->parts = 1;
	do {
		uint64_t len = request->len - at;

		if (splits)
			len = bsp_min(len, conn->export.block_max);
		request->parts++;
		if (!issue(conn, request, at, (size_t)len)) {
			end_part(request, to_errno(nbd_get_errno()));
			break;
		}
		at += len;
	} while (at < request->len);
	end_part(request, 0);
}

/* --- Death --- */

static void wake_poller(struct bsp_nbd_conn *conn)
{
	const uint64_t one = 1;

	/* It fails only when the thread is about to wake up anyway. */
	if (conn->polling &&
	    write(conn->wake_fd, &one, sizeof(one)) != sizeof(one))
		return;
}

/* Closes the handle. libnbd does not use a buffer after that. lock held; no
 * thread polls. */
static void close_handle(struct bsp_nbd_conn *conn)
{
	nbd_close(conn->nbd);
	conn->nbd = NULL;
	while (conn->requests) {
		conn->requests->error = EIO;
		finish(conn->requests);
	}
}

/* Does nothing if it is dead. lock held. */
static void die(struct bsp_nbd_conn *conn)
{
	atomic_store(&conn->dead, true);
	if (conn->polling)
		wake_poller(conn);
	else if (conn->nbd)
		close_handle(conn);
}

static void die_if_closed(struct bsp_nbd_conn *conn)
{
	if (atomic_load(&conn->dead) || nbd_aio_is_dead(conn->nbd) ||
	    nbd_aio_is_closed(conn->nbd))
		die(conn);
}

void bsp_nbd_conn_kill(struct bsp_nbd_conn *conn)
{
	pthread_mutex_lock(&conn->lock);
	die(conn);
	pthread_mutex_unlock(&conn->lock);
}

bool bsp_nbd_conn_is_dead(const struct bsp_nbd_conn *conn)
{
	return atomic_load(&conn->dead);
}

unsigned bsp_nbd_conn_load(const struct bsp_nbd_conn *conn)
{
	return atomic_load(&conn->load);
}

void bsp_nbd_conn_free(struct bsp_nbd_conn *conn)
{
	if (!conn)
		return;
	bsp_nbd_conn_kill(conn);
	close(conn->wake_fd);
	pthread_mutex_destroy(&conn->lock);
	free(conn);
}

/* --- Waiting --- */

void bsp_nbd_waiter_init(struct bsp_nbd_waiter *waiter)
{
	*waiter = (struct bsp_nbd_waiter){ 0 };
	bsp_cond_init(&waiter->cond);
}

void bsp_nbd_waiter_done(struct bsp_nbd_waiter *waiter)
{
	pthread_cond_destroy(&waiter->cond);
}

/*
 * Lets libnbd work once if something came. Returns whether it did. No thread
 * polls, as it would not notice that its request was done. lock held, and not
 * let go of.
 */
static bool take_arrived(struct bsp_nbd_conn *conn)
{
	unsigned direction = nbd_aio_get_direction(conn->nbd);
	struct pollfd fd = { .fd = nbd_aio_get_fd(conn->nbd),
			     .events = events_of(direction) };

	if (poll(&fd, 1, 0) <= 0)
		return false;
	drive(conn->nbd, direction, fd.revents);
	die_if_closed(conn);
	return true;
}

/*
 * Waits for a short time without sleep. A server on this host replies so soon
 * that sleeping, and being woken, would take a large part of the time. Each
 * yield lets other threads run, the server's among them, so the wait uses a
 * processor only while it is idle. After waits that were longer, the next ones
 * do not try it. Returns what is_over() returned last. lock held; let go of
 * meanwhile.
 */
static bool spin(struct bsp_nbd_conn *conn, bool (*is_over)(void *data),
		 void *data)
{
	int64_t now, limit;
	bool over = is_over(data);

	if (over)
		return true;
	if (conn->skip_spins) {
		conn->skip_spins--;
		return false;
	}
	now = g_get_monotonic_time();
	limit = now + SPIN_US;
	while (!over && conn->nbd && !conn->polling && now < limit) {
		if (!take_arrived(conn)) {
			pthread_mutex_unlock(&conn->lock);
			(void)sched_yield();
			pthread_mutex_lock(&conn->lock);
		}
		over = is_over(data);
		now = g_get_monotonic_time();
	}
	conn->spins_missed =
		now < limit ? 0 : MIN(2 * conn->spins_missed + 1, SKIPS_MAX);
	conn->skip_spins = conn->spins_missed;
	return over;
}

/* Polls the socket once, and lets libnbd work. lock held; let go of meanwhile.
 */
static void poll_once(struct bsp_nbd_conn *conn, int timeout_ms)
{
	unsigned direction = nbd_aio_get_direction(conn->nbd);
	struct pollfd fds[] = {
		{ .fd = nbd_aio_get_fd(conn->nbd),
		  .events = events_of(direction) },
		{ .fd = conn->wake_fd, .events = POLLIN },
	};
	uint64_t count;
	int n;

	conn->polling = true;
	pthread_mutex_unlock(&conn->lock);
	n = poll(fds, 2, timeout_ms);
	pthread_mutex_lock(&conn->lock);
	conn->polling = false;
	if (n > 0 && fds[1].revents &&
	    read(conn->wake_fd, &count, sizeof(count)) < 0)
		fds[1].revents = 0; /* another thread's wake came first */
	if (n > 0 && fds[0].revents && !atomic_load(&conn->dead))
		drive(conn->nbd, nbd_aio_get_direction(conn->nbd),
		      fds[0].revents);
	die_if_closed(conn);
}

static void add_waiter(struct bsp_nbd_conn *conn, struct bsp_nbd_waiter *waiter)
{
	waiter->waiting = true;
	waiter->next = conn->waiters;
	conn->waiters = waiter;
}

static void remove_waiter(struct bsp_nbd_conn *conn,
			  struct bsp_nbd_waiter *waiter)
{
	struct bsp_nbd_waiter **at = &conn->waiters;

	while (*at != waiter)
		at = &(*at)->next;
	*at = waiter->next;
	waiter->waiting = false;
}

/* Waits for another thread that polls. lock held; let go of meanwhile. */
static void wait_for_poller(struct bsp_nbd_conn *conn,
			    struct bsp_nbd_waiter *waiter, bool bounded)
{
	struct timespec limit;

	add_waiter(conn, waiter);
	if (bounded) {
		limit = bsp_cond_limit(BSP_INTERRUPT_MS);
		(void)pthread_cond_timedwait(&waiter->cond, &conn->lock,
					     &limit);
	} else {
		pthread_cond_wait(&waiter->cond, &conn->lock);
	}
	remove_waiter(conn, waiter);
}

/* Asks at most every BSP_INTERRUPT_MS. lock held; let go of meanwhile. */
static bool is_interrupted(struct bsp_nbd_conn *conn, int64_t *asked)
{
	int64_t now = g_get_monotonic_time();
	bool is;

	if (now - *asked < BSP_INTERRUPT_MS * INT64_C(1000))
		return false;
	*asked = now;
	pthread_mutex_unlock(&conn->lock);
	is = bsp_interrupted();
	pthread_mutex_lock(&conn->lock);
	return is;
}

int bsp_nbd_conn_wait(struct bsp_nbd_conn *conn, struct bsp_nbd_waiter *waiter,
		      bool (*is_over)(void *data), void *data)
{
	bool bounded = bsp_interrupt_is_set();
	int64_t asked = bounded ? g_get_monotonic_time() : 0;
	bool over, interrupted;
	int r = 0;

	pthread_mutex_lock(&conn->lock);
	over = spin(conn, is_over, data);
	while (!over && !r) {
		if (conn->polling)
			wait_for_poller(conn, waiter, bounded);
		else if (conn->nbd)
			poll_once(conn, bounded ? BSP_INTERRUPT_MS : -1);
		interrupted = bounded && is_interrupted(conn, &asked);
		over = is_over(data);
		if (interrupted && !over)
			r = -EINTR;
	}
	/* Another thread has to poll now. */
	if (!conn->polling && conn->waiters)
		pthread_cond_signal(&conn->waiters->cond);
	pthread_mutex_unlock(&conn->lock);
	return r;
}

void bsp_nbd_conn_submit(struct bsp_nbd_conn *conn,
			 struct bsp_nbd_request *request)
{
	pthread_mutex_lock(&conn->lock);
	request->conn = conn;
	request->finished = false;
	request->error = 0;
	request->received = 0;
	link_request(conn, request);
	if (!conn->nbd || atomic_load(&conn->dead)) {
		request->error = EIO;
		finish(request);
	} else {
		issue_parts(conn, request);
		die_if_closed(conn);
		if (conn->polling && (nbd_aio_get_direction(conn->nbd) &
				      LIBNBD_AIO_DIRECTION_WRITE))
			wake_poller(conn);
	}
	pthread_mutex_unlock(&conn->lock);
}

/* A server may refuse so for more than 64 KiB, as it does from then on. */
bool bsp_nbd_conn_retry(struct bsp_nbd_conn *conn,
			struct bsp_nbd_request *request)
{
	if (request->command != BSP_NBD_READ || request->error != EOVERFLOW)
		return false;
	if (request->flags & BSP_NBD_FRAGMENTS) {
		request->error = EIO;
		return false;
	}
	request->flags |= BSP_NBD_FRAGMENTS;
	pthread_mutex_lock(&conn->lock);
	conn->df_max = bsp_min(conn->df_max, DF_ALWAYS);
	pthread_mutex_unlock(&conn->lock);
	bsp_nbd_conn_submit(conn, request);
	return true;
}

static bool is_finished(void *data)
{
	const struct bsp_nbd_request *request = data;

	return request->finished;
}

void bsp_nbd_conn_start(struct bsp_nbd_conn *conn,
			struct bsp_nbd_request *request,
			struct bsp_nbd_waiter *waiter)
{
	bsp_nbd_waiter_init(waiter);
	request->waiter = waiter;
	bsp_nbd_conn_submit(conn, request);
}

int bsp_nbd_conn_finish(struct bsp_nbd_conn *conn,
			struct bsp_nbd_request *request,
			struct bsp_nbd_waiter *waiter)
{
	int r;

	do
		r = bsp_nbd_conn_wait(conn, waiter, is_finished, request);
	while (!r && bsp_nbd_conn_retry(conn, request));
	if (r && bsp_interrupt_ends()) {
		bsp_nbd_conn_kill(conn);
		while (bsp_nbd_conn_wait(conn, waiter, is_finished, request))
			;
	} else if (r) { /* in flight, or done by now */
		pthread_mutex_lock(&conn->lock);
		request->waiter = NULL;
		pthread_mutex_unlock(&conn->lock);
	}
	bsp_nbd_waiter_done(waiter);
	return r ? r : -request->error;
}

int bsp_nbd_conn_run(struct bsp_nbd_conn *conn, struct bsp_nbd_request *request)
{
	struct bsp_nbd_waiter waiter;

	bsp_nbd_conn_start(conn, request, &waiter);
	return bsp_nbd_conn_finish(conn, request, &waiter);
}

bool bsp_nbd_conn_abandon(struct bsp_nbd_conn *conn,
			  struct bsp_nbd_request *request,
			  void (*done)(struct bsp_nbd_request *request))
{
	bool in_flight;

	pthread_mutex_lock(&conn->lock);
	in_flight = !request->finished;
	if (in_flight) {
		request->done = done;
		request->waiter = NULL;
	}
	pthread_mutex_unlock(&conn->lock);
	return in_flight;
}

void bsp_nbd_conn_check(struct bsp_nbd_conn *conn)
{
	pthread_mutex_lock(&conn->lock);
	for (unsigned i = 0; i < CHECK_MAX; i++) {
		if (!conn->nbd || conn->polling || !take_arrived(conn))
			break;
	}
	if (!conn->polling && conn->waiters)
		pthread_cond_signal(&conn->waiters->cond);
	pthread_mutex_unlock(&conn->lock);
}
