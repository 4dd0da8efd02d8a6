/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Begins a connection to an NBD server: nbd_aio_connect_uri(3) on a new handle.
 *
 * That call resolves the name of the host by getaddrinfo(3), which waits up to
 * a minute for name servers that do not answer, and cannot be interrupted. So a
 * thread makes the call, and the caller may leave it. Then the next caller with
 * the same target takes the call over, so that retries make no further threads.
 * If there is none, the thread closes the handle when the call returns.
 *
 * Threads: any.
 */
#ifndef BSP_DEVICE_NBD_CONNECT_H
#define BSP_DEVICE_NBD_CONNECT_H

#include <glib.h>
#include <libnbd.h>
#include <stdbool.h>
#include <stdint.h>

struct bsp_nbd_target {
	const char *uri;
	const char *changes; /* a metadata context to ask for, or NULL */
	bool simple;	     /* with simple replies, so without any context */
};

/*
 * Returns a handle that connects; the caller drives its handshake, and closes
 * it. limit is as of g_get_monotonic_time(). Returns NULL and an error if
 * libnbd refuses, at the limit, or if bsp_interrupted().
 */
struct nbd_handle *bsp_nbd_connect(const struct bsp_nbd_target *target,
				   int64_t limit, GError **error);

/* Sets the error "connect to URI: reason", without the URI's password. Returns
 * false. */
bool bsp_nbd_refuse(const char *uri, const char *reason, GError **error);

/* The same, with the reason of the last call of libnbd that failed here. */
bool bsp_nbd_refuse_libnbd(const char *uri, GError **error);

#endif
