/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looking at unknown granules: a chunk at a time, or with several reads in
 * flight.
 */
#ifndef BSP_SPARSE_SCAN_H
#define BSP_SPARSE_SCAN_H

#include "device/read-queue.h"
#include "sparse/sparse.h"

enum {
	/* The most that is read at once where one read follows the other: what
	 * an interrupt may have to wait for. */
	BSP_SCAN_CHUNK = 1 << 20,
	/* Where several are in flight: each of so many bytes (or a granule, if
	 * that is more), and so many of them. */
	BSP_SCAN_READ = 256 << 10,
	BSP_SCAN_DEPTH = 16,
	/* Longer runs of what is known to be data are not read to be handed
	 * out: there who reads has the kernel read ahead. */
	BSP_SCAN_KNOWN_MAX = 2 << 20,
};

/*
 * Settles the unknown granule given, and those that follow it as far as one
 * chunk goes; more where the device knows its zeros without reading. A
 * granule that cannot be read is data. Returns 0 (also when there was nothing
 * to do), or -ENOMEM. Any thread.
 */
int bsp_scan_chunk(struct bsp_sparse *sp, uint64_t granule);

/*
 * A scan with reads in flight. It belongs to the thread that began it, and
 * takes 4 MiB (16 MiB with the largest granule).
 */
struct bsp_scan {
	/* Fixed. */
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
		bool known; /* to be data; it is only to be handed out */
	} slots[BSP_SCAN_DEPTH];
	uint64_t cursor; /* the granule before which all was asked for */
	bool failing;	 /* the last read that came back failed */

	/* Whether what is known to be data is to be read and handed out, too,
	 * and how many bytes of that for now. */
	bool known;
	uint64_t known_left;
	/* From this granule up to the cursor no known data was passed over,
	 * but for runs that are too long. */
	uint64_t delivered_from;
};

/* NULL if there is no memory. */
struct bsp_scan *bsp_scan_begin(struct bsp_sparse *sp, bsp_scanned_fn scanned,
				void *scanned_data);

/* Waits for what is in flight. NULL is fine. */
void bsp_scan_end(struct bsp_scan *scan);

/* The next granule of [granule, end) that is unknown, or, if known is set, in a
 * run of known data that is to be handed out; end if there is none. */
uint64_t bsp_scan_next(struct bsp_sparse *sp, bool known, uint64_t granule,
		       uint64_t end);

/*
 * Asks for such granules from the cursor on and before end, as many as may be
 * in flight. Returns 0, or -ENOMEM.
 */
int bsp_scan_ask(struct bsp_scan *scan, uint64_t end);

/*
 * Waits for one read and settles its granules, after what is data among them
 * was handed to scanned. Returns 1, 0 if nothing was in flight, or -ENOMEM.
 */
int bsp_scan_complete(struct bsp_scan *scan);

/* The first granule that a read in flight is about; the cursor if none is. */
uint64_t bsp_scan_learned_to(const struct bsp_scan *scan);

/* Is a read of this granule in flight? */
bool bsp_scan_covers(const struct bsp_scan *scan, uint64_t granule);

#endif
