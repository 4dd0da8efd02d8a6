/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages go to stderr, with the name that g_set_prgname() got. No locale is
 * set anywhere: messages, those of the system among them, are in English and
 * the same on every machine. A message shows no password of a URI, and no
 * control character of a name.
 */
#include "message.h"

#include <stdarg.h>
#include <stdio.h>

#include "blksparse-mount.h"
#include "layers.h"

int failure(const char *format, ...)
{
	g_autofree char *message = NULL, *shown = NULL;
	va_list args;

	va_start(args, format);
	message = g_strdup_vprintf(format, args);
	va_end(args);
	shown = bsp_nbd_uri_redact(message);
	bsp_make_printable(shown);
	(void)fprintf(stderr, "%s: %s\n", g_get_prgname(), shown);
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

void note_change(void *data, enum bsp_change change)
{
	struct changes *changes = data;

	switch (change) {
	case BSP_CHANGE_UNWATCHABLE:
	case BSP_CHANGE_FALSE_ZEROS:
		break;
	case BSP_CHANGE_DISCONNECTED:
	case BSP_CHANGE_CONNECTED:
		changes->disconnected = true;
		break;
	default:
		changes->written = true;
	}
}

void warn_of_changes(const struct changes *changes, const char *path,
		     const char *advice)
{
	if (changes->disconnected)
		failure("warning: the connection to %s was lost for a while, "
			"and another client may have written to it; %s",
			path, advice);
	else if (changes->written && bsp_is_nbd_uri(path))
		failure("warning: another client wrote to %s meanwhile, or may "
			"have; %s",
			path, advice);
	else if (changes->written)
		failure("warning: the disk of %s was written to meanwhile; %s",
			path, advice);
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
