/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "held.h"

void held_init(struct held *held)
{
	pthread_mutex_init(&held->lock, NULL);
	g_queue_init(&held->items);
}

void held_done(struct held *held)
{
	GList *link;

	while ((link = g_queue_peek_head_link(&held->items)))
		held_free(held, link->data);
	pthread_mutex_destroy(&held->lock);
}

void held_add(struct held *held, struct held_item *item,
	      void (*free)(struct held_item *item))
{
	item->free = free;
	item->link = (GList){ .data = item };
	pthread_mutex_lock(&held->lock);
	g_queue_push_tail_link(&held->items, &item->link);
	pthread_mutex_unlock(&held->lock);
}

void held_free(struct held *held, struct held_item *item)
{
	pthread_mutex_lock(&held->lock);
	g_queue_unlink(&held->items, &item->link);
	pthread_mutex_unlock(&held->lock);
	item->free(item);
}
