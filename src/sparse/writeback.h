/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The way of one who writes upwards; bsp_sparse_write_back() follows it. */
#ifndef BSP_SPARSE_WRITEBACK_H
#define BSP_SPARSE_WRITEBACK_H

#include <pthread.h>
#include <stdint.h>

struct bsp_writeback {
	pthread_mutex_t lock; /* a leaf lock */
	/* Protected by lock: */
	uint64_t top;		  /* where it is */
	uint64_t bytes;		  /* that were written on it */
	uint64_t written_back_to; /* written back up to here */
	uint64_t flushed_to;	  /* zeros carried out up to here, */
	uint64_t flush_at;	  /* and next when the top is there */
};

void bsp_writeback_init(struct bsp_writeback *writeback);
void bsp_writeback_done(struct bsp_writeback *writeback);

/* [off, off + len) was written. */
void bsp_writeback_wrote(struct bsp_writeback *writeback, uint64_t off,
			 uint64_t len);

#endif
