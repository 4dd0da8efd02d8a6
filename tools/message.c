/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages go to stderr, with the name that g_set_prgname() got. No locale is
 * set anywhere: messages, those of the system among them, are in English and
 * the same on every machine.
 */
#include "message.h"

#include <stdarg.h>
#include <stdio.h>

#include "layers.h"

int failure(const char *format, ...)
{
	va_list args;

	(void)fprintf(stderr, "%s: ", g_get_prgname());
	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	(void)fputc('\n', stderr);
	return STATUS_FAILED;
}

void warn_of_false_zeros(struct bsp_sparse *sp)
{
	g_autofree char *why = bsp_sparse_false_zeros(sp);
	g_autofree char *text = why ? layer_text(why) : NULL;

	if (text)
		failure("warning: %s; no layer below is asked any more, and "
			"all is read",
			text);
}

int usage_error(const char *format, ...)
{
	g_autofree char *message = NULL;
	va_list args;

	va_start(args, format);
	message = g_strdup_vprintf(format, args);
	va_end(args);
	failure("%s; see '%s --help'", message, g_get_prgname());
	return STATUS_USAGE;
}

int error_status(const GError *error)
{
	return g_error_matches(error, BSP_ERROR, BSP_ERROR_USAGE)
		       ? STATUS_USAGE
		       : STATUS_FAILED;
}

int failure_of(const GError *error)
{
	failure("%s", error->message);
	return error_status(error);
}
