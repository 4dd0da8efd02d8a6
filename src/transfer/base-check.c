/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * To check only the parts that an increment replaces would not do: another
 * content might have these in common with the base. So all of the target is
 * read, or all that the increment leaves as it is.
 *
 * Holes that a layer below knows are not read, but for the places of spot
 * checks (spot-check.c). If one of these is not zero, all is read again, and no
 * layer is asked. The object that knows the holes is used for the check alone:
 * the target is written without it. It never learns from a part that is
 * written: only the parts that stay are read.
 */
#include "transfer/base-check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/range.h"
#include "base/sync-name.h"
#include "transfer/chunk-reader.h"
#include "transfer/digest-file.h"
#include "transfer/digester.h"

/* The reader keeps the parts that are in work. */
G_STATIC_ASSERT((int)BSP_CHUNKS_KEPT > (int)BSP_DIGESTER_PARTS);

/* The target, as it is read. */
struct reading {
	const struct bsp_transfer *call;
	struct bsp_sparse *sp;
	uint64_t pos;
	struct bsp_sha256 *sum;		/* of a part; or NULL */
	struct bsp_digest_encoder *enc; /* of all; or NULL */
};

static bool is_not_base(const struct bsp_transfer *call,
			const struct bsp_device *dev)
{
	return bsp_error_set(call->error, BSP_ERROR_FAILED,
			     "%s does not have the content that the increment "
			     "is based on; nothing was written%s",
			     dev->path,
			     call->options->check_base && !call->options->resume
				     ? "; if an increment onto it broke, use "
				       "--resume as well"
				     : "");
}

/* --- Reading the target --- */

/* A bsp_digester_fn. */
static int take_chunk(void *data, uint64_t len, const unsigned char *digest,
		      const unsigned char *content)
{
	struct reading *reading = data;

	if (reading->sum && digest)
		bsp_sum_add(reading->sum, reading->pos, digest);
	reading->pos += len;
	return reading->enc
		       ? bsp_digester_encode(reading->enc, len, digest, content)
		       : 0;
}

/* Passes all chunks of the reader on. Returns 0 or -errno. */
static int read_all(const struct reading *reading,
		    struct bsp_chunk_reader *reader,
		    struct bsp_digester *digester)
{
	struct bsp_chunk chunk;
	int r;

	while ((r = bsp_chunk_reader_next(reader, &chunk)) > 0) {
		if (bsp_transfer_is_interrupted(reading->call))
			return -ECANCELED;
		r = chunk.data ? bsp_digester_start(digester, chunk.data,
						    (size_t)chunk.len)
			       : bsp_digester_hole(digester, chunk.len);
		if (r)
			return r;
	}
	return r ? r : bsp_digester_wait(digester);
}

/* Reads [off, end) but for known holes, and passes its chunks on. Returns 0 or
 * -errno. */
static int read_chunks(struct reading *reading, uint64_t off, uint64_t end,
		       uint32_t chunk)
{
	struct bsp_chunk_reader *reader =
		bsp_chunk_reader_new_through(reading->sp, off, end);
	struct bsp_digester *digester = bsp_digester_new(
		end, chunk, reading->call->options->jobs, take_chunk, reading);
	int r = -ENOMEM;

	reading->pos = off;
	if (reader && digester) {
		bsp_digester_skip(digester, off);
		r = read_all(reading, reader, digester);
	}
	/* The digester may work on buffers of the reader. */
	bsp_digester_free(digester);
	bsp_chunk_reader_free(reader);
	return r;
}

static bool read_failed(const struct reading *reading, int r)
{
	if (r == -ECANCELED)
		return bsp_transfer_interrupted(reading->call);
	return bsp_transfer_device_failed(reading->call, reading->sp->dev, r,
					  "read %s to compare it with the base",
					  reading->sp->dev->path);
}

/* A bsp_write_fn. */
static int drop(void *data, const void *buf, size_t len)
{
	return 0;
}

/* The identity of the first base->size bytes. Returns 0 or -errno. */
static int identify(struct reading *reading,
		    const struct bsp_digest_identity *base,
		    struct bsp_digest_identity *ret_identity)
{
	int r;

	reading->enc = calloc(1, sizeof(*reading->enc));
	if (!reading->enc)
		return -ENOMEM;
	r = bsp_digest_encoder_begin(reading->enc, base->size, base->chunk,
				     drop, NULL);
	if (!r)
		r = read_chunks(reading, 0, base->size, base->chunk);
	if (!r)
		r = bsp_digest_encoder_end(reading->enc, ret_identity);
	bsp_digest_encoder_clear(reading->enc);
	free(reading->enc);
	return r;
}

/* A layer below may be found to err about holes: then all is read. */
static bool check_all(const struct bsp_transfer *call,
		      const struct bsp_decoder *dec, struct bsp_sparse *sp)
{
	struct reading reading = { .call = call, .sp = sp };
	struct bsp_digest_identity identity;
	bool trusting;
	int r;

	do {
		trusting = !atomic_load(&sp->distrusted);
		r = identify(&reading, &dec->base, &identity);
	} while (!r && trusting && atomic_load(&sp->distrusted));
	if (r)
		return read_failed(&reading, r);
	return bsp_digest_same(&identity, &dec->base) ||
	       is_not_base(call, sp->dev);
}

/* The sum of the part that stays as it is. Returns 0 or -errno. */
static int sum_part(struct reading *reading, const struct bsp_decoder *dec,
		    unsigned char sum[BSP_SHA256])
{
	int r;

	reading->sum = bsp_sha256_new();
	if (!reading->sum)
		return -ENOMEM;
	r = read_chunks(reading, dec->off, dec->off + dec->len,
			dec->base.chunk);
	bsp_sha256_end(reading->sum, sum);
	bsp_sha256_free(reading->sum);
	return r;
}

/* Parts before this one may have passed by false zeros: the target is not known
 * to be good up to here. */
static bool is_misled(const struct bsp_transfer *call, struct bsp_sparse *sp)
{
	g_autofree char *why = bsp_sparse_false_zeros(sp);

	return bsp_error_set(call->error, BSP_ERROR_DIFFERS,
			     "%s: the target may differ from the base before "
			     "that byte, too; use known=off",
			     why);
}

bool bsp_base_check_part(const struct bsp_transfer *call,
			 const struct bsp_decoder *dec, struct bsp_sparse *sp)
{
	struct reading reading = { .call = call, .sp = sp };
	unsigned char sum[BSP_SHA256];
	int r;

	if (!call->options->resume)
		return true; /* all was checked before */
	r = sum_part(&reading, dec, sum);
	if (r)
		return read_failed(&reading, r);
	if (atomic_load(&sp->distrusted))
		return is_misled(call, sp);
	return memcmp(sum, dec->data, BSP_SHA256) == 0 ||
	       bsp_error_set(call->error, BSP_ERROR_DIFFERS,
			     "%s does not have the content that the increment "
			     "is based on, somewhere between byte %" PRIu64
			     " and %" PRIu64,
			     sp->dev->path, dec->off, dec->off + dec->len);
}

/* --- The digest file --- */

/* The file is about to become wrong: removed, it cannot be used again, by any
 * symbolic link. Nor may it come back when the host loses power. */
static bool remove_file(const struct bsp_transfer *call, const char *path)
{
	char *file = realpath(path, NULL);
	int r = 0;

	if (!file || unlink(file) < 0)
		r = -errno;
	if (!r)
		r = bsp_sync_name(file);
	free(file);
	return !r || bsp_error_set_errno(call->error, -r, "remove %s", path);
}

static bool check_file(const struct bsp_transfer *call,
		       const struct bsp_decoder *dec)
{
	const char *path = call->options->base;
	struct bsp_digest_file *file = bsp_digest_file_open(path, call->error);
	bool same;

	if (!file)
		return false;
	same = bsp_digest_same(bsp_digest_file_identity(file), &dec->base);
	bsp_digest_file_close(file);
	if (!same)
		return bsp_error_set(call->error, BSP_ERROR_FAILED,
				     "%s is not the digest of the content that "
				     "the increment is based on; nothing was "
				     "written",
				     path);
	return remove_file(call, path);
}

/* A device may be larger. A file that was resumed may have its new size. */
static bool has_size(const struct bsp_transfer *call,
		     const struct bsp_decoder *dec,
		     const struct bsp_device *dev)
{
	uint64_t size = dev->info.size;

	if (call->options->resume && size == dec->size)
		return true;
	return dev->ops->resize ? size == dec->base.size
				: size >= dec->base.size;
}

bool bsp_base_check(const struct bsp_transfer *call,
		    const struct bsp_decoder *dec, struct bsp_sparse *sp)
{
	const struct bsp_transfer_options *options = call->options;
	const struct bsp_device *dev = sp->dev;

	if (!options->base && !options->check_base)
		return bsp_error_set(
			call->error, BSP_ERROR_FAILED,
			"the stream holds only what differs from its base; to "
			"prove that %s is that base, use --check-base, or "
			"--base with its digest; nothing was written",
			dev->path);
	if (!has_size(call, dec, dev))
		return is_not_base(call, dev);
	if (options->check_base && !options->resume &&
	    !check_all(call, dec, sp))
		return false;
	return !options->base || check_file(call, dec);
}
