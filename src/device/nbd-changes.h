/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The changes that an NBD server knows: the extents of a dirty bitmap of QEMU
 * (docs/interop/nbd.txt of QEMU), in which bit 0 means "dirty".
 *
 * Without a bit the caller takes old bytes for the present ones. So an answer
 * that makes no sense is an error, unlike one about zeros (nbd-extents.h).
 *
 * The bitmap of a server that lets others write may change while it is in use.
 * Only that of an export which is served read-only is taken: QEMU exports no
 * bitmap then that still records.
 *
 * After the connection was lost, another server may answer, with another bitmap
 * and another content. So the changes hold for one generation of the pool.
 */
#ifndef BSP_DEVICE_NBD_CHANGES_H
#define BSP_DEVICE_NBD_CHANGES_H

#include "base/changes.h"
#include "device/nbd-pool.h"

/* Adds the changes of the context that the pool was made with. The pool must
 * outlive them. Returns false and an error on failure. */
bool bsp_nbd_changes_read(struct bsp_nbd_pool *pool,
			  struct bsp_changes *changes, GError **error);

#endif
