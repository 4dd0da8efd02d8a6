/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * URIs of NBD exports, as the NBD project specifies them (doc/uri.md of its
 * repository, and nbd_connect_uri(3)).
 *
 * A URI may have a password. Only libnbd gets the URI itself. All that a person
 * or another program can see is made of its form without the password.
 *
 * Pure. Threads: any.
 */
#ifndef BSP_DEVICE_NBD_URI_H
#define BSP_DEVICE_NBD_URI_H

#include "blksparse-mount.h"

/* Whether an NBD URI has a host, whose name may have to be resolved. Others
 * have a socket of this host. */
bool bsp_nbd_uri_has_host(const char *uri);

/* Returns text with "***" in place of each appearance of the URI's password, to
 * be freed by g_free(). */
char *bsp_nbd_uri_redact_text(const char *uri, const char *text);

#endif
