/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Setting a GError in one statement. The caller's message names the object and
 * the system call, and says what to do about it.
 */
#include "base/error.h"

G_DEFINE_QUARK(bsp - error - quark, bsp_error)

bool bsp_error_set(GError **error, enum bsp_error code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (error)
		*error = g_error_new_valist(BSP_ERROR, (int)code, format, args);
	va_end(args);
	return false;
}

bool bsp_error_set_errno(GError **error, int errnum, const char *format, ...)
{
	g_autofree char *what = NULL;
	va_list args;

	va_start(args, format);
	what = g_strdup_vprintf(format, args);
	va_end(args);
	g_set_error(error, BSP_ERROR, BSP_ERROR_FAILED, "%s: %s", what,
		    g_strerror(errnum));
	return false;
}

bool bsp_error_check_reserved(const uint64_t *reserved, size_t n,
			      GError **error)
{
	for (size_t i = 0; i < n; i++) {
		if (reserved[i])
			return bsp_error_set(
				error, BSP_ERROR_USAGE,
				"an option is set that this version of "
				"libblksparse does not know");
	}
	return true;
}
