/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread that scans ahead of an object's seeks, so that the device is read
 * while the one who asks works on what it was told.
 */
#ifndef BSP_SPARSE_SCAN_AHEAD_H
#define BSP_SPARSE_SCAN_AHEAD_H

#include "sparse/sparse.h"

struct bsp_scan_ahead;

/* NULL if there is no memory. No thread runs yet. */
struct bsp_scan_ahead *
bsp_scan_ahead_new(struct bsp_sparse *sp,
		   const struct bsp_scan_ahead_options *options);

/* Starts the thread. Returns 0 or -errno. */
int bsp_scan_ahead_start(struct bsp_scan_ahead *scan_ahead);

/* Waits for the thread to end. NULL is fine. */
void bsp_scan_ahead_free(struct bsp_scan_ahead *scan_ahead);

/* Asks the thread to end; who waits for it goes on at once. Any thread. */
void bsp_scan_ahead_stop(struct bsp_scan_ahead *scan_ahead);

/* Is it there, and not asked to end? */
bool bsp_scan_ahead_running(struct bsp_scan_ahead *scan_ahead);

/* Has the thread not ended? */
bool bsp_scan_ahead_alive(struct bsp_scan_ahead *scan_ahead);

/* Whether to scan all of the device when nobody asks. */
void bsp_scan_ahead_set_background(struct bsp_scan_ahead *scan_ahead,
				   bool background);

/*
 * Waits until the unknown granule, and those that follow it up to the first of
 * [granule, end) that is in the set, are settled. Returns 0 (look again),
 * -EINTR if over() said so before, or what was read could not be handed out for
 * a second, or -ENOMEM. over() is asked every few milliseconds.
 */
int bsp_scan_ahead_wait(struct bsp_scan_ahead *scan_ahead, unsigned set,
			uint64_t granule, uint64_t end, bsp_interrupted_fn over,
			void *data);

/* A seek, for data or for a hole, has ended at off: scan on from there. */
void bsp_scan_ahead_hint(struct bsp_scan_ahead *scan_ahead, uint64_t off,
			 bool data);

/* Somebody reads at off, and what it reads was not handed out, or is seen now
 * by who handed it out. */
void bsp_scan_ahead_report_read(struct bsp_scan_ahead *scan_ahead,
				uint64_t off);

/* Waits until what is known to be data in granules [from, to) was handed out,
 * if that is about to be done. over() as above. */
void bsp_scan_ahead_wait_delivered(struct bsp_scan_ahead *scan_ahead,
				   uint64_t from, uint64_t to,
				   bsp_interrupted_fn over, void *data);

#endif
