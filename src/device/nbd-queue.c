/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads of an NBD export for a read queue (read-queue.h). The queue keeps one
 * connection for itself as far as there are enough, and its owner drives it: no
 * other thread is needed.
 *
 * Buffers of reads in flight are the caller's. So when the owner is
 * interrupted, the connection is closed, and all its reads fail at once. That
 * ends the generation of the pool (nbd-pool.h), so the owner of a writable
 * export waits instead.
 */
#include "device/nbd-queue.h"

#include <errno.h>
#include <stdlib.h>

#include "base/interrupt.h"
#include "base/range.h"
#include "base/trace.h"

/* One read on its way. */
struct slot {
	struct bsp_nbd_request request; /* first */
	struct bsp_read *read;
	struct nbd_queue *queue;
	struct slot *next; /* among the free, or the finished */
};

struct nbd_queue {
	struct bsp_read_queue queue; /* first */
	struct bsp_nbd_pool *pool;
	bool may_close;		   /* fixed */
	struct bsp_nbd_conn *conn; /* NULL: none at the moment */
	struct slot *idle;
	struct bsp_read *failed; /* reads that got no connection */
	struct bsp_nbd_waiter waiter;
	unsigned n_slots;      /* in flight */
	struct slot *taken;    /* by the last wait */
	struct slot *finished; /* protected by the connection's lock */
	struct slot slots[];
};

/* A done(). */
static void finish(struct bsp_nbd_request *request)
{
	struct slot *slot = (struct slot *)request;

	slot->next = slot->queue->finished;
	slot->queue->finished = slot;
}

static void drop_conn(struct nbd_queue *q)
{
	if (q->conn)
		bsp_nbd_pool_put(q->pool, true, q->conn);
	q->conn = NULL;
}

/* Gets a live connection. Reads in flight belong to the present one. */
static bool have_conn(struct nbd_queue *q)
{
	if (q->conn && bsp_nbd_conn_is_dead(q->conn) && !q->n_slots)
		drop_conn(q);
	return q->conn || bsp_nbd_pool_get(q->pool, true, &q->conn) == 0;
}

static void fail(struct nbd_queue *q, struct bsp_read *read, int r)
{
	read->result = r;
	read->next = q->failed;
	q->failed = read;
}

/* The part of a read that is in the export, in bytes. */
static uint64_t length_in_export(struct nbd_queue *q,
				 const struct bsp_read *read)
{
	struct bsp_nbd_export export;

	(void)bsp_nbd_pool_get_export(q->pool, &export);
	return read->off < export.size
		       ? bsp_range_clamp(read->off, read->len, export.size)
		       : 0;
}

static void nbd_submit(struct bsp_read_queue *queue, struct bsp_read *read)
{
	struct nbd_queue *q = (struct nbd_queue *)queue;
	uint64_t len = length_in_export(q, read);
	struct slot *slot = q->idle;
	int r;

	read->started = bsp_trace_start();
	r = bsp_nbd_pool_wait_for_left(q->pool, read->off, len);
	if (!r && len && !have_conn(q))
		r = -EIO;
	if (r || !len) {
		fail(q, read, r);
		return;
	}
	q->idle = slot->next;
	q->n_slots++;
	slot->read = read;
	slot->request = (struct bsp_nbd_request){
		.command = BSP_NBD_READ,
		.off = read->off,
		.len = len,
		.buf = read->buf,
		.waiter = &q->waiter,
		.done = finish,
	};
	bsp_nbd_conn_submit(q->conn, &slot->request);
}

/* Takes a finished slot. Called with the connection's lock. */
static bool take_finished(void *data)
{
	struct nbd_queue *q = data;

	q->taken = q->finished;
	if (q->taken)
		q->finished = q->taken->next;
	return q->taken;
}

static struct slot *wait_for_slot(struct nbd_queue *q)
{
	/* An interrupted thread ends its work, and wants its buffers back. */
	while (bsp_nbd_conn_wait(q->conn, &q->waiter, take_finished, q)) {
		if (q->may_close)
			bsp_nbd_conn_kill(q->conn);
	}
	return q->taken;
}

static struct bsp_read *take_failed(struct nbd_queue *q)
{
	struct bsp_read *read = q->failed;

	if (read)
		q->failed = read->next;
	return read;
}

static struct bsp_read *nbd_wait(struct bsp_read_queue *queue)
{
	struct nbd_queue *q = (struct nbd_queue *)queue;
	struct bsp_read *read = take_failed(q);
	struct slot *slot;

	if (!read) {
		do
			slot = wait_for_slot(q);
		while (bsp_nbd_conn_retry(q->conn, &slot->request));
		read = slot->read;
		read->result = slot->request.error ? -slot->request.error
						   : (ssize_t)slot->request.len;
		slot->next = q->idle;
		q->idle = slot;
		q->n_slots--;
	}
	bsp_trace_end(read->started, "device.read",
		      queue->dev ? bsp_device_path(queue->dev) : "", read->off,
		      read->len, read->result);
	return read;
}

static void nbd_free(struct bsp_read_queue *queue)
{
	struct nbd_queue *q = (struct nbd_queue *)queue;

	drop_conn(q);
	bsp_nbd_waiter_done(&q->waiter);
	free(q);
}

struct bsp_read_queue *bsp_nbd_queue_new(struct bsp_nbd_pool *pool,
					 unsigned depth, bool may_close)
{
	struct nbd_queue *q =
		calloc(1, sizeof(*q) + depth * sizeof(q->slots[0]));

	if (!q)
		return NULL;
	q->queue.submit = nbd_submit;
	q->queue.wait = nbd_wait;
	q->queue.free = nbd_free;
	q->pool = pool;
	q->may_close = may_close;
	bsp_nbd_waiter_init(&q->waiter);
	for (unsigned i = 0; i < depth; i++) {
		q->slots[i].queue = q;
		q->slots[i].next = q->idle;
		q->idle = &q->slots[i];
	}
	return &q->queue;
}
