/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The layer of a thin volume: its pool knows which blocks of the volume were
 * never written, or were unmapped.
 */
#ifndef BSP_DEVICE_KNOWN_THIN_H
#define BSP_DEVICE_KNOWN_THIN_H

#include "device/known.h"

struct bsp_thin_volume {
	dev_t rdev, pool;
	uint64_t number; /* of the volume in its pool */
	/* Unmapped blocks read as another device up to its end, the volume's
	 * external origin. 0: there is none; UINT64_MAX: its end is unknown. */
	uint64_t origin_size;
	struct bsp_layer *origin; /* NULL: nothing is known of it */
};

/*
 * Makes the layer of a thin volume. Building it has the pool commit its
 * metadata, at most once a second. Returns NULL if the pool cannot be asked, or
 * if writes make zeros of the device unreliable. writable: the device on top is
 * written. The origin belongs to the layer, or is freed on failure. control
 * stays the caller's, and must outlive the layer.
 */
struct bsp_layer *bsp_layer_thin_new(int control,
				     const struct bsp_thin_volume *volume,
				     bool writable);

/* --- For the comparison of two volumes (thin-changes.c) --- */

/* Has the pool commit all that was done before since, a time of CLOCK_MONOTONIC
 * in microseconds. Returns 0; -EAGAIN if that is possible only later; or
 * another -errno if the pool cannot commit. */
int bsp_thin_commit(int control, dev_t pool, int64_t since);

/* Opens the metadata device of a pool, by the parameters of its target, for
 * direct reads. Returns -1 on failure. */
int bsp_thin_open_metadata(const char *params);

/* Reads a block of metadata, as a bsp_thin_read_fn does. */
int bsp_thin_read_block(int fd, uint64_t block, void *buf);

#endif
