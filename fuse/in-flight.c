/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A slot is free, or belongs to a thread, which finds it as a thread-specific
 * value. When the thread ends, the slot is free again; its memory stays until
 * the end, so that a reader needs no lock.
 *
 * A reader may look at a slot while its thread begins a request there. So a
 * number counts two steps for each request, one before its fields are set and
 * one after: if the reader finds the same even number before and after it looks
 * at them, they belong together. Each store of a field is a release, and each
 * load an acquire, so that they keep their order.
 */
#include "in-flight.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

enum {
	CACHE_LINE = 64,
	TRIES = 4, /* to look at a slot that changes */
};

struct slot {
	_Alignas(CACHE_LINE) _Atomic uint64_t steps;
	_Atomic int64_t came_ns; /* 0: no request */
	_Atomic(const char *) op;
	_Atomic uint64_t ino, off, len;
	int64_t next_came_ns; /* used by the thread; see in_flight_came() */
	atomic_bool taken;    /* it belongs to a thread */
	struct slot *next;    /* fixed once it is in the list */
};

int64_t in_flight_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* --- Slots --------------------------------------------------------------- */

static void slot_free(void *data)
{
	struct slot *slot = data;

	atomic_store(&slot->came_ns, 0);
	atomic_store(&slot->taken, false);
}

int in_flight_init(struct in_flight *list)
{
	atomic_init(&list->slots, NULL);
	return -pthread_key_create(&list->key, slot_free);
}

/* libfuse joins its threads, but not those that ended before because they had
 * nothing to do: one may not have freed its slot yet. That slot stays. */
void in_flight_done(struct in_flight *list)
{
	struct slot *slot = atomic_load(&list->slots);
	struct slot *own = pthread_getspecific(list->key);

	if (own)
		slot_free(own);
	(void)pthread_key_delete(list->key);
	while (slot) {
		struct slot *next = slot->next;

		if (!atomic_load(&slot->taken))
			free(slot);
		slot = next;
	}
}

/* Takes a slot that no thread has; otherwise adds a new one to the list. */
static struct slot *slot_take(struct in_flight *list)
{
	struct slot *first = atomic_load(&list->slots);
	struct slot *slot;

	for (slot = first; slot; slot = slot->next) {
		bool taken = false;

		if (atomic_compare_exchange_strong(&slot->taken, &taken, true))
			return slot;
	}
	slot = aligned_alloc(CACHE_LINE, sizeof(*slot));
	if (!slot)
		return NULL;
	*slot = (struct slot){ .next = first };
	atomic_init(&slot->taken, true);
	while (!atomic_compare_exchange_weak(&list->slots, &slot->next, slot))
		continue;
	return slot;
}

static struct slot *slot_of_thread(struct in_flight *list)
{
	struct slot *slot = pthread_getspecific(list->key);

	if (slot)
		return slot;
	slot = slot_take(list);
	if (!slot || pthread_setspecific(list->key, slot) == 0)
		return slot;
	slot_free(slot);
	return NULL;
}

/* --- Requests ------------------------------------------------------------ */

struct slot *in_flight_begin(struct in_flight *list, uint64_t ino,
			     const char *op, uint64_t off, uint64_t len)
{
	struct slot *slot = slot_of_thread(list);
	uint64_t steps;
	int64_t came_ns;

	if (!slot)
		return NULL;
	came_ns = slot->next_came_ns ? slot->next_came_ns : in_flight_now();
	slot->next_came_ns = 0;
	steps = atomic_load_explicit(&slot->steps, memory_order_relaxed);
	atomic_store_explicit(&slot->steps, steps + 1, memory_order_relaxed);
	atomic_store_explicit(&slot->op, op, memory_order_release);
	atomic_store_explicit(&slot->ino, ino, memory_order_release);
	atomic_store_explicit(&slot->off, off, memory_order_release);
	atomic_store_explicit(&slot->len, len, memory_order_release);
	atomic_store_explicit(&slot->came_ns, came_ns, memory_order_release);
	atomic_store_explicit(&slot->steps, steps + 2, memory_order_release);
	return slot;
}

void in_flight_came(struct in_flight *list, int64_t came_ns)
{
	struct slot *slot = slot_of_thread(list);

	if (slot)
		slot->next_came_ns = came_ns;
}

void in_flight_end(struct slot *slot)
{
	if (slot)
		atomic_store_explicit(&slot->came_ns, 0, memory_order_release);
}

/* Looks at a slot. False if it has no request about the inode. */
static bool look(struct slot *slot, uint64_t ino, int64_t *ret_came_ns,
		 struct in_flight_view *ret_view)
{
	for (int i = 0; i < TRIES; i++) {
		uint64_t steps = atomic_load(&slot->steps);
		uint64_t about = atomic_load(&slot->ino);

		ret_view->op = atomic_load(&slot->op);
		ret_view->off = atomic_load(&slot->off);
		ret_view->len = atomic_load(&slot->len);
		*ret_came_ns = atomic_load(&slot->came_ns);
		if (steps % 2 == 0 && steps == atomic_load(&slot->steps))
			return *ret_came_ns && about == ino;
	}
	return false; /* its requests are short */
}

struct in_flight_view in_flight_of(struct in_flight *list, uint64_t ino)
{
	int64_t now = in_flight_now(), oldest = INT64_MAX;
	struct in_flight_view view = { 0 };

	for (struct slot *slot = atomic_load(&list->slots); slot;
	     slot = slot->next) {
		struct in_flight_view one = { 0 };
		int64_t came_ns;

		if (!look(slot, ino, &came_ns, &one))
			continue;
		one.n = view.n + 1;
		one.age_ns = now > came_ns ? now - came_ns : 0;
		if (came_ns < oldest)
			view = one;
		oldest = came_ns < oldest ? came_ns : oldest;
		view.n = one.n;
	}
	return view;
}
