/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An object that is opened for its first user and closed after its last one,
 * either of which may take as long as a device takes. Users that come meanwhile
 * wait. Others only look at the object while a user has it: they hold it for a
 * moment, and never wait for an opening or a closing.
 */
#ifndef BLKSPARSEFS_ON_DEMAND_H
#define BLKSPARSEFS_ON_DEMAND_H

#include <pthread.h>
#include <stdbool.h>

struct on_demand {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Protected by lock. */
	bool busy;	/* being opened or closed */
	unsigned users; /* the object is open while there are any */
	unsigned holds; /* threads that look at it */
};

void on_demand_init(struct on_demand *object);

/* No thread may use the object. */
void on_demand_done(struct on_demand *object);

/* Adds a user; opens the object first if there was none. Returns 0, or the
 * -errno of open, and then adds no user. */
int on_demand_open(struct on_demand *object, int (*open)(void *data),
		   void *data);

/* Removes a user; closes the object after the last one and all holds. */
void on_demand_close(struct on_demand *object, void (*close)(void *data),
		     void *data);

/* Keeps the object open until on_demand_drop(), which must follow soon. Returns
 * false if it is not open. Does not wait. */
bool on_demand_hold(struct on_demand *object);
void on_demand_drop(struct on_demand *object);

#endif
