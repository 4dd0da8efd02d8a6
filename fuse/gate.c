/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread that ends its own job runs the waiting ones before it leaves, so a
 * waiting job never needs another thread. The jobs wait in a list, first in,
 * first out.
 */
#include "gate.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void gate_init(struct gate *gate)
{
	memset(gate, 0, sizeof(*gate));
	pthread_mutex_init(&gate->lock, NULL);
}

void gate_done(struct gate *gate)
{
	pthread_mutex_destroy(&gate->lock);
}

/*
 * The data of a write is copied behind the job, since the original belongs to
 * the thread.
 */
static struct job *copy_job(const struct job *job)
{
	size_t size = job->buf ? job->size : 0;
	struct job *copy = malloc(sizeof(*copy) + size);

	if (!copy)
		return NULL;
	*copy = *job;
	copy->next = NULL;
	if (size)
		copy->buf = memcpy(copy + 1, job->buf, size);
	return copy;
}

/* True if job may run now; otherwise a copy of it waits in the queue. If memory
 * for the copy is short, job runs beyond the limit. */
static bool admit(struct gate *gate, const struct job *job)
{
	struct job *copy = NULL;

	pthread_mutex_lock(&gate->lock);
	if (gate->running >= GATE_REQUESTS)
		copy = copy_job(job);
	if (!copy)
		gate->running++;
	else if (gate->first)
		gate->last->next = copy;
	else
		gate->first = copy;
	if (copy) {
		gate->last = copy;
		gate->waiting++;
	}
	pthread_mutex_unlock(&gate->lock);
	return !copy;
}

/* Takes the next waiting job; without one, this thread leaves the gate. */
static struct job *next_job(struct gate *gate)
{
	struct job *job;

	pthread_mutex_lock(&gate->lock);
	job = gate->first;
	if (job) {
		gate->first = job->next;
		gate->waiting--;
	} else {
		gate->running--;
	}
	pthread_mutex_unlock(&gate->lock);
	return job;
}

void gate_run(struct gate *gate, const struct job *job)
{
	struct job *queued;

	if (!admit(gate, job))
		return;
	job->run(job);
	while ((queued = next_job(gate))) {
		queued->run(queued);
		free(queued);
	}
}

unsigned gate_waiting(struct gate *gate)
{
	unsigned n;

	pthread_mutex_lock(&gate->lock);
	n = gate->waiting;
	pthread_mutex_unlock(&gate->lock);
	return n;
}
