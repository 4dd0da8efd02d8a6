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
#define NOWHERE (UINT64_MAX >> 13)

/* What somebody waits for: that no granule of [granule, end) is unknown before
 * the first that is in the set. */
struct wish {
	unsigned set;
	uint64_t granule, end;
};

/* For how long one who waits has seen the same being handed out. */
struct stuck {
	unsigned handing, ms;
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
	atomic_uint handing;

	pthread_mutex_t lock;	      /* a leaf lock but for the map's */
	pthread_cond_t work, settled; /* CLOCK_MONOTONIC */
	/* Protected by lock: */
	uint64_t start;	 /* the granule where the run of seeks began, */
	uint64_t demand; /* and where it is */
	uint64_t found;	 /* where the last one for data ended */
	bool following;	 /* who reads there; the credit may be used up */
	uint64_t credit; /* known data that may still be asked for, bytes */
	uint64_t grant;	 /* the next one */
	/* The scan's, as of when the lock was taken last. */
	uint64_t cursor, handed_from, settled_to;
	unsigned waiting, waiting_handed;
	struct wish *wish;    /* of the one who waits, if it is one */
	uint64_t handed_wish; /* a granule up to which it is waited for that all
			       * is handed out */
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

static void stop_following(struct bsp_scan_ahead *ahead)
{
	ahead->following = false;
	ahead->credit = 0;
	ahead->grant = CREDIT_MIN;
}

static void demand(struct bsp_scan_ahead *ahead, uint64_t granule)
{
	uint64_t far = ahead->window_max >> ahead->sp->shift;

	if (granule < ahead->start || granule > ahead->demand + far) {
		ahead->start = granule;
		stop_following(ahead);
	}
	/* It seeks on, and does not read. */
	if (!ahead->credit && granule > ahead->cursor)
		stop_following(ahead);
	ahead->demand = granule;
}

static uint64_t window_end(struct bsp_scan_ahead *ahead)
{
	unsigned shift = ahead->sp->shift;
	uint64_t way = (ahead->demand - ahead->start) << shift;
	uint64_t window =
		bsp_min(bsp_max(2 * way, WINDOW_MIN), ahead->window_max);

	/* Only what somebody waits for, where each read may take long to fail,
	 * or what is found is forgotten at the next look. */
	if (ahead->failing || !atomic_load(&ahead->sp->counted))
		window = !ahead->waiting ? 0 : ahead->failing ? 1 : WINDOW_MIN;
	return bsp_min(ahead->demand + bsp_granules(window, shift),
		       granules_of(ahead->sp));
}

/* Is what was asked for of no use for a window that ends there? */
static bool must_start_over(const struct bsp_scan_ahead *ahead, uint64_t end)
{
	return ahead->cursor < ahead->demand || ahead->cursor > end ||
	       (ahead->following && ahead->handed_from > ahead->demand);
}

/* Does somebody wait for what was read and not learned, since something was
 * forgotten meanwhile? That it is in flight the scan knows. */
static bool must_go_back(const struct bsp_scan_ahead *ahead)
{
	return ahead->waiting &&
	       bsp_map_get(ahead->sp->map, ahead->demand) == BSP_UNKNOWN;
}

/* Is there something unknown in the window, or to be handed out? */
static bool has_work(struct bsp_scan_ahead *ahead)
{
	struct bsp_map *map = ahead->sp->map;
	uint64_t end = window_end(ahead);
	uint64_t from = ahead->cursor;

	if (ahead->demand >= end)
		return false;
	if (must_start_over(ahead, end) || must_go_back(ahead))
		from = ahead->demand;
	from = bsp_scan_next(ahead->sp, ahead->following, from, end);
	return from < end &&
	       (ahead->credit || bsp_map_get(map, from) == BSP_UNKNOWN);
}

/* Moves the wish on over what is settled; true if it is fulfilled. */
static bool is_fulfilled(struct bsp_scan_ahead *ahead, struct wish *wish)
{
	struct bsp_map *map = ahead->sp->map;
	uint64_t end = bsp_min(wish->end, granules_of(ahead->sp));

	if (wish->granule < end)
		wish->granule = bsp_map_next(map, wish->set | BSP_IN_UNKNOWN,
					     wish->granule, end);
	return wish->granule >= end ||
	       bsp_map_get(map, wish->granule) != BSP_UNKNOWN;
}

/* Is what somebody waits for handed out, or will it not be? */
static bool is_handed(struct bsp_scan_ahead *ahead)
{
	bool starts_over = must_start_over(ahead, window_end(ahead));

	if (!starts_over && ahead->handed_wish <= ahead->settled_to)
		return true;
	return (starts_over || ahead->handed_wish > ahead->cursor) &&
	       !has_work(ahead);
}

/* Follows who waits alone without waking it; wakes it, or all, otherwise. */
static void serve_waiting(struct bsp_scan_ahead *ahead)
{
	if (ahead->wish && !ahead->error && !is_fulfilled(ahead, ahead->wish))
		demand(ahead, ahead->wish->granule);
	else if (ahead->waiting)
		pthread_cond_broadcast(&ahead->settled);
	if (ahead->waiting_handed && is_handed(ahead))
		pthread_cond_broadcast(&ahead->settled);
}

/* --- The thread --- */

/* Up to where is to be asked for, from the scan's cursor on. lock held. */
static uint64_t plan(struct bsp_scan_ahead *ahead, bool rest)
{
	struct bsp_scan *scan = ahead->scan;
	uint64_t end = rest ? granules_of(ahead->sp) : window_end(ahead);

	if (rest && scan->cursor > end)
		scan->cursor = 0;
	if (!rest &&
	    (must_start_over(ahead, end) ||
	     (must_go_back(ahead) && !bsp_scan_covers(scan, ahead->demand))))
		scan->cursor = scan->handed_from = ahead->demand;
	scan->known = !rest && ahead->following;
	scan->known_left = scan->known ? ahead->credit : 0;
	return end;
}

/* Takes over how far the scan is, which had so much credit. lock held. */
static void take_over(struct bsp_scan_ahead *ahead, uint64_t credit)
{
	struct bsp_scan *scan = ahead->scan;
	uint64_t used = credit - scan->known_left;

	ahead->credit -= bsp_min(used, ahead->credit);
	ahead->cursor = scan->cursor;
	ahead->handed_from = scan->handed_from;
	ahead->settled_to = bsp_scan_learned_to(scan);
}

/* A bsp_scanned_fn. */
static void hand_out(void *data, uint64_t generation, uint64_t off,
		     const void *buf, uint64_t len)
{
	struct bsp_scan_ahead *ahead = data;

	atomic_fetch_add(&ahead->handing, 1);
	ahead->scanned(ahead->scanned_data, generation, off, buf, len);
	atomic_fetch_add(&ahead->handing, 1);
}

static bool get_memory(struct bsp_scan_ahead *ahead)
{
	if (!ahead->scan)
		ahead->scan = bsp_scan_begin(ahead->sp, NULL, ahead);
	return ahead->scan;
}

/* Waits until there is work in the window; false if for long there was none,
 * and there is something to be done then. lock held. */
static bool wait_for_work(struct bsp_scan_ahead *ahead)
{
	struct timespec until = bsp_cond_limit(IDLE_MS);
	int timeout = 0;

	while (!ahead->stop && !timeout && !has_work(ahead)) {
		if (ahead->scan || ahead->rest_due)
			timeout = pthread_cond_timedwait(&ahead->work,
							 &ahead->lock, &until);
		else
			pthread_cond_wait(&ahead->work, &ahead->lock);
	}
	return !timeout;
}

/* Scans the window to its end, or the rest of the device until there is work in
 * the window. lock held at both ends. */
static int scan_on(struct bsp_scan_ahead *ahead, bool rest)
{
	int r = 1;

	pthread_mutex_unlock(&ahead->lock);
	if (!get_memory(ahead))
		r = -ENOMEM;
	else
		ahead->scan->scanned =
			rest || !ahead->scanned ? NULL : hand_out;
	pthread_mutex_lock(&ahead->lock);
	if (r > 0) {
		ahead->scan->cursor = rest ? 0 : ahead->cursor;
		ahead->scan->handed_from = ahead->handed_from;
	}
	while (r > 0 && !ahead->stop && !(rest && has_work(ahead))) {
		uint64_t end = plan(ahead, rest);
		uint64_t credit = ahead->scan->known_left;

		pthread_mutex_unlock(&ahead->lock);
		r = bsp_scan_ask(ahead->scan, end);
		if (!r)
			r = bsp_scan_complete(ahead->scan);
		pthread_mutex_lock(&ahead->lock);
		if (!rest)
			take_over(ahead, credit);
		ahead->failing = ahead->scan->failing;
		if (rest && ahead->failing)
			r = 0;
		serve_waiting(ahead);
	}
	return r < 0 ? r : 0;
}

/* Waits for what is in flight. */
static void give_memory_back(struct bsp_scan_ahead *ahead)
{
	pthread_mutex_unlock(&ahead->lock);
	bsp_scan_end(ahead->scan);
	pthread_mutex_lock(&ahead->lock);
	ahead->scan = NULL;
}

static void *ahead_main(void *data)
{
	struct bsp_scan_ahead *ahead = data;

	pthread_mutex_lock(&ahead->lock);
	while (!ahead->stop) {
		if (wait_for_work(ahead)) {
			ahead->error = scan_on(ahead, false);
			ahead->rest_due = ahead->background;
		} else if (ahead->rest_due) {
			ahead->rest_due = false;
			ahead->error = scan_on(ahead, true);
		} else {
			give_memory_back(ahead);
		}
		if (ahead->error) {
			struct timespec until = bsp_cond_limit(IDLE_MS);

			serve_waiting(ahead);
			give_memory_back(ahead);
			(void)pthread_cond_timedwait(&ahead->work, &ahead->lock,
						     &until);
		}
	}
	give_memory_back(ahead);
	serve_waiting(ahead);
	pthread_mutex_unlock(&ahead->lock);
	atomic_store(&ahead->alive, false);
	return NULL;
}

/* --- From other threads --- */

/*
 * Has the thread been handing out the same for long? Whoever takes it may wait
 * for what only the thread that waits here could do, if there are no more.
 */
static bool is_stuck(struct bsp_scan_ahead *ahead, struct stuck *stuck)
{
	unsigned handing = atomic_load(&ahead->handing);

	if (handing % 2 == 0 || handing != stuck->handing)
		stuck->ms = 0;
	else
		stuck->ms += POLL_MS;
	stuck->handing = handing;
	return stuck->ms >= STUCK_MS;
}

int bsp_scan_ahead_wait(struct bsp_scan_ahead *ahead, unsigned set,
			uint64_t granule, uint64_t end, bsp_interrupted_fn over,
			void *data)
{
	struct wish wish = { set, granule, end };
	struct stuck stuck = { 0 };
	int r = 0;

	pthread_mutex_lock(&ahead->lock);
	ahead->waiting++;
	ahead->wish = ahead->waiting == 1 ? &wish : NULL;
	ahead->error = 0;
	while (!is_fulfilled(ahead, &wish) && !ahead->stop && !r) {
		struct timespec until = bsp_cond_limit(POLL_MS);
		bool gives_up;

		demand(ahead, wish.granule);
		pthread_cond_signal(&ahead->work);
		(void)pthread_cond_timedwait(&ahead->settled, &ahead->lock,
					     &until);
		r = ahead->error;
		if (r || is_fulfilled(ahead, &wish))
			continue;
		pthread_mutex_unlock(&ahead->lock);
		gives_up = over(data) || is_stuck(ahead, &stuck);
		pthread_mutex_lock(&ahead->lock);
		r = gives_up ? -EINTR : 0;
	}
	ahead->wish = NULL;
	ahead->waiting--;
	pthread_mutex_unlock(&ahead->lock);
	return r;
}

void bsp_scan_ahead_hint(struct bsp_scan_ahead *ahead, uint64_t off, bool data)
{
	uint64_t granule = off >> ahead->sp->shift;

	pthread_mutex_lock(&ahead->lock);
	/* It goes back, and may not read this time. */
	if (data && granule <= ahead->found && granule < ahead->demand)
		stop_following(ahead);
	demand(ahead, granule);
	if (data)
		ahead->found = granule;
	if (has_work(ahead))
		pthread_cond_signal(&ahead->work);
	pthread_mutex_unlock(&ahead->lock);
}

void bsp_scan_ahead_report_read(struct bsp_scan_ahead *ahead, uint64_t off)
{
	uint64_t granule = off >> ahead->sp->shift;

	if (!ahead->scanned)
		return;
	pthread_mutex_lock(&ahead->lock);
	if (granule >= ahead->found && granule <= ahead->demand) {
		ahead->following = true;
		ahead->credit = ahead->grant;
		ahead->grant = bsp_min(2 * ahead->grant, CREDIT_MAX);
		if (has_work(ahead))
			pthread_cond_signal(&ahead->work);
	}
	pthread_mutex_unlock(&ahead->lock);
}

void bsp_scan_ahead_wait_delivered(struct bsp_scan_ahead *ahead, uint64_t from,
				   uint64_t to, bsp_interrupted_fn over,
				   void *data)
{
	uint64_t most = BSP_SCAN_KNOWN_MAX >> ahead->sp->shift;
	bool gives_up = false;

	pthread_mutex_lock(&ahead->lock);
	if (!ahead->following || to - from > most) {
		pthread_mutex_unlock(&ahead->lock);
		return;
	}
	ahead->waiting_handed++;
	while (!ahead->stop && !gives_up) {
		struct timespec until = bsp_cond_limit(POLL_MS);

		ahead->handed_wish = to;
		if (is_handed(ahead))
			break;
		pthread_cond_signal(&ahead->work);
		(void)pthread_cond_timedwait(&ahead->settled, &ahead->lock,
					     &until);
		pthread_mutex_unlock(&ahead->lock);
		gives_up = over(data);
		pthread_mutex_lock(&ahead->lock);
	}
	ahead->waiting_handed--;
	pthread_mutex_unlock(&ahead->lock);
}

void bsp_scan_ahead_set_background(struct bsp_scan_ahead *ahead,
				   bool background)
{
	pthread_mutex_lock(&ahead->lock);
	ahead->background = background;
	ahead->rest_due = background;
	pthread_cond_signal(&ahead->work);
	pthread_mutex_unlock(&ahead->lock);
}

void bsp_scan_ahead_stop(struct bsp_scan_ahead *ahead)
{
	pthread_mutex_lock(&ahead->lock);
	atomic_store(&ahead->stop, true);
	pthread_cond_signal(&ahead->work);
	pthread_cond_broadcast(&ahead->settled);
	pthread_mutex_unlock(&ahead->lock);
}

bool bsp_scan_ahead_running(struct bsp_scan_ahead *ahead)
{
	return !atomic_load(&ahead->stop);
}

bool bsp_scan_ahead_alive(struct bsp_scan_ahead *ahead)
{
	return atomic_load(&ahead->alive);
}

/* --- Life --- */

struct bsp_scan_ahead *
bsp_scan_ahead_new(struct bsp_sparse *sp,
		   const struct bsp_scan_ahead_options *options)
{
	struct bsp_scan_ahead *ahead = calloc(1, sizeof(*ahead));

	if (!ahead)
		return NULL;
	ahead->sp = sp;
	ahead->window_max = options->window ? options->window
					    : BSP_SCAN_AHEAD_WINDOW_DEFAULT;
	ahead->start = ahead->demand = ahead->found = NOWHERE;
	ahead->grant = CREDIT_MIN;
	ahead->scanned = options->scanned;
	ahead->scanned_data = options->scanned_data;
	pthread_mutex_init(&ahead->lock, NULL);
	bsp_cond_init(&ahead->work);
	bsp_cond_init(&ahead->settled);
	return ahead;
}

int bsp_scan_ahead_start(struct bsp_scan_ahead *ahead)
{
	int r;

	atomic_store(&ahead->alive, true);
	r = bsp_thread_start(&ahead->thread, ahead_main, ahead);
	ahead->started = r == 0;
	if (r)
		atomic_store(&ahead->alive, false);
	return r;
}

void bsp_scan_ahead_free(struct bsp_scan_ahead *ahead)
{
	if (!ahead)
		return;
	bsp_scan_ahead_stop(ahead);
	if (ahead->started)
		(void)pthread_join(ahead->thread, NULL);
	pthread_cond_destroy(&ahead->settled);
	pthread_cond_destroy(&ahead->work);
	pthread_mutex_destroy(&ahead->lock);
	free(ahead);
}
