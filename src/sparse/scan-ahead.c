/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where seeks are the thread knows from those who wait for it, and from where
 * the others ended. It scans a window from there on. The window grows with the
 * way that the seeks have come, as a single seek is no reason to read much, up
 * to the one that was asked for. When the thread is through with it, it sleeps,
 * and gives its memory back if it sleeps for long; or, if that was asked for,
 * goes on with the rest of the device, without handing out what it reads, since
 * nobody is near.
 *
 * Who reads what seeks find, and finds it known, would wait for the device at
 * each run of data. It is followed: known data is read ahead of it, too, and
 * handed out. How much is bounded by a credit, which it gets anew whenever it
 * is seen to read; who only seeks costs nothing. A seek for a hole waits for
 * what is in flight before it, so that its caller does not read it as well.
 */
#include "sparse/scan-ahead.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/range.h"
#include "blksparse-thread.h"
#include "sparse/scan.h"

enum {
	WINDOW_MIN = 2 << 20,
	POLL_MS = 10,	 /* between two looks whether who waits gives up */
	STUCK_MS = 1000, /* that what was read may take to be handed out */
	IDLE_MS = 1000,	 /* until memory is given back, or the rest scanned */
	/* What who reads is trusted with, at first; twice as much each time. */
	CREDIT_MIN = 512 << 10,
	CREDIT_MAX = 12 << 20,
};

/* A granule that no device has: nobody has asked for anything yet. */
#define NO_GRANULE (UINT64_MAX >> 13)

/* What somebody waits for: that no granule of [granule, end) is unknown before
 * the first that is in the set. */
struct wait_request {
	unsigned set;
	uint64_t granule, end;
};

/* For how long one who waits has seen the same being handed out. */
struct stuck {
	unsigned delivery_steps, ms;
};

struct bsp_scan_ahead {
	/* Fixed after bsp_scan_ahead_start(). */
	struct bsp_sparse *sp;
	uint64_t window_max; /* bytes */
	bsp_scanned_fn scanned;
	void *scanned_data;
	pthread_t thread;
	bool started;

	atomic_bool alive;
	atomic_bool stop; /* set under lock */

	/* The thread's own. */
	struct bsp_scan *scan; /* NULL while it sleeps for long */

	/* How often it began, and ended, to hand something out. */
	atomic_uint delivery_steps;

	pthread_mutex_t lock;	      /* a leaf lock but for the map's */
	pthread_cond_t work, learned; /* CLOCK_MONOTONIC */
	/* Protected by lock: */
	uint64_t start;	 /* the granule where the run of seeks began, */
	uint64_t demand; /* and where it is */
	uint64_t found;	 /* where the last one for data ended */
	bool following;	 /* who reads there; the credit may be used up */
	uint64_t credit; /* known data that may still be asked for, bytes */
	uint64_t next_credit; /* the next one */
	/* The scan's, as of when the lock was taken last. */
	uint64_t cursor, delivered_from, learned_to;
	unsigned waiting, waiting_delivered;
	struct wait_request *request; /* of the one who waits, if it is one */
	uint64_t wanted_delivered;    /* a granule up to which it is waited for
				       * that all    is handed out */
	bool background;
	bool rest_due; /* there may be a rest to scan in the background */
	bool failing;  /* the device cannot be read where it was tried last */
	int error;     /* for who waits */
};

static uint64_t granules_of(struct bsp_sparse *sp)
{
	return bsp_granules(atomic_load(&sp->size), sp->shift);
}

/* --- What to scan. lock held --- */

static void stop_following(struct bsp_scan_ahead *scan_ahead)
{
	scan_ahead->following = false;
	scan_ahead->credit = 0;
	scan_ahead->next_credit = CREDIT_MIN;
}

static void demand(struct bsp_scan_ahead *scan_ahead, uint64_t granule)
{
	uint64_t far = scan_ahead->window_max >> scan_ahead->sp->shift;

	if (granule < scan_ahead->start || granule > scan_ahead->demand + far) {
		scan_ahead->start = granule;
		stop_following(scan_ahead);
	}
	/* It seeks on, and does not read. */
	if (!scan_ahead->credit && granule > scan_ahead->cursor)
		stop_following(scan_ahead);
	scan_ahead->demand = granule;
}

static uint64_t window_end(struct bsp_scan_ahead *scan_ahead)
{
	unsigned shift = scan_ahead->sp->shift;
	uint64_t distance = (scan_ahead->demand - scan_ahead->start) << shift;
	uint64_t window = bsp_min(bsp_max(2 * distance, WINDOW_MIN),
				  scan_ahead->window_max);

	/* Only what somebody waits for, where each read may take long to fail,
	 * or what is found is forgotten at the next look. */
	if (scan_ahead->failing || !atomic_load(&scan_ahead->sp->counted))
		window = !scan_ahead->waiting  ? 0
			 : scan_ahead->failing ? 1
					       : WINDOW_MIN;
	return bsp_min(scan_ahead->demand + bsp_granules(window, shift),
		       granules_of(scan_ahead->sp));
}

/* Is what was asked for of no use for a window that ends there? */
static bool must_restart(const struct bsp_scan_ahead *scan_ahead, uint64_t end)
{
	return scan_ahead->cursor < scan_ahead->demand ||
	       scan_ahead->cursor > end ||
	       (scan_ahead->following &&
		scan_ahead->delivered_from > scan_ahead->demand);
}

/* Does somebody wait for what was read and not learned, since something was
 * forgotten meanwhile? That it is in flight the scan knows. */
static bool must_go_back(const struct bsp_scan_ahead *scan_ahead)
{
	return scan_ahead->waiting &&
	       bsp_map_get(scan_ahead->sp->map, scan_ahead->demand) ==
		       BSP_UNKNOWN;
}

/* Is there something unknown in the window, or to be handed out? */
static bool has_work(struct bsp_scan_ahead *scan_ahead)
{
	struct bsp_map *map = scan_ahead->sp->map;
	uint64_t end = window_end(scan_ahead);
	uint64_t from = scan_ahead->cursor;

	if (scan_ahead->demand >= end)
		return false;
	if (must_restart(scan_ahead, end) || must_go_back(scan_ahead))
		from = scan_ahead->demand;
	from = bsp_scan_next(scan_ahead->sp, scan_ahead->following, from, end);
	return from < end &&
	       (scan_ahead->credit || bsp_map_get(map, from) == BSP_UNKNOWN);
}

/* Moves the wish on over what is settled; true if it is fulfilled. */
static bool is_met(struct bsp_scan_ahead *scan_ahead,
		   struct wait_request *request)
{
	struct bsp_map *map = scan_ahead->sp->map;
	uint64_t end = bsp_min(request->end, granules_of(scan_ahead->sp));

	if (request->granule < end)
		request->granule =
			bsp_map_next(map, request->set | BSP_IN_UNKNOWN,
				     request->granule, end);
	return request->granule >= end ||
	       bsp_map_get(map, request->granule) != BSP_UNKNOWN;
}

/* Is what somebody waits for handed out, or will it not be? */
static bool is_delivered(struct bsp_scan_ahead *scan_ahead)
{
	bool restarts = must_restart(scan_ahead, window_end(scan_ahead));

	if (!restarts && scan_ahead->wanted_delivered <= scan_ahead->learned_to)
		return true;
	return (restarts ||
		scan_ahead->wanted_delivered > scan_ahead->cursor) &&
	       !has_work(scan_ahead);
}

/* Follows who waits alone without waking it; wakes it, or all, otherwise. */
static void serve_waiting(struct bsp_scan_ahead *scan_ahead)
{
	if (scan_ahead->request && !scan_ahead->error &&
	    !is_met(scan_ahead, scan_ahead->request))
		demand(scan_ahead, scan_ahead->request->granule);
	else if (scan_ahead->waiting)
		pthread_cond_broadcast(&scan_ahead->learned);
	if (scan_ahead->waiting_delivered && is_delivered(scan_ahead))
		pthread_cond_broadcast(&scan_ahead->learned);
}

/* --- The thread --- */

/* Up to where is to be asked for, from the scan's cursor on. lock held. */
static uint64_t plan(struct bsp_scan_ahead *scan_ahead, bool rest)
{
	struct bsp_scan *scan = scan_ahead->scan;
	uint64_t end =
		rest ? granules_of(scan_ahead->sp) : window_end(scan_ahead);

	if (rest && scan->cursor > end)
		scan->cursor = 0;
	if (!rest && (must_restart(scan_ahead, end) ||
		      (must_go_back(scan_ahead) &&
		       !bsp_scan_covers(scan, scan_ahead->demand))))
		scan->cursor = scan->delivered_from = scan_ahead->demand;
	scan->known = !rest && scan_ahead->following;
	scan->known_left = scan->known ? scan_ahead->credit : 0;
	return end;
}

/* Takes over how far the scan is, which had so much credit. lock held. */
static void take_position(struct bsp_scan_ahead *scan_ahead, uint64_t credit)
{
	struct bsp_scan *scan = scan_ahead->scan;
	uint64_t used = credit - scan->known_left;

	scan_ahead->credit -= bsp_min(used, scan_ahead->credit);
	scan_ahead->cursor = scan->cursor;
	scan_ahead->delivered_from = scan->delivered_from;
	scan_ahead->learned_to = bsp_scan_learned_to(scan);
}

/* A bsp_scanned_fn. */
static void deliver(void *data, uint64_t generation, uint64_t off,
		    const void *buf, uint64_t len)
{
	struct bsp_scan_ahead *scan_ahead = data;

	atomic_fetch_add(&scan_ahead->delivery_steps, 1);
	scan_ahead->scanned(scan_ahead->scanned_data, generation, off, buf,
			    len);
	atomic_fetch_add(&scan_ahead->delivery_steps, 1);
}

static bool need_memory(struct bsp_scan_ahead *scan_ahead)
{
	if (!scan_ahead->scan)
		scan_ahead->scan =
			bsp_scan_begin(scan_ahead->sp, NULL, scan_ahead);
	return scan_ahead->scan;
}

/* Waits until there is work in the window; false if for long there was none,
 * and there is something to be done then. lock held. */
static bool wait_for_work(struct bsp_scan_ahead *scan_ahead)
{
	struct timespec until = bsp_cond_limit(IDLE_MS);
	int timeout = 0;

	while (!scan_ahead->stop && !timeout && !has_work(scan_ahead)) {
		if (scan_ahead->scan || scan_ahead->rest_due)
			timeout = pthread_cond_timedwait(
				&scan_ahead->work, &scan_ahead->lock, &until);
		else
			pthread_cond_wait(&scan_ahead->work, &scan_ahead->lock);
	}
	return !timeout;
}

/* Scans the window to its end, or the rest of the device until there is work in
 * the window. lock held at both ends. */
static int scan_until(struct bsp_scan_ahead *scan_ahead, bool rest)
{
	int r = 1;

	pthread_mutex_unlock(&scan_ahead->lock);
	if (!need_memory(scan_ahead))
		r = -ENOMEM;
	else
		scan_ahead->scan->scanned =
			rest || !scan_ahead->scanned ? NULL : deliver;
	pthread_mutex_lock(&scan_ahead->lock);
	if (r > 0) {
		scan_ahead->scan->cursor = rest ? 0 : scan_ahead->cursor;
		scan_ahead->scan->delivered_from = scan_ahead->delivered_from;
	}
	while (r > 0 && !scan_ahead->stop && !(rest && has_work(scan_ahead))) {
		uint64_t end = plan(scan_ahead, rest);
		uint64_t credit = scan_ahead->scan->known_left;

		pthread_mutex_unlock(&scan_ahead->lock);
		r = bsp_scan_ask(scan_ahead->scan, end);
		if (!r)
			r = bsp_scan_complete(scan_ahead->scan);
		pthread_mutex_lock(&scan_ahead->lock);
		if (!rest)
			take_position(scan_ahead, credit);
		scan_ahead->failing = scan_ahead->scan->failing;
		if (rest && scan_ahead->failing)
			r = 0;
		serve_waiting(scan_ahead);
	}
	return r < 0 ? r : 0;
}

/* Waits for what is in flight. */
static void release_memory(struct bsp_scan_ahead *scan_ahead)
{
	pthread_mutex_unlock(&scan_ahead->lock);
	bsp_scan_end(scan_ahead->scan);
	pthread_mutex_lock(&scan_ahead->lock);
	scan_ahead->scan = NULL;
}

static void *scan_ahead_main(void *data)
{
	struct bsp_scan_ahead *scan_ahead = data;

	pthread_mutex_lock(&scan_ahead->lock);
	while (!scan_ahead->stop) {
		if (wait_for_work(scan_ahead)) {
			scan_ahead->error = scan_until(scan_ahead, false);
			scan_ahead->rest_due = scan_ahead->background;
		} else if (scan_ahead->rest_due) {
			scan_ahead->rest_due = false;
			scan_ahead->error = scan_until(scan_ahead, true);
		} else {
			release_memory(scan_ahead);
		}
		if (scan_ahead->error) {
			struct timespec until = bsp_cond_limit(IDLE_MS);

			serve_waiting(scan_ahead);
			release_memory(scan_ahead);
			(void)pthread_cond_timedwait(&scan_ahead->work,
						     &scan_ahead->lock, &until);
		}
	}
	release_memory(scan_ahead);
	serve_waiting(scan_ahead);
	pthread_mutex_unlock(&scan_ahead->lock);
	atomic_store(&scan_ahead->alive, false);
	return NULL;
}

/* --- From other threads --- */

/*
 * Has the thread been handing out the same for long? Whoever takes it may wait
 * for what only the thread that waits here could do, if there are no more.
 */
static bool is_stuck(struct bsp_scan_ahead *scan_ahead, struct stuck *stuck)
{
	unsigned delivery_steps = atomic_load(&scan_ahead->delivery_steps);

	if (delivery_steps % 2 == 0 || delivery_steps != stuck->delivery_steps)
		stuck->ms = 0;
	else
		stuck->ms += POLL_MS;
	stuck->delivery_steps = delivery_steps;
	return stuck->ms >= STUCK_MS;
}

int bsp_scan_ahead_wait(struct bsp_scan_ahead *scan_ahead, unsigned set,
			uint64_t granule, uint64_t end, bsp_interrupted_fn over,
			void *data)
{
	struct wait_request request = { set, granule, end };
	struct stuck stuck = { 0 };
	int r = 0;

	pthread_mutex_lock(&scan_ahead->lock);
	scan_ahead->waiting++;
	scan_ahead->request = scan_ahead->waiting == 1 ? &request : NULL;
	scan_ahead->error = 0;
	while (!is_met(scan_ahead, &request) && !scan_ahead->stop && !r) {
		struct timespec until = bsp_cond_limit(POLL_MS);
		bool gives_up;

		demand(scan_ahead, request.granule);
		pthread_cond_signal(&scan_ahead->work);
		(void)pthread_cond_timedwait(&scan_ahead->learned,
					     &scan_ahead->lock, &until);
		r = scan_ahead->error;
		if (r || is_met(scan_ahead, &request))
			continue;
		pthread_mutex_unlock(&scan_ahead->lock);
		gives_up = over(data) || is_stuck(scan_ahead, &stuck);
		pthread_mutex_lock(&scan_ahead->lock);
		r = gives_up ? -EINTR : 0;
	}
	scan_ahead->request = NULL;
	scan_ahead->waiting--;
	pthread_mutex_unlock(&scan_ahead->lock);
	return r;
}

void bsp_scan_ahead_hint(struct bsp_scan_ahead *scan_ahead, uint64_t off,
			 bool data)
{
	uint64_t granule = off >> scan_ahead->sp->shift;

	pthread_mutex_lock(&scan_ahead->lock);
	/* It goes back, and may not read this time. */
	if (data && granule <= scan_ahead->found &&
	    granule < scan_ahead->demand)
		stop_following(scan_ahead);
	demand(scan_ahead, granule);
	if (data)
		scan_ahead->found = granule;
	if (has_work(scan_ahead))
		pthread_cond_signal(&scan_ahead->work);
	pthread_mutex_unlock(&scan_ahead->lock);
}

void bsp_scan_ahead_report_read(struct bsp_scan_ahead *scan_ahead, uint64_t off)
{
	uint64_t granule = off >> scan_ahead->sp->shift;

	if (!scan_ahead->scanned)
		return;
	pthread_mutex_lock(&scan_ahead->lock);
	if (granule >= scan_ahead->found && granule <= scan_ahead->demand) {
		scan_ahead->following = true;
		scan_ahead->credit = scan_ahead->next_credit;
		scan_ahead->next_credit =
			bsp_min(2 * scan_ahead->next_credit, CREDIT_MAX);
		if (has_work(scan_ahead))
			pthread_cond_signal(&scan_ahead->work);
	}
	pthread_mutex_unlock(&scan_ahead->lock);
}

void bsp_scan_ahead_wait_delivered(struct bsp_scan_ahead *scan_ahead,
				   uint64_t from, uint64_t to,
				   bsp_interrupted_fn over, void *data)
{
	uint64_t most = BSP_SCAN_KNOWN_MAX >> scan_ahead->sp->shift;
	bool gives_up = false;

	pthread_mutex_lock(&scan_ahead->lock);
	if (!scan_ahead->following || to - from > most) {
		pthread_mutex_unlock(&scan_ahead->lock);
		return;
	}
	scan_ahead->waiting_delivered++;
	while (!scan_ahead->stop && !gives_up) {
		struct timespec until = bsp_cond_limit(POLL_MS);

		scan_ahead->wanted_delivered = to;
		if (is_delivered(scan_ahead))
			break;
		pthread_cond_signal(&scan_ahead->work);
		(void)pthread_cond_timedwait(&scan_ahead->learned,
					     &scan_ahead->lock, &until);
		pthread_mutex_unlock(&scan_ahead->lock);
		gives_up = over(data);
		pthread_mutex_lock(&scan_ahead->lock);
	}
	scan_ahead->waiting_delivered--;
	pthread_mutex_unlock(&scan_ahead->lock);
}

void bsp_scan_ahead_set_background(struct bsp_scan_ahead *scan_ahead,
				   bool background)
{
	pthread_mutex_lock(&scan_ahead->lock);
	scan_ahead->background = background;
	scan_ahead->rest_due = background;
	pthread_cond_signal(&scan_ahead->work);
	pthread_mutex_unlock(&scan_ahead->lock);
}

void bsp_scan_ahead_stop(struct bsp_scan_ahead *scan_ahead)
{
	pthread_mutex_lock(&scan_ahead->lock);
	atomic_store(&scan_ahead->stop, true);
	pthread_cond_signal(&scan_ahead->work);
	pthread_cond_broadcast(&scan_ahead->learned);
	pthread_mutex_unlock(&scan_ahead->lock);
}

bool bsp_scan_ahead_running(struct bsp_scan_ahead *scan_ahead)
{
	return !atomic_load(&scan_ahead->stop);
}

bool bsp_scan_ahead_alive(struct bsp_scan_ahead *scan_ahead)
{
	return atomic_load(&scan_ahead->alive);
}

/* --- Life --- */

struct bsp_scan_ahead *
bsp_scan_ahead_new(struct bsp_sparse *sp,
		   const struct bsp_scan_ahead_options *options)
{
	struct bsp_scan_ahead *scan_ahead = calloc(1, sizeof(*scan_ahead));

	if (!scan_ahead)
		return NULL;
	scan_ahead->sp = sp;
	scan_ahead->window_max = options->window
					 ? options->window
					 : BSP_SCAN_AHEAD_WINDOW_DEFAULT;
	scan_ahead->start = scan_ahead->demand = scan_ahead->found = NO_GRANULE;
	scan_ahead->next_credit = CREDIT_MIN;
	scan_ahead->scanned = options->scanned;
	scan_ahead->scanned_data = options->scanned_data;
	pthread_mutex_init(&scan_ahead->lock, NULL);
	bsp_cond_init(&scan_ahead->work);
	bsp_cond_init(&scan_ahead->learned);
	return scan_ahead;
}

int bsp_scan_ahead_start(struct bsp_scan_ahead *scan_ahead)
{
	int r;

	atomic_store(&scan_ahead->alive, true);
	r = bsp_thread_start(&scan_ahead->thread, scan_ahead_main, scan_ahead);
	scan_ahead->started = r == 0;
	if (r)
		atomic_store(&scan_ahead->alive, false);
	return r;
}

void bsp_scan_ahead_free(struct bsp_scan_ahead *scan_ahead)
{
	if (!scan_ahead)
		return;
	bsp_scan_ahead_stop(scan_ahead);
	if (scan_ahead->started)
		(void)pthread_join(scan_ahead->thread, NULL);
	pthread_cond_destroy(&scan_ahead->learned);
	pthread_cond_destroy(&scan_ahead->work);
	pthread_mutex_destroy(&scan_ahead->lock);
	free(scan_ahead);
}
