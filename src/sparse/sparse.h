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
 *	flush_lock	one flush at a time: the next finds as markers again
 *			what this one lost, and one thread zeroes again the
 *			pieces that it lost. Room for pieces is reserved before
 *			(undurable.h)
 *	size_lock	shared by those who write inside the logical size, or
 *			zero up to it; exclusive to change it, before which no
 *			more threads may share it
 *	ranges		shared by those who write parts of a granule, side by
 *			side; exclusive for who writes or zeroes whole ones, on
 *			the map or on the device, and for who fills the rest of
 *			a marker's granule
 *	undurable's	a leaf lock but for its maps'
 *	behind's	a leaf lock
 *	the map's own	(map.c) a leaf lock
 *	the scan ahead's (ahead.c) a leaf lock but for the map's
 *
 * Reads, seeks and scans take none from flush_lock on but the map's: what they
 * learn, the map accepts only where it knew nothing.
 *
 * Device I/O may run under any of them but the leaf locks.
 *
 * Past the logical size all granules are holes or markers. In the granule that
 * it cuts, the device may hold any bytes past it, whatever the granule's state:
 * they are the tail's, which stays as it is, and are zeroed when the file grows
 * over them.
 */
#ifndef BSP_SPARSE_SPARSE_H
#define BSP_SPARSE_SPARSE_H

#include <pthread.h>
#include <stdatomic.h>

#include "sparse/writeback.h"
#include "blksparse-mount.h"
#include "device/device.h"
#include "base/map.h"
#include "base/range-lock.h"
#include "sparse/undurable.h"

#define BSP_SECOND_NS ((int64_t)1000000000)

struct bsp_sparse {
	/* Fixed after bsp_sparse_new(): */
	struct bsp_device *dev;
	struct bsp_map *map;
	unsigned shift; /* log2 of the granule */
	uint64_t lookahead;
	uint64_t budget_ns;
	bsp_changed_fn changed;
	void *changed_data;
	enum bsp_zero_mode zero_mode;
	uint64_t minhole; /* bytes; 0: all holes are reported */
	struct bsp_scan_ahead *scan_ahead; /* NULL: seeks scan by themselves */

	/* Logical. Changed under watch_lock where only the device changes it,
	 * and under size_lock where it is writable. */
	_Atomic uint64_t size;
	_Atomic uint64_t capacity; /* the device's; changed under watch_lock */
	/*
	 * How often the device's size changed; changed under watch_lock. What
	 * is known of a granule that the size cuts is of a part of it. Whoever
	 * loads the size, looks into the map and finds zeros looks whether the
	 * two belong together.
	 */
	atomic_uint resizes;
	/* The map stays right until another program writes. */
	atomic_bool counted;
	/* The medium of a writable object was taken out; never unset. */
	atomic_bool gone;
	uint64_t sequence; /* medium.sequence as of opening; fixed */

	pthread_mutex_t scan_lock;
	void *scan_buffer; /* of BSP_SCAN_CHUNK bytes; under scan_lock */

	pthread_mutex_t watch_lock;
	/* protected by watch_lock: */
	/* The samples that all which is known is about. */
	struct bsp_medium medium;
	struct bsp_content content;
	bool mtime_provisional; /* it moved for a write that may not be done */
	bool gone_reported; /* that the medium is gone counts as a change, once
			     */
	uint64_t changes;

	/* For stat, CLOCK_REALTIME in nanoseconds. Not under watch_lock, which
	 * a look holds for as long as the device takes. */
	_Atomic int64_t mtime_ns;

	pthread_mutex_t flush_lock;
	pthread_rwlock_t size_lock;
	struct bsp_range_lock ranges;

	/* Past the end may be others than holes and markers, by a failed write
	 * for which there was no memory to punch them, or as all was forgotten:
	 * they must be punched before the file grows. Protected by size_lock,
	 * held exclusively. */
	bool unpunched_end;

	struct bsp_undurable undurable; /* guards itself */
	struct bsp_writeback writeback; /* guards itself */
};

/*
 * Tells the map what [off, off + len), read after it was in that generation,
 * holds. Only granules that lie in the range whole are learned (the last of
 * the device may be short). Returns 0 or -ENOMEM.
 */
int bsp_sparse_learn(struct bsp_sparse *sp, uint64_t generation, uint64_t off,
		     const void *buf, uint64_t len);

/*
 * The same for a range that is known to hold only zeros, or (as far as whole
 * granules go) a nonzero byte in each granule.
 */
int bsp_sparse_learn_run(struct bsp_sparse *sp, uint64_t generation,
			 uint64_t off, uint64_t len, bool zero);

/*
 * Is there another medium in the device of a writable object? Then nothing may
 * be written to it. One cheap system call. Any lock may be held.
 */
bool bsp_sparse_is_gone(struct bsp_sparse *sp);

/*
 * Carries out the markers [from, to), the last one up to the file's end, which
 * is at size: zeroes the device there, and they are holes. The caller holds
 * what keeps others from writing there, and size_lock if the file ends in the
 * last of them. Returns 0 or -errno; then they are markers still.
 */
int bsp_sparse_zero_markers(struct bsp_sparse *sp, uint64_t from, uint64_t to,
			    uint64_t size);

/*
 * Makes markers of the holes whose zeros are not durable yet. To be called when
 * the device may have lost them, and before they are forgotten. size_lock is
 * held.
 */
void bsp_sparse_mark_undurable(struct bsp_sparse *sp);

/*
 * Makes holes or markers of all granules past a size that the file has, or is
 * about to have. 0, or -ENOMEM with none of them changed: then it is done
 * before the file grows. size_lock is held exclusively.
 */
int bsp_sparse_punch_past(struct bsp_sparse *sp, uint64_t size);

/*
 * To be called before size_lock is taken to write to a part of a granule, or to
 * make the file longer: there is room for the zeros beside it (undurable.h). It
 * flushes the device if there is none, and takes flush_lock for that. 0, to be
 * followed by bsp_undurable_release(), or -errno.
 */
int bsp_sparse_reserve_pieces(struct bsp_sparse *sp);

/*
 * For who writes upwards: carries out the runs of markers from *off on that end
 * before limit, or with the file, and sets *off to where to go on; both are
 * taken down to a granule's start. Of a run that reaches further some may be
 * carried out, as far as limit. Returns as bsp_sparse_flush_markers(). Those
 * who write elsewhere need not wait.
 */
int bsp_sparse_flush_markers_before(struct bsp_sparse *sp, uint64_t *off,
				    uint64_t limit,
				    bsp_interrupted_fn interrupted, void *data);

/*
 * Where, from off on and up to end, the first granule begins whose state is in
 * the set; off if that is the one it lies in; end if none is. Another thread
 * may change what it finds at any time: two answers for one place need not
 * agree.
 */
uint64_t bsp_sparse_run_end(struct bsp_sparse *sp, unsigned set, uint64_t off,
			    uint64_t end);

#endif
