/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A handler is one function on one thread: it begins the request, and passes
 * struct request, with a copy of the arguments, to the reply. So it needs no
 * thread-local data. Errors of the reply itself are ignored: the kernel then
 * has no caller for it any more.
 */
#include "request.h"

#include <errno.h>
#include <glib.h>
#include <syslog.h>
#include <time.h>

#include "log.h"

static int64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

struct request request_begin(fuse_req_t req, const char *name, const char *op,
			     uint64_t off, uint64_t len)
{
	return (struct request){
		.req = req,
		.name = name,
		.op = op,
		.off = off,
		.len = len,
		.start_ns = log_shows(LOG_DEBUG) ? now_ns() : 0,
	};
}

static void log_request(const struct request *request, int64_t result)
{
	if (request->start_ns == 0)
		return;
	log_line(LOG_DEBUG,
		 "%s: %s off=%" G_GUINT64_FORMAT " len=%" G_GUINT64_FORMAT
		 " result=%" G_GINT64_FORMAT " us=%" G_GINT64_FORMAT "%s%s%s",
		 request->name, request->op, request->off, request->len, result,
		 (now_ns() - request->start_ns) / 1000, result < 0 ? " (" : "",
		 result < 0 ? g_strerror((int)-result) : "",
		 result < 0 ? ")" : "");
}

/* Ends the request; the reply follows. */
static void end(const struct request *request, int64_t result)
{
	log_request(request, result);
	in_flight_end(request->slot);
}

void reply_error(const struct request *request, int error)
{
	end(request, error);
	(void)fuse_reply_err(request->req, -error);
}

void reply_entry(const struct request *request,
		 const struct fuse_entry_param *entry)
{
	/*
	 * Inode 0 means that the name does not exist.
	 */
	end(request, entry->ino ? 0 : -ENOENT);
	(void)fuse_reply_entry(request->req, entry);
}

void reply_link(const struct request *request, const char *target)
{
	end(request, 0);
	(void)fuse_reply_readlink(request->req, target);
}

void reply_attr(const struct request *request, const struct stat *st,
		double timeout)
{
	end(request, 0);
	(void)fuse_reply_attr(request->req, st, timeout);
}

void reply_statfs(const struct request *request, const struct statvfs *st)
{
	end(request, 0);
	(void)fuse_reply_statfs(request->req, st);
}

void reply_xattr_size(const struct request *request, size_t size)
{
	end(request, (int64_t)size);
	(void)fuse_reply_xattr(request->req, size);
}

void reply_data(const struct request *request, const char *buf, size_t len)
{
	end(request, (int64_t)len);
	(void)fuse_reply_buf(request->req, buf, len);
}

void reply_written(const struct request *request, size_t len)
{
	end(request, (int64_t)len);
	(void)fuse_reply_write(request->req, len);
}

void reply_offset(const struct request *request, uint64_t off)
{
	end(request, (int64_t)off);
	(void)fuse_reply_lseek(request->req, (off_t)off);
}

void reply_ioctl(const struct request *request, const void *data, size_t len)
{
	end(request, 0);
	(void)fuse_reply_ioctl(request->req, 0, data, len);
}

bool reply_open(const struct request *request, const struct fuse_file_info *fi)
{
	end(request, 0);
	return fuse_reply_open(request->req, fi) != -ENOENT;
}
