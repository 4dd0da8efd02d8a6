/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Errors for a person to read, set while a device is opened or options are
 * parsed. I/O does not use them: it returns -errno.
 *
 * Both functions return false, so that a caller fails in one statement. Both
 * allow a NULL error, and then do nothing else. Any thread.
 */
#ifndef BSP_BASE_ERROR_H
#define BSP_BASE_ERROR_H

#include "blksparse.h"

bool bsp_error_set(GError **error, enum bsp_error code, const char *format, ...)
	G_GNUC_PRINTF(3, 4);

/* Sets BSP_ERROR_FAILED. Appends ": " and strerror(errnum) to the message. */
bool bsp_error_set_errno(GError **error, int errnum, const char *format, ...)
	G_GNUC_PRINTF(3, 4);

/*
 * Whether all n reserved fields of a structure that a program passed are zero.
 * If not, the program was built for a later version, and sets a field that this
 * one does not know: sets BSP_ERROR_USAGE.
 */
bool bsp_error_check_reserved(const uint64_t *reserved, size_t n,
			      GError **error);

#endif
