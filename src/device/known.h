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
 * the file below it (known-file.c); a thin volume (known-thin.c); and any other
 * device whose driver answers lseek(2) (known-lseek.c). The layers of a device
 * form a tree. A sample of the device's identity makes the tree, and includes
 * its stamp. The first question of each generation of the map builds it: makes
 * sure that the tables and files are still the same, and has a pool commit.
 *
 * Why an answer can be relied on. The order is: sample the device's identity,
 * which begins a generation of the map; build the layers; ask; learn under that
 * generation. A write before the sample is visible in the answers. A later
 * write moves the device's counters or the layers' stamp, and so the next
 * sample differs. A layer that was asked before the sample would give false
 * holes: the answer would lack a write between the two, and no later sample
 * would differ because of it.
 *
 * Threads: any; one question at a time. A question may take as long as the
 * layer's file system or device, a sample as long as fstat(2) there. A sample
 * does not wait for a question: otherwise a pool whose metadata cannot be read
 * at the moment would stop each handler that looks at the device.
 */
#ifndef BSP_DEVICE_KNOWN_H
#define BSP_DEVICE_KNOWN_H

#include <glib.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "blksparse.h"
#include "device/identity.h"

struct bsp_known_answer {
	bool zeros;   /* [off, end) reads as zeros; false: nothing is known */
	uint64_t end; /* off < end <= limit; off: no layer was asked */
	/* The path of the layer that knows the zeros (struct bsp_layer); NULL
	 * if it has none. */
	const char *layer;
};

/* --- Layers --- */

struct bsp_layer;

/* A part of a layer: the layer below it, or the reason why there is none. */
struct bsp_layer_below {
	struct bsp_layer *layer;
	dev_t rdev;	  /* without a layer: the device below; 0: none */
	const char *type; /* without a device: the type of the target */
};

struct bsp_layer_ops {
	/*
	 * Makes all writes before a time visible in the answers; may commit a
	 * pool, and wait for its metadata device. since is that time, in
	 * microseconds of CLOCK_MONOTONIC. Called until it succeeds or fails
	 * once a generation, before its questions. Returns 0, -EAGAIN if that
	 * is possible only later, or another -errno if nothing is known in this
	 * generation. NULL: they always are visible.
	 */
	int (*build)(struct bsp_layer *layer, int64_t since);
	/* off < limit <= the layer's size. */
	struct bsp_known_answer (*ask)(struct bsp_layer *layer, uint64_t off,
				       uint64_t limit);
	/* Whether the layer still has the file, offset and table that it was
	 * made of. BSP_DEPTH_ALL asks the device mapper, too. */
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
	/* Gets the layer below with that index. Returns false if there are
	 * fewer. NULL: there is none. */
	bool (*below)(struct bsp_layer *layer, unsigned i,
		      struct bsp_layer_below *ret_below);
	/* Frees the structure and all that belongs to it. */
	void (*free)(struct bsp_layer *layer);
	/* The layer itself knows zeros. Otherwise it only passes questions
	 * on. */
	bool answers;
};

/* The first member of the structure of each kind. */
struct bsp_layer {
	const struct bsp_layer_ops *ops;
	char *name; /* for people: "loop1", "disk.img (ext4)" */
	/*
	 * The names from the device down to this layer: "loop1 → disk.img
	 * (ext4)". A layer that answers gives it with each answer. Interned:
	 * never freed, and equal paths have the same address. Set by
	 * bsp_layer_set_paths() (known-names.h).
	 */
	const char *path;
};

/* NULL is fine. */
void bsp_layer_free(struct bsp_layer *layer);

/* The use that layers are made for. */
struct bsp_layer_use {
	enum bsp_known_trust trust;
	bool writable; /* the device on top is written */
	/* While layers are made: how many devices may still be looked at. Each
	 * of their layers may keep a descriptor. Set by known.c. */
	unsigned *left;
};

/*
 * Makes the layer of a block device of any kind; depth is the number of layers
 * above it. Returns NULL if nothing can be known of the device.
 */
struct bsp_layer *bsp_layer_new(dev_t rdev, const struct bsp_layer_use *use,
				unsigned depth);

/* Make a layer of one kind. They return NULL if the device is of another kind,
 * or cannot be asked. */
struct bsp_layer *bsp_layer_loop_new(dev_t rdev, enum bsp_known_trust trust);
struct bsp_layer *bsp_layer_partition_new(dev_t rdev,
					  const struct bsp_layer_use *use,
					  unsigned depth);
struct bsp_layer *bsp_layer_dm_new(dev_t rdev, const struct bsp_layer_use *use,
				   unsigned depth);

/*
 * Makes the layer of a block device whose driver reports holes to lseek(2), as
 * the driver of no kernel known today does. Returns NULL if it reports none
 * now.
 */
struct bsp_layer *bsp_layer_lseek_new(dev_t rdev);

/* Returns the name of the file system of fd, which may be open with O_PATH;
 * NULL if its holes are not used. */
const char *bsp_known_file_system(int fd, enum bsp_known_trust trust);

/*
 * Makes the layer of a regular file, which the device shows from offset start
 * on. Its holes are those that lseek(2) reports. fd belongs to the layer, or is
 * closed on failure. Returns NULL if the file system is not trusted.
 */
struct bsp_layer *bsp_layer_file_new(const char *name, int fd, uint64_t start,
				     enum bsp_known_trust trust);

/* --- Names and reasons, for people (known-names.c) --- */

/* Strings that these return are to be freed by g_free(). */

/* Returns the name of a device: that of the device mapper, or the kernel's. */
char *bsp_layer_device_name(dev_t rdev);

/* Returns a file's name without folders, and its file system: "disk.img
 * (ext4)". */
char *bsp_layer_file_name(const char *path, const char *file_system);

/* Tells why the holes of an open file are not asked for. */
char *bsp_layer_file_reason(int fd);

/* Appends the name of the file below a loop device, if it is found, to the
 * path, and tells why the device has no layer. */
char *bsp_layer_loop_reason(GString *path, dev_t rdev);

/* Appends a name to a path. */
void bsp_layer_append_path(GString *path, const char *name);

/* Sets the path of a layer, and of all below it. above is the path of the layer
 * above, or NULL. */
void bsp_layer_set_paths(struct bsp_layer *layer, const char *above);

/* Receives a layer by its path. reason is NULL if the layer was asked;
 * otherwise it tells why not. */
typedef void (*bsp_layer_fn)(void *data, const char *path, const char *reason);

/*
 * Makes a list of layers, to be freed by g_ptr_array_unref(), and adds a layer
 * and all below it, or a device without a layer. These make no system calls, so
 * that the caller can hold the layers' lock.
 */
GPtrArray *bsp_layers_new(void);
void bsp_layers_add(GPtrArray *layers, struct bsp_layer *layer);
void bsp_layers_add_device(GPtrArray *layers, dev_t rdev);

/* Calls fn for each of them, with the reason of each device. The layers may be
 * gone by now. */
void bsp_layers_list(const GPtrArray *layers, bsp_layer_fn fn, void *data);

/* --- The layers of a device --- */

struct bsp_known;

/* Makes the object for the block device with that number. NULL if there is no
 * memory. */
struct bsp_known *bsp_known_new(dev_t rdev, const struct bsp_layer_use *use);
void bsp_known_free(struct bsp_known *known); /* NULL is fine */

/*
 * Returns the knowledge of [off, limit), to be learned under that generation of
 * the map. The first question of a generation builds the layers if may_build is
 * set. Until that has succeeded the answer's end is off; the caller asks again
 * later. Without may_build, a question waits only a short time for one that is
 * under way. Generations only grow.
 */
struct bsp_known_answer bsp_known_ask(struct bsp_known *known,
				      uint64_t generation, bool may_build,
				      uint64_t off, uint64_t limit);

/* Whether a question now would build the layers for that generation. */
bool bsp_known_is_due(struct bsp_known *known, uint64_t generation);

/*
 * Counts for the samples of identity. They rise when earlier answers may be out
 * of date: medium after another file or table, content after another program
 * wrote to a file. *ret_young tells whether a file's change time is young
 * (identity.h): a write that has moved content can still change the file.
 */
uint64_t bsp_known_medium(struct bsp_known *known, enum bsp_depth depth);
uint64_t bsp_known_content(struct bsp_known *known, bool *ret_young);

/* Sets the layers whose answers are used: none after a wrong answer. */
void bsp_known_set_trust(struct bsp_known *known, enum bsp_known_trust trust);

/*
 * Lists the layers that can answer, and the devices and files of which nothing
 * is known. Looks for the reasons now, which may take as long as making the
 * layers.
 */
void bsp_known_list(struct bsp_known *known, bsp_layer_fn fn, void *data);

#endif
