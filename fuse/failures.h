/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lines about operations of a device that failed. A broken disk fails many
 * requests, and each program gets its error; the log gets a line a minute for
 * each operation, with the number of failures.
 */
#ifndef BLKSPARSEFS_FAILURES_H
#define BLKSPARSEFS_FAILURES_H

#include "blksparse-mount.h"

/* Begins as zeros; used by one thread. */
struct failures {
	uint64_t logged[BSP_FAILINGS];	 /* failures that a line told */
	uint64_t next_log[BSP_FAILINGS]; /* seconds; no line before */
};

/* Another object of the device begins, which has had no failures. No line comes
 * earlier for that. */
void failures_restart(struct failures *failures);

/* Logs what has failed since the last call. path is that of sp's device; now
 * counts seconds and never goes back. */
void failures_log(struct failures *failures, struct bsp_sparse *sp,
		  const char *path, uint64_t now);

#endif
