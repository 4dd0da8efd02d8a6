/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One connection to an NBD server, by libnbd.
 *
 * Requests are asynchronous. libnbd has no threads: the threads that wait for
 * requests drive the connection. One of them polls the socket, and the others
 * wait for it; when its own request is done, another takes over. So a thread
 * that is alone with a connection makes no switch to another thread. Before a
 * thread sleeps it looks at the socket for a short time, as several threads may
 * do together.
 *
 * A connection that fails is dead for good, and completes all its requests with
 * EIO. The pool (nbd-pool.h) makes another one.
 *
 * libnbd must not be called by two threads at once for one handle, and it calls
 * completion callbacks inside of its own functions. So every call of libnbd is
 * made under the connection's lock, and done() is called with it, too.
 *
 * Threads: any, but for new and free.
 */
#ifndef BSP_DEVICE_NBD_CONN_H
#define BSP_DEVICE_NBD_CONN_H

#include <glib.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The properties of an export. */
struct bsp_nbd_export {
	uint64_t size;	    /* bytes; not 0 */
	uint32_t block_min; /* a power of two, at least 1, bytes */
	uint32_t block_max; /* a multiple of block_min, bytes */
	bool read_only;
	bool local;	 /* by a socket of this host, not encrypted */
	bool multi_conn; /* a flush on one connection is for all of them */
	bool can_flush, can_fua, can_zero, can_fast_zero, can_trim;
	/* Of a connection with structured replies: */
	bool structured;
	bool has_extents; /* it answers base:allocation */
	bool has_changes; /* and the context of changes */
};

enum bsp_nbd_command {
	BSP_NBD_READ,
	BSP_NBD_WRITE,
	BSP_NBD_ZERO,
	BSP_NBD_TRIM,
	BSP_NBD_FLUSH,
	BSP_NBD_EXTENTS,
	BSP_NBD_CHANGES, /* extents of the context of changes */
};

enum {
	BSP_NBD_FUA = 1 << 0,	    /* durable when it is done */
	BSP_NBD_NO_HOLE = 1 << 1,   /* of zero: keep the blocks allocated */
	BSP_NBD_FAST_ZERO = 1 << 2, /* of zero: fail unless it is fast */
	BSP_NBD_FRAGMENTS = 1 << 3, /* of a read: it may come in parts */
	BSP_NBD_CHECK = 1 << 4,	    /* of a read: it checks a write */
};

struct bsp_nbd_conn;

/* A thread that waits for requests. Protected by the connection's lock. */
struct bsp_nbd_waiter {
	pthread_cond_t cond;
	bool waiting;
	struct bsp_nbd_waiter *next;
};

/*
 * A request. It and its buffer belong to the connection from its submission
 * until done() is called.
 */
struct bsp_nbd_request {
	/* Set by the caller: */
	enum bsp_nbd_command command;
	unsigned flags; /* BSP_NBD_... */
	uint64_t off, len;
	void *buf; /* of a read or a write */
	/* Woken when the request is done. NULL: no thread is. */
	struct bsp_nbd_waiter *waiter;
	/*
	 * Called once, with the connection's lock: it must be short, and call
	 * nothing of this file. It may free the request. NULL: not called.
	 */
	void (*done)(struct bsp_nbd_request *request);
	/*
	 * Receives the answer to a question for extents, which starts at off,
	 * with the connection's lock: pairs of a length and of flags. The
	 * server may have written anything into them.
	 */
	void (*extents)(struct bsp_nbd_request *request,
			const uint32_t *entries, size_t n);

	/* The connection's own; protected by its lock. */
	bool finished;
	int error;	   /* errno of the first part that failed; 0 */
	unsigned parts;	   /* in flight */
	uint64_t received; /* sum of the parts of a read that came */
	struct bsp_nbd_conn *conn;
	struct bsp_nbd_request *next, *prev;
};

/*
 * Connects to the export: waits up to name_ms for the address of a host, and
 * then up to timeout_ms for the server. changes is the metadata context of
 * BSP_NBD_CHANGES, or NULL. Returns NULL and an error if the
 * server cannot be reached, or does not give a sensible export.
 * bsp_interrupted() ends it, too.
 */
struct bsp_nbd_conn *bsp_nbd_conn_new(const char *uri, const char *changes,
				      unsigned name_ms, unsigned timeout_ms,
				      GError **error);

/* The same, with simple replies: they take server and client less time, but the
 * connection does not answer questions for extents. */
struct bsp_nbd_conn *
bsp_nbd_conn_new_simple(const char *uri, unsigned timeout_ms, GError **error);

/* Closes the connection. Requests in flight are done, with EIO. No thread uses
 * it. NULL is fine. */
void bsp_nbd_conn_free(struct bsp_nbd_conn *conn);

/* Fixed after connecting. */
const struct bsp_nbd_export *
bsp_nbd_conn_export(const struct bsp_nbd_conn *conn);

/* Returns the socket, which is only to be watched, or -1 if it is closed. */
int bsp_nbd_conn_fd(struct bsp_nbd_conn *conn);

/* The number of requests in flight. Atomic. */
unsigned bsp_nbd_conn_load(const struct bsp_nbd_conn *conn);

/* Atomic. Requests of a dead connection fail with EIO. */
bool bsp_nbd_conn_is_dead(const struct bsp_nbd_conn *conn);

/* Takes, without waiting, what came on a connection that no thread waits for:
 * late replies, and the end of the connection. */
void bsp_nbd_conn_check(struct bsp_nbd_conn *conn);

/* Makes the connection dead. All requests in flight are done soon. */
void bsp_nbd_conn_kill(struct bsp_nbd_conn *conn);

/*
 * Submits a request. A read or a write of more than the server's block_max is
 * split. [off, off + len) is inside of the export, and len is not 0, but for
 * flush. On a dead connection the request is done at once.
 */
void bsp_nbd_conn_submit(struct bsp_nbd_conn *conn,
			 struct bsp_nbd_request *request);

/* Submits a request that is done again if it is a read that the server refused
 * to send in one piece. Returns whether it did. */
bool bsp_nbd_conn_retry(struct bsp_nbd_conn *conn,
			struct bsp_nbd_request *request);

void bsp_nbd_waiter_init(struct bsp_nbd_waiter *waiter);
void bsp_nbd_waiter_done(struct bsp_nbd_waiter *waiter);

/*
 * Waits until is_over(data) returns true, which is called with the connection's
 * lock, and not again after that: it may take its result. Returns 0, or -EINTR
 * if this thread was interrupted (base/interrupt.h). When the connection dies,
 * all requests are done, so is_over() must be true then.
 */
int bsp_nbd_conn_wait(struct bsp_nbd_conn *conn, struct bsp_nbd_waiter *waiter,
		      bool (*is_over)(void *data), void *data);

/*
 * Submits a request and waits until it is done. Returns 0 or -errno; -EINTR if
 * this thread was interrupted. The request is still in flight then, unless the
 * interrupt ends all use of the device (base/interrupt.h): the connection is
 * dead then, and the request done.
 */
int bsp_nbd_conn_run(struct bsp_nbd_conn *conn,
		     struct bsp_nbd_request *request);

/* The two parts of it. start() initializes the waiter, and finish() returns the
 * result. */
void bsp_nbd_conn_start(struct bsp_nbd_conn *conn,
			struct bsp_nbd_request *request,
			struct bsp_nbd_waiter *waiter);
int bsp_nbd_conn_finish(struct bsp_nbd_conn *conn,
			struct bsp_nbd_request *request,
			struct bsp_nbd_waiter *waiter);

/* Leaves a request alone that bsp_nbd_conn_run() was interrupted for: done() is
 * called when it is done. Returns false if it is done by now. */
bool bsp_nbd_conn_abandon(struct bsp_nbd_conn *conn,
			  struct bsp_nbd_request *request,
			  void (*done)(struct bsp_nbd_request *request));

#endif
