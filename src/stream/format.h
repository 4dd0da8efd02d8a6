/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of stream formats: the one place that lists them.
 *
 * A format is a name, an encoder, a decoder, and a few facts about the format
 * that a sender, a receiver or an option parser needs. Code outside this folder
 * asks the table and names no format. To add a format, write its encoder and
 * decoder in a file of their own, give it a value in enum bsp_stream_format,
 * and add a row to format.c.
 */
#ifndef BSP_STREAM_FORMAT_H
#define BSP_STREAM_FORMAT_H

#include "blksparse.h"
#include "stream/stream.h"

struct bsp_stream_format_info {
	const char *name;
	const struct bsp_encoder_ops *encoder;
	/* As bsp_native_decoder_init(). */
	void (*decoder_init)(struct bsp_decoder *dec, void *buffer);
	/* A stream can start at an offset, so that a transfer that broke can
	 * be resumed. */
	bool resumable;
	/* An increment names the snapshot that holds its base. */
	bool snapshots;
};

/* The row of a format; never NULL. */
const struct bsp_stream_format_info *
bsp_stream_format_info(enum bsp_stream_format format);

#endif
