/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The contract that bsp_copy(), bsp_send(), bsp_recv() and bsp_recv_into()
 * share (blksparse.h): options and progress may be NULL, the caller may
 * interrupt, and errors are GErrors.
 *
 * Each of them begins with bsp_transfer_begin(), which replaces NULL by
 * defaults, so that the code after it need not test for NULL.
 */
#ifndef BSP_TRANSFER_TRANSFER_H
#define BSP_TRANSFER_TRANSFER_H

#include "blksparse.h"

/* One call. Do not move it: it may point into itself. */
struct bsp_transfer {
	const struct bsp_transfer_options *options; /* never NULL */
	struct bsp_progress *progress;		    /* never NULL */
	GError **error;
	struct bsp_progress ignored; /* for a caller that wants none */
};

/* Begins a call: fills t in, and sets *t->progress to zero. Returns false and
 * the error if options sets a field that this version does not know. */
bool bsp_transfer_begin(struct bsp_transfer *t,
			const struct bsp_transfer_options *options,
			struct bsp_progress *ret_progress, GError **error);

/* Whether the caller wants the call to end. */
bool bsp_transfer_is_interrupted(const struct bsp_transfer *t);

/* Reports progress to the caller. */
void bsp_transfer_report(const struct bsp_transfer *t,
			 const struct bsp_progress *progress);

/* Sets BSP_ERROR_INTERRUPTED. Returns false. */
bool bsp_transfer_interrupted(const struct bsp_transfer *t);

#endif
