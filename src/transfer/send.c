/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sending an object as a stream.
 *
 * A chunk reader delivers data and holes in order (chunk-reader.h). An encoder
 * gives the bytes to write for them (stream.h), and the sender writes these to
 * the descriptor. It holds a hole back until data or the end follows, so that a
 * hole is one frame, in however many parts the reader found it. Zero granules
 * inside a data chunk join such a hole.
 *
 * If another system knows the changes, only these are read, and the digests of
 * the other chunks are those of the digest file.
 *
 * An increment holds back the parts of its base in the same way. The sender
 * compares each chunk of the digest file as soon as its digest is computed
 * (digester.h).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/range.h"
#include "transfer/fd-io.h"
#include "transfer/chunk-reader.h"
#include "transfer/digest-file.h"
#include "transfer/digester.h"
#include "stream/format.h"
#include "base/zero.h"
#include "transfer/transfer.h"

/* The reader keeps the parts whose digests are computed. */
G_STATIC_ASSERT((int)BSP_CHUNKS_KEPT > (int)BSP_DIGESTER_PARTS);

struct sender {
	struct bsp_transfer call;
	struct bsp_sparse *sp;
	struct bsp_encoder enc;
	struct bsp_fd to;
	uint64_t hole; /* bytes of the hole that is held back */
	bool trusting; /* the layers below were right about zeros at first */
	struct bsp_digester *digester;	   /* or NULL */
	struct bsp_digest_encoder *digest; /* the digest file; or NULL */

	/* Of an increment: */
	struct bsp_digest_file *since; /* or NULL */
	struct bsp_sha256 *same_sum;   /* of the part that is held back */
	uint64_t same;		       /* bytes of it; then there is no hole */
	uint64_t at;		       /* the offset of the next chunk */
	bool failed;		       /* the error is set */
};

/* One frame covers at most that much of the base, so that the stream flows. */
#define SAME_MAX (UINT64_C(1) << 30)

static bool write_failed(struct sender *sender, int r)
{
	if (r == -ECANCELED)
		return bsp_transfer_interrupted(&sender->call);
	if (r == -EPIPE)
		return bsp_error_set(
			sender->call.error, BSP_ERROR_FAILED,
			"write the stream: %s: its receiver has ended; see the message of that",
			g_strerror(EPIPE));
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

	now.done += sender->hole + sender->same;
	now.hole += sender->hole;
	now.same += sender->same;
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
	progress->same = sender->enc.same_bytes;
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

/* --- Increments --- */

static bool send_same(struct sender *sender)
{
	unsigned char root[BSP_SHA256];
	struct bsp_piece piece;
	uint64_t len = sender->same;

	if (!len)
		return true;
	sender->same = 0;
	bsp_sha256_end(sender->same_sum, root);
	bsp_encoder_same(&sender->enc, len, root, &piece);
	return write_piece(sender, &piece, NULL, 0);
}

/* Holds back a part of the base. Parts join. */
static bool add_same(struct sender *sender, uint64_t len,
		     const unsigned char *digest)
{
	if (!send_hole(sender))
		return false;
	if (digest)
		bsp_sum_add(sender->same_sum, sender->at, digest);
	sender->same += len;
	return sender->same < SAME_MAX || send_same(sender);
}

/* Sends one chunk that has changed. */
static bool send_changed(struct sender *sender, uint64_t len,
			 const unsigned char *content)
{
	if (!send_same(sender))
		return false;
	if (content)
		return send_data(sender, content, (size_t)len);
	sender->hole += len;
	return true;
}

/*
 * How much of [at, at + len), which is zeros or one chunk with that digest, is
 * as in the base: whole chunks of both. Returns 0 or -errno.
 */
static int compare(struct sender *sender, uint64_t len,
		   const unsigned char *digest, uint64_t *ret_same)
{
	const struct bsp_digest_identity *base = sender->enc.base;
	const unsigned char *old;
	uint64_t at = sender->at, end;
	int r;

	*ret_same = 0;
	if (at >= base->size)
		return 0;
	r = bsp_digest_file_find(sender->since, at, &old, &end);
	if (r || !old != !digest)
		return r;
	if (digest) {
		/* Equal digests are of equal lengths. */
		if (memcmp(old, digest, BSP_SHA256) == 0)
			*ret_same = len;
		return 0;
	}
	end = bsp_min(end, at + len);
	if (end != base->size || end != sender->enc.size)
		end -= end % base->chunk;
	*ret_same = bsp_max(end, at) - at;
	return 0;
}

static bool since_failed(struct sender *sender, int r)
{
	const char *path = sender->call.options->since;

	if (r == -ESTALE)
		return bsp_error_set(sender->call.error, BSP_ERROR_FAILED,
				     "%s was changed while it was in use",
				     path);
	return bsp_error_set_errno(sender->call.error, -r, "read %s", path);
}

/* Sends [at, at + len), which is zeros or one chunk, as an increment. */
static bool send_increment(struct sender *sender, uint64_t len,
			   const unsigned char *digest,
			   const unsigned char *content)
{
	uint64_t chunk = sender->enc.base->chunk, part;

	for (; len; len -= part, sender->at += part) {
		int r = compare(sender, len, digest, &part);

		if (r)
			return since_failed(sender, r);
		if (part) {
			if (!add_same(sender, part, digest))
				return false;
			continue;
		}
		part = bsp_min(len, chunk);
		if (!send_changed(sender, part, content))
			return false;
	}
	return true;
}

/* --- Digests --- */

/* A bsp_digester_fn. */
static int take_chunk(void *data, uint64_t len, const unsigned char *digest,
		      const unsigned char *content)
{
	struct sender *sender = data;
	int r = 0;

	if (sender->digest)
		r = bsp_digester_encode(sender->digest, len, digest, content);
	if (r || !sender->since)
		return r;
	sender->failed = !send_increment(sender, len, digest, content);
	return sender->failed ? -ECANCELED : 0;
}

static bool digested(struct sender *sender, int r)
{
	if (r && !sender->failed)
		return bsp_transfer_digest_failed(&sender->call, r);
	return !r;
}

/* --- Parts that have not changed, as another system knows --- */

/* Takes a part that was not read from the digest file of the base. */
static int take_unchanged(struct sender *sender, uint64_t len)
{
	uint64_t stop = sender->at + len, end, part;
	const unsigned char *digest;
	int r = 0;

	for (; sender->at < stop && !r; sender->at += part) {
		r = bsp_digest_file_find(sender->since, sender->at, &digest,
					 &end);
		if (r)
			break;
		if (digest)
			end = sender->at + sender->enc.base->chunk;
		part = bsp_min(end, stop) - sender->at;
		if (sender->digest)
			r = bsp_digester_encode(sender->digest, part, digest,
						NULL);
		if (!r && !add_same(sender, part, digest)) {
			sender->failed = true;
			r = -ECANCELED;
		}
	}
	return r;
}

static bool send_unchanged(struct sender *sender, uint64_t len)
{
	struct bsp_piece piece;
	int r;

	if (!sender->since) {
		if (!send_hole(sender))
			return false;
		bsp_encoder_same(&sender->enc, len, NULL, &piece);
		return write_piece(sender, &piece, NULL, 0);
	}
	if (!digested(sender, bsp_digester_wait(sender->digester)))
		return false;
	r = take_unchanged(sender, len);
	bsp_digester_skip(sender->digester, sender->at);
	if (r && !sender->failed)
		return since_failed(sender, r);
	return !r;
}

/* The changes are no more than promises from the outside, until now. */
static bool check_changes(struct sender *sender)
{
	return bsp_transfer_check_changes(&sender->call);
}

static int start_chunk(struct sender *sender, const struct bsp_chunk *chunk)
{
	return chunk->data ? bsp_digester_start(sender->digester, chunk->data,
						(size_t)chunk->len)
			   : bsp_digester_hole(sender->digester, chunk->len);
}

/* Sends a chunk of the reader, while its digests are computed. Chunks of an
 * increment are sent by take_chunk(). */
static bool send_chunk(struct sender *sender, const struct bsp_chunk *chunk)
{
	if (chunk->unchanged)
		return send_unchanged(sender, chunk->len);
	if (sender->digester && !digested(sender, start_chunk(sender, chunk)))
		return false;
	if (sender->since)
		return true;
	if (chunk->data)
		return send_data(sender, chunk->data, (size_t)chunk->len);
	sender->hole += chunk->len;
	return true;
}

static bool finish_chunks(struct sender *sender)
{
	return !sender->digester ||
	       digested(sender, bsp_digester_wait(sender->digester));
}

/* A digest file that was changed meanwhile hides changes of the source. */
static bool check_since(struct sender *sender)
{
	int r = sender->since ? bsp_digest_file_check(sender->since) : 0;

	return !r || since_failed(sender, r);
}

/* The digest comes first: after an error of it, the stream has no end. */
static bool end_digest(struct sender *sender)
{
	struct bsp_digest_identity identity;

	return !sender->digest ||
	       digested(sender,
			bsp_digest_encoder_end(sender->digest, &identity));
}

static bool was_misled(struct sender *sender)
{
	return bsp_transfer_was_misled(
		&sender->call, sender->sp, sender->trusting,
		"the stream may lack data: send it again");
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
		if (!send_chunk(sender, &chunk))
			return false;
		if (sender->hole || sender->same)
			report(sender);
	}
	if (!finish_chunks(sender) ||
	    (r == 0 && (!send_hole(sender) || !send_same(sender))))
		return false;
	if (r < 0)
		return bsp_transfer_read_failed(&sender->call, sender->sp,
						chunk.off, r);
	if (was_misled(sender) || !check_since(sender) ||
	    !check_changes(sender) || !end_digest(sender))
		return false;
	bsp_encoder_end(&sender->enc, &piece);
	return write_piece(sender, &piece, NULL, 0);
}

/* Checks options->from, and sets the start of the stream. */
static bool check_start(struct sender *sender)
{
	uint64_t from = sender->call.options->from, size = sender->enc.size;
	uint64_t unit;

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
	unit = sender->since ? sender->enc.base->chunk
			     : bsp_sparse_granule(sender->sp);
	sender->enc.start = from == size ? size : from - from % unit;
	return true;
}

/* A bsp_write_fn. */
static int write_digest(void *data, const void *buf, size_t len)
{
	const struct sender *sender = data;

	return bsp_transfer_put_digest(&sender->call, buf, len);
}

/* Checks the options of a digest. */
static bool check_digest(struct sender *sender)
{
	if (!sender->call.options->digest)
		return true;
	if (sender->enc.start)
		return bsp_error_set(
			sender->call.error, BSP_ERROR_USAGE,
			"a stream that starts at an offset has no digest: all "
			"must be read for it");
	if (sender->call.options->changes && !sender->since)
		return bsp_error_set(sender->call.error, BSP_ERROR_USAGE,
				     "a stream of changes has a digest only "
				     "with the digest of the base");
	return bsp_transfer_check_digest(&sender->call);
}

/* Checks options->from_snap, which an increment in some formats needs. */
static bool check_snap(struct sender *sender)
{
	const struct bsp_transfer_options *options = sender->call.options;
	bool wanted = (options->since || options->changes) &&
		      bsp_stream_format_info(options->format)->snapshots;

	sender->enc.from_snap = options->from_snap;
	if (wanted && !options->from_snap)
		return bsp_error_set(sender->call.error, BSP_ERROR_USAGE,
				     "an rbd diff of what differs from a "
				     "digest, or of changes, needs the name of "
				     "the snapshot that holds the base");
	if (options->from_snap && !wanted)
		return bsp_error_set(sender->call.error, BSP_ERROR_USAGE,
				     "the name of a snapshot goes only with an "
				     "rbd diff of what differs from a digest, "
				     "or of changes");
	if (wanted && (!*options->from_snap ||
		       strlen(options->from_snap) > BSP_STREAM_SNAP_MAX))
		return bsp_error_set(sender->call.error, BSP_ERROR_USAGE,
				     "the name of a snapshot has 1 to %d bytes",
				     BSP_STREAM_SNAP_MAX);
	return true;
}

/* Whether a stream of changes can name its base. */
static bool check_base(struct sender *sender)
{
	const struct bsp_transfer_options *options = sender->call.options;

	if (!options->changes)
		return true;
	sender->call.progress->increment = true;
	if (!sender->enc.ops->same)
		return bsp_error_set(sender->call.error, BSP_ERROR_USAGE,
				     "a raw stream cannot hold changes");
	if (!options->since && !options->from_snap)
		return bsp_error_set(sender->call.error, BSP_ERROR_USAGE,
				     "a native stream of changes needs the "
				     "digest of the base, by which the "
				     "receiver knows it");
	return bsp_transfer_check_changes_of(&sender->call, sender->sp);
}

/* Opens the digest file of the base. */
static bool open_since(struct sender *sender)
{
	const struct bsp_transfer_options *options = sender->call.options;

	if (!options->since)
		return true;
	if (!sender->enc.ops->same)
		return bsp_error_set(sender->call.error, BSP_ERROR_USAGE,
				     "a raw stream cannot hold what differs "
				     "from a digest");
	sender->since =
		bsp_digest_file_open(options->since, sender->call.error);
	if (!sender->since)
		return false;
	sender->enc.base = bsp_digest_file_identity(sender->since);
	sender->call.progress->increment = true;
	if (options->chunk && options->chunk != sender->enc.base->chunk)
		return bsp_error_set(sender->call.error, BSP_ERROR_USAGE,
				     "the chunks of %s have %" PRIu32 " bytes",
				     options->since, sender->enc.base->chunk);
	if (sender->enc.granule > sender->enc.base->chunk)
		return bsp_error_set(sender->call.error, BSP_ERROR_USAGE,
				     "a granule is larger than the chunks of "
				     "%s, %" PRIu32 " bytes",
				     options->since, sender->enc.base->chunk);
	return true;
}

static int start_digest_file(struct sender *sender, uint32_t chunk)
{
	sender->digest = calloc(1, sizeof(*sender->digest));
	return sender->digest
		       ? bsp_digest_encoder_begin(sender->digest,
						  sender->enc.size, chunk,
						  write_digest, sender)
		       : -ENOMEM;
}

/* Returns 0 or -errno. */
static int start_digests(struct sender *sender)
{
	const struct bsp_transfer_options *options = sender->call.options;
	uint32_t chunk = sender->since ? sender->enc.base->chunk
				       : bsp_transfer_chunk(&sender->call);

	if (!options->digest && !sender->since)
		return 0;
	sender->at = sender->enc.start;
	sender->same_sum = bsp_sha256_new();
	sender->digester = bsp_digester_new(sender->enc.size, chunk,
					    options->jobs, take_chunk, sender);
	if (!sender->same_sum || !sender->digester)
		return -ENOMEM;
	bsp_digester_skip(sender->digester, sender->at);
	return options->digest ? start_digest_file(sender, chunk) : 0;
}

static void end_digests(struct sender *sender)
{
	bsp_digester_free(sender->digester);
	bsp_sha256_free(sender->same_sum);
	if (sender->digest)
		bsp_digest_encoder_clear(sender->digest);
	free(sender->digest);
	bsp_digest_file_close(sender->since);
}

/* Whole chunks are read, to compute their digests. That at the end of the base
 * or of the content is another one if the sizes differ. */
static void set_changes(struct sender *sender, struct bsp_chunk_reader *reader)
{
	const struct bsp_digest_identity *base = sender->enc.base;
	uint64_t size = sender->enc.size;
	uint64_t unit = sender->enc.granule, limit = size;

	if (base) {
		unit = base->chunk;
		limit = bsp_min(size, base->size);
		if (size != base->size)
			limit -= limit % unit;
	}
	bsp_chunk_reader_set_changes(reader, sender->call.options->changes,
				     unit, limit);
}

static bool send_all(struct sender *sender)
{
	struct bsp_chunk_reader *reader = bsp_chunk_reader_new(
		sender->sp, sender->enc.start, sender->enc.size);
	int r = reader ? start_digests(sender) : -ENOMEM;
	bool sent = false;

	if (!r && sender->call.options->changes)
		set_changes(sender, reader);
	if (!r)
		sent = send_chunks(sender, reader);
	else if (r != -ENOMEM)
		(void)bsp_transfer_digest_failed(&sender->call, r);
	else
		(void)bsp_error_set_errno(sender->call.error, ENOMEM, "send %s",
					  bsp_device_path(sender->sp->dev));
	/* The digester may work on buffers of the reader. */
	bsp_digester_free(sender->digester);
	sender->digester = NULL;
	bsp_chunk_reader_free(reader);
	return sent;
}

bool bsp_send(struct bsp_sparse *sp, int to,
	      const struct bsp_transfer_options *options,
	      struct bsp_progress *ret_progress, GError **error)
{
	struct sender sender = { .sp = sp };
	struct bsp_progress *progress;
	bool sent = false;

	if (!bsp_transfer_begin(&sender.call, options, ret_progress, error))
		return false;
	options = sender.call.options;
	progress = sender.call.progress;
	sender.trusting = !atomic_load(&sp->distrusted);
	sender.enc.ops = bsp_stream_format_info(options->format)->encoder;
	sender.enc.size = bsp_sparse_size(sp);
	sender.enc.granule = bsp_sparse_granule(sp);
	sender.to = (struct bsp_fd){ to, options->interrupted, options->data };
	if (check_snap(&sender) && check_base(&sender) && open_since(&sender) &&
	    check_start(&sender) && check_digest(&sender)) {
		progress->size_known = true;
		progress->size = sender.enc.size;
		progress->start = progress->done = sender.enc.start;
		bsp_fd_widen(to);
		sent = send_all(&sender);
	}
	end_digests(&sender);
	bsp_transfer_end(&sender.call);
	return sent;
}
