/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transfer/transfer.h"

#include <errno.h>
#include <inttypes.h>

#include "base/changes.h"
#include "base/error.h"
#include "stream/digest.h"

bool bsp_transfer_begin(struct bsp_transfer *t,
			const struct bsp_transfer_options *options,
			struct bsp_progress *ret_progress, GError **error)
{
	static const struct bsp_transfer_options defaults;

	t->options = options ? options : &defaults;
	t->progress = ret_progress ? ret_progress : &t->ignored;
	t->error = error;
	*t->progress = (struct bsp_progress){ 0 };
	if (!bsp_error_check_reserved(t->options->reserved,
				      G_N_ELEMENTS(t->options->reserved),
				      error))
		return false;
	t->before = bsp_interrupt_swap((struct bsp_interrupt){ 0 });
	bsp_transfer_be_patient(t, 0);
	return true;
}

void bsp_transfer_be_patient(struct bsp_transfer *t, unsigned patience_ms)
{
	(void)bsp_interrupt_swap((struct bsp_interrupt){
		.interrupted = t->options->interrupted,
		.data = t->options->data,
		.ends = true,
		.patience_ms = patience_ms,
	});
}

void bsp_transfer_end(struct bsp_transfer *t)
{
	(void)bsp_interrupt_swap(t->before);
}

bool bsp_transfer_is_interrupted(const struct bsp_transfer *t)
{
	return t->options->interrupted &&
	       t->options->interrupted(t->options->data);
}

void bsp_transfer_report(const struct bsp_transfer *t,
			 const struct bsp_progress *progress)
{
	if (t->options->progress)
		t->options->progress(t->options->data, progress);
}

bool bsp_transfer_interrupted(const struct bsp_transfer *t)
{
	return bsp_error_set(t->error, BSP_ERROR_INTERRUPTED, "interrupted");
}

static bool is_disconnected(struct bsp_device *dev)
{
	return dev->ops->is_connected &&
	       (dev->ops->has_lost(dev) || !dev->ops->is_connected(dev));
}

bool bsp_transfer_device_failed(const struct bsp_transfer *t,
				struct bsp_device *dev, int r,
				const char *format, ...)
{
	g_autofree char *what = NULL;
	va_list args;

	va_start(args, format);
	what = g_strdup_vprintf(format, args);
	va_end(args);
	if (is_disconnected(dev))
		return bsp_error_set(t->error, BSP_ERROR_FAILED,
				     "%s: the connection to its server was "
				     "lost; check the server, and try again",
				     what);
	return bsp_error_set_errno(t->error, -r, "%s", what);
}

bool bsp_transfer_read_failed(const struct bsp_transfer *t,
			      const struct bsp_sparse *sp, uint64_t off, int r)
{
	const char *path = bsp_device_path(sp->dev);

	/* An interrupt has ended the connections of a network. */
	if (sp->dev->ops->cancel && bsp_transfer_is_interrupted(t))
		return bsp_transfer_interrupted(t);
	if (r == -ENODATA)
		return bsp_error_set(t->error, BSP_ERROR_FAILED,
				     "%s ends at byte %" PRIu64
				     " or before: it shrank while it was read",
				     path, off + (UINT64_C(1) << sp->shift));
	return bsp_transfer_device_failed(
		t, sp->dev, r, "read %s at byte %" PRIu64, path, off);
}

bool bsp_transfer_was_misled(const struct bsp_transfer *t,
			     struct bsp_sparse *sp, bool trusted,
			     const char *advice)
{
	g_autofree char *why = NULL;

	if (!trusted || !atomic_load(&sp->distrusted))
		return false;
	why = bsp_sparse_false_zeros(sp);
	return !bsp_error_set(t->error, BSP_ERROR_FAILED,
			      "%s; %s with known=off", why, advice);
}

bool bsp_transfer_check_changes_of(const struct bsp_transfer *t,
				   struct bsp_sparse *sp)
{
	const struct bsp_changes *changes = t->options->changes;

	return !changes || bsp_changes_size(changes) == bsp_sparse_size(sp) ||
	       bsp_error_set(t->error, BSP_ERROR_USAGE,
			     "the changes are those of %" PRIu64
			     " bytes, and %s has %" PRIu64,
			     bsp_changes_size(changes),
			     bsp_device_path(sp->dev), bsp_sparse_size(sp));
}

bool bsp_transfer_check_changes(const struct bsp_transfer *t)
{
	return !t->options->changes ||
	       bsp_changes_check(t->options->changes, t->error);
}

bool bsp_transfer_check_digest(const struct bsp_transfer *t)
{
	return bsp_digest_is_chunk(bsp_transfer_chunk(t)) ||
	       bsp_error_set(t->error, BSP_ERROR_USAGE,
			     "a chunk of a digest is a power of two from 4K "
			     "to 1M");
}

uint32_t bsp_transfer_chunk(const struct bsp_transfer *t)
{
	return t->options->chunk ? t->options->chunk : BSP_CHUNK_DEFAULT;
}

int bsp_transfer_put_digest(const struct bsp_transfer *t, const void *buf,
			    size_t len)
{
	return t->options->digest(t->options->data, buf, len);
}

bool bsp_transfer_digest_failed(const struct bsp_transfer *t, int r)
{
	return bsp_error_set_errno(t->error, -r, "write the digest");
}
