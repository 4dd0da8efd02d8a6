/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The policy of scanning ahead (scan-ahead.c): which granules to read next, and
 * which waiting callers to wake.
 *
 * It is a state machine: calls report what readers, waiting callers and the
 * scan did, and others say what to do next. It knows no threads, locks, clocks
 * or I/O, so that a test can drive it alone. The caller serializes all calls.
 *
 * The scan reads a window of granules that starts at the current seek position.
 * The window grows with the distance that a run of seeks has come, because a
 * single seek is no reason to read much. Long holes do not count in either. A
 * reader that also reads the data it finds would wait for the device even where
 * the map knows all: such a reader is followed, and known data is read ahead of
 * it. A credit in bytes limits this. Only an observed read renews the credit,
 * so that a program that only seeks causes no reads of known data.
 */
#ifndef BSP_SPARSE_SCAN_WINDOW_H
#define BSP_SPARSE_SCAN_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/map.h"

enum {
	/* Bytes that the first seek of a run lets the scan read. */
	BSP_SCAN_WINDOW_MIN = 2 << 20,
	/* Initial read-ahead credit of a reader; doubled at each read that it
	 * is seen to do. */
	BSP_SCAN_CREDIT_MIN = 512 << 10,
	BSP_SCAN_CREDIT_MAX = 12 << 20,
	/* Longer runs of known data are not read to be delivered: in them the
	 * kernel reads ahead of the reader. */
	BSP_SCAN_KNOWN_MAX = 2 << 20,
};

/* The scanned object as the policy sees it, at the time of a call. */
struct bsp_scan_view {
	struct bsp_map *map;
	unsigned shift;	   /* log2 of the granule */
	uint64_t granules; /* in the file */
	bool kept;	   /* the map is not forgotten at the next check */
};

/* Where a scan is. */
struct bsp_scan_position {
	/* Every granule before it was requested, or needs no read. */
	uint64_t cursor;
	/* From this granule to the cursor no known data was skipped, but for
	 * runs longer than BSP_SCAN_KNOWN_MAX. */
	uint64_t delivered_from;
	/* Known data is read, too, to be delivered to the reader; and how many
	 * bytes of it may still be requested. */
	bool known;
	uint64_t known_left;
};

/*
 * A caller waits until, in [granule, end), no granule is unknown before the
 * first whose state is in the set.
 */
struct bsp_wait_request {
	unsigned set;
	uint64_t granule, end;
};

struct bsp_scan_window {
	/* Fixed. */
	unsigned shift;
	uint64_t max; /* bytes of the largest window */

	/* Positions in granules. */
	uint64_t start;	     /* where the current run of seeks began */
	uint64_t demand;     /* the current seek position */
	uint64_t found_data; /* where the last seek for data ended */

	bool following;	      /* a reader reads the data that seeks find */
	uint64_t credit;      /* bytes of known data that may be requested */
	uint64_t next_credit; /* granted at the next read */

	/* The scan's position as of its last report. */
	uint64_t cursor, delivered_from;
	uint64_t learned_to; /* before it, no read is in flight */
	uint64_t planned;    /* credit that the last plan gave to the scan */
	bool failing;	     /* the device fails where it was read last */

	unsigned waiting;	      /* callers with a wait request */
	struct bsp_wait_request *one; /* the request, if there is one only */
	int error; /* of the last scan; for waiting callers */

	unsigned waiting_delivered; /* callers that wait for delivery, */
	uint64_t wanted_delivered;  /* up to this granule */

	bool background; /* scan the rest of the device when idle */
	bool rest_due;	 /* this rest may have unknown granules */
};

/*
 * The next granule of [granule, end) that is unknown, or, if known is set, in a
 * run of known data that is short enough to be delivered; end if there is none.
 */
uint64_t bsp_scan_next(const struct bsp_scan_view *view, bool known,
		       uint64_t granule, uint64_t end);

/* No window until the first seek. */
void bsp_scan_window_init(struct bsp_scan_window *window, unsigned shift,
			  uint64_t max);

/* --- Seeks and reads --- */

/* A seek, for data or for a hole, has ended at the granule. */
void bsp_scan_window_seek_ended(struct bsp_scan_window *window,
				uint64_t granule, bool data);

/*
 * A reader reads at the granule. Grants credit and returns true if that is
 * between the data that a seek found and the current seek position.
 */
bool bsp_scan_window_read(struct bsp_scan_window *window, uint64_t granule);

/* --- The scan --- */

/* Is there a granule in the window to be read? */
bool bsp_scan_window_has_work(const struct bsp_scan_window *window,
			      const struct bsp_scan_view *view);

/* A scan of the window starts: sets its position. */
void bsp_scan_window_resume(const struct bsp_scan_window *window,
			    struct bsp_scan_position *position);

/*
 * Moves the scan if it must restart, sets what known data it reads, and returns
 * the granule before which it reads. in_flight: a read of the seek position's
 * granule is in flight.
 */
uint64_t bsp_scan_window_plan(struct bsp_scan_window *window,
			      const struct bsp_scan_view *view,
			      struct bsp_scan_position *position,
			      bool in_flight);

/* The same for a scan of the rest, which reads unknown granules only. */
uint64_t bsp_scan_window_plan_rest(const struct bsp_scan_view *view,
				   struct bsp_scan_position *position);

/* The scan of the window, after a plan, has come to that position; before
 * granule learned_to no read is in flight. */
void bsp_scan_window_report(struct bsp_scan_window *window,
			    const struct bsp_scan_position *position,
			    uint64_t learned_to);

/* --- Waiting callers --- */

/* A caller starts to wait for a request, which stays its own; and ends. */
void bsp_scan_window_add_request(struct bsp_scan_window *window,
				 struct bsp_wait_request *request);
void bsp_scan_window_remove_request(struct bsp_scan_window *window);

/* Is the request met? Advances it over the granules that are learned. */
bool bsp_scan_window_is_met(const struct bsp_scan_view *view,
			    struct bsp_wait_request *request);

/* Moves the window to the granule that a request waits for. */
void bsp_scan_window_demand(struct bsp_scan_window *window, uint64_t granule);

/*
 * A caller starts to wait until known data of granules [from, to) is delivered.
 * False if that is not about to happen, so that there is nothing to wait for.
 */
bool bsp_scan_window_add_delivery(struct bsp_scan_window *window, uint64_t from,
				  uint64_t to);
void bsp_scan_window_remove_delivery(struct bsp_scan_window *window);

/* Is all data before the granule delivered, or will not be? */
bool bsp_scan_window_is_delivered(struct bsp_scan_window *window,
				  const struct bsp_scan_view *view,
				  uint64_t to);

/*
 * Must waiting callers be woken? With one waiting caller whose request is not
 * met yet, moves the window on to its granule instead.
 */
bool bsp_scan_window_serve(struct bsp_scan_window *window,
			   const struct bsp_scan_view *view);

/* --- The rest of the device --- */

void bsp_scan_window_set_background(struct bsp_scan_window *window,
				    bool background);

/* The window is scanned: seeks may have left unknown granules elsewhere. */
void bsp_scan_window_finished(struct bsp_scan_window *window);

/* Must the rest be scanned now? Once, until the next window is scanned. */
bool bsp_scan_window_take_rest(struct bsp_scan_window *window);

#endif
