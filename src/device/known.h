/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Holes that are known without reading them. The layer below a device often
 * knows which parts were never written, or were unmapped.
 *
 * All layers answer one question: does [off, limit) read as zeros, or is
 * nothing known of it, and up to which offset does the answer hold? A question
 * takes a few system calls. An error of any kind means that nothing is known.
 *
 * The kinds of layers are a linear mapping or a partition (known-dm.c), which
 * passes the question on to another device; a loop device (known-loop.c) and
 * the file below it (known-file.c); and a thin volume (known-thin.c). The
 * layers of a device form a tree. The first question of each generation of the
 * map builds the tree anew, because tables and files change.
 *
 * Why an answer can be relied on. The order is: sample the device's identity,
 * which begins a generation of the map; build the layers and stamp them; ask;
 * learn under that generation. A write before the sample is visible in the
 * answers. A later write moves the device's counters or the layers' stamp,
 * which is part of the next sample. A layer that was asked before the sample
 * would give false holes: the answer would lack a write between the two, and no
 * later sample would differ because of it.
 *
 * Threads: any; a lock admits one call at a time. A question may take as long
 * as the layer's file system or device, a sample as long as fstat(2) there.
 */
#ifndef BSP_DEVICE_KNOWN_H
#define BSP_DEVICE_KNOWN_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "blksparse.h"
#include "device/identity.h"

struct bsp_known_answer {
	bool zeros;   /* [off, end) reads as zeros; false: nothing is known */
	uint64_t end; /* off < end <= limit; off: no layer was asked */
};

/* --- Layers --- */

struct bsp_layer;

struct bsp_layer_ops {
	/* off < limit <= the layer's size. */
	struct bsp_known_answer (*ask)(struct bsp_layer *layer, uint64_t off,
				       uint64_t limit);
	/* Whether the layer still has the file, offset and table that it was
	 * built from. BSP_DEPTH_ALL asks the device mapper, too. */
	bool (*is_same)(struct bsp_layer *layer, enum bsp_depth depth);
	/*
	 * The stamp: continues hash with the values that change when another
	 * program writes to the layer and the device's own counters miss that
	 * write. Returns 0 if they cannot be read. NULL: there are none.
	 */
	uint64_t (*content)(struct bsp_layer *layer, uint64_t hash);
	/* Whether each further write changes the stamp. That is not so while
	 * the file's change time is young (identity.h). NULL: always. */
	bool (*settled)(struct bsp_layer *layer);
	/* Frees the structure and all that belongs to it. */
	void (*free)(struct bsp_layer *layer);
};

/* The first member of the structure of each kind. */
struct bsp_layer {
	const struct bsp_layer_ops *ops;
	char *name; /* for people: "loop1 → disk.img (ext4)" */
};

/* NULL is fine. */
void bsp_layer_free(struct bsp_layer *layer);

/*
 * Makes the layer of a block device of any kind; depth is the number of layers
 * above it. Returns NULL if nothing can be known of the device.
 */
struct bsp_layer *bsp_layer_new(dev_t rdev, enum bsp_known_trust trust,
				unsigned depth);

/* Make a layer of one kind. They return NULL if the device is of another kind,
 * or cannot be asked. */
struct bsp_layer *bsp_layer_loop_new(dev_t rdev, enum bsp_known_trust trust);
struct bsp_layer *
bsp_layer_partition_new(dev_t rdev, enum bsp_known_trust trust, unsigned depth);
struct bsp_layer *bsp_layer_dm_new(dev_t rdev, enum bsp_known_trust trust,
				   unsigned depth);

/*
 * Makes the layer of a regular file, which the device shows from offset start
 * on. Its holes are those that lseek(2) reports. fd belongs to the layer, or is
 * closed on failure. Returns NULL if the file system is not trusted.
 */
struct bsp_layer *bsp_layer_file_new(const char *name, int fd, uint64_t start,
				     enum bsp_known_trust trust);

/* --- The layers of a device --- */

struct bsp_known;

/* Makes the object for the block device with that number. NULL if there is no
 * memory. */
struct bsp_known *bsp_known_new(dev_t rdev, enum bsp_known_trust trust);
void bsp_known_free(struct bsp_known *known); /* NULL is fine */

/*
 * Returns the knowledge of [off, limit), to be learned under that generation of
 * the map. The first question of a generation builds the layers if may_build is
 * set; before that nothing is known. Generations only grow.
 */
struct bsp_known_answer bsp_known_ask(struct bsp_known *known,
				      uint64_t generation, bool may_build,
				      uint64_t off, uint64_t limit);

/* Whether the layers for that generation are built, or need not be. */
bool bsp_known_is_built(struct bsp_known *known, uint64_t generation);

/* Counts for the samples of identity. They rise when earlier answers may be out
 * of date: medium after another file or table, content after another program
 * wrote to a file. */
uint64_t bsp_known_medium(struct bsp_known *known, enum bsp_depth depth);
uint64_t bsp_known_content(struct bsp_known *known);

/* Sets the layers whose answers are used: none after a wrong answer. */
void bsp_known_set_trust(struct bsp_known *known, enum bsp_known_trust trust);

/* Describes the layers for people. Free it with g_free(). NULL if there are
 * none. */
char *bsp_known_describe(struct bsp_known *known);

#endif
