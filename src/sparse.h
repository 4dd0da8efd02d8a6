/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside the sparse object; the contract is in blksparse.h.
 *
 * Locks, in the order in which they are taken:
 *
 *	scan_lock	one chunk is scanned at a time, so that nothing is read
 *			twice to learn the same
 *	watch_lock	one look for changes at a time: whoever waited for it
 *			finds the map as that look left it
 *	the map's own	(map.c) a leaf lock
 *
 * Device I/O runs under scan_lock (one chunk's) and watch_lock (pushing dirty
 * pages out), or no lock at all.
 */
#ifndef BSP_SPARSE_H
#define BSP_SPARSE_H

#include <pthread.h>
#include <stdatomic.h>

#include "blksparse.h"
#include "device.h"
#include "map.h"

struct bsp_sparse {
	/* Fixed after bsp_sparse_new(): */
	struct bsp_device *dev;
	struct bsp_map *map;
	unsigned shift; /* log2 of the granule */
	uint64_t lookahead;
	uint64_t budget_ns;
	bsp_changed_fn changed;
	void *changed_data;

	_Atomic uint64_t size; /* logical; changed under watch_lock */

	pthread_mutex_t scan_lock;
	void *scan_buffer; /* of BSP_SCAN_CHUNK bytes; under scan_lock */

	pthread_mutex_t watch_lock;
	/* protected by watch_lock: */
	struct bsp_stamp stamp; /* nothing was written since, as of the map */
	uint64_t changes;
	struct timespec mtime;
};

/*
 * Tells the map what [off, off + len), read after it was in that generation,
 * holds. Only granules that lie in the range whole are learned (the last of
 * the device may be short). Returns 0 or -ENOMEM.
 */
int bsp_sparse_learn(struct bsp_sparse *sp, uint64_t generation,
		     const void *buf, uint64_t len, uint64_t off);

/*
 * The same for a range that is known to hold only zeros, or (as far as whole
 * granules go) a nonzero byte in each granule.
 */
int bsp_sparse_learn_run(struct bsp_sparse *sp, uint64_t generation,
			 uint64_t off, uint64_t len, bool zero);

/*
 * Where, from off on and up to end, the first granule begins whose state is in
 * the set; end if none is.
 */
uint64_t bsp_sparse_run_end(struct bsp_sparse *sp, unsigned set, uint64_t off,
			    uint64_t end);

#endif
