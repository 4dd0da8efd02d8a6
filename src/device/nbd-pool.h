/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The connections to one NBD export.
 *
 * A server that allows it gets several connections, because one carries only as
 * much as one processor can copy. They are made when they are needed.
 *
 * Small reads of a pool that does not write get connections of their own, with
 * simple replies: making and taking a structured reply is up to a tenth of the
 * time of a small read. All else goes over connections with structured replies:
 * questions for extents, and long reads, whose replies can tell of an error in
 * the middle. A pool that writes has no others: a server need not show a write
 * on other connections before a flush.
 *
 * Generations. NBD tells nothing of the identity of an export: after a
 * connection was lost, another server, with another content, may answer at the
 * same address. So the death of any connection ends the generation: all
 * connections are closed, and all requests fail with EIO. Nothing is connected
 * anew before the caller has forgotten all that it knew of the export, and asks
 * for it (bsp_nbd_pool_reconnect()).
 *
 * A server that is gone may have lost the writes that were not flushed, and a
 * server that is not may still carry out those that were in flight, after later
 * ones. Then the pool is lost: every later request fails with ENODEV.
 *
 * Threads: any, but for new and free.
 */
#ifndef BSP_DEVICE_NBD_POOL_H
#define BSP_DEVICE_NBD_POOL_H

#include "device/nbd-conn.h"

struct bsp_nbd_pool;

/* Makes the first connection. writes: the caller is going to write. changes is
 * the metadata context of BSP_NBD_CHANGES, or NULL. Returns NULL and an error
 * on failure. */
struct bsp_nbd_pool *bsp_nbd_pool_new(const char *uri, bool writes,
				      const char *changes, GError **error);

/* No thread uses it. NULL is fine. */
void bsp_nbd_pool_free(struct bsp_nbd_pool *pool);

/* Gets the properties of the export. Returns the present generation, which they
 * are of. */
uint64_t bsp_nbd_pool_get_export(struct bsp_nbd_pool *pool,
				 struct bsp_nbd_export *ret_export);

/* The URI, as it was given. */
const char *bsp_nbd_pool_uri(const struct bsp_nbd_pool *pool);

struct bsp_nbd_state {
	uint64_t generation; /* from 1 on; rises when a connection dies */
	bool connected;
	bool lost; /* with writes that were not flushed */
};

/* Notices connections that the server has closed. Does not wait. */
void bsp_nbd_pool_get_state(struct bsp_nbd_pool *pool,
			    struct bsp_nbd_state *ret_state);

/* Whether requests can reach a server, or never will again because the pool is
 * lost. Notices connections that the server has closed. Cheap enough for each
 * request. */
bool bsp_nbd_pool_is_connected(struct bsp_nbd_pool *pool);

/*
 * Connects anew, if the connection died, in that generation: the caller has
 * forgotten all that it knew of the export before. Does nothing if another
 * generation began since. Waits some seconds at most, and not at all soon after
 * it failed. Does nothing for a pool that is lost.
 */
void bsp_nbd_pool_reconnect(struct bsp_nbd_pool *pool, uint64_t generation);

/* Ends the pool: all requests, of now and later, fail. */
void bsp_nbd_pool_cancel(struct bsp_nbd_pool *pool);

/*
 * Gets the connection with the least load, or with the fewest users if
 * for_long: the caller keeps it for many requests. It has structured replies,
 * if the server has them. May make another connection.
 * Returns 0, -EIO if the pool is not connected, or -ENODEV if it is lost.
 */
int bsp_nbd_pool_get(struct bsp_nbd_pool *pool, bool for_long,
		     struct bsp_nbd_conn **ret_conn);

/* Returns the connection. If it is dead, the generation ends. */
void bsp_nbd_pool_put(struct bsp_nbd_pool *pool, bool for_long,
		      struct bsp_nbd_conn *conn);

/*
 * Runs one request to its end, with a connection of its own choice. Returns 0
 * or -errno. If this thread can be interrupted (base/interrupt.h), it returns
 * -EINTR then: the request may still be carried out. If it is a write, later
 * requests for the same bytes wait for it.
 */
int bsp_nbd_pool_run(struct bsp_nbd_pool *pool, enum bsp_nbd_command command,
		     unsigned flags, uint64_t off, void *buf, uint64_t len);

/* The same, but fails with EIO if another generation began: the bytes to be
 * written were made of bytes that were read in that one. */
int bsp_nbd_pool_run_in(struct bsp_nbd_pool *pool, uint64_t generation,
			enum bsp_nbd_command command, unsigned flags,
			uint64_t off, void *buf, uint64_t len);

/* Waits until the server has replied to all writes to these bytes that a thread
 * was interrupted in. Returns 0 or -EINTR. */
int bsp_nbd_pool_wait_for_left(struct bsp_nbd_pool *pool, uint64_t off,
			       uint64_t len);

/* Between these two calls, the caller changes the export, or leaves out a write
 * because the server holds its bytes already. Those may be of an earlier write
 * that was not flushed. So this counts as a write that may be lost; if changed,
 * up to the next flush. */
void bsp_nbd_pool_begin_write(struct bsp_nbd_pool *pool);
void bsp_nbd_pool_end_write(struct bsp_nbd_pool *pool, bool changed);

#endif
