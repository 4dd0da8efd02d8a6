/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "on-demand.h"

#include <string.h>

void on_demand_init(struct on_demand *object)
{
	memset(object, 0, sizeof(*object));
	pthread_mutex_init(&object->lock, NULL);
	pthread_cond_init(&object->changed, NULL);
}

void on_demand_done(struct on_demand *object)
{
	pthread_cond_destroy(&object->changed);
	pthread_mutex_destroy(&object->lock);
}

/* The lock is held before and after, and not during the call that may take
 * long. */
static void set_busy(struct on_demand *object, bool busy)
{
	object->busy = busy;
	pthread_cond_broadcast(&object->changed);
}

int on_demand_open(struct on_demand *object, int (*open)(void *data),
		   void *data)
{
	int r = 0;

	pthread_mutex_lock(&object->lock);
	while (object->busy)
		pthread_cond_wait(&object->changed, &object->lock);
	if (object->users == 0) {
		set_busy(object, true);
		pthread_mutex_unlock(&object->lock);
		r = open(data);
		pthread_mutex_lock(&object->lock);
		set_busy(object, false);
	}
	if (r == 0)
		object->users++;
	pthread_mutex_unlock(&object->lock);
	return r;
}

void on_demand_close(struct on_demand *object, void (*close)(void *data),
		     void *data)
{
	pthread_mutex_lock(&object->lock);
	if (--object->users == 0) {
		set_busy(object, true);
		while (object->holds)
			pthread_cond_wait(&object->changed, &object->lock);
		pthread_mutex_unlock(&object->lock);
		close(data);
		pthread_mutex_lock(&object->lock);
		set_busy(object, false);
	}
	pthread_mutex_unlock(&object->lock);
}

bool on_demand_hold(struct on_demand *object)
{
	bool is_open;

	pthread_mutex_lock(&object->lock);
	is_open = object->users > 0;
	object->holds += is_open;
	pthread_mutex_unlock(&object->lock);
	return is_open;
}

void on_demand_drop(struct on_demand *object)
{
	pthread_mutex_lock(&object->lock);
	if (--object->holds == 0)
		pthread_cond_broadcast(&object->changed);
	pthread_mutex_unlock(&object->lock);
}
