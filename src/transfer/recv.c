/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Receiving a stream into a device, a file, or an object.
 *
 * A decoder turns the bytes of the stream into events (stream.h); the receiver
 * reads for it, and writes data and holes to the target.
 *
 * bsp_recv() opens the target and has it alone. It needs no map: a stream
 * passes over the target once, in order. A hole is zeroed when it comes, by the
 * cheapest method of the device (zero-range.h), but for the parts that the
 * device knows to be zero (known.h): nothing was written there before. An
 * emptied file has nothing to zero. bsp_recv_into() leaves all this to the
 * object: holes become markers.
 *
 * However a stream ends, the receiver makes durable the part that came whole,
 * and progress->done is its end. Past that the target may hold anything: the
 * last frame may have been written in part.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/device.h"
#include "base/error.h"
#include "base/range.h"
#include "base/zero.h"
#include "sparse/sparse.h"
#include "transfer/fd-io.h"
#include "stream/format.h"
#include "device/zero-range.h"
#include "transfer/transfer.h"

enum {
	KNOWN_SHIFT = 12, /* log2 of the unit of known zeros */
};

#define CHECK_EACH (UINT64_C(512) << 20)
#define KNOWN_MAX (UINT64_C(512) << 20) /* of one answer */

struct receiver {
	struct bsp_transfer call;
	const char *path;
	struct bsp_decoder dec;
	struct bsp_fd from;
	struct bsp_sparse *sp;	/* the target, or NULL: it is at path */
	struct bsp_device *dev; /* the target's; NULL until it is open */
	bool made;		/* the file was created or emptied here */
	uint64_t unknown_to;	/* up to there the device knew of no zeros */
	const char *layer;	/* that knew the last zeros, or NULL */
	uint64_t unchecked;	/* bytes of known zeros since the last check */
};

/* --- The target --- */

static bool is_regular_or_missing(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? errno == ENOENT : S_ISREG(st.st_mode);
}

static bool check_size(struct receiver *recv)
{
	struct bsp_device_info info;

	bsp_device_get_info(recv->dev, &info);
	if (!recv->dec.sized)
		return true;
	if (info.size < recv->dec.size)
		return bsp_error_set(recv->call.error, BSP_ERROR_TOO_SMALL,
				     "%s is too small: it has %" PRIu64
				     " bytes, and %" PRIu64
				     " are to come; nothing was written",
				     recv->path, info.size, recv->dec.size);
	if (!info.is_block && info.size != recv->dec.size)
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

	recv->made = !recv->call.options->resume &&
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

static bool open_target(struct receiver *recv)
{
	const struct bsp_decoder *dec = &recv->dec;

	if (dec->start && !recv->call.options->resume)
		return bsp_error_set(
			recv->call.error, BSP_ERROR_FAILED,
			"the stream starts at byte %" PRIu64
			"; if the target is good up to that byte, use --resume",
			dec->start);
	if (!(recv->sp ? take_object(recv) : open_path(recv)))
		return false;
	recv->call.progress->size_known = dec->sized;
	recv->call.progress->size = dec->size;
	recv->call.progress->start = recv->call.progress->done = dec->start;
	return true;
}

/* Makes the name of a new file durable. */
static int sync_directory(const char *path)
{
	g_autofree char *directory = g_path_get_dirname(path);
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = 0;

	if (fd < 0)
		return 0; /* a directory without read permission */
	if (fsync(fd) < 0 && errno != EINVAL)
		r = -errno;
	close(fd);
	return r;
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
	if (!r && recv->made)
		r = sync_directory(recv->path);
	return r;
}

/* --- Pieces --- */

static bool failed_at(struct receiver *recv, const char *verb, uint64_t off,
		      int r)
{
	if (r == -ECANCELED)
		return bsp_transfer_interrupted(&recv->call);
	return bsp_error_set_errno(recv->call.error, -r,
				   "%s %s at byte %" PRIu64, verb, recv->path,
				   off);
}

static void report(struct receiver *recv, uint64_t done)
{
	struct bsp_progress *progress = recv->call.progress;

	progress->done = done;
	progress->moved = recv->dec.at;
	bsp_transfer_report(&recv->call, progress);
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

static ssize_t put(struct receiver *recv, uint64_t off, const void *buf,
		   size_t len)
{
	return recv->sp ? bsp_sparse_write(recv->sp, off, buf, len)
			: bsp_device_write_all(recv->dev, off, buf, len);
}

static bool write_data(struct receiver *recv)
{
	const struct bsp_decoder *dec = &recv->dec;
	ssize_t n;

	if (!check_room(recv))
		return false;
	n = put(recv, dec->off, dec->data, (size_t)dec->len);
	/* After a short count, another write returns the reason. */
	if (n >= 0 && (uint64_t)n < dec->len) {
		ssize_t more = put(recv, dec->off + (uint64_t)n, dec->data + n,
				   (size_t)dec->len - (size_t)n);

		n = more < 0 ? more : n + more;
	}
	if (n < 0 || (uint64_t)n < dec->len)
		return failed_at(recv, "write", dec->off,
				 n < 0 ? (int)n : -EIO);
	recv->call.progress->data += dec->len;
	report(recv, dec->off + dec->len);
	return true;
}

/* In an object a hole becomes markers, which make_durable() flushes. */
static bool punch_hole(struct receiver *recv)
{
	const struct bsp_decoder *dec = &recv->dec;
	int r;

	if (!check_room(recv) || !grow_object(recv, dec->off + dec->len))
		return false;
	r = bsp_sparse_fallocate(recv->sp,
				 FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 dec->off, dec->len);
	if (r)
		return failed_at(recv, "zero", dec->off, r);
	recv->call.progress->hole += dec->len;
	report(recv, dec->off + dec->len);
	return true;
}

/* Which layers answer: changes with the table, or the file, of any of them. */
static uint64_t layers_of(struct bsp_device *dev)
{
	struct bsp_medium medium = { 0 };

	if (dev->ops->medium)
		dev->ops->medium(dev, BSP_DEPTH_ALL, &medium);
	return medium.layers;
}

/*
 * Returns the end of the zeros in [off, end) that the device knows to start at
 * off, or off; then recv->unknown_to is past it. The answer counts only if no
 * layer was exchanged meanwhile: the old one may tell of blocks that are the
 * device's no longer.
 */
static uint64_t ask_zeros(struct receiver *recv, uint64_t off, uint64_t end)
{
	struct bsp_device *dev = recv->dev;
	uint64_t layers = layers_of(dev);
	struct bsp_known_answer answer =
		dev->ops->known(dev, 0, true, off, end);
	uint64_t zeros = answer.end == end
				 ? end
				 : bsp_align_down(answer.end, KNOWN_SHIFT);

	recv->layer = answer.layer;
	if (answer.zeros && zeros > off && layers_of(dev) == layers)
		return zeros;
	recv->unknown_to =
		bsp_align_up(bsp_max(answer.end, off + 1), KNOWN_SHIFT);
	return off;
}

/* The same, where a part of a block may be among the bytes that were written
 * just before off, or where the device need not be asked. */
static uint64_t known_zeros(struct receiver *recv, uint64_t off, uint64_t end)
{
	uint64_t block = bsp_align_up(off + 1, KNOWN_SHIFT);

	if (!recv->dev->ops->known ||
	    recv->call.options->zero_mode != BSP_ZERO_UNMAP)
		recv->unknown_to = end;
	else if (off % (1 << KNOWN_SHIFT))
		recv->unknown_to = bsp_max(recv->unknown_to, block);
	return off < recv->unknown_to ? off : ask_zeros(recv, off, end);
}

/* Reads one block in half a GiB of the zeros that the device knew. */
static bool check_known(struct receiver *recv, uint64_t off, uint64_t end)
{
	size_t len = (size_t)bsp_min(end - off, 1 << KNOWN_SHIFT);
	char *buf;
	ssize_t n;
	bool zero;

	if (recv->unchecked && recv->unchecked + (end - off) < CHECK_EACH) {
		recv->unchecked += end - off;
		return true;
	}
	recv->unchecked = end - off;
	buf = bsp_buffer_new(1 << KNOWN_SHIFT);
	if (!buf)
		return failed_at(recv, "read", off, -ENOMEM);
	n = recv->dev->ops->read_through(recv->dev, off, buf, len);
	zero = n < 0 || bsp_is_zero(buf, (size_t)n);
	free(buf);
	return zero ||
	       bsp_error_set(recv->call.error, BSP_ERROR_FAILED,
			     "%s said that a block of %s at byte %" PRIu64
			     " is zero, and it is not",
			     recv->layer ? recv->layer : "a layer below",
			     recv->path, off);
}

/* Zeroes a step of [off, end), or skips known zeros. Sets *ret_next to where
 * to go on. */
static bool zero_step(struct receiver *recv, uint64_t off, uint64_t end,
		      uint64_t *ret_next)
{
	const struct bsp_transfer_options *options = recv->call.options;
	uint64_t zeros;
	int r;

	*ret_next = end;
	if (recv->made || options->target_is_zero)
		return true;
	zeros = known_zeros(recv, off, bsp_min(end, off + KNOWN_MAX));
	if (zeros > off) {
		*ret_next = zeros;
		return check_known(recv, off, zeros);
	}
	end = bsp_min(end, recv->unknown_to);
	*ret_next = bsp_min(
		end, off + bsp_device_zero_step(recv->dev, options->zero_mode));
	r = bsp_device_zero(recv->dev, options->zero_mode, off,
			    *ret_next - off);
	return !r || failed_at(recv, "zero", off, r);
}

static bool zero_hole(struct receiver *recv)
{
	const struct bsp_decoder *dec = &recv->dec;
	uint64_t off = dec->off, end = dec->off + dec->len, next;

	if (!check_room(recv))
		return false;
	for (; off < end; off = next) {
		if (!zero_step(recv, off, end, &next))
			return false;
		recv->call.progress->hole += next - off;
		report(recv, next);
		if (bsp_transfer_is_interrupted(&recv->call))
			return failed_at(recv, "zero", next, -ECANCELED);
	}
	return true;
}

/* --- The stream --- */

static bool read_more(struct receiver *recv)
{
	size_t len;
	void *space = bsp_decoder_space(&recv->dec, &len);
	ssize_t n = bsp_fd_read(&recv->from, space, len);

	if (n == -ECANCELED)
		return failed_at(recv, "read", 0, (int)n);
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
			ok = write_data(recv);
			break;
		case BSP_STREAM_HOLE:
			ok = recv->sp ? punch_hole(recv) : zero_hole(recv);
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

static bool run(struct receiver *recv)
{
	bool received = receive(recv);
	int r;

	if (!recv->dev)
		return received;
	if (received)
		recv->call.progress->phase = BSP_PHASE_FLUSH;
	r = make_durable(recv);
	if (r)
		recv->call.progress->done = 0;
	if (r && received)
		received = bsp_error_set_errno(recv->call.error, -r,
					       "make %s durable", recv->path);
	if (!recv->sp)
		bsp_device_close(recv->dev);
	return received;
}

static bool check_options(const struct bsp_transfer_options *options,
			  GError **error)
{
	if (options->resume &&
	    !bsp_stream_format_info(options->format)->resumable)
		return bsp_error_set(error, BSP_ERROR_USAGE,
				     "only a native stream can be resumed");
	/* The last piece may have been written in part. */
	if (options->resume && options->target_is_zero)
		return bsp_error_set(
			error, BSP_ERROR_USAGE,
			"a target that is resumed cannot be all zeros");
	return true;
}

static bool receive_all(struct receiver *recv, int from)
{
	const struct bsp_transfer_options *options = recv->call.options;
	void *buffer;
	bool received;

	recv->from =
		(struct bsp_fd){ from, options->interrupted, options->data };
	if (!check_options(options, recv->call.error))
		return false;
	if (posix_memalign(&buffer, BSP_BUFFER_ALIGN, BSP_STREAM_BUFFER))
		return bsp_error_set_errno(recv->call.error, ENOMEM,
					   "receive %s", recv->path);
	bsp_stream_format_info(options->format)
		->decoder_init(&recv->dec, buffer);
	bsp_fd_widen(from);
	received = run(recv);
	free(buffer);
	return received;
}

bool bsp_recv(int from, const char *path,
	      const struct bsp_transfer_options *options,
	      struct bsp_progress *ret_progress, GError **error)
{
	struct receiver recv = { .path = path };

	return bsp_transfer_begin(&recv.call, options, ret_progress, error) &&
	       receive_all(&recv, from);
}

bool bsp_recv_into(int from, struct bsp_sparse *sp,
		   const struct bsp_transfer_options *options,
		   struct bsp_progress *ret_progress, GError **error)
{
	struct receiver recv = { .path = sp->dev->path, .sp = sp };

	return bsp_transfer_begin(&recv.call, options, ret_progress, error) &&
	       receive_all(&recv, from);
}
