/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The thread that scans ahead of seeks. It reads a window of granules with
 * several reads in flight, so that the device works while the program that
 * seeks is busy with the last answer. scan-window.h decides which granules
 * these are; this file has the thread, its lock and its conditions.
 *
 * The scan thread learns seek positions from waiting callers and from where
 * finished seeks ended. When it has scanned the window it sleeps. If it sleeps
 * for long it gives its memory back, or, if the mount asks for that, scans the
 * rest of the device. Data of the rest is not delivered: no reader is near.
 *
 * Before a writer zeroes, the map should know the zeros that the device knows.
 * So on a writable object the thread first learns all of these, a few questions
 * at a time between scans. Writers wait for it, but not for long: a pool or a
 * file system may hang.
 *
 * A seek for a hole waits until the data before the hole is delivered, so that
 * its caller does not read the same data a second time.
 *
 * The lock is never held during I/O, a delivery or a callback.
 */
#include "sparse/scan-ahead.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/range.h"
#include "blksparse-thread.h"
#include "sparse/scan.h"
#include "sparse/scan-window.h"

enum {
	POLL_MS = 10,	 /* how often a waiting caller asks whether to stop */
	STUCK_MS = 1000, /* the longest that a seek waits for one delivery */
	IDLE_MS = 1000,	 /* until memory is given back, or the rest scanned */
	ZEROS_MS = 1000, /* the longest that writers wait for a step of known
			    zeros, */
	ZEROS_ALL_MS = 5000, /* and for all of them */
	QUESTIONS = 16, /* about known zeros, before the thread scans again */
};

/* For how long a waiting caller has seen the same delivery in progress. */
struct stuck {
	unsigned delivery_steps, ms;
};

struct bsp_scan_ahead {
	/* Fixed after bsp_scan_ahead_start(): */
	struct bsp_sparse *sp;
	bsp_scanned_fn scanned;
	void *scanned_data;
	pthread_t thread;
	bool started;

	atomic_bool alive; /* the thread has not ended */
	atomic_bool stop;  /* set under lock */

	/* Used by the thread alone: */
	struct bsp_scan *scan; /* NULL while it sleeps for long */

	/* Counts the start and the end of each delivery; odd while one is in
	 * progress. */
	atomic_uint delivery_steps;

	pthread_mutex_t lock; /* a leaf lock but for the map's */
	/* Both by CLOCK_MONOTONIC: the thread waits for work; callers wait for
	 * what was learned, or delivered. */
	pthread_cond_t work, learned;
	struct bsp_scan_window window; /* protected by lock */
	/* Protected by lock: */
	bool learns_zeros;  /* not all known zeros are learned */
	bool zeros_restart; /* it was asked to begin anew */
	uint64_t zeros_to;  /* all before this granule are */
	/* Writers wait no longer for the next step, and for all of them. */
	struct timespec zeros_until, zeros_end;
};

static bool has_work(struct bsp_scan_ahead *scan_ahead)
{
	struct bsp_scan_view view = bsp_scan_view(scan_ahead->sp);

	return bsp_scan_window_has_work(&scan_ahead->window, &view);
}

/* --- The thread --- */

/* lock held. */
static void wake_waiting(struct bsp_scan_ahead *scan_ahead)
{
	struct bsp_scan_view view = bsp_scan_view(scan_ahead->sp);

	if (bsp_scan_window_serve(&scan_ahead->window, &view))
		pthread_cond_broadcast(&scan_ahead->learned);
}

/* Sets the scan's position; returns the granule before which it is to read.
 * lock held. */
static uint64_t plan(struct bsp_scan_ahead *scan_ahead, bool rest)
{
	struct bsp_scan *scan = scan_ahead->scan;
	struct bsp_scan_window *window = &scan_ahead->window;
	struct bsp_scan_view view = bsp_scan_view(scan_ahead->sp);

	if (rest)
		return bsp_scan_window_plan_rest(&view, &scan->pos);
	return bsp_scan_window_plan(window, &view, &scan->pos,
				    bsp_scan_covers(scan, window->demand));
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

/* Lets writers wait for the next step of known zeros. lock held. */
static void limit_zeros(struct bsp_scan_ahead *scan_ahead)
{
	struct timespec until = bsp_cond_limit(ZEROS_MS);
	const struct timespec *end = &scan_ahead->zeros_end;

	if (until.tv_sec > end->tv_sec ||
	    (until.tv_sec == end->tv_sec && until.tv_nsec > end->tv_nsec))
		until = *end;
	scan_ahead->zeros_until = until;
}

/* Learns some of the zeros that the device knows. lock held at both ends. */
static void learn_some_zeros(struct bsp_scan_ahead *scan_ahead)
{
	struct bsp_sparse *sp = scan_ahead->sp;
	uint64_t from = scan_ahead->zeros_to, to, next;

	scan_ahead->zeros_restart = false;
	pthread_mutex_unlock(&scan_ahead->lock);
	to = bsp_granules(atomic_load(&sp->size), sp->shift);
	next = bsp_sparse_learn_zeros(sp, from, to, QUESTIONS, true);
	pthread_mutex_lock(&scan_ahead->lock);
	if (scan_ahead->zeros_restart)
		return;
	scan_ahead->zeros_to = next;
	scan_ahead->learns_zeros = next < to;
	limit_zeros(scan_ahead);
	if (next >= to)
		bsp_scan_window_finished(&scan_ahead->window);
	wake_waiting(scan_ahead);
	pthread_cond_broadcast(&scan_ahead->learned);
}

/* Waits until the window has work. False if it had none for long, and the
 * thread has something to do then. lock held. */
static bool wait_for_work(struct bsp_scan_ahead *scan_ahead)
{
	struct timespec until = bsp_cond_limit(IDLE_MS);
	int timeout = 0;

	while (!scan_ahead->stop && !timeout && !scan_ahead->learns_zeros &&
	       !has_work(scan_ahead)) {
		if (scan_ahead->scan || scan_ahead->window.rest_due)
			timeout = pthread_cond_timedwait(
				&scan_ahead->work, &scan_ahead->lock, &until);
		else
			pthread_cond_wait(&scan_ahead->work, &scan_ahead->lock);
	}
	return !timeout;
}

/* Scans the window to its end, or the rest of the device until the window has
 * work. lock held at both ends. */
static int scan_until(struct bsp_scan_ahead *scan_ahead, bool rest)
{
	struct bsp_scan_window *window = &scan_ahead->window;
	int r = 1;

	pthread_mutex_unlock(&scan_ahead->lock);
	if (!need_memory(scan_ahead))
		r = -ENOMEM;
	else
		scan_ahead->scan->scanned =
			rest || !scan_ahead->scanned ? NULL : deliver;
	pthread_mutex_lock(&scan_ahead->lock);
	if (r > 0) {
		bsp_scan_window_resume(window, &scan_ahead->scan->pos);
		if (rest)
			scan_ahead->scan->pos.cursor = 0;
	}
	while (r > 0 && !scan_ahead->stop &&
	       !(rest && (has_work(scan_ahead) || scan_ahead->learns_zeros))) {
		uint64_t end = plan(scan_ahead, rest);

		pthread_mutex_unlock(&scan_ahead->lock);
		r = bsp_scan_ask(scan_ahead->scan, end);
		if (!r)
			r = bsp_scan_complete(scan_ahead->scan);
		pthread_mutex_lock(&scan_ahead->lock);
		if (!rest)
			bsp_scan_window_report(
				window, &scan_ahead->scan->pos,
				bsp_scan_learned_to(scan_ahead->scan));
		window->failing = scan_ahead->scan->failing;
		if (rest && window->failing)
			r = 0;
		wake_waiting(scan_ahead);
	}
	return r < 0 ? r : 0;
}

/* Waits for the reads in flight. lock held at both ends. */
static void release_memory(struct bsp_scan_ahead *scan_ahead)
{
	pthread_mutex_unlock(&scan_ahead->lock);
	bsp_scan_end(scan_ahead->scan);
	pthread_mutex_lock(&scan_ahead->lock);
	scan_ahead->scan = NULL;
}

/* Checks zeros that layers below said, until the window has work. Returns
 * whether there was anything to check. lock held at both ends. */
static bool check_zeros(struct bsp_scan_ahead *scan_ahead)
{
	bool checked = false, more = true;

	while (more && !scan_ahead->stop && !has_work(scan_ahead)) {
		pthread_mutex_unlock(&scan_ahead->lock);
		more = bsp_sparse_spot_check_late(scan_ahead->sp);
		pthread_mutex_lock(&scan_ahead->lock);
		checked |= more;
	}
	return checked;
}

/* A bsp_interrupted_fn. */
static bool is_stopped(void *data)
{
	struct bsp_scan_ahead *scan_ahead = data;

	return atomic_load(&scan_ahead->stop);
}

static void *scan_ahead_main(void *data)
{
	struct bsp_scan_ahead *scan_ahead = data;
	struct bsp_scan_window *window = &scan_ahead->window;

	bsp_interrupt_set(is_stopped, scan_ahead);
	pthread_mutex_lock(&scan_ahead->lock);
	while (!scan_ahead->stop) {
		if (scan_ahead->learns_zeros)
			learn_some_zeros(scan_ahead);
		if (scan_ahead->learns_zeros && !has_work(scan_ahead))
			continue;
		if (wait_for_work(scan_ahead)) {
			window->error = scan_until(scan_ahead, false);
			bsp_scan_window_finished(window);
		} else if (check_zeros(scan_ahead)) {
			continue;
		} else if (bsp_scan_window_take_rest(window)) {
			window->error = scan_until(scan_ahead, true);
		} else {
			release_memory(scan_ahead);
		}
		if (window->error) {
			struct timespec until = bsp_cond_limit(IDLE_MS);

			wake_waiting(scan_ahead);
			release_memory(scan_ahead);
			(void)pthread_cond_timedwait(&scan_ahead->work,
						     &scan_ahead->lock, &until);
		}
	}
	release_memory(scan_ahead);
	wake_waiting(scan_ahead);
	pthread_mutex_unlock(&scan_ahead->lock);
	atomic_store(&scan_ahead->alive, false);
	return NULL;
}

/* --- Calls from other threads --- */

/*
 * Has the thread been in one delivery for long? The function that takes the
 * data may wait for something that only the waiting thread could do, if the
 * program has no other.
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

/* lock held. */
static bool is_met(struct bsp_scan_ahead *scan_ahead,
		   struct bsp_wait_request *request)
{
	struct bsp_scan_view view = bsp_scan_view(scan_ahead->sp);

	return bsp_scan_window_is_met(&view, request);
}

int bsp_scan_ahead_wait(struct bsp_scan_ahead *scan_ahead, unsigned set,
			uint64_t granule, uint64_t end, bsp_interrupted_fn over,
			void *data)
{
	struct bsp_scan_window *window = &scan_ahead->window;
	struct bsp_wait_request request = { set, granule, end };
	struct stuck stuck = { 0 };
	int r = 0;

	pthread_mutex_lock(&scan_ahead->lock);
	bsp_scan_window_add_request(window, &request);
	while (!is_met(scan_ahead, &request) && !scan_ahead->stop && !r) {
		struct timespec until = bsp_cond_limit(POLL_MS);
		bool gives_up;

		bsp_scan_window_demand(window, request.granule);
		pthread_cond_signal(&scan_ahead->work);
		(void)pthread_cond_timedwait(&scan_ahead->learned,
					     &scan_ahead->lock, &until);
		r = window->error;
		if (r || is_met(scan_ahead, &request))
			continue;
		pthread_mutex_unlock(&scan_ahead->lock);
		gives_up = over(data) || is_stuck(scan_ahead, &stuck);
		pthread_mutex_lock(&scan_ahead->lock);
		r = gives_up ? -EINTR : 0;
	}
	bsp_scan_window_remove_request(window);
	pthread_mutex_unlock(&scan_ahead->lock);
	return r;
}

void bsp_scan_ahead_learn_zeros(struct bsp_scan_ahead *scan_ahead)
{
	if (!bsp_sparse_learns_zeros(scan_ahead->sp))
		return;
	pthread_mutex_lock(&scan_ahead->lock);
	scan_ahead->learns_zeros = scan_ahead->zeros_restart = true;
	scan_ahead->zeros_to = 0;
	scan_ahead->zeros_end = bsp_cond_limit(ZEROS_ALL_MS);
	limit_zeros(scan_ahead);
	pthread_cond_signal(&scan_ahead->work);
	pthread_mutex_unlock(&scan_ahead->lock);
}

void bsp_scan_ahead_wait_zeros(struct bsp_scan_ahead *scan_ahead,
			       uint64_t granule)
{
	int timeout = 0;

	pthread_mutex_lock(&scan_ahead->lock);
	while (scan_ahead->learns_zeros && scan_ahead->zeros_to < granule &&
	       !scan_ahead->stop && !timeout)
		timeout = pthread_cond_timedwait(&scan_ahead->learned,
						 &scan_ahead->lock,
						 &scan_ahead->zeros_until);
	pthread_mutex_unlock(&scan_ahead->lock);
}

void bsp_scan_ahead_hint(struct bsp_scan_ahead *scan_ahead, uint64_t off,
			 bool data)
{
	pthread_mutex_lock(&scan_ahead->lock);
	bsp_scan_window_seek_ended(&scan_ahead->window,
				   off >> scan_ahead->sp->shift, data);
	if (has_work(scan_ahead))
		pthread_cond_signal(&scan_ahead->work);
	pthread_mutex_unlock(&scan_ahead->lock);
}

void bsp_scan_ahead_report_read(struct bsp_scan_ahead *scan_ahead, uint64_t off)
{
	if (!scan_ahead->scanned)
		return;
	pthread_mutex_lock(&scan_ahead->lock);
	if (bsp_scan_window_read(&scan_ahead->window,
				 off >> scan_ahead->sp->shift) &&
	    has_work(scan_ahead))
		pthread_cond_signal(&scan_ahead->work);
	pthread_mutex_unlock(&scan_ahead->lock);
}

void bsp_scan_ahead_wait_delivered(struct bsp_scan_ahead *scan_ahead,
				   uint64_t from, uint64_t to,
				   bsp_interrupted_fn over, void *data)
{
	struct bsp_scan_window *window = &scan_ahead->window;
	bool gives_up = false;

	pthread_mutex_lock(&scan_ahead->lock);
	if (!bsp_scan_window_add_delivery(window, from, to)) {
		pthread_mutex_unlock(&scan_ahead->lock);
		return;
	}
	while (!scan_ahead->stop && !gives_up) {
		struct bsp_scan_view view = bsp_scan_view(scan_ahead->sp);
		struct timespec until = bsp_cond_limit(POLL_MS);

		if (bsp_scan_window_is_delivered(window, &view, to))
			break;
		pthread_cond_signal(&scan_ahead->work);
		(void)pthread_cond_timedwait(&scan_ahead->learned,
					     &scan_ahead->lock, &until);
		pthread_mutex_unlock(&scan_ahead->lock);
		gives_up = over(data);
		pthread_mutex_lock(&scan_ahead->lock);
	}
	bsp_scan_window_remove_delivery(window);
	pthread_mutex_unlock(&scan_ahead->lock);
}

void bsp_scan_ahead_set_background(struct bsp_scan_ahead *scan_ahead,
				   bool background)
{
	pthread_mutex_lock(&scan_ahead->lock);
	bsp_scan_window_set_background(&scan_ahead->window, background);
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
	bsp_scan_window_init(&scan_ahead->window, sp->shift,
			     options->window ? options->window
					     : BSP_SCAN_AHEAD_WINDOW_DEFAULT);
	scan_ahead->scanned = options->scanned;
	scan_ahead->scanned_data = options->scanned_data;
	pthread_mutex_init(&scan_ahead->lock, NULL);
	bsp_cond_init(&scan_ahead->work);
	bsp_cond_init(&scan_ahead->learned);
	bsp_scan_ahead_learn_zeros(scan_ahead);
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
