/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libfuse 3.14 does not know FUSE over io_uring. It reads and writes through
 * the functions here (fuse_session_custom_io()). They watch the first request,
 * FUSE_INIT, in which the kernel offers io_uring, and its reply, which accepts
 * the offer. They also catch the replies to requests that came by io_uring and
 * pass them to the pool. libfuse still parses requests, tracks interrupts and
 * builds replies.
 *
 * From 3.18 on, libfuse has a transport by io_uring of its own (its option
 * io_uring, lib/fuse_uring.c), if it is built with liburing and libnuma. It is
 * not used, for what was measured with 3.18.3 on two CPUs:
 *
 * - Each CPU has one thread, which runs the handlers. One read of a device that
 *   hangs stopped all requests of that CPU, to other files, to the folder, and
 *   stat.
 * - A handler could pass its request to another thread and return. But while
 *   such threads reply, the thread of the CPU changes the queue without its
 *   lock. With 24 readers, one CPU got no replies any more after 15 s ("Failed
 *   to get a ring SQEs").
 * - That would not be fast either. One reader of 4 KiB at a time was as slow as
 *   through /dev/fuse, and four were slower (0.6 times the reads). With the
 *   handlers on libfuse's own threads, reads are 2 to 3 times as many, and
 *   seeks take less than half the time; so do they with the threads here.
 *
 * The transport here can go when libfuse's serves a CPU while a handler sleeps,
 * and is as fast.
 *
 * The interface: linux/fuse.h of protocol 7.42 or later, which is newer than
 * Debian 12's, Documentation/filesystems/fuse-io-uring.rst and
 * fs/fuse/dev_uring.c in the kernel's source.
 */
#include "uring.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <syslog.h>
#include <unistd.h>

#include "log.h"
#include "mount.h"
#include "uring-pool.h"

/* The upper half of FUSE_OVER_IO_URING, in flags2 of FUSE_INIT. */
#define INIT_2_OVER_IO_URING (UINT32_C(1) << (41 - 32))

enum {
	PAYLOAD_MIN = 8192, /* FUSE_MIN_READ_BUFFER */
	/* Requests that no caller waits for (read-ahead, asynchronous direct
	 * I/O) get fewer entries, so that those of a device that hangs leave
	 * some for the other files. */
	ENTS_FOR_CALLERS = 32, /* of each queue */
};

struct uring {
	/* Fixed after uring_attach(). */
	struct uring_pool *pool;
	size_t page;

	/* Used only by the thread that answers FUSE_INIT. */
	uint64_t init_unique;
	bool offered;
};

/* --- Custom I/O ---------------------------------------------------------- */

static struct uring *uring_of(void *userdata)
{
	const struct mount *mount = userdata;

	return mount->uring;
}

static ssize_t read_request(int fd, void *buf, size_t len, void *userdata)
{
	ssize_t n = read(fd, buf, len);
	const struct fuse_in_header *in = buf;
	const struct fuse_init_in *init = (const void *)(in + 1);

	if (n >= (ssize_t)(sizeof(*in) + sizeof(*init)) &&
	    in->opcode == FUSE_INIT) {
		struct uring *uring = uring_of(userdata);

		uring->init_unique = in->unique;
		uring->offered = (init->flags & FUSE_INIT_EXT) &&
				 (init->flags2 & INIT_2_OVER_IO_URING);
	}
	return n;
}

/* Starts the pool and accepts io_uring in the reply to FUSE_INIT. */
static ssize_t reply_init(struct uring *uring, int fd, struct iovec *iov,
			  int count)
{
	struct fuse_init_out *init = iov[1].iov_base;
	size_t pages = (size_t)init->max_pages * uring->page;
	size_t payload_size = MAX(pages, init->max_write);
	bool ready =
		uring_pool_start(uring->pool, MAX(payload_size, PAYLOAD_MIN));
	ssize_t n;

	if (ready) {
		init->flags |= FUSE_INIT_EXT;
		init->flags2 |= INIT_2_OVER_IO_URING;
		init->max_background =
			(uint16_t)(uring_pool_queue_depth(uring->pool) -
				   ENTS_FOR_CALLERS);
		init->congestion_threshold =
			(uint16_t)(init->max_background / 4 * 3);
	}
	n = writev(fd, iov, count);
	if (ready)
		uring_pool_register(uring->pool, n >= 0);
	else
		log_line(
			LOG_NOTICE,
			"requests come through /dev/fuse, because io_uring is not available");
	return n;
}

static ssize_t write_reply(int fd, struct iovec *iov, int count, void *userdata)
{
	struct uring *uring = uring_of(userdata);
	const struct fuse_out_header *out = iov[0].iov_base;

	/* A notification has unique 0. */
	if (out->unique == 0)
		return writev(fd, iov, count);
	if (uring_pool_has_request(out->unique))
		return uring_pool_reply(iov, count);
	if (uring->offered && out->unique == uring->init_unique) {
		uring->offered = false;
		if (out->error == 0 && count == 2 &&
		    iov[1].iov_len == sizeof(struct fuse_init_out))
			return reply_init(uring, fd, iov, count);
	}
	return writev(fd, iov, count);
}

/* --- Life ---------------------------------------------------------------- */

static bool kernel_offers_uring(void)
{
	int fd = open("/sys/module/fuse/parameters/enable_uring",
		      O_RDONLY | O_CLOEXEC);
	char value = 'N';
	bool offers = fd >= 0 && read(fd, &value, 1) == 1 && value == 'Y';

	if (fd >= 0)
		(void)close(fd);
	return offers;
}

/* A libfuse that was built without custom I/O logs an error here. It is none,
 * unless the kernel offers io_uring. */
static bool use_own_io(struct fuse_session *se)
{
	static const struct fuse_custom_io io = {
		.read = read_request,
		.writev = write_reply,
	};
	int r;

	log_demote_libfuse(true);
	r = fuse_session_custom_io(se, &io, fuse_session_fd(se));
	log_demote_libfuse(false);
	if (r && kernel_offers_uring())
		log_line(
			LOG_WARNING,
			"requests come through /dev/fuse, since io_uring needs a libfuse with custom I/O");
	return r == 0;
}

struct uring *uring_attach(struct fuse_session *se, struct buffers *buffers)
{
	struct uring *uring = calloc(1, sizeof(*uring));

	if (!uring)
		return NULL;
	uring->page = (size_t)sysconf(_SC_PAGESIZE);
	uring->pool = uring_pool_new(se, buffers);
	if (!uring->pool || !use_own_io(se)) {
		uring_free(uring);
		return NULL;
	}
	return uring;
}

bool uring_is_worker(void)
{
	return uring_pool_is_worker();
}

void uring_stop(struct uring *uring)
{
	if (uring)
		uring_pool_stop(uring->pool);
}

void uring_free(struct uring *uring)
{
	if (!uring)
		return;
	uring_pool_free(uring->pool);
	free(uring);
}
