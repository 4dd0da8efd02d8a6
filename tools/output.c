/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Output goes through write(2) and not through stdio, which loses the errno of
 * a delayed write.
 */
#include "output.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "interrupt.h"
#include "message.h"
#include "progress.h"

static int fd_of(const struct output *out)
{
	return out->fd ? out->fd : STDOUT_FILENO;
}

static int write_all(int fd, const char *buf, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, buf, len);

		if (n < 0 && errno == EINTR && !interrupted(NULL))
			continue;
		if (n < 0)
			return -errno;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

int output_flush(struct output *out)
{
	if (out->error < 0 || out->used == 0)
		return out->error;
	if (out->progress)
		progress_clear(out->progress);
	out->error = write_all(fd_of(out), out->buf, out->used);
	out->used = 0;
	return out->error;
}

int output_write(void *data, const void *buf, size_t len)
{
	struct output *out = data;

	while (len > 0 && out->error == 0) {
		size_t part = MIN(len, sizeof(out->buf) - out->used);

		memcpy(out->buf + out->used, buf, part);
		out->used += part;
		buf = (const char *)buf + part;
		len -= part;
		if (out->used == sizeof(out->buf))
			output_flush(out);
	}
	return out->error;
}

int output_finish(struct output *out)
{
	if (output_flush(out) == 0 && close(fd_of(out)) < 0)
		out->error = -errno;
	return out->error;
}

int output_failure(const struct output *out)
{
	if (out->error == -EINTR)
		return failure("interrupted");
	return failure("standard output: %s", g_strerror(-out->error));
}

int output_text(const char *text)
{
	struct output out = { 0 };

	output_write(&out, text, strlen(text));
	return output_finish(&out) == 0 ? STATUS_OK : output_failure(&out);
}
