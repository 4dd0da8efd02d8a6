/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The names that a mount with --all has shown so far, and their inodes. A name
 * keeps its inode as long as it stands for the same object, by a text that
 * identifies the object: a device, or the target of a link. If it stands for
 * another one, or for none, its node is stale: the name gets another inode, and
 * the node lives on until the kernel has forgotten it, for the files that are
 * still open. An inode number is never used twice.
 *
 * A node is pinned by each lookup until the kernel forgets it, and by
 * table_pin().
 *
 * Threads: any.
 */
#ifndef BLKSPARSEFS_TABLE_H
#define BLKSPARSEFS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table;

struct table_ops {
	/* Makes the object of a new node; NULL without memory. The lock of the
	 * table is held. data is that of table_new(). */
	void *(*make)(void *data, uint64_t parent, uint64_t ino,
		      const char *name, const char *identity);
	void (*free)(void *object);
};

/* Inodes begin at first. Returns NULL without memory. */
struct table *table_new(const struct table_ops *ops, void *data,
			uint64_t first);

/* Frees all nodes, pinned or not. No other thread may use the table. NULL is
 * fine. */
void table_free(struct table *table);

/*
 * Enters the object that a name in a folder stands for now, and pins its node n
 * times. Returns 0 and the inode, or -ENOMEM. round, if not 0, marks the node
 * as seen in a listing; see table_end_listing().
 */
int table_enter(struct table *table, uint64_t parent, const char *name,
		const char *identity, uint64_t n, unsigned round,
		uint64_t *ret_ino);

/* The name stands for no object now. */
void table_leave(struct table *table, uint64_t parent, const char *name);

/* Begins a listing of a folder; returns its round. At the end, the names of the
 * folder that were not entered since stand for no object. */
unsigned table_begin_listing(struct table *table);
void table_end_listing(struct table *table, uint64_t parent, unsigned round);

/* Returns the object of an inode, which must be pinned; NULL if there is none.
 */
void *table_find(struct table *table, uint64_t ino);

/* Pins a node; false if there is none of that inode. */
bool table_pin(struct table *table, uint64_t ino);

/* Unpins a node n times. */
void table_forget(struct table *table, uint64_t ino, uint64_t n);

/* Whether the node's name still stands for its object. */
bool table_is_current(struct table *table, uint64_t ino);

/* Calls fn for each object, in the order of their inodes, pinned meanwhile and
 * without the lock of the table. */
void table_each(struct table *table, void (*fn)(void *object, void *data),
		void *data);

#endif
