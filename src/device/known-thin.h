/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thin volume knows which of its blocks were never written, or given back.
 */
#ifndef BSP_DEVICE_KNOWN_THIN_H
#define BSP_DEVICE_KNOWN_THIN_H

#include "device/known.h"

/*
 * The layer of a thin volume of a pool. Commits the pool's metadata, at most
 * once a second for each pool; NULL if that was less than a second ago, or the
 * volume cannot be asked. has_origin: unmapped blocks read as another device,
 * whose layer is origin, or of which nothing is known if that is NULL. origin
 * becomes the layer's, also when this fails. control stays the caller's, and
 * must outlive the layer.
 */
struct bsp_layer *bsp_layer_thin_new(int control, dev_t rdev, dev_t pool,
				     uint64_t volume, bool has_origin,
				     struct bsp_layer *origin);

#endif
