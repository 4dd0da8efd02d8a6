/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The target of a stream: takes the stream's data and holes in order, writes
 * and zeroes several pieces at once, and knows up to where all is done.
 *
 * The receiver puts data straight into the target's buffers
 * (bsp_target_room()). Pieces collect in a batch, which one writer thread
 * writes. Up to BSP_TARGET_WRITES batches are written at a time, and a zero
 * thread works on the holes, one after the other. So pieces are finished in any
 * order; bsp_target_good() tells the end of those that are finished without a
 * gap.
 *
 * An error ends the work behind it. The work before it is finished, so that the
 * good part is as long as it can be, and of several errors the one at the
 * lowest offset counts: neither depends on which thread is faster.
 *
 * Threads: the functions are for one thread, the receiver's. The callbacks of
 * the transfer run in it, too.
 */
#ifndef BSP_TRANSFER_TARGET_H
#define BSP_TRANSFER_TARGET_H

#include "sparse/sparse.h"
#include "transfer/transfer.h"

enum {
	BSP_TARGET_WRITES = 8,
	/* Each takes BSP_STREAM_BUFFER bytes. */
	BSP_TARGET_BATCHES = BSP_TARGET_WRITES + 4,
};

struct bsp_target;

struct bsp_target_options {
	struct bsp_device *dev;
	struct bsp_sparse *sp; /* writes go to it, not to dev; or NULL */
	/* dev: how holes are zeroed. The object has its own way. */
	enum bsp_zero_mode zero_mode;
	bool is_zero; /* dev: holes need no zeroing */
	/* The good part ends at a multiple of this after a failed write; 0: at
	 * any byte. */
	uint64_t granule;
	uint64_t start; /* where the stream starts */
};

/* The failure at the lowest offset. */
struct bsp_target_error {
	int error;	  /* -errno; 0: nothing */
	const char *verb; /* "write", "zero" */
	uint64_t off;
	/* The layer below that said that off is zero, and was wrong; or NULL */
	const char *liar;
	bool interrupted; /* it came after an interrupt */
};

/* Makes one; begin sets its options. call must live as long. Returns NULL
 * without memory. */
struct bsp_target *bsp_target_new(const struct bsp_transfer *call);
void bsp_target_begin(struct bsp_target *target,
		      const struct bsp_target_options *options);

/*
 * The first three of these return false or NULL after an error
 * (bsp_target_error()) or an interrupt. They may wait; then they report
 * progress.
 *
 * room: returns a place for the next len bytes of data, at most
 * BSP_STREAM_BUFFER. The place is the caller's until the next call of room;
 * data that was put into one must be passed to data before that call.
 */
void *bsp_target_room(struct bsp_target *target, size_t len);
bool bsp_target_data(struct bsp_target *target, uint64_t off, const void *data,
		     size_t len);
bool bsp_target_hole(struct bsp_target *target, uint64_t off, uint64_t len);

/* [off, off + len) stays as it is; it is counted as a hole. As these three. */
bool bsp_target_skip(struct bsp_target *target, uint64_t off, uint64_t len);

/* Whether data waits for more data to be written with it; and has it written.
 * The last place is no longer the caller's then. */
bool bsp_target_is_waiting(const struct bsp_target *target);
void bsp_target_submit(struct bsp_target *target);

/*
 * Waits until all work before the first error is done. An interrupt ends the
 * zeroing of holes, but no write.
 */
void bsp_target_finish(struct bsp_target *target);

/* Sets done, data and hole: how far the target is good, though not durable. */
void bsp_target_good(struct bsp_target *target, struct bsp_progress *progress);

struct bsp_target_error bsp_target_error(struct bsp_target *target);

/* Waits for what is under way, ends the threads. NULL is fine. */
void bsp_target_free(struct bsp_target *target);

#endif
