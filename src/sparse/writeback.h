/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The position of a sequential writer, which bsp_sparse_write_back() follows.
 * Each successful write is reported here; the cost is a few additions under a
 * leaf lock.
 */
#ifndef BSP_SPARSE_WRITEBACK_H
#define BSP_SPARSE_WRITEBACK_H

#include <pthread.h>
#include <stdint.h>

struct bsp_writeback {
	pthread_mutex_t lock; /* a leaf lock */
	/* Protected by lock: */
	uint64_t top;		  /* end of the highest write */
	uint64_t bytes;		  /* written since the run began */
	uint64_t written_back_to; /* data is written back up to here */
	uint64_t flushed_to;	  /* markers are flushed up to here, */
	uint64_t flush_at;	  /* and again when top is here */
};

void bsp_writeback_init(struct bsp_writeback *writeback);
void bsp_writeback_done(struct bsp_writeback *writeback);

/* A writer has written [off, off + len). */
void bsp_writeback_wrote(struct bsp_writeback *writeback, uint64_t off,
			 uint64_t len);

#endif
