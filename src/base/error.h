/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Errors that a person reads. Both return false, so that failing is one
 * statement, and do nothing else if error is NULL.
 */
#ifndef BSP_BASE_ERROR_H
#define BSP_BASE_ERROR_H

#include "blksparse.h"

bool bsp_error_set(GError **error, enum bsp_error code, const char *format, ...)
	G_GNUC_PRINTF(3, 4);

/* BSP_ERROR_FAILED; the message ends with ": " and strerror(errnum). */
bool bsp_error_set_errno(GError **error, int errnum, const char *format, ...)
	G_GNUC_PRINTF(3, 4);

#endif
