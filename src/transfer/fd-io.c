/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads and writes wait in poll(), which returns now and then, and not in
 * read() or write(): a signal that comes just before one of these would go
 * unnoticed until the other end does something, which may be never. That makes
 * descriptors with O_NONBLOCK work as well.
 */
#include "transfer/fd-io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/range.h"

enum {
	LOOK_MS = 200,	      /* how often interrupted() is called */
	PIPE_BYTES = 1 << 20, /* the default of /proc/sys/fs/pipe-max-size */
};

void bsp_fd_widen(int fd)
{
	(void)fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES);
}

/* Waits until the descriptor is ready, or a call on it returns its error. */
static int wait_for(const struct bsp_fd *stream, short events)
{
	struct pollfd poll_fd = { .fd = stream->fd, .events = events };
	int timeout = stream->interrupted ? LOOK_MS : -1;
	int n;

	do {
		if (stream->interrupted && stream->interrupted(stream->data))
			return -ECANCELED;
		n = poll(&poll_fd, 1, timeout);
	} while (n == 0 || (n < 0 && errno == EINTR));
	return n < 0 ? -errno : 0;
}

bool bsp_fd_is_ready(const struct bsp_fd *from, int ms)
{
	struct pollfd poll_fd = { .fd = from->fd, .events = POLLIN };

	return poll(&poll_fd, 1, ms) > 0;
}

static bool again(ssize_t n)
{
	return n < 0 && (errno == EINTR || errno == EAGAIN);
}

ssize_t bsp_fd_read(const struct bsp_fd *from, void *buf, size_t len)
{
	ssize_t n;
	int r;

	do {
		r = wait_for(from, POLLIN);
		if (r)
			return r;
		n = read(from->fd, buf, len);
	} while (again(n));
	return n < 0 ? -errno : n;
}

/* Takes n bytes off the front of iov. */
static void advance(struct iovec iov[2], size_t n)
{
	for (int i = 0; i < 2; i++) {
		size_t part = bsp_min(n, iov[i].iov_len);

		iov[i].iov_base = (char *)iov[i].iov_base + part;
		iov[i].iov_len -= part;
		n -= part;
	}
}

int bsp_fd_write(const struct bsp_fd *to, const void *head, size_t head_len,
		 const void *buf, size_t len)
{
	struct iovec iov[2] = { { (void *)head, head_len },
				{ (void *)buf, len } };

	while (iov[0].iov_len + iov[1].iov_len > 0) {
		int r = wait_for(to, POLLOUT);
		ssize_t n;

		if (r)
			return r;
		n = writev(to->fd, iov, 2);
		if (n < 0 && !again(n))
			return -errno;
		if (n > 0)
			advance(iov, (size_t)n);
	}
	return 0;
}
