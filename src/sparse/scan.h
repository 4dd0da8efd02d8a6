/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading unknown granules to learn their states: a chunk at a time in the
 * thread of a seek, or with several reads in flight.
 */
#ifndef BSP_SPARSE_SCAN_H
#define BSP_SPARSE_SCAN_H

#include "base/range.h"
#include "device/read-queue.h"
#include "sparse/scan-window.h"
#include "sparse/sparse.h"

enum {
	/* The largest single read where one read follows the other: an
	 * interrupt may have to wait for it. */
	BSP_SCAN_CHUNK = 1 << 20,
	/* With several reads in flight: bytes of each (or a granule, if that is
	 * more), and their number. */
	BSP_SCAN_READ = 256 << 10,
	BSP_SCAN_DEPTH = 16,
};

/*
 * Learns the unknown granule, and those that follow it as far as one chunk
 * goes; more where the device knows its zeros without a read. A granule that
 * cannot be read becomes data. Returns 0 (also when there was nothing to do),
 * or -ENOMEM. Any thread.
 */
int bsp_scan_chunk(struct bsp_sparse *sp, uint64_t granule);

/*
 * A scan with several reads in flight. Only the thread that began it may use
 * it. It takes 4 MiB (16 MiB with the largest granule).
 */
struct bsp_scan {
	/* Fixed: */
	struct bsp_sparse *sp;
	struct bsp_read_queue *queue;
	size_t read_len;
	char *memory;
	bsp_scanned_fn scanned; /* or NULL */
	void *scanned_data;

	struct bsp_scan_slot {
		struct bsp_read read;
		uint64_t generation;
		bool busy;
		bool known; /* to be data: it is read to be delivered only */
	} slots[BSP_SCAN_DEPTH];
	struct bsp_scan_position pos;
	bool failing; /* the last read that came back failed */
};

/* NULL if there is no memory. */
struct bsp_scan *bsp_scan_begin(struct bsp_sparse *sp, bsp_scanned_fn scanned,
				void *scanned_data);

/* Waits for the reads in flight. NULL is fine. */
void bsp_scan_end(struct bsp_scan *scan);

/* The object as bsp_scan_next() and the policy of scanning ahead see it. */
static inline struct bsp_scan_view bsp_scan_view(struct bsp_sparse *sp)
{
	return (struct bsp_scan_view){
		.map = sp->map,
		.shift = sp->shift,
		.granules = bsp_granules(atomic_load(&sp->size), sp->shift),
		.kept = atomic_load(&sp->counted),
	};
}

/*
 * Starts reads of the granules that bsp_scan_next() finds from the cursor on
 * and before end, as many as may be in flight. Returns 0; 1 if it learned
 * zeros that the device knows, so that a window may end later now; or -ENOMEM.
 */
int bsp_scan_ask(struct bsp_scan *scan, uint64_t end);

/*
 * Waits for one read, delivers its data, and then learns its granules. Returns
 * 1, 0 if no read was in flight, or -ENOMEM.
 */
int bsp_scan_complete(struct bsp_scan *scan);

/* The first granule that a read in flight covers; the cursor if none is. */
uint64_t bsp_scan_learned_to(const struct bsp_scan *scan);

/* Is a read of this granule in flight? */
bool bsp_scan_covers(const struct bsp_scan *scan, uint64_t granule);

#endif
