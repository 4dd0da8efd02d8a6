/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The file is read twice, because its root is at its end: to check it, before
 * anything is done by it, and then again in step with the content. The second
 * time the checksums of records find a change, or the range of the next one, or
 * at the end the root: another digest may have been written over this one.
 */
#include "transfer/digest-file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

struct bsp_digest_file {
	int fd;
	struct bsp_digest_identity identity;
	struct bsp_digest_decoder digests;
	enum bsp_stream_event event; /* the present one, with its range */
	unsigned char buffer[BSP_DIGEST_FULL];
};

/* Steps to the next event that is not WANT. Returns 0 or -errno. */
static int step(struct bsp_digest_file *file)
{
	struct bsp_decoder *dec = &file->digests.dec;

	while ((file->event = bsp_decoder_step(dec)) == BSP_STREAM_WANT) {
		size_t len;
		void *space = bsp_decoder_space(dec, &len);
		ssize_t n = pread(file->fd, space, len, (off_t)dec->at);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n >= 0)
			bsp_decoder_fill(dec, (size_t)n);
	}
	return 0;
}

static int rewind_file(struct bsp_digest_file *file)
{
	bsp_digest_decoder_clear(&file->digests);
	if (!bsp_digest_decoder_init(&file->digests, file->buffer))
		return -ENOMEM;
	return step(file);
}

static bool fail_at(const char *path, uint64_t at, const char *why,
		    GError **error)
{
	return bsp_error_set(error, BSP_ERROR_FAILED,
			     "%s: broken at byte %" PRIu64 ": %s", path, at,
			     why);
}

/* Reads all of it. */
static bool check(struct bsp_digest_file *file, const char *path,
		  GError **error)
{
	struct bsp_decoder *dec = &file->digests.dec;
	struct stat st;
	int r;

	if (fstat(file->fd, &st) < 0)
		return bsp_error_set_errno(error, errno, "%s", path);
	if (!S_ISREG(st.st_mode))
		return bsp_error_set(error, BSP_ERROR_USAGE,
				     "%s is not a regular file: it must be "
				     "read twice",
				     path);
	r = rewind_file(file);
	while (!r && file->event != BSP_STREAM_END &&
	       file->event != BSP_STREAM_BROKEN)
		r = step(file);
	if (r)
		return bsp_error_set_errno(error, -r, "read %s", path);
	if (file->event == BSP_STREAM_BROKEN)
		return fail_at(path, dec->broke_at, dec->why, error);
	if ((uint64_t)st.st_size != dec->at)
		return fail_at(path, dec->at, "more bytes follow its end",
			       error);
	file->identity = file->digests.identity;
	return true;
}

static bool open_it(struct bsp_digest_file *file, const char *path,
		    GError **error)
{
	int r;

	/* A fifo is refused, and must not be waited for. */
	file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (file->fd < 0)
		return bsp_error_set_errno(error, errno, "%s", path);
	if (!check(file, path, error))
		return false;
	r = rewind_file(file);
	return !r || bsp_error_set_errno(error, -r, "read %s", path);
}

struct bsp_digest_file *bsp_digest_file_open(const char *path, GError **error)
{
	struct bsp_digest_file *file = calloc(1, sizeof(*file));

	if (!file) {
		(void)bsp_error_set_errno(error, ENOMEM, "read %s", path);
		return NULL;
	}
	if (!open_it(file, path, error)) {
		bsp_digest_file_close(file);
		return NULL;
	}
	return file;
}

const struct bsp_digest_identity *
bsp_digest_file_identity(const struct bsp_digest_file *file)
{
	return &file->identity;
}

int bsp_digest_file_find(struct bsp_digest_file *file, uint64_t off,
			 const unsigned char **ret_digest, uint64_t *ret_end)
{
	const struct bsp_decoder *dec = &file->digests.dec;

	while (file->event == BSP_STREAM_BEGIN || off >= dec->off + dec->len) {
		int r = step(file);

		if (r)
			return r;
		if (file->event != BSP_STREAM_DATA &&
		    file->event != BSP_STREAM_HOLE)
			return -ESTALE;
	}
	if (dec->size != file->identity.size ||
	    dec->granule != file->identity.chunk)
		return -ESTALE;
	*ret_end = dec->off + dec->len;
	*ret_digest = NULL;
	if (dec->data)
		*ret_digest = dec->data +
			      (off - dec->off) / dec->granule * BSP_SHA256;
	return 0;
}

int bsp_digest_file_check(struct bsp_digest_file *file)
{
	int r = 0;

	while (!r && file->event != BSP_STREAM_END &&
	       file->event != BSP_STREAM_BROKEN)
		r = step(file);
	if (r)
		return r;
	return file->event == BSP_STREAM_END &&
			       bsp_digest_same(&file->digests.identity,
					       &file->identity)
		       ? 0
		       : -ESTALE;
}

void bsp_digest_file_close(struct bsp_digest_file *file)
{
	if (!file)
		return;
	bsp_digest_decoder_clear(&file->digests);
	if (file->fd >= 0)
		close(file->fd);
	free(file);
}
