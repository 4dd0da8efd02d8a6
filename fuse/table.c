/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A host has some dozens of block devices, and each handler asks for one node:
 * a list in the order of the inodes, which a binary search finds, is enough.
 */
#include "table.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct node {
	/* Fixed. */
	uint64_t ino, parent;
	char *name, *identity;
	void *object;

	/* Protected by the table's lock. */
	uint64_t pins;
	unsigned round; /* of the last listing that had it */
	bool stale;
};

struct table {
	const struct table_ops *ops; /* fixed */
	void *data;		     /* fixed */
	pthread_mutex_t lock;
	/* Protected by lock. */
	struct node **nodes; /* sorted by ino */
	size_t n, capacity;
	uint64_t next_ino;
	unsigned round;
};

struct table *table_new(const struct table_ops *ops, void *data, uint64_t first)
{
	struct table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->ops = ops;
	table->data = data;
	table->next_ino = first;
	pthread_mutex_init(&table->lock, NULL);
	return table;
}

static void node_free(const struct table *table, struct node *node)
{
	if (node->object)
		table->ops->free(node->object);
	free(node->name);
	free(node->identity);
	free(node);
}

void table_free(struct table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->n; i++)
		node_free(table, table->nodes[i]);
	free(table->nodes);
	pthread_mutex_destroy(&table->lock);
	free(table);
}

/* --- Nodes. The lock is held. ------------------------------------------- */

/* The index of the first node with ino or a larger one. */
static size_t index_of(const struct table *table, uint64_t ino)
{
	size_t low = 0, high = table->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (table->nodes[middle]->ino < ino)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct node *node_of(const struct table *table, uint64_t ino)
{
	size_t i = index_of(table, ino);

	return i < table->n && table->nodes[i]->ino == ino ? table->nodes[i]
							   : NULL;
}

static struct node *current(const struct table *table, uint64_t parent,
			    const char *name)
{
	for (size_t i = 0; i < table->n; i++) {
		struct node *node = table->nodes[i];

		if (!node->stale && node->parent == parent &&
		    strcmp(node->name, name) == 0)
			return node;
	}
	return NULL;
}

/* Frees a node that neither the kernel nor a name has any more. */
static void drop(struct table *table, struct node *node)
{
	size_t i = index_of(table, node->ino);

	if (!node->stale || node->pins)
		return;
	table->n--;
	memmove(&table->nodes[i], &table->nodes[i + 1],
		(table->n - i) * sizeof(*table->nodes));
	node_free(table, node);
}

static void make_stale(struct table *table, struct node *node)
{
	node->stale = true;
	drop(table, node);
}

static bool make_room(struct table *table)
{
	size_t capacity = table->capacity ? 2 * table->capacity : 64;
	struct node **nodes;

	if (table->n < table->capacity)
		return true;
	nodes = realloc(table->nodes, capacity * sizeof(*nodes));
	if (!nodes)
		return false;
	table->nodes = nodes;
	table->capacity = capacity;
	return true;
}

static struct node *add(struct table *table, uint64_t parent, const char *name,
			const char *identity)
{
	struct node *node;

	if (!make_room(table))
		return NULL;
	node = calloc(1, sizeof(*node));
	if (!node)
		return NULL;
	node->ino = table->next_ino;
	node->parent = parent;
	node->name = strdup(name);
	node->identity = strdup(identity);
	if (node->name && node->identity)
		node->object = table->ops->make(table->data, parent, node->ino,
						node->name, node->identity);
	if (!node->object) {
		node_free(table, node);
		return NULL;
	}
	table->next_ino++;
	table->nodes[table->n++] = node;
	return node;
}

/* --- Names --------------------------------------------------------------- */

int table_enter(struct table *table, uint64_t parent, const char *name,
		const char *identity, uint64_t n, unsigned round,
		uint64_t *ret_ino)
{
	struct node *node;

	pthread_mutex_lock(&table->lock);
	node = current(table, parent, name);
	if (node && strcmp(node->identity, identity) != 0) {
		make_stale(table, node);
		node = NULL;
	}
	if (!node)
		node = add(table, parent, name, identity);
	if (node) {
		node->pins += n;
		if (!round || (int)(round - node->round) > 0)
			node->round = round ? round : table->round;
		*ret_ino = node->ino;
	}
	pthread_mutex_unlock(&table->lock);
	return node ? 0 : -ENOMEM;
}

void table_leave(struct table *table, uint64_t parent, const char *name)
{
	struct node *node;

	pthread_mutex_lock(&table->lock);
	node = current(table, parent, name);
	if (node)
		make_stale(table, node);
	pthread_mutex_unlock(&table->lock);
}

unsigned table_begin_listing(struct table *table)
{
	unsigned round;

	pthread_mutex_lock(&table->lock);
	round = ++table->round;
	pthread_mutex_unlock(&table->lock);
	return round;
}

/* A node of a later round was entered by another listing or lookup. */
void table_end_listing(struct table *table, uint64_t parent, unsigned round)
{
	pthread_mutex_lock(&table->lock);
	for (size_t i = table->n; i > 0; i--) {
		struct node *node = table->nodes[i - 1];

		if (!node->stale && node->parent == parent &&
		    (int)(node->round - round) < 0)
			make_stale(table, node);
	}
	pthread_mutex_unlock(&table->lock);
}

/* --- Inodes -------------------------------------------------------------- */

void *table_find(struct table *table, uint64_t ino)
{
	struct node *node;
	void *object;

	pthread_mutex_lock(&table->lock);
	node = node_of(table, ino);
	object = node ? node->object : NULL;
	pthread_mutex_unlock(&table->lock);
	return object;
}

bool table_is_current(struct table *table, uint64_t ino)
{
	struct node *node;
	bool is_current;

	pthread_mutex_lock(&table->lock);
	node = node_of(table, ino);
	is_current = node && !node->stale;
	pthread_mutex_unlock(&table->lock);
	return is_current;
}

bool table_pin(struct table *table, uint64_t ino)
{
	struct node *node;

	pthread_mutex_lock(&table->lock);
	node = node_of(table, ino);
	if (node)
		node->pins++;
	pthread_mutex_unlock(&table->lock);
	return node != NULL;
}

void table_forget(struct table *table, uint64_t ino, uint64_t n)
{
	struct node *node;

	pthread_mutex_lock(&table->lock);
	node = node_of(table, ino);
	if (node) {
		node->pins -= n < node->pins ? n : node->pins;
		drop(table, node);
	}
	pthread_mutex_unlock(&table->lock);
}

/* Pins the first node from ino on and returns it; NULL at the end. */
static struct node *pin_next(struct table *table, uint64_t ino)
{
	struct node *node = NULL;
	size_t i;

	pthread_mutex_lock(&table->lock);
	i = index_of(table, ino);
	if (i < table->n) {
		node = table->nodes[i];
		node->pins++;
	}
	pthread_mutex_unlock(&table->lock);
	return node;
}

void table_each(struct table *table, void (*fn)(void *object, void *data),
		void *data)
{
	struct node *node;
	uint64_t ino = 0;

	while ((node = pin_next(table, ino))) {
		ino = node->ino + 1;
		fn(node->object, data);
		table_forget(table, node->ino, 1);
	}
}
