/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Holes that are known without reading them: the layer below a device often
 * knows which parts were never written, or were given back.
 *
 * One question serves all kinds: what is known of [off, limit)? The answer says
 * whether it reads as zeros or nothing is known, and how far that goes. The
 * question is bounded (a few system calls), and an error of any kind is
 * "nothing is known".
 *
 * A layer is one kind of answer: the file below a loop device, a linear mapping
 * or a partition (which pass the question on, shifted), a thin volume. Each is
 * a file known-*.c. The layers of a device form a tree. It is built when the
 * first question of a generation of the map comes, since tables and files
 * change.
 *
 * Why an answer can be relied on. The order is: sample the device's identity,
 * which begins a generation of the map; build the layers and stamp them; ask;
 * learn under that generation. A write before the sample is visible in the
 * answers. A later write moves the device's counters or the layers' stamp,
 * which is part of the next sample. A layer that was asked before the sample
 * would give false holes: a write between the two would be in neither.
 *
 * Threads: any; a lock of its own orders them. A question may take as long as
 * the layer's file system or device, a sample as long as fstat(2) there.
 */
#ifndef BSP_DEVICE_KNOWN_H
#define BSP_DEVICE_KNOWN_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "device/identity.h"

/* Which layers are believed. */
enum bsp_known_trust {
	BSP_KNOWN_AUTO, /* those whose answers have been found to be right */
	BSP_KNOWN_ALL,	/* all that answer */
	BSP_KNOWN_OFF,	/* none: everything is read */
};

struct bsp_known_answer {
	bool zeros;   /* [off, end) reads as zeros; or nothing is known of it */
	uint64_t end; /* off < end <= limit; off: nothing was asked */
};

/* --- Layers --- */

struct bsp_layer;

struct bsp_layer_ops {
	/* off < limit <= the layer's size. */
	struct bsp_known_answer (*ask)(struct bsp_layer *layer, uint64_t off,
				       uint64_t limit);
	/* Is it still what it was built from: the same file, place, table?
	 * BSP_DEPTH_ALL asks the device mapper, too. */
	bool (*is_same)(struct bsp_layer *layer, enum bsp_depth depth);
	/*
	 * Hashes on, from hash, what moves when another program writes to the
	 * layer and the device's own counters miss that. 0 if it cannot be had.
	 * NULL: nothing.
	 */
	uint64_t (*content)(struct bsp_layer *layer, uint64_t hash);
	/* Will what content() hashes move at the next write? Not while it is
	 * young (identity.h). NULL: yes. */
	bool (*settled)(struct bsp_layer *layer);
	/* Frees what is the layer's own, and the structure. */
	void (*free)(struct bsp_layer *layer);
};

/* Each kind has this at the head of its own structure. */
struct bsp_layer {
	const struct bsp_layer_ops *ops;
	char *name; /* for people: "loop1 → disk.img (ext4)" */
};

/* NULL is fine. */
void bsp_layer_free(struct bsp_layer *layer);

/*
 * The layer of a block device, whatever it is; depth is how many are above it.
 * NULL if nothing can be known of it.
 */
struct bsp_layer *bsp_layer_new(dev_t rdev, enum bsp_known_trust trust,
				unsigned depth);

/* The kinds; NULL if the device is of another, or cannot be asked. */
struct bsp_layer *bsp_layer_loop_new(dev_t rdev, enum bsp_known_trust trust);
struct bsp_layer *
bsp_layer_partition_new(dev_t rdev, enum bsp_known_trust trust, unsigned depth);
struct bsp_layer *bsp_layer_dm_new(dev_t rdev, enum bsp_known_trust trust,
				   unsigned depth);

/*
 * A regular file, of which the device shows what is from start on: holes as
 * lseek(2) reports them. fd becomes the layer's, also when this fails. NULL if
 * its file system is not trusted.
 */
struct bsp_layer *bsp_layer_file_new(const char *name, int fd, uint64_t start,
				     enum bsp_known_trust trust);

/* --- Knowledge of a device --- */

struct bsp_known;

/* Of the block device with that number. NULL if there is no memory. */
struct bsp_known *bsp_known_new(dev_t rdev, enum bsp_known_trust trust);
void bsp_known_free(struct bsp_known *known); /* NULL is fine */

/*
 * Tells what is known of [off, limit), to be learned under that generation of
 * the map. The first question of a generation builds the layers if may_build is
 * set; before that nothing is known. Generations only grow.
 */
struct bsp_known_answer bsp_known_ask(struct bsp_known *known,
				      uint64_t generation, bool may_build,
				      uint64_t off, uint64_t limit);

/* Need the question of that generation build nothing? */
bool bsp_known_is_built(struct bsp_known *known, uint64_t generation);

/* Numbers for the samples of identity; each moves when an answer may have been
 * wrong: another file or table, or another program that wrote to a file. */
uint64_t bsp_known_medium(struct bsp_known *known, enum bsp_depth depth);
uint64_t bsp_known_content(struct bsp_known *known);

/* Sets which layers are believed; BSP_KNOWN_OFF when an answer was wrong. */
void bsp_known_set_trust(struct bsp_known *known, enum bsp_known_trust trust);

/* The layers, for people, to be freed by g_free(); NULL if there are none. */
char *bsp_known_describe(struct bsp_known *known);

#endif
