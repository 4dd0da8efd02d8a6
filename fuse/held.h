/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The memory behind the handles of open files and folders. The kernel releases
 * a handle when its last descriptor is closed. But a mount may end earlier, and
 * then no release comes: held_done() frees the memory.
 */
#ifndef BLKSPARSEFS_HELD_H
#define BLKSPARSEFS_HELD_H

#include <glib.h>
#include <pthread.h>

/* Part of the memory of a handle. */
struct held_item {
	/* Fixed while it is held. */
	void (*free)(struct held_item *item);
	/* Protected by the lock of struct held. */
	GList link;
};

struct held {
	pthread_mutex_t lock;
	GQueue items; /* protected by lock */
};

void held_init(struct held *held);

/* Frees all items. No other thread may use them. */
void held_done(struct held *held);

/* Adds an item, of which free frees the whole memory. */
void held_add(struct held *held, struct held_item *item,
	      void (*free)(struct held_item *item));

/* Removes an item and frees its memory. */
void held_free(struct held *held, struct held_item *item);

#endif
