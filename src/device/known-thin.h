/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The layer of a thin volume: its pool knows which blocks of the volume were
 * never written, or were unmapped.
 */
#ifndef BSP_DEVICE_KNOWN_THIN_H
#define BSP_DEVICE_KNOWN_THIN_H

#include "device/known.h"

/*
 * Makes the layer of a thin volume. Building it has the pool commit its
 * metadata, at most once a second. Returns NULL if the pool cannot be asked.
 * has_origin: unmapped blocks read as another device. origin is the layer of
 * that device, or NULL if nothing is known of it. origin belongs to the layer,
 * or is freed on failure. control stays the caller's, and must outlive the
 * layer.
 */
struct bsp_layer *bsp_layer_thin_new(int control, dev_t rdev, dev_t pool,
				     uint64_t volume, bool has_origin,
				     struct bsp_layer *origin);

#endif
