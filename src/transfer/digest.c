/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The digest file of an object: a chunk reader reads ahead (chunk-reader.h),
 * while threads compute the digests of the chunks before (digester.h). Known
 * holes are not read.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/error.h"
#include "transfer/chunk-reader.h"
#include "transfer/digester.h"
#include "transfer/transfer.h"

/* The reader keeps the parts that are in work. */
G_STATIC_ASSERT((int)BSP_CHUNKS_KEPT > (int)BSP_DIGESTER_PARTS);

struct digesting {
	struct bsp_transfer call;
	struct bsp_sparse *sp;
	struct bsp_digester *digester;
	struct bsp_digest_encoder *enc;
	bool trusting; /* the layers below were right about zeros at first */
};

/* A bsp_write_fn. */
static int write_digest(void *data, const void *buf, size_t len)
{
	struct digesting *d = data;
	int r = bsp_transfer_put_digest(&d->call, buf, len);

	d->call.progress->moved += r ? 0 : len;
	return r;
}

static bool was_misled(struct digesting *d)
{
	return bsp_transfer_was_misled(&d->call, d->sp, d->trusting,
				       "the digest may be wrong: compute it "
				       "again");
}

/* After each call of the digester, with its result. */
static bool digested(struct digesting *d, int r)
{
	struct bsp_progress *progress = d->call.progress;

	progress->done = bsp_digester_pos(d->digester);
	progress->data = d->enc->data_bytes;
	progress->hole = progress->done - progress->data;
	bsp_transfer_report(&d->call, progress);
	return !r || bsp_transfer_digest_failed(&d->call, r);
}

static bool take(struct digesting *d, const struct bsp_chunk *chunk)
{
	return digested(
		d, chunk->data ? bsp_digester_start(d->digester, chunk->data,
						    (size_t)chunk->len)
			       : bsp_digester_hole(d->digester, chunk->len));
}

static bool digest_chunks(struct digesting *d, struct bsp_chunk_reader *reader)
{
	struct bsp_digest_identity identity;
	struct bsp_chunk chunk;
	int r;

	while ((r = bsp_chunk_reader_next(reader, &chunk)) > 0) {
		if (bsp_transfer_is_interrupted(&d->call))
			return bsp_transfer_interrupted(&d->call);
		if (was_misled(d) || !take(d, &chunk))
			return false;
	}
	if (!digested(d, bsp_digester_wait(d->digester)))
		return false;
	if (r < 0)
		return bsp_transfer_read_failed(&d->call, d->sp, chunk.off, r);
	if (was_misled(d))
		return false;
	r = bsp_digest_encoder_end(d->enc, &identity);
	return !r || bsp_transfer_digest_failed(&d->call, r);
}

static bool digest_all(struct digesting *d)
{
	uint64_t size = d->call.progress->size;
	uint32_t chunk = bsp_transfer_chunk(&d->call);
	struct bsp_chunk_reader *reader = bsp_chunk_reader_new(d->sp, 0, size);
	bool done = false;
	int r = -ENOMEM;

	d->enc = calloc(1, sizeof(*d->enc));
	d->digester = bsp_digester_new(size, chunk, d->call.options->jobs,
				       bsp_digester_encode, d->enc);
	if (reader && d->enc && d->digester)
		r = bsp_digest_encoder_begin(d->enc, size, chunk, write_digest,
					     d);
	if (r == 0)
		done = digest_chunks(d, reader);
	else if (r == -ENOMEM)
		(void)bsp_error_set_errno(d->call.error, ENOMEM, "digest %s",
					  bsp_device_path(d->sp->dev));
	else
		(void)bsp_transfer_digest_failed(&d->call, r);
	/* The digester may work on buffers of the reader. */
	bsp_digester_free(d->digester);
	if (d->enc)
		bsp_digest_encoder_clear(d->enc);
	free(d->enc);
	bsp_chunk_reader_free(reader);
	return done;
}

static bool check_options(const struct digesting *d)
{
	if (!bsp_transfer_check_digest(&d->call))
		return false;
	return d->call.options->digest ||
	       bsp_error_set(d->call.error, BSP_ERROR_USAGE,
			     "no function takes the digest");
}

bool bsp_digest(struct bsp_sparse *sp,
		const struct bsp_transfer_options *options,
		struct bsp_progress *ret_progress, GError **error)
{
	struct digesting d = { .sp = sp };
	bool done = false;

	if (!bsp_transfer_begin(&d.call, options, ret_progress, error))
		return false;
	if (check_options(&d)) {
		d.trusting = !atomic_load(&sp->distrusted);
		d.call.progress->size_known = true;
		d.call.progress->size = bsp_sparse_size(sp);
		done = digest_all(&d);
	}
	bsp_transfer_end(&d.call);
	return done;
}
