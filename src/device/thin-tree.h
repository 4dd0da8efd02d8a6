/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The metadata of a thin pool: which blocks of a thin volume are mapped.
 *
 * The format is the kernel's (drivers/md/dm-thin-metadata.c,
 * drivers/md/persistent-data/dm-btree-internal.h): 4 KiB blocks, block 0 is the
 * superblock, and a tree of trees leads from the number of a volume, and then
 * from a block of it, to a block of the pool. A commit writes new nodes to
 * blocks that were free, and then the superblock. So a walk is right if the
 * superblock is the same before and after it: the kernel reuses a block that
 * the walk has seen only in a later transaction.
 *
 * Pure: a callback reads the blocks. Every block is checked (sum, number,
 * bounds) before it is used; an invalid one ends the walk with -EPROTO.
 */
#ifndef BSP_DEVICE_THIN_TREE_H
#define BSP_DEVICE_THIN_TREE_H

#include <stdbool.h>
#include <stdint.h>

enum {
	BSP_THIN_BLOCK = 4096, /* bytes of a metadata block */
	BSP_THIN_NODES = 16,   /* nodes that are kept in memory */
	/* The superblock, a later one to compare it with, and the nodes. */
	BSP_THIN_MEMORY = BSP_THIN_BLOCK * (2 + BSP_THIN_NODES),
};

/* Reads a metadata block into buf, of BSP_THIN_BLOCK bytes, aligned to as many.
 * Returns 0 or -errno. */
typedef int (*bsp_thin_read_fn)(void *data, uint64_t block, void *buf);

/*
 * A volume, as one superblock describes it. The nodes of one superblock never
 * change, so those that were read are kept: questions in ascending order read
 * each leaf once.
 */
struct bsp_thin_tree {
	bsp_thin_read_fn read;
	void *data;
	unsigned char *memory; /* BSP_THIN_MEMORY bytes, aligned to a block */
	uint64_t root;	       /* of the volume's mappings */
	uint64_t block_size;   /* bytes of a block of the pool's data */
	uint64_t kept[BSP_THIN_NODES]; /* the blocks of the nodes; 0: none */
	unsigned next;		       /* the node to be replaced next */
	bool fresh; /* read since the last bsp_thin_tree_is_current() */
};

/* A run of blocks of the volume. */
struct bsp_thin_run {
	bool mapped;
	/* The end of the part that was looked up; the run may go on there.
	 * UINT64_MAX if nothing is mapped from here on. */
	uint64_t end;
};

/*
 * Reads the superblock and finds the volume with that number (the second word
 * of a thin target's parameters). read, data and memory are set.
 * Returns 0, -ENOENT if there is no such volume, -EPROTO, or an error of read.
 */
int bsp_thin_tree_open(struct bsp_thin_tree *tree, uint64_t volume);

/*
 * Finds the run that starts at a block of the volume. Reads one path of nodes
 * for an unmapped run, and at most some 20 nodes for a mapped one. Returns 0,
 * -EPROTO, or an error of read.
 */
int bsp_thin_tree_find(struct bsp_thin_tree *tree, uint64_t block,
		       struct bsp_thin_run *ret_run);

/* Blocks of two volumes. */
struct bsp_thin_difference {
	bool differs; /* they are not mapped to the same blocks of the pool */
	/* The end of the part that was looked up, above the block that was
	 * asked for. UINT64_MAX: all from here on. */
	uint64_t end;
};

/*
 * Compares the mappings of two volumes of one pool, from a block on. Subtrees
 * that the two share are passed without a read. Returns 0, -EPROTO, or an error
 * of read.
 */
int bsp_thin_tree_compare(struct bsp_thin_tree *a, struct bsp_thin_tree *b,
			  uint64_t block,
			  struct bsp_thin_difference *ret_difference);

/*
 * Reads the superblock again. Returns 1 if it is the one that was opened, 0 if
 * not, or -errno. As long as fresh is set, call this before relying on a
 * result. After 0, open the tree again.
 */
int bsp_thin_tree_is_current(struct bsp_thin_tree *tree);

#endif
