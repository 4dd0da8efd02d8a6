/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/nbd-extents.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/range.h"
#include "blksparse-thread.h"

enum {
	DEPTH_MAX = 64,		   /* questions in flight */
	RUNS_MAX = 1 << 20,	   /* runs that are kept */
	RUNS_A_QUESTION = 1 << 17, /* and that one answer may have */
	STATE_ZERO = 1 << 1,	   /* NBD_STATE_ZERO */
};

/* The longest question: a multiple of every server's blocks. */
#define QUESTION ((UINT64_C(4) << 30) - (1 << 20))

/* A run of an answer. It begins where the one before it ends. */
struct run {
	uint64_t end;
	bool zeros;
};

struct runs {
	struct run *run;
	size_t n, room;
};

struct question {
	struct bsp_nbd_request request; /* first */
	struct batch *batch;
	struct runs runs; /* the answer */
	bool failed;	  /* no memory for it */
};

/* Questions that are in flight together. */
struct batch {
	unsigned n;	  /* fixed before they are submitted */
	atomic_uint left; /* of an interrupted batch: not done yet */
	struct question questions[];
};

struct bsp_nbd_extents {
	struct bsp_nbd_pool *pool;

	pthread_mutex_t lock;
	pthread_cond_t left; /* a thread is not busy any more */
	bool busy;	     /* protected by lock */

	/* Of the thread that is busy: */
	uint64_t generation;
	uint64_t from;	  /* where runs begin */
	struct runs runs; /* no two neighbours have the same state */
	unsigned depth;
};

struct bsp_nbd_extents *bsp_nbd_extents_new(struct bsp_nbd_pool *pool)
{
	struct bsp_nbd_extents *extents = g_new0(struct bsp_nbd_extents, 1);

	extents->pool = pool;
	extents->depth = 1;
	pthread_mutex_init(&extents->lock, NULL);
	bsp_cond_init(&extents->left);
	return extents;
}

void bsp_nbd_extents_free(struct bsp_nbd_extents *extents)
{
	if (!extents)
		return;
	free(extents->runs.run);
	pthread_cond_destroy(&extents->left);
	pthread_mutex_destroy(&extents->lock);
	g_free(extents);
}

/* --- Runs --- */

/* Adds a run, which ends past the last one. Returns false if there is no
 * memory, or too many. */
static bool add_run(struct runs *runs, size_t max, uint64_t end, bool zeros)
{
	struct run *run;
	size_t room;

	if (runs->n && runs->run[runs->n - 1].zeros == zeros) {
		runs->run[runs->n - 1].end = end;
		return true;
	}
	if (runs->n == runs->room) {
		room = bsp_max(runs->room * 2, 64);
		run = runs->n < max ? realloc(runs->run, room * sizeof(*run))
				    : NULL;
		if (!run)
			return false;
		runs->run = run;
		runs->room = room;
	}
	runs->run[runs->n++] = (struct run){ end, zeros };
	return true;
}

static uint64_t end_of(const struct runs *runs, uint64_t from)
{
	return runs->n ? runs->run[runs->n - 1].end : from;
}

/* Returns the run that off lies in; it lies in one. */
static const struct run *find_run(const struct runs *runs, uint64_t off)
{
	size_t low = 0, high = runs->n - 1;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (off < runs->run[middle].end)
			high = middle;
		else
			low = middle + 1;
	}
	return &runs->run[low];
}

/* --- Questions --- */

/*
 * The answer has more runs than are kept, of which the last one begins before
 * at. Runs of whole granules are of use, and the rest is asked for next.
 * Shorter ones are of none, and many such answers would take longer than
 * reading.
 */
static void fail_answer(struct question *question, uint64_t at)
{
	question->failed = true;
	if (at - question->request.off <
	    (uint64_t)RUNS_A_QUESTION * BSP_GRANULE_MIN)
		question->runs.n = 0;
}

/* The extents() of a request. */
static void take_answer(struct bsp_nbd_request *request,
			const uint32_t *entries, size_t n)
{
	struct question *question = (struct question *)request;
	uint64_t limit = request->off + request->len;
	uint64_t at = request->off;

	question->runs.n = 0; /* a server may answer twice */
	for (size_t i = 0; i + 1 < n && at < limit; i += 2) {
		if (!entries[i])
			return; /* it makes no sense: believe nothing more */
		at = bsp_min(at + entries[i], limit);
		if (!add_run(&question->runs, RUNS_A_QUESTION, at,
			     entries[i + 1] & STATE_ZERO)) {
			fail_answer(question, at);
			return;
		}
	}
}

static void free_batch(struct batch *batch)
{
	for (unsigned i = 0; i < batch->n; i++)
		free(batch->questions[i].runs.run);
	free(batch);
}

/* A done() of an interrupted batch. */
static void leave_question(struct bsp_nbd_request *request)
{
	struct batch *batch = ((struct question *)request)->batch;

	if (atomic_fetch_sub(&batch->left, 1) == 1)
		free_batch(batch);
}

/* The answers of an interrupted batch may come later. */
static void give_up(struct bsp_nbd_conn *conn, struct batch *batch)
{
	unsigned n = batch->n;

	atomic_store(&batch->left, n);
	for (unsigned i = 0; i < n; i++) {
		struct bsp_nbd_request *request = &batch->questions[i].request;

		if (!bsp_nbd_conn_abandon(conn, request, leave_question))
			leave_question(request);
	}
}

static bool are_finished(void *data)
{
	const struct batch *batch = data;

	for (unsigned i = 0; i < batch->n; i++) {
		if (!batch->questions[i].request.finished)
			return false;
	}
	return true;
}

/* Makes questions about [off, limit), or the first part of it. */
static struct batch *make_batch(unsigned depth, uint64_t off, uint64_t limit)
{
	uint64_t n = bsp_min(depth, (limit - off + QUESTION - 1) / QUESTION);
	struct batch *batch =
		calloc(1, sizeof(*batch) + n * sizeof(batch->questions[0]));

	if (!batch)
		return NULL;
	batch->n = (unsigned)n;
	for (unsigned i = 0; i < batch->n; i++) {
		struct question *question = &batch->questions[i];

		question->batch = batch;
		question->request = (struct bsp_nbd_request){
			.command = BSP_NBD_EXTENTS,
			.off = off,
			.len = bsp_min(limit - off, QUESTION),
			.extents = take_answer,
		};
		off += QUESTION;
	}
	return batch;
}

/* Returns the answers, to be freed by free_batch(); NULL if the server could
 * not be asked. */
static struct batch *ask(struct bsp_nbd_extents *extents, uint64_t off,
			 uint64_t limit)
{
	struct bsp_nbd_waiter waiter;
	struct bsp_nbd_conn *conn;
	struct batch *batch;

	limit = bsp_min(limit, bsp_add_sat(off, extents->depth * QUESTION));
	/* The answer is as good as a read of old bytes. */
	if (bsp_nbd_pool_wait_for_left(extents->pool, off, limit - off) ||
	    bsp_nbd_pool_get(extents->pool, false, &conn))
		return NULL;
	batch = make_batch(extents->depth, off, limit);
	bsp_nbd_waiter_init(&waiter);
	for (unsigned i = 0; batch && i < batch->n; i++) {
		batch->questions[i].request.waiter = &waiter;
		bsp_nbd_conn_submit(conn, &batch->questions[i].request);
	}
	if (batch && bsp_nbd_conn_wait(conn, &waiter, are_finished, batch)) {
		give_up(conn, batch);
		batch = NULL;
	}
	bsp_nbd_waiter_done(&waiter);
	bsp_nbd_pool_put(extents->pool, false, conn);
	return batch;
}

/* Adds an answer that starts where the runs end. Returns whether the answer is
 * for all of its question. A server may fail after it has answered: then all of
 * the answer counts for nothing. */
static bool add_answer(struct bsp_nbd_extents *extents,
		       const struct question *question)
{
	const struct runs *runs = &question->runs;
	uint64_t off = question->request.off;
	uint64_t end = off + question->request.len;

	if (question->request.error)
		return false;
	for (size_t i = 0; i < runs->n; i++) {
		if (!add_run(&extents->runs, RUNS_MAX, runs->run[i].end,
			     runs->run[i].zeros))
			return false;
	}
	if (question->failed || !runs->n)
		return false;
	return end_of(runs, off) == end;
}

/* Adapts the number of questions in flight: those after an answer that ended
 * early were asked in vain. */
static void adapt_depth(struct bsp_nbd_extents *extents,
			const struct batch *batch, unsigned used)
{
	if (used < batch->n)
		extents->depth = (unsigned)bsp_max(used, 1);
	else if (used == extents->depth)
		extents->depth = (unsigned)bsp_min(UINT64_C(2) * extents->depth,
						   DEPTH_MAX);
}

/* Fetches answers from off on. None are there after it if the server could not
 * be asked. */
static void fetch(struct bsp_nbd_extents *extents, uint64_t off, uint64_t limit)
{
	struct batch *batch = ask(extents, off, limit);
	unsigned used = 0;

	extents->from = off;
	extents->runs.n = 0;
	if (!batch)
		return;
	while (used < batch->n && add_answer(extents, &batch->questions[used]))
		used++;
	adapt_depth(extents, batch, used);
	/* Nothing is known where the server gave no answer. */
	if (!extents->runs.n)
		(void)add_run(&extents->runs, RUNS_MAX,
			      off + batch->questions[0].request.len, false);
	free_batch(batch);
}

static bool has(const struct bsp_nbd_extents *extents, uint64_t generation,
		uint64_t off)
{
	return extents->generation == generation && extents->runs.n &&
	       off >= extents->from &&
	       off < end_of(&extents->runs, extents->from);
}

/* Waits until no other thread is busy: the server may not answer it. Returns
 * false if this thread was interrupted. */
static bool enter(struct bsp_nbd_extents *extents)
{
	bool interrupted = false;

	pthread_mutex_lock(&extents->lock);
	while (extents->busy && !interrupted) {
		struct timespec limit = bsp_cond_limit(BSP_INTERRUPT_MS);

		if (pthread_cond_timedwait(&extents->left, &extents->lock,
					   &limit) == 0)
			continue;
		pthread_mutex_unlock(&extents->lock);
		interrupted = bsp_interrupted();
		pthread_mutex_lock(&extents->lock);
	}
	extents->busy |= !interrupted;
	pthread_mutex_unlock(&extents->lock);
	return !interrupted;
}

static void leave(struct bsp_nbd_extents *extents)
{
	pthread_mutex_lock(&extents->lock);
	extents->busy = false;
	pthread_cond_signal(&extents->left);
	pthread_mutex_unlock(&extents->lock);
}

struct bsp_known_answer bsp_nbd_extents_ask(struct bsp_nbd_extents *extents,
					    uint64_t generation, uint64_t off,
					    uint64_t limit)
{
	struct bsp_known_answer answer = { false, off };
	const struct run *run;

	if (!enter(extents))
		return answer;
	if (!has(extents, generation, off)) {
		extents->generation = generation;
		fetch(extents, off, limit);
	}
	if (extents->runs.n) {
		run = find_run(&extents->runs, off);
		answer.zeros = run->zeros;
		answer.end = bsp_min(run->end, limit);
	}
	leave(extents);
	return answer;
}
