/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sending an object as a stream.
 *
 * A chunk reader delivers data and holes in order (chunk-reader.h). An encoder
 * gives the bytes to write for them (stream.h), and the sender writes these to
 * the descriptor. It holds a hole back until data or the end follows, so that a
 * hole is one frame, in however many parts the reader found it. Zero granules
 * inside a data chunk join such a hole.
 */
#include <errno.h>
#include <inttypes.h>

#include "base/error.h"
#include "base/range.h"
#include "transfer/fd-io.h"
#include "transfer/chunk-reader.h"
#include "stream/format.h"
#include "base/zero.h"
#include "transfer/transfer.h"

struct sender {
	struct bsp_transfer call;
	struct bsp_sparse *sp;
	struct bsp_encoder enc;
	struct bsp_fd to;
	uint64_t hole; /* bytes of the hole that is held back */
	bool trusting; /* the layers below were right about zeros at first */
};

static bool write_failed(struct sender *sender, int r)
{
	if (r == -ECANCELED)
		return bsp_transfer_interrupted(&sender->call);
	return bsp_error_set_errno(sender->call.error, -r, "write the stream");
}

static bool write_zeros(struct sender *sender, uint64_t len)
{
	int r = 0;

	while (len && !r) {
		size_t part = (size_t)bsp_min(len, BSP_ZEROS);

		r = bsp_fd_write(&sender->to, NULL, 0, bsp_zeros, part);
		len -= part;
		sender->call.progress->moved += r ? 0 : part;
	}
	return r ? write_failed(sender, r) : true;
}

/* Reports progress, with the hole that is held back counted as done. */
static void report(struct sender *sender)
{
	struct bsp_progress now = *sender->call.progress;

	now.done += sender->hole;
	now.hole += sender->hole;
	bsp_transfer_report(&sender->call, &now);
}

/* Writes a piece of the encoder, and the data that belongs to it. */
static bool write_piece(struct sender *sender, const struct bsp_piece *piece,
			const void *buf, size_t len)
{
	struct bsp_progress *progress = sender->call.progress;
	int r = bsp_fd_write(&sender->to, piece->head, piece->head_len, buf,
			     len);

	if (r)
		return write_failed(sender, r);
	progress->moved += piece->head_len + len;
	if (!write_zeros(sender, piece->zeros))
		return false;
	progress->done = sender->enc.pos;
	progress->data = sender->enc.data_bytes;
	progress->hole = sender->enc.hole_bytes;
	report(sender);
	return true;
}

static bool send_hole(struct sender *sender)
{
	struct bsp_piece piece;

	while (sender->hole) {
		uint64_t len = bsp_min(sender->hole, sender->enc.ops->hole_max);

		sender->hole -= len;
		bsp_encoder_hole(&sender->enc, len, &piece);
		if (!write_piece(sender, &piece, NULL, 0))
			return false;
	}
	return true;
}

static bool send_data(struct sender *sender, const unsigned char *buf,
		      size_t len)
{
	size_t granule = bsp_sparse_granule(sender->sp);
	struct bsp_piece piece;

	while (len) {
		bool zero;
		size_t run = bsp_zero_run(buf, len, granule, &zero);

		if (zero) {
			sender->hole += run;
		} else {
			if (!send_hole(sender))
				return false;
			bsp_encoder_data(&sender->enc, buf, run, &piece);
			if (!write_piece(sender, &piece, buf, run))
				return false;
		}
		buf += run;
		len -= run;
	}
	return true;
}

static bool read_failed(struct sender *sender, uint64_t off, int r)
{
	const char *path = bsp_device_path(sender->sp->dev);

	if (r == -ENODATA)
		return bsp_error_set(sender->call.error, BSP_ERROR_FAILED,
				     "%s ends at byte %" PRIu64
				     " or before: it shrank while it was sent",
				     path,
				     off + bsp_sparse_granule(sender->sp));
	return bsp_error_set_errno(sender->call.error, -r,
				   "read %s at byte %" PRIu64, path, off);
}

/* Holes that were sent cannot be taken back. */
static bool was_misled(struct sender *sender)
{
	g_autofree char *why = NULL;

	if (!sender->trusting || !atomic_load(&sender->sp->distrusted))
		return false;
	why = bsp_sparse_false_zeros(sender->sp);
	return !bsp_error_set(
		sender->call.error, BSP_ERROR_FAILED,
		"%s; the stream may lack data: send it again with known=off",
		why);
}

static bool send_chunks(struct sender *sender, struct bsp_chunk_reader *reader)
{
	struct bsp_chunk chunk;
	struct bsp_piece piece;
	int r;

	bsp_encoder_begin(&sender->enc, &piece);
	if (!write_piece(sender, &piece, NULL, 0))
		return false;
	while ((r = bsp_chunk_reader_next(reader, &chunk)) > 0) {
		if (bsp_transfer_is_interrupted(&sender->call))
			return bsp_transfer_interrupted(&sender->call);
		if (was_misled(sender))
			return false;
		if (!chunk.data)
			sender->hole += chunk.len;
		else if (!send_data(sender, chunk.data, (size_t)chunk.len))
			return false;
		if (sender->hole)
			report(sender);
	}
	if (r == 0 && !send_hole(sender))
		return false;
	if (r < 0)
		return read_failed(sender, chunk.off, r);
	if (was_misled(sender))
		return false;
	bsp_encoder_end(&sender->enc, &piece);
	return write_piece(sender, &piece, NULL, 0);
}

/* Checks options->from, and sets the start of the stream. */
static bool check_start(struct sender *sender)
{
	uint64_t from = sender->call.options->from, size = sender->enc.size;

	if (from &&
	    !bsp_stream_format_info(sender->call.options->format)->resumable)
		return bsp_error_set(
			sender->call.error, BSP_ERROR_USAGE,
			"only a native stream can start at an offset");
	if (from > size)
		return bsp_error_set(sender->call.error, BSP_ERROR_USAGE,
				     "the start, %" PRIu64
				     ", is past the end of %s, %" PRIu64,
				     from, bsp_device_path(sender->sp->dev),
				     size);
	sender->enc.start =
		from == size ? size : bsp_align_down(from, sender->sp->shift);
	return true;
}

bool bsp_send(struct bsp_sparse *sp, int to,
	      const struct bsp_transfer_options *options,
	      struct bsp_progress *ret_progress, GError **error)
{
	struct sender sender = { .sp = sp };
	struct bsp_chunk_reader *reader;
	struct bsp_progress *progress;
	bool sent;

	if (!bsp_transfer_begin(&sender.call, options, ret_progress, error))
		return false;
	options = sender.call.options;
	progress = sender.call.progress;
	sender.trusting = !atomic_load(&sp->distrusted);
	sender.enc.ops = bsp_stream_format_info(options->format)->encoder;
	sender.enc.size = bsp_sparse_size(sp);
	sender.enc.granule = bsp_sparse_granule(sp);
	sender.to = (struct bsp_fd){ to, options->interrupted, options->data };
	if (!check_start(&sender))
		return false;
	progress->size_known = true;
	progress->size = sender.enc.size;
	progress->start = progress->done = sender.enc.start;
	bsp_fd_widen(to);
	reader = bsp_chunk_reader_new(sp, sender.enc.start, sender.enc.size);
	if (!reader)
		return bsp_error_set_errno(error, ENOMEM, "send %s",
					   bsp_device_path(sp->dev));
	sent = send_chunks(&sender, reader);
	bsp_chunk_reader_free(reader);
	return sent;
}
