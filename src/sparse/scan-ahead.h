/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The thread that scans ahead of an object's seeks, so that the device is read
 * while the program that seeks works on the last answer. All functions but new,
 * start and free may be called by any thread.
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

/* Asks the thread to end; callers that wait for it go on at once. */
void bsp_scan_ahead_stop(struct bsp_scan_ahead *scan_ahead);

/* Was it not asked to end? */
bool bsp_scan_ahead_running(struct bsp_scan_ahead *scan_ahead);

/* Has the thread not ended? */
bool bsp_scan_ahead_alive(struct bsp_scan_ahead *scan_ahead);

/* Sets whether the thread scans all of the device when no caller needs it. */
void bsp_scan_ahead_set_background(struct bsp_scan_ahead *scan_ahead,
				   bool background);

/*
 * Waits until the unknown granule is learned, and the unknown granules that
 * follow it up to the first granule of [granule, end) that is in the set.
 * Returns 0 (the caller looks again); -EINTR if over() returned true before, or
 * if the data that was read could not be delivered for a second; or -ENOMEM.
 * over() is called every few milliseconds.
 */
int bsp_scan_ahead_wait(struct bsp_scan_ahead *scan_ahead, unsigned set,
			uint64_t granule, uint64_t end, bsp_interrupted_fn over,
			void *data);

/* Has the thread learn all zeros that the device knows (learn-zeros.c): when it
 * starts, and after the device got another size or table. */
void bsp_scan_ahead_learn_zeros(struct bsp_scan_ahead *scan_ahead);

/* Waits until the thread has learned these zeros up to that granule: a second
 * at most if it learns nothing meanwhile, and five in all after it began. */
void bsp_scan_ahead_wait_zeros(struct bsp_scan_ahead *scan_ahead,
			       uint64_t granule);

/* A seek, for data or for a hole, has ended at off: scan on from there. */
void bsp_scan_ahead_hint(struct bsp_scan_ahead *scan_ahead, uint64_t off,
			 bool data);

/* Reports a read at off. Call it on each cache miss, and now and then on a hit,
 * so that the scan reads known data ahead of the reader. */
void bsp_scan_ahead_report_read(struct bsp_scan_ahead *scan_ahead,
				uint64_t off);

/* Waits until the known data of granules [from, to) is delivered, if that is
 * about to happen. over() as above. */
void bsp_scan_ahead_wait_delivered(struct bsp_scan_ahead *scan_ahead,
				   uint64_t from, uint64_t to,
				   bsp_interrupted_fn over, void *data);

#endif
