/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The way of one who writes upwards; bsp_sparse_catch_up() follows it. */
#ifndef BSP_SPARSE_WRITEBACK_H
#define BSP_SPARSE_WRITEBACK_H

#include <pthread.h>
#include <stdint.h>

struct bsp_behind {
	pthread_mutex_t lock; /* a leaf lock */
	/* Protected by lock: */
	uint64_t top;	     /* where it is */
	uint64_t bytes;	     /* that were written on it */
	uint64_t settled_to; /* written back up to here */
	uint64_t carried_to; /* zeros carried out up to here, */
	uint64_t carry_at;   /* and next when the top is there */
};

void bsp_behind_init(struct bsp_behind *behind);
void bsp_behind_done(struct bsp_behind *behind);

/* [off, off + len) was written. */
void bsp_behind_wrote(struct bsp_behind *behind, uint64_t off, uint64_t len);

#endif
