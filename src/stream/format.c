/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of stream formats, and the search in it by name.
 *
 * The rows are indexed by enum bsp_stream_format. The error for an unknown name
 * lists the names from the table, so that it is complete when a row is added;
 * the --help of the tools and blksparse(1) repeat the names by hand.
 */
#include "stream/format.h"

#include <string.h>

#include "base/error.h"

static const struct bsp_stream_format_info formats[] = {
	[BSP_STREAM_FORMAT_NATIVE] = {
		.name = "native",
		.encoder = &bsp_native_encoder,
		.decoder_init = bsp_native_decoder_init,
		.resumable = true,
	},
	[BSP_STREAM_FORMAT_RBD_DIFF] = {
		.name = "rbd-diff",
		.encoder = &bsp_rbd_encoder,
		.decoder_init = bsp_rbd_decoder_init,
		.snapshots = true,
	},
	[BSP_STREAM_FORMAT_RAW] = {
		.name = "raw",
		.encoder = &bsp_raw_encoder,
		.decoder_init = bsp_raw_decoder_init,
	},
};

const struct bsp_stream_format_info *
bsp_stream_format_info(enum bsp_stream_format format)
{
	return &formats[format];
}

static bool fail_unknown(const char *name, GError **error)
{
	g_autoptr(GString) known = g_string_new(NULL);

	for (size_t i = 0; i < G_N_ELEMENTS(formats); i++)
		g_string_append_printf(known, "%s%s", i ? ", " : "",
				       formats[i].name);
	return bsp_error_set(error, BSP_ERROR_USAGE,
			     "there is no stream format '%s' (%s)", name,
			     known->str);
}

bool bsp_stream_format_from_name(const char *name,
				 enum bsp_stream_format *ret_format,
				 GError **error)
{
	for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
		if (strcmp(name, formats[i].name) == 0) {
			*ret_format = (enum bsp_stream_format)i;
			return true;
		}
	}
	return fail_unknown(name, error);
}
