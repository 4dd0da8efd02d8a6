/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Receiving a stream into a device, a file, or an object.
 *
 * A decoder turns the bytes of the stream into events (stream.h); the receiver
 * reads for it, and passes data and holes to the target, which writes and
 * zeroes several of them at once (target.h).
 *
 * bsp_recv() opens the target and has it alone. It needs no map: a stream
 * passes over the target once, in order, and writes no byte twice.
 * bsp_recv_into() writes to an object; holes become markers.
 *
 * However a stream ends, the receiver has the target finish all that came
 * whole, makes it durable, and sets progress->done to its end. Past that the
 * target may hold anything: data behind a failed write may be there. An
 * interrupt must not lose that part, so a target on a network gets some time to
 * make it durable.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "device/device.h"
#include "base/error.h"
#include "base/range.h"
#include "sparse/sparse.h"
#include "transfer/base-check.h"
#include "transfer/fd-io.h"
#include "stream/format.h"
#include "transfer/target.h"
#include "transfer/transfer.h"

/* A stream that delivers nothing for so long has stalled. */
enum { STALL_MS = 2 };

enum { SAME_PARTS = 512 };

/* An interrupted call waits so long for a target on a network to make all
 * durable. */
enum { DURABLE_MS = 5000 };

struct receiver {
	struct bsp_transfer call;
	const char *path;
	struct bsp_decoder dec;
	struct bsp_fd from;
	struct bsp_sparse *sp;	 /* the target, or NULL: it is at path */
	struct bsp_device *dev;	 /* the target's; NULL until it is open */
	struct bsp_sparse *base; /* dev, to be compared; NULL: no increment */
	bool made;		 /* the file was created or emptied here */
	struct bsp_target *target;
	/* Parts of the base that lie behind the good part of the target. */
	struct same {
		uint64_t end, len;
	} same[SAME_PARTS];
	unsigned n_same;
};

/* --- The target --- */

static bool is_regular_or_missing(const char *path)
{
	struct stat st;

	if (bsp_is_nbd_uri(path))
		return false;
	return stat(path, &st) < 0 ? errno == ENOENT : S_ISREG(st.st_mode);
}

static bool check_size(struct receiver *recv)
{
	struct bsp_device_info info;

	bsp_device_get_info(recv->dev, &info);
	if (!recv->dec.sized)
		return true;
	/* A file gets its size when it is known to be the base. */
	if (recv->dec.based && recv->dev->ops->resize)
		return true;
	if (info.size < recv->dec.size)
		return bsp_error_set(recv->call.error, BSP_ERROR_TOO_SMALL,
				     "%s is too small: it has %" PRIu64
				     " bytes, and %" PRIu64
				     " are to come; nothing was written",
				     recv->path, info.size, recv->dec.size);
	if (recv->dev->ops->resize && info.size != recv->dec.size)
		return bsp_error_set(
			recv->call.error, BSP_ERROR_FAILED,
			"%s is not the target that the stream resumes: it has %" PRIu64
			" bytes, and should have %" PRIu64
			"; nothing was written",
			recv->path, info.size, recv->dec.size);
	return true;
}

static bool open_path(struct receiver *recv)
{
	const struct bsp_decoder *dec = &recv->dec;

	recv->made = !recv->call.options->resume && !dec->based &&
		     is_regular_or_missing(recv->path);
	/* An image cannot be created empty. make_durable() sets its size: that
	 * of a raw stream is known only at the end. */
	recv->dev = recv->made ? bsp_device_create_image(recv->path,
							 bsp_max(dec->size, 1),
							 NULL, recv->call.error)
			       : bsp_device_open_writable(recv->path,
							  recv->call.error);
	if (!recv->dev)
		return false;
	if (recv->dev->ops->set_trust)
		recv->dev->ops->set_trust(recv->dev, recv->call.options->known);
	if (!check_size(recv)) {
		bsp_device_close(recv->dev);
		recv->dev = NULL;
		return false;
	}
	return true;
}

/* Grows an object that is shorter than size. */
static bool grow_object(struct receiver *recv, uint64_t size)
{
	int r = 0;

	if (bsp_sparse_size(recv->sp) < size)
		r = bsp_sparse_truncate(recv->sp, size);
	return r == 0 || bsp_error_set_errno(recv->call.error, -r,
					     "make %s %" PRIu64 " bytes long",
					     recv->path, size);
}

static bool take_object(struct receiver *recv)
{
	recv->dev = recv->sp->dev;
	if (!recv->dev->info.writable)
		recv->dev = NULL;
	if (!recv->dev)
		return bsp_error_set_errno(recv->call.error, EROFS,
					   "write to %s", recv->path);
	if (recv->dec.sized && recv->dec.size > recv->sp->capacity) {
		recv->dev = NULL;
		return bsp_error_set(recv->call.error, BSP_ERROR_TOO_SMALL,
				     "%s is too small: it has %" PRIu64
				     " bytes, and %" PRIu64
				     " are to come; nothing was written",
				     recv->path, recv->sp->capacity,
				     recv->dec.size);
	}
	return grow_object(recv, recv->dec.sized ? recv->dec.size : 0);
}

/* Takes an increment onto its base, and gives a file the new size. */
static bool check_base(struct receiver *recv)
{
	struct bsp_device *dev = recv->dev;
	uint64_t size = recv->dec.size;
	int r;

	recv->base = bsp_sparse_new_borrowing(
		dev,
		&(struct bsp_sparse_options){
			.known = recv->call.options->known },
		recv->call.error);
	if (!recv->base || !bsp_base_check(&recv->call, &recv->dec, recv->base))
		return false;
	if (!dev->ops->resize || dev->info.size == size)
		return true;
	r = dev->ops->resize(dev, size);
	if (r)
		return bsp_error_set_errno(recv->call.error, -r,
					   "make %s %" PRIu64 " bytes long",
					   recv->path, size);
	dev->info.size = size;
	return true;
}

static bool open_based(struct receiver *recv)
{
	if (recv->sp)
		return bsp_error_set(recv->call.error, BSP_ERROR_USAGE,
				     "an object takes no increment");
	if (!open_path(recv))
		return false;
	if (check_base(recv))
		return true;
	bsp_sparse_free(recv->base);
	recv->base = NULL;
	bsp_device_close(recv->dev);
	recv->dev = NULL;
	return false;
}

/* A digest file that stays after its target has changed would prove a base that
 * is there no longer. */
static bool check_whole(const struct receiver *recv)
{
	const char *base = recv->call.options->base;

	return !base || recv->dec.based ||
	       bsp_error_set(recv->call.error, BSP_ERROR_FAILED,
			     "the stream is not an increment, and %s would no "
			     "longer be the digest of %s: remove it, and leave "
			     "out --base; nothing was written",
			     base, recv->path);
}

static bool open_target(struct receiver *recv)
{
	const struct bsp_decoder *dec = &recv->dec;

	if (dec->start && !recv->call.options->resume)
		return bsp_error_set(
			recv->call.error, BSP_ERROR_FAILED,
			"the stream starts at byte %" PRIu64
			"; if the target is good up to that byte, use --resume",
			dec->start);
	if (!check_whole(recv))
		return false;
	recv->call.progress->increment = dec->based;
	if (!(dec->based ? open_based(recv)
	      : recv->sp ? take_object(recv)
			 : open_path(recv)))
		return false;
	bsp_target_begin(recv->target,
			 &(struct bsp_target_options){
				 .dev = recv->dev,
				 .sp = recv->sp,
				 .zero_mode = recv->call.options->zero_mode,
				 .is_zero = recv->made ||
					    recv->call.options->target_is_zero,
				 .granule = dec->granule,
				 .start = dec->start,
			 });
	recv->call.progress->size_known = dec->sized;
	recv->call.progress->size = dec->size;
	recv->call.progress->start = recv->call.progress->done = dec->start;
	return true;
}

/* Makes durable all that was written. */
static int make_durable(struct receiver *recv)
{
	struct bsp_device *dev = recv->dev;
	uint64_t size =
		recv->dec.sized ? recv->dec.size : recv->call.progress->done;
	int r = 0;

	if (recv->sp)
		return bsp_sparse_flush(recv->sp, NULL, NULL);
	if (recv->made)
		r = dev->ops->resize(dev, size);
	if (!r)
		r = dev->ops->flush(dev);
	return r;
}

/* --- Pieces --- */

/* Notes how far the target is good. It counts parts of the base as holes. */
static void note_good(struct receiver *recv)
{
	struct bsp_progress *progress = recv->call.progress;
	unsigned n = 0;

	bsp_target_good(recv->target, progress);
	while (n < recv->n_same && recv->same[n].end <= progress->done)
		progress->same += recv->same[n++].len;
	recv->n_same -= n;
	memmove(recv->same, recv->same + n, recv->n_same * sizeof(*recv->same));
	progress->hole -= progress->same;
}

static void report(struct receiver *recv)
{
	recv->call.progress->moved = recv->dec.at;
	note_good(recv);
	bsp_transfer_report(&recv->call, recv->call.progress);
}

/* A stream of unknown size, a raw one, may turn out to be too long. */
static bool check_room(struct receiver *recv)
{
	const struct bsp_decoder *dec = &recv->dec;
	struct bsp_device_info info;

	bsp_device_get_info(recv->dev, &info);
	if (recv->made ||
	    bsp_range_clamp(dec->off, dec->len, info.size) == dec->len)
		return true;
	return bsp_error_set(recv->call.error, BSP_ERROR_TOO_SMALL,
			     "%s is too small: it has %" PRIu64
			     " bytes, and there are more to come",
			     recv->path, info.size);
}

static bool pass_piece(struct receiver *recv)
{
	const struct bsp_decoder *dec = &recv->dec;
	bool ok;

	if (!check_room(recv))
		return false;
	ok = dec->data ? bsp_target_data(recv->target, dec->off, dec->data,
					 (size_t)dec->len)
		       : bsp_target_hole(recv->target, dec->off, dec->len);
	if (ok)
		report(recv);
	return ok;
}

/* A part of the base stays as it is. */
static bool keep_same(struct receiver *recv)
{
	const struct bsp_decoder *dec = &recv->dec;

	if (!bsp_base_check_part(&recv->call, dec, recv->base))
		return false;
	if (recv->n_same == SAME_PARTS) {
		bsp_target_finish(recv->target);
		note_good(recv);
		if (recv->n_same == SAME_PARTS)
			return false; /* the target's error, or an interrupt */
	}
	recv->same[recv->n_same++] =
		(struct same){ dec->off + dec->len, dec->len };
	if (!bsp_target_skip(recv->target, dec->off, dec->len))
		return false;
	report(recv);
	return true;
}

/* --- The stream --- */

/* Gives the decoder a place for len bytes of the next piece. */
static bool make_room(struct receiver *recv, size_t len)
{
	void *place = bsp_target_room(recv->target, len);

	if (place)
		bsp_decoder_set_buffer(&recv->dec, place);
	return place;
}

/* Has data written that waits for more, if there is none. */
static bool submit_if_stalled(struct receiver *recv)
{
	size_t len = bsp_decoder_in_buffer(&recv->dec);

	if (!bsp_target_is_waiting(recv->target) ||
	    bsp_fd_is_ready(&recv->from, STALL_MS))
		return true;
	bsp_target_submit(recv->target);
	return !len || make_room(recv, len);
}

static bool read_more(struct receiver *recv)
{
	size_t len, whole = bsp_decoder_in_buffer(&recv->dec);
	void *space = bsp_decoder_space(&recv->dec, &len);
	ssize_t n;

	if (whole == len && !make_room(recv, len))
		return false;
	if (!submit_if_stalled(recv))
		return false;
	space = bsp_decoder_space(&recv->dec, &len);
	n = bsp_fd_read(&recv->from, space, len);
	if (n == -ECANCELED)
		return false;
	if (n < 0)
		return bsp_error_set_errno(recv->call.error, (int)-n,
					   "read the stream at byte %" PRIu64,
					   recv->dec.at);
	bsp_decoder_fill(&recv->dec, (size_t)n);
	recv->call.progress->moved = recv->dec.at;
	return true;
}

static bool broke(struct receiver *recv, uint64_t at, const char *why)
{
	return bsp_error_set(recv->call.error, BSP_ERROR_FAILED,
			     "the stream broke at byte %" PRIu64 ": %s", at,
			     why);
}

/* Refuses bytes after the end: their sender expects them to count. */
static bool check_end(struct receiver *recv)
{
	char byte;
	ssize_t n = recv->dec.eof ? 0 : bsp_fd_read(&recv->from, &byte, 1);

	if (n > 0)
		return broke(recv, recv->dec.at, "more bytes follow its end");
	recv->call.progress->size_known = true;
	recv->call.progress->size = recv->dec.size;
	return true;
}

/* Returns false after an error, which is set unless it is the target's, or an
 * interrupt. */
static bool receive(struct receiver *recv)
{
	for (;;) {
		bool ok = true;

		switch (bsp_decoder_step(&recv->dec)) {
		case BSP_STREAM_WANT:
			ok = read_more(recv);
			break;
		case BSP_STREAM_BEGIN:
			ok = open_target(recv);
			break;
		case BSP_STREAM_DATA:
		case BSP_STREAM_HOLE:
			ok = pass_piece(recv);
			break;
		case BSP_STREAM_SAME:
			ok = keep_same(recv);
			break;
		case BSP_STREAM_END:
			return check_end(recv);
		case BSP_STREAM_BROKEN:
			return broke(recv, recv->dec.broke_at, recv->dec.why);
		}
		if (!ok)
			return false;
	}
}

/* Sets the error of the target. Returns false. */
static bool target_failed(struct receiver *recv,
			  const struct bsp_target_error *failed)
{
	g_clear_error(recv->call.error);
	/* The interrupt has ended a connection of the target. */
	if (failed->interrupted)
		return bsp_transfer_interrupted(&recv->call);
	if (failed->liar)
		return bsp_error_set(
			recv->call.error, BSP_ERROR_FAILED,
			"%s said that a block of %s at byte %" PRIu64
			" is zero, and it is not",
			failed->liar, recv->path, failed->off);
	return bsp_transfer_device_failed(
		&recv->call, recv->dev, failed->error, "%s %s at byte %" PRIu64,
		failed->verb, recv->path, failed->off);
}

/* Finishes what was received, and makes it durable. Returns whether all is
 * there. */
static bool finish(struct receiver *recv, bool received)
{
	struct bsp_progress *progress = recv->call.progress;
	struct bsp_target_error failed;
	int r;

	bsp_target_finish(recv->target);
	note_good(recv);
	failed = bsp_target_error(recv->target);
	/* Its place is before that of any error in the stream. */
	if (failed.error)
		received = target_failed(recv, &failed);
	else if (progress->done < recv->dec.size)
		received = false; /* an interrupt left holes */
	if (received)
		progress->phase = BSP_PHASE_FLUSH;
	bsp_transfer_be_patient(&recv->call, DURABLE_MS);
	r = make_durable(recv);
	if (r)
		progress->done = 0;
	if (r == -EINTR && received)
		received = bsp_transfer_interrupted(&recv->call);
	else if (r && received)
		received = bsp_transfer_device_failed(&recv->call, recv->dev, r,
						      "make %s durable",
						      recv->path);
	return received;
}

static bool run(struct receiver *recv)
{
	GError **ret_error = recv->call.error;
	GError *error = NULL;
	bool received;

	recv->call.error = &error;
	received = receive(recv);
	if (recv->dev)
		received = finish(recv, received);
	if (!received && !error)
		(void)bsp_transfer_interrupted(&recv->call);
	if (error)
		g_propagate_error(ret_error, error);
	return received;
}

static bool check_options(const struct bsp_transfer_options *options,
			  GError **error)
{
	if (options->resume &&
	    !bsp_stream_format_info(options->format)->resumable)
		return bsp_error_set(error, BSP_ERROR_USAGE,
				     "only a native stream can be resumed");
	if ((options->base || options->check_base) &&
	    options->format != BSP_STREAM_FORMAT_NATIVE)
		return bsp_error_set(error, BSP_ERROR_USAGE,
				     "only a native stream can be an "
				     "increment");
	/* The last piece may have been written in part. */
	if (options->resume && options->target_is_zero)
		return bsp_error_set(
			error, BSP_ERROR_USAGE,
			"a target that is resumed cannot be all zeros");
	/* The digest was removed when the target began to change. */
	if (options->resume && options->base)
		return bsp_error_set(error, BSP_ERROR_USAGE,
				     "a target that is resumed has no digest: "
				     "use --check-base");
	return true;
}

static bool receive_all(struct receiver *recv, int from)
{
	const struct bsp_transfer_options *options = recv->call.options;
	bool received;

	recv->from =
		(struct bsp_fd){ from, options->interrupted, options->data };
	if (!check_options(options, recv->call.error))
		return false;
	recv->target = bsp_target_new(&recv->call);
	if (!recv->target)
		return bsp_error_set_errno(recv->call.error, ENOMEM,
					   "receive %s", recv->path);
	bsp_stream_format_info(options->format)
		->decoder_init(&recv->dec, bsp_target_room(recv->target,
							   BSP_STREAM_BUFFER));
	bsp_fd_widen(from);
	received = run(recv);
	bsp_target_free(recv->target);
	bsp_sparse_free(recv->base);
	if (!recv->sp)
		bsp_device_close(recv->dev);
	return received;
}

static bool begin_and_receive(struct receiver *recv, int from,
			      const struct bsp_transfer_options *options,
			      struct bsp_progress *ret_progress, GError **error)
{
	bool received;

	if (!bsp_transfer_begin(&recv->call, options, ret_progress, error))
		return false;
	received = receive_all(recv, from);
	bsp_transfer_end(&recv->call);
	return received;
}

bool bsp_recv(int from, const char *path,
	      const struct bsp_transfer_options *options,
	      struct bsp_progress *ret_progress, GError **error)
{
	struct receiver recv = { .path = path };

	return begin_and_receive(&recv, from, options, ret_progress, error);
}

bool bsp_recv_into(int from, struct bsp_sparse *sp,
		   const struct bsp_transfer_options *options,
		   struct bsp_progress *ret_progress, GError **error)
{
	struct receiver recv = { .path = sp->dev->path, .sp = sp };

	return begin_and_receive(&recv, from, options, ret_progress, error);
}
