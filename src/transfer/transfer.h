/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The contract that bsp_copy(), bsp_send(), bsp_digest(), bsp_recv() and
 * bsp_recv_into() share (blksparse.h): options and progress may be NULL, the
 * caller may interrupt, and errors are GErrors.
 *
 * Each of them begins with bsp_transfer_begin(), which replaces NULL by
 * defaults, so that the code after it need not test for NULL, and ends with
 * bsp_transfer_end(). Threads that work for a call do not ask the caller
 * whether to end: only the thread that made the call may.
 */
#ifndef BSP_TRANSFER_TRANSFER_H
#define BSP_TRANSFER_TRANSFER_H

#include "base/interrupt.h"
#include "sparse/sparse.h"

/* One call. Do not move it: it may point into itself. */
struct bsp_transfer {
	const struct bsp_transfer_options *options; /* never NULL */
	struct bsp_progress *progress;		    /* never NULL */
	GError **error;
	struct bsp_progress ignored; /* for a caller that wants none */
	struct bsp_interrupt before; /* of this thread */
};

/*
 * Begins a call: fills t in, and sets *t->progress to zero. From now on the
 * caller's interrupt also ends this thread's waits for a device on a network.
 * Returns false and the error if options sets a field that this version does
 * not know; then there is nothing to end.
 */
bool bsp_transfer_begin(struct bsp_transfer *t,
			const struct bsp_transfer_options *options,
			struct bsp_progress *ret_progress, GError **error);

/* After an interrupt, waits of this thread go on for so long (struct
 * bsp_interrupt). At first 0. */
void bsp_transfer_be_patient(struct bsp_transfer *t, unsigned patience_ms);

/* Ends what bsp_transfer_begin() began. */
void bsp_transfer_end(struct bsp_transfer *t);

/* Whether the caller wants the call to end. */
bool bsp_transfer_is_interrupted(const struct bsp_transfer *t);

/* Reports progress to the caller. */
void bsp_transfer_report(const struct bsp_transfer *t,
			 const struct bsp_progress *progress);

/* Sets BSP_ERROR_INTERRUPTED. Returns false. */
bool bsp_transfer_interrupted(const struct bsp_transfer *t);

/* Sets the error for a call on a device that failed with r, as
 * bsp_error_set_errno() does; but if the connection to its server was lost, it
 * says so. Returns false. */
bool bsp_transfer_device_failed(const struct bsp_transfer *t,
				struct bsp_device *dev, int r,
				const char *format, ...) G_GNUC_PRINTF(4, 5);

/* Sets the error for a read of sp at off that failed with r: -ENODATA if sp has
 * become shorter. Returns false. */
bool bsp_transfer_read_failed(const struct bsp_transfer *t,
			      const struct bsp_sparse *sp, uint64_t off, int r);

/*
 * Whether a layer below sp was found to err about zeros since the call began,
 * when sp trusted them or not. Holes that were passed on cannot be taken back:
 * sets the error then; advice says to do it again.
 */
bool bsp_transfer_was_misled(const struct bsp_transfer *t,
			     struct bsp_sparse *sp, bool trusted,
			     const char *advice);

/* --- Changes --- */

/* Checks that options->changes are those of sp, if there are any. Returns false
 * and the error. */
bool bsp_transfer_check_changes_of(const struct bsp_transfer *t,
				   struct bsp_sparse *sp);

/* At the end: checks that the changes were complete all the time. */
bool bsp_transfer_check_changes(const struct bsp_transfer *t);

/* --- Digests --- */

/* Checks options->chunk; sets the error if it is no size of a chunk. */
bool bsp_transfer_check_digest(const struct bsp_transfer *t);

/* options->chunk, or the default. */
uint32_t bsp_transfer_chunk(const struct bsp_transfer *t);

/* Calls options->digest(). */
int bsp_transfer_put_digest(const struct bsp_transfer *t, const void *buf,
			    size_t len);

/* Sets the error for options->digest(), which returned r. Returns false. */
bool bsp_transfer_digest_failed(const struct bsp_transfer *t, int r);

#endif
