/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The policy of scanning ahead: see scan-window.h for the idea.
 *
 * Positions are granules. A window is never stored: it follows from the run of
 * seeks (start, demand) and from the state of the device. The scan is ahead of
 * the window's start while its cursor is inside of the window. If a seek moves
 * the window so that the cursor is outside, the scan restarts at the seek
 * position. So granules that were read on the way are not read again: the map
 * knows them.
 *
 * Before changing a condition, think of a granule that is forgotten while a
 * read of it is in flight (another program wrote to the device): it stays
 * unknown though the cursor has passed it, and a caller may wait for it.
 */
#include "sparse/scan-window.h"

#include "base/range.h"

/* No device has this granule: nothing was sought yet. */
#define NO_GRANULE (UINT64_MAX >> 13)

enum { HOLES_MAX = 4 }; /* long holes in a window */

uint64_t bsp_scan_next(const struct bsp_scan_view *view, bool known,
		       uint64_t granule, uint64_t end)
{
	uint64_t most = (uint64_t)BSP_SCAN_KNOWN_MAX >> view->shift;
	unsigned set = BSP_IN_UNKNOWN | (known ? BSP_IN_DATA : 0);

	while (granule < end) {
		uint64_t run_end;

		granule = bsp_map_next(view->map, set, granule, end);
		if (granule >= end ||
		    bsp_map_get(view->map, granule) != BSP_DATA)
			break;
		run_end = bsp_map_next(
			view->map, BSP_IN_ALL & ~BSP_IN_DATA, granule,
			bsp_min(granule + most + 1, view->granules));
		if (run_end <= granule + most)
			break;
		granule = bsp_map_next(view->map, BSP_IN_ALL & ~BSP_IN_DATA,
				       run_end, end);
	}
	return bsp_min(granule, end);
}

static void stop_following(struct bsp_scan_window *window)
{
	window->following = false;
	window->credit = 0;
	window->next_credit = BSP_SCAN_CREDIT_MIN;
}

void bsp_scan_window_init(struct bsp_scan_window *window, unsigned shift,
			  uint64_t max)
{
	*window = (struct bsp_scan_window){ .shift = shift, .max = max };
	window->start = window->demand = window->found_data = NO_GRANULE;
	stop_following(window);
}

/* --- Seeks and reads --- */

void bsp_scan_window_demand(struct bsp_scan_window *window, uint64_t granule)
{
	uint64_t far = window->max >> window->shift;

	if (granule < window->start ||
	    (granule > window->demand + far && granule > window->cursor)) {
		window->start = granule;
		stop_following(window);
	} else if (granule > window->demand + far) {
		/* Past a long hole, which the scan skipped. The run goes on,
		 * and is no longer for that. */
		window->start += granule - window->demand;
	}
	/* The program seeks on, and does not read. */
	if (!window->credit && granule > window->cursor)
		stop_following(window);
	window->demand = granule;
}

void bsp_scan_window_seek_ended(struct bsp_scan_window *window,
				uint64_t granule, bool data)
{
	/* The program goes back, and may not read this time. */
	if (data && granule <= window->found_data && granule < window->demand)
		stop_following(window);
	bsp_scan_window_demand(window, granule);
	if (data)
		window->found_data = granule;
}

bool bsp_scan_window_read(struct bsp_scan_window *window, uint64_t granule)
{
	if (granule < window->found_data || granule > window->demand)
		return false;
	window->following = true;
	window->credit = window->next_credit;
	window->next_credit =
		bsp_min(2 * window->next_credit, BSP_SCAN_CREDIT_MAX);
	return true;
}

/* --- The scan --- */

/*
 * Returns the end of a window of len granules from granule on. Long holes, at
 * least as long as the smallest window, do not count: the next data is read
 * before a seek comes to it.
 */
static uint64_t skip_long_holes(const struct bsp_scan_window *window,
				const struct bsp_scan_view *view,
				uint64_t granule, uint64_t len)
{
	uint64_t least = (uint64_t)BSP_SCAN_WINDOW_MIN >> window->shift;

	for (int i = 0; i < HOLES_MAX; i++) {
		uint64_t hole = bsp_map_next(view->map, BSP_IN_ZERO, granule,
					     granule + len);
		uint64_t end =
			bsp_map_next(view->map, BSP_IN_ALL & ~BSP_IN_ZERO, hole,
				     view->granules);

		if (hole == granule + len || end < hole + least)
			break;
		len -= hole - granule;
		granule = end;
	}
	return granule + len;
}

static uint64_t window_end(const struct bsp_scan_window *window,
			   const struct bsp_scan_view *view)
{
	uint64_t distance = (window->demand - window->start) << window->shift;
	uint64_t len = bsp_min(bsp_max(2 * distance, BSP_SCAN_WINDOW_MIN),
			       window->max);

	/* Read only for waiting callers where each read may take long to fail,
	 * or where the next check forgets the result. */
	if (window->failing || !view->kept) {
		len = !window->waiting	? 0
		      : window->failing ? 1
					: BSP_SCAN_WINDOW_MIN;
		return bsp_min(window->demand +
				       bsp_granules(len, window->shift),
			       view->granules);
	}
	return bsp_min(skip_long_holes(window, view, window->demand,
				       bsp_granules(len, window->shift)),
		       view->granules);
}

/* Is the scan's position of no use for a window that ends there? */
static bool must_restart(const struct bsp_scan_window *window, uint64_t end)
{
	return window->cursor < window->demand || window->cursor > end ||
	       (window->following && window->delivered_from > window->demand);
}

/* Does a caller wait for a granule that the scan has passed, and that was
 * forgotten since, or is in flight? */
static bool must_go_back(const struct bsp_scan_window *window,
			 const struct bsp_scan_view *view)
{
	return window->waiting &&
	       bsp_map_get(view->map, window->demand) == BSP_UNKNOWN;
}

bool bsp_scan_window_has_work(const struct bsp_scan_window *window,
			      const struct bsp_scan_view *view)
{
	uint64_t end = window_end(window, view);
	uint64_t from = window->cursor;

	if (window->demand >= end)
		return false;
	if (must_restart(window, end) || must_go_back(window, view))
		from = window->demand;
	from = bsp_scan_next(view, window->following, from, end);
	return from < end &&
	       (window->credit || bsp_map_get(view->map, from) == BSP_UNKNOWN);
}

void bsp_scan_window_resume(const struct bsp_scan_window *window,
			    struct bsp_scan_position *position)
{
	position->cursor = window->cursor;
	position->delivered_from = window->delivered_from;
}

uint64_t bsp_scan_window_plan(struct bsp_scan_window *window,
			      const struct bsp_scan_view *view,
			      struct bsp_scan_position *position,
			      bool in_flight)
{
	uint64_t end = window_end(window, view);

	if (must_restart(window, end) ||
	    (must_go_back(window, view) && !in_flight))
		position->cursor = position->delivered_from = window->demand;
	position->known = window->following;
	position->known_left = position->known ? window->credit : 0;
	window->planned = position->known_left;
	return end;
}

uint64_t bsp_scan_window_plan_rest(const struct bsp_scan_view *view,
				   struct bsp_scan_position *position)
{
	if (position->cursor > view->granules)
		position->cursor = 0;
	position->known = false;
	position->known_left = 0;
	return view->granules;
}

void bsp_scan_window_report(struct bsp_scan_window *window,
			    const struct bsp_scan_position *position,
			    uint64_t learned_to)
{
	uint64_t used = window->planned - position->known_left;

	window->credit -= bsp_min(used, window->credit);
	window->planned = position->known_left;
	window->cursor = position->cursor;
	window->delivered_from = position->delivered_from;
	window->learned_to = learned_to;
}

/* --- Waiting callers --- */

void bsp_scan_window_add_request(struct bsp_scan_window *window,
				 struct bsp_wait_request *request)
{
	window->waiting++;
	window->one = window->waiting == 1 ? request : NULL;
	window->error = 0;
}

void bsp_scan_window_remove_request(struct bsp_scan_window *window)
{
	window->one = NULL;
	window->waiting--;
}

bool bsp_scan_window_is_met(const struct bsp_scan_view *view,
			    struct bsp_wait_request *request)
{
	uint64_t end = bsp_min(request->end, view->granules);

	if (request->granule < end)
		request->granule =
			bsp_map_next(view->map, request->set | BSP_IN_UNKNOWN,
				     request->granule, end);
	return request->granule >= end ||
	       bsp_map_get(view->map, request->granule) != BSP_UNKNOWN;
}

bool bsp_scan_window_add_delivery(struct bsp_scan_window *window, uint64_t from,
				  uint64_t to)
{
	if (!window->following ||
	    to - from > (uint64_t)BSP_SCAN_KNOWN_MAX >> window->shift)
		return false;
	window->waiting_delivered++;
	return true;
}

void bsp_scan_window_remove_delivery(struct bsp_scan_window *window)
{
	window->waiting_delivered--;
}

static bool is_delivered(const struct bsp_scan_window *window,
			 const struct bsp_scan_view *view)
{
	bool restarts = must_restart(window, window_end(window, view));

	if (!restarts && window->wanted_delivered <= window->learned_to)
		return true;
	return (restarts || window->wanted_delivered > window->cursor) &&
	       !bsp_scan_window_has_work(window, view);
}

bool bsp_scan_window_is_delivered(struct bsp_scan_window *window,
				  const struct bsp_scan_view *view, uint64_t to)
{
	window->wanted_delivered = to;
	return is_delivered(window, view);
}

bool bsp_scan_window_serve(struct bsp_scan_window *window,
			   const struct bsp_scan_view *view)
{
	bool wake = false;

	if (window->one && !window->error &&
	    !bsp_scan_window_is_met(view, window->one))
		bsp_scan_window_demand(window, window->one->granule);
	else
		wake = window->waiting;
	return wake ||
	       (window->waiting_delivered && is_delivered(window, view));
}

/* --- The rest of the device --- */

void bsp_scan_window_set_background(struct bsp_scan_window *window,
				    bool background)
{
	window->background = background;
	window->rest_due = background;
}

void bsp_scan_window_finished(struct bsp_scan_window *window)
{
	window->rest_due = window->background;
}

bool bsp_scan_window_take_rest(struct bsp_scan_window *window)
{
	bool due = window->rest_due;

	window->rest_due = false;
	return due;
}
