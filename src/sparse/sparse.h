/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The sparse object as its own files see it; its public contract is in
 * blksparse.h.
 *
 * The object joins a device with a map, which has one of four states for each
 * granule (base/map.h). Reads, seeks and scans learn states; writes, punches
 * and changes of size set them. A marker is a granule that the file reads as
 * zeros while the device still holds other bytes: a flush zeroes the device
 * there, and the marker becomes a hole.
 *
 * Locks, in the order in which they are taken:
 *
 *	scan_lock	one chunk is scanned at a time, so that two seeks do not
 *			read the same granules
 *	watch_lock	one check for outside changes at a time: a thread that
 *			waited for it finds the map as the other check left it
 *	flush_lock	one flush at a time: the next flush finds the zeros that
 *			this one lost as markers, and one thread zeroes the lost
 *			pieces again. Room for pieces is reserved before the
 *			locks below are taken (undurable.h)
 *	size_lock	shared by threads that write or zero inside the logical
 *			size; exclusive to change it. No thread may share it
 *			twice: a thread that waits for exclusive use comes first
 *	ranges		shared by threads that write parts of a granule, side by
 *			side; exclusive to write or zero whole granules, on the
 *			map or on the device, and to fill the rest of a marker's
 *			granule
 *	undurable.lock	a leaf lock but for the locks of its maps
 *	writeback.lock	a leaf lock
 *	asked_lock	a leaf lock but for the map's
 *	scan-ahead.c's	a leaf lock but for the map's
 *	map.c's		a leaf lock
 *
 * Reads, seeks and scans need no lock from flush_lock on but leaf locks: the
 * map accepts their findings only where it knew nothing. Only the check for
 * outside changes, which a read or seek may begin, takes the others.
 *
 * A thread may do device I/O while it holds any of these but the leaf locks.
 *
 * Past the logical size all granules are holes or markers. The granule that the
 * logical size cuts may hold any bytes past it on the device, whatever its
 * state: they belong to the tail, which stays as it is, and are zeroed when the
 * file grows over them.
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

/* The last range [from, to) of which the device knew nothing without reading
 * it, when it was asked in that generation of the map. */
struct bsp_asked {
	uint64_t generation, from, to;
};

/* The zeros that each layer knew (layers.c). */
struct bsp_known_counts {
	GArray *layers;	 /* of struct bsp_known_layer; NULL: none */
	uint64_t oldest; /* the generation in which they begin */
};

/* The state of the checks of known zeros (spot-check.c). */
struct bsp_spot_checks {
	uint64_t stretch;   /* bytes of zeros for each check; fixed */
	uint64_t unchecked; /* bytes said to be zero since the last check */
	uint64_t random;    /* state of the generator */
	char *error;	    /* a sentence about the wrong answer; NULL: none */
	unsigned patience_ms; /* how long writes may be under way; fixed */
	uint64_t at_once;     /* places that are still to be checked at once */
	/* The places of the holes in [late_off, late_end) that are to be
	 * checked later, in that generation of the map. */
	uint64_t late, late_off, late_end, late_generation;
	const char *late_layer;
};

enum { BSP_SAME_BUFFERS = 8 };

/* Writes that change nothing are left out (same.h). */
struct bsp_same {
	atomic_bool skipped;
	/* Atomic. Bytes, since bsp_sparse_new(): */
	_Atomic uint64_t compared; /* read from the device for that */
	_Atomic uint64_t written;  /* of those compared or known: written */
	_Atomic uint64_t zeroed;   /* they were not zero, and have to be */
	/* Atomic. The buffers for comparisons, in one allocation; NULL: there
	 * was none yet. */
	char *_Atomic memory;
	atomic_uint taken; /* atomic: a bit for each buffer in use */
};

/*
 * Counts since bsp_sparse_new(), for people (figures.c). All are atomic, and
 * updated with bsp_count().
 */
struct bsp_sparse_counts {
	/* Bytes without device I/O: */
	_Atomic uint64_t seeks; /* that seeks passed as zeros */
	_Atomic uint64_t holes; /* that reads found in the map to be zeros */
	_Atomic uint64_t zeros; /* written zeros that only changed the map */
	_Atomic uint64_t same;	/* written bytes that the device held */
	/* Looks that found writes of other programs. */
	_Atomic uint64_t other_writers;
};

struct bsp_sparse {
	/* Fixed after bsp_sparse_new(): */
	struct bsp_device *dev;
	bool borrows; /* the device is the caller's */
	struct bsp_map *map;
	unsigned shift; /* log2 of the granule */
	uint64_t lookahead;
	uint64_t budget_ns;
	bsp_changed_fn changed;
	void *changed_data;
	enum bsp_zero_mode zero_mode;
	uint64_t minhole; /* bytes; 0: all holes are reported */
	/* NULL: seeks scan by themselves. Set before other threads use the
	 * object. */
	struct bsp_scan_ahead *scan_ahead;

	/*
	 * Atomic, and written under locks. Both are written under watch_lock if
	 * the device is read-only. If it is writable, the logical size is
	 * written under size_lock held exclusively, and the capacity under
	 * both.
	 */
	_Atomic uint64_t size;
	_Atomic uint64_t capacity; /* the device's size */
	/*
	 * Atomic; how often the device's size changed, counted under
	 * watch_lock. The state of a granule that the size cuts covers only a
	 * part of the granule. So a thread that loads the size, looks into the
	 * map and finds zeros must check that this count is the same before and
	 * after.
	 */
	atomic_uint resizes;
	/*
	 * Atomic; written under watch_lock. The device counts writes and is
	 * unchanged since the last check: the map stays right until another
	 * program writes.
	 */
	atomic_bool counted;
	/* Atomic. The medium of a writable object was taken out; never
	 * unset. */
	atomic_bool gone;
	uint64_t sequence; /* medium.sequence at the time of opening; fixed */

	pthread_mutex_t scan_lock;
	void *scan_buffer; /* of BSP_SCAN_CHUNK bytes; protected by scan_lock */

	pthread_mutex_t watch_lock;
	/* Protected by watch_lock: */
	/* The samples that the map's states are about. */
	struct bsp_medium medium;
	struct bsp_content content;
	bool mtime_provisional; /* it moved for a write that may still be in
				   progress */
	bool gone_reported; /* a gone medium is counted as a change only once */
	uint64_t changes;

	/* Atomic. For stat, CLOCK_REALTIME in nanoseconds. Not protected by
	 * watch_lock, which a check holds for as long as the device takes. */
	_Atomic int64_t mtime_ns;

	pthread_mutex_t asked_lock; /* a leaf lock but for the map's */
	/* Protected by asked_lock: */
	struct bsp_asked asked;
	struct bsp_known_counts known_counts;
	struct bsp_spot_checks spot_checks;

	/*
	 * Atomic; never unset. A layer below said that bytes are zero, and they
	 * were not: none is asked any more. A thread that has found zeros in
	 * the map starts over if this was set meanwhile.
	 */
	atomic_bool distrusted;
	/* Atomic. Scans that make the checks which were put off at their
	 * end. */
	atomic_uint scans;
	/* Atomic. The map has to forget all, because of a wrong answer. */
	atomic_bool forget_due;

	/* Holes that a punch relies on (relied.c). Of a writable object, it has
	 * as many granules as the map; otherwise none. It guards itself. */
	struct bsp_map *relied;
	/* Atomic; never unset. A writable object learned zeros that a layer
	 * below knew. */
	atomic_bool knows_holes;

	pthread_mutex_t flush_lock;
	pthread_rwlock_t size_lock;
	struct bsp_range_lock ranges;

	/*
	 * Protected by size_lock, held exclusively. Granules past the end may
	 * be neither holes nor markers, after a failed write for which there
	 * was no memory to punch them, or after all was forgotten. They must be
	 * punched before the file grows.
	 */
	bool unpunched_end;

	struct bsp_undurable undurable;	 /* guards itself */
	struct bsp_same same;		 /* atomic */
	struct bsp_sparse_counts counts; /* atomic */
	struct bsp_writeback writeback;	 /* guards itself */
};

/*
 * Tells the map the content of [off, off + len), which was read after
 * bsp_map_generation() gave that generation. Only granules that lie entirely in
 * the range are learned (the last one of the device may be short). Returns 0 or
 * -ENOMEM.
 */
int bsp_sparse_learn(struct bsp_sparse *sp, uint64_t generation, uint64_t off,
		     const void *buf, uint64_t len);

/*
 * The same for a range that is known to hold only zeros, or to hold a nonzero
 * byte in each whole granule.
 */
int bsp_sparse_learn_run(struct bsp_sparse *sp, uint64_t generation,
			 uint64_t off, uint64_t len, bool zero);

/*
 * Call it before reading the unknown granule at off. Learns the zeros from off
 * on that the device knows without a read. Asks once for each range of which
 * nothing is known. may_build has to be false in the handler of a request,
 * because building the layers below may commit a pool (known.h). Returns 0, or
 * -ENOMEM.
 */
int bsp_sparse_learn_known(struct bsp_sparse *sp, uint64_t off, bool may_build);

/* The end, rounded up to a granule, of the range of which the device knew
 * nothing when it was asked last; off if that range does not cover off. */
uint64_t bsp_sparse_asked_end(struct bsp_sparse *sp, uint64_t off);

/*
 * Returns where a read of [off, end), of which the device knew nothing at off,
 * should end: at end, or earlier, at the next zeros that the device knows, if
 * these are long enough to be worth a read less. Call it after
 * bsp_sparse_learn_known(). off is a multiple of the granule.
 */
uint64_t bsp_sparse_read_end(struct bsp_sparse *sp, uint64_t off, uint64_t end,
			     bool may_build);

/*
 * As bsp_sparse_learn_known(), but the map learns nothing, so that a later read
 * asks the device for the bytes. Returns the end of the zeros that start at
 * off, down to a granule or to end; off if the device knows none there. They
 * end before data that a writable object has written.
 */
uint64_t bsp_sparse_known_zeros(struct bsp_sparse *sp, uint64_t off,
				uint64_t end, bool may_build);

/* Counts zeros that a layer knew, in that generation of the map, and that were
 * not read because of that. layer is a path of known.h, or NULL. */
void bsp_sparse_count_known(struct bsp_sparse *sp, uint64_t generation,
			    const char *layer, uint64_t bytes);

/* Forgets all data and holes of the map, and counts known zeros from 0 on. */
void bsp_sparse_forget_all(struct bsp_sparse *sp);

/* The bytes of a number of granules below size. with_last: one of them is the
 * granule that size cuts. */
uint64_t bsp_sparse_bytes_in(const struct bsp_sparse *sp, uint64_t granules,
			     uint64_t size, bool with_last);

/* --- Zeros that need not be zeroed (learn-zeros.c) --- */

/* Whether zeros that the device knows are learned before they are zeroed. */
bool bsp_sparse_learns_zeros(const struct bsp_sparse *sp);

/*
 * Learns the zeros that the device knows in granules [from, to), with at most
 * that many questions. Returns the granule at which to go on; to if there is
 * nothing left to ask. may_build as for bsp_sparse_learn_known(). The caller
 * holds no lock.
 */
uint64_t bsp_sparse_learn_zeros(struct bsp_sparse *sp, uint64_t from,
				uint64_t to, unsigned questions,
				bool may_build);

/*
 * Call it before [off, end) is zeroed, while no lock is held: the device is
 * then not zeroed where it is known to be zero. With a scan thread it only
 * waits for the thread, and not for long (scan-ahead.h).
 */
void bsp_sparse_learn_before_zeroing(struct bsp_sparse *sp, uint64_t off,
				     uint64_t end);

/* --- Other parts --- */

/* As bsp_sparse_new(), but dev stays the caller's: it closes dev after it has
 * freed the object, and also after a failure. */
struct bsp_sparse *
bsp_sparse_new_borrowing(struct bsp_device *dev,
			 const struct bsp_sparse_options *options,
			 GError **error);

/* Whether the device can be asked, as far as is known. Does not wait. */
bool bsp_sparse_is_connected(struct bsp_sparse *sp);

/*
 * Checks an answer of the device before it is used: [off, end) is zero, said
 * layer, when it was asked in that generation of the map. Reads a few random
 * places that the map does not know yet. Returns whether the answer may be
 * used. If a byte is not zero, and no other program wrote to the device in
 * between, no layer is asked any more. The map of a read-only object has
 * forgotten all then; that of a writable one does so in the next check for
 * outside changes, because the caller may hold size_lock. The caller must not
 * hold ranges, nor watch_lock.
 */
bool bsp_sparse_spot_check(struct bsp_sparse *sp, uint64_t generation,
			   uint64_t off, uint64_t end, const char *layer);

/*
 * Makes some of the checks that bsp_sparse_spot_check() has put off. Returns
 * false if there were none. If one finds a wrong answer, the map has forgotten
 * all. The scan thread calls it when it is idle, and a scan at its end.
 */
bool bsp_sparse_spot_check_late(struct bsp_sparse *sp);

/*
 * Whether another program wrote to the read-only device since that generation
 * began. The kernel counts a write when it is complete, and its bytes can be
 * read before. So this waits for a second if it sees no write.
 */
bool bsp_sparse_was_written(struct bsp_sparse *sp, uint64_t generation);

/* Forgets now, if a layer below was found to err and the map has not forgotten
 * yet. The caller holds no lock. */
void bsp_sparse_forget_if_due(struct bsp_sparse *sp);

/* Records the holes among granules [from, to), which the caller has locked
 * exclusively and punches (relied.c). */
void bsp_sparse_rely_on_holes(struct bsp_sparse *sp, uint64_t from,
			      uint64_t to);

/*
 * Records whole granules of [off, end) from off on that are holes or markers,
 * as above. Returns the end of these zeros; off if there are none. The caller
 * holds no lock of the object.
 */
uint64_t bsp_sparse_rely_on_zeros(struct bsp_sparse *sp, uint64_t off,
				  uint64_t end);

/* Makes markers of the holes that are recorded. The caller holds size_lock
 * exclusively. */
void bsp_sparse_mark_relied(struct bsp_sparse *sp);

/* Ends the record of granules [from, to), which are forgotten. */
void bsp_sparse_end_reliance(struct bsp_sparse *sp, uint64_t from, uint64_t to);

/* Makes the checks of a new object. The generator starts at random. */
void bsp_spot_checks_init(struct bsp_spot_checks *checks,
			  const struct bsp_device *dev);

/*
 * Is there another medium in the device of a writable object? Then nothing may
 * be written to it. One cheap system call. Any lock may be held.
 */
bool bsp_sparse_is_gone(struct bsp_sparse *sp);

/* Whether the device has another medium, file or table than at the last check,
 * as far as it tells. The caller does not hold watch_lock. */
bool bsp_sparse_has_other_medium(struct bsp_sparse *sp);

/*
 * Zeroes the device in the markers [from, to), the last one up to the file's
 * end, which is at size, and makes holes of them. The caller keeps writers away
 * from them, by ranges or by size_lock, and holds size_lock if the file ends in
 * the last of them. Returns 0 or -errno; after an error they are still markers.
 */
int bsp_sparse_zero_markers(struct bsp_sparse *sp, uint64_t from, uint64_t to,
			    uint64_t size);

/*
 * Makes markers of the holes whose zeros are not durable yet. Call it when the
 * device may have lost these zeros, and before the map forgets the holes. The
 * caller holds size_lock.
 */
void bsp_sparse_mark_undurable(struct bsp_sparse *sp);

/*
 * Makes holes or markers of all granules past a size that the file has, or is
 * about to have. Returns 0, or -ENOMEM with none of them changed: then it is
 * done before the file grows. The caller holds size_lock exclusively.
 */
int bsp_sparse_punch_past(struct bsp_sparse *sp, uint64_t size);

/*
 * Reserves room for the zeros beside data that one write to a part of a
 * granule, or one growth of the file, may add (undurable.h). Call it before
 * taking size_lock. Flushes the device if there is no room, and takes
 * flush_lock for that. Returns 0, to be followed by bsp_undurable_release(), or
 * -errno.
 */
int bsp_sparse_reserve_pieces(struct bsp_sparse *sp);

/*
 * Flushes the runs of markers from *off on that end before limit, or with the
 * file, and sets *off to where to go on; both are rounded down to a granule. A
 * part of a run that reaches past limit may be flushed, too, up to limit.
 * Returns as bsp_sparse_flush_markers(). Writers elsewhere need not wait.
 */
int bsp_sparse_flush_markers_before(struct bsp_sparse *sp, uint64_t *off,
				    uint64_t limit,
				    bsp_interrupted_fn interrupted, void *data);

/*
 * Makes the zeros in [off, end) durable: carries markers out, and flushes the
 * device if it may still lose some of them. Takes flush_lock. Returns 0 or
 * -errno.
 */
int bsp_sparse_flush_zeros(struct bsp_sparse *sp, uint64_t off, uint64_t end);

/*
 * The offset at which the first granule of [off, end) begins whose state is in
 * the set; off if that is the granule it lies in; end if there is none. Another
 * thread may change the state at any time: two answers for one offset need not
 * agree.
 */
uint64_t bsp_sparse_run_end(struct bsp_sparse *sp, unsigned set, uint64_t off,
			    uint64_t end);

#endif
