/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is done behind one who writes a file upwards, as cp does: the zeros
 * between the data are carried out, the data is written back, and the kernel
 * drops its pages of it, while that one goes on. Little is left for the end.
 */
#ifndef BLKSPARSEFS_BEHIND_H
#define BLKSPARSEFS_BEHIND_H

#include <pthread.h>
#include <stdbool.h>

#include "blksparse.h"
#include "page-cache.h"

struct behind {
	pthread_mutex_t lock; /* a leaf lock */
	/* Protected by lock: */
	uint64_t bottom, top; /* where the way began, and where it is */
	uint64_t bytes;	      /* that were written on it */
	uint64_t settled_to;  /* written back and dropped up to here */
	uint64_t carried_to;  /* zeros carried out up to here, */
	uint64_t carry_at;    /* and next when the top is there */
};

void behind_init(struct behind *behind);
void behind_done(struct behind *behind);

/* [off, off + len) was written. True if there is something to be done behind
 * it. */
bool behind_wrote(struct behind *behind, uint64_t off, uint64_t len);

/*
 * Does what is to be done. It may take as long as the device takes to zero what
 * lies between; the caller is no one whom writes wait for. What fails is tried
 * again, and told, by who flushes.
 */
void behind_catch_up(struct behind *behind, struct bsp_sparse *sp,
		     struct page_cache *cache, bsp_interrupted_fn interrupted,
		     void *data);

#endif
