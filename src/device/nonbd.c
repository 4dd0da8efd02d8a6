/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Built without libnbd.
 */
#include "device/nbd.h"

#include "base/error.h"
#include "device/nbd-uri.h"

struct bsp_device *bsp_device_nbd_new(const char *uri, bool writable,
				      const char *changes, GError **error)
{
	g_autofree char *shown = bsp_nbd_uri_redact(uri);

	bsp_error_set(
		error, BSP_ERROR_FAILED,
		"%s: this program was built without libnbd (meson setup -Dnbd=enabled)",
		shown);
	return NULL;
}
