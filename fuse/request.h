/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request from the kernel, and the one reply of its handler. With -o
 * log=debug the reply also logs a line:
 *
 *	sdb: read off=4096 len=131072 result=131072 us=85
 *
 * The result is a number of bytes, an offset (lseek) or -errno. us is the time
 * of the handler, without the wait at a gate. The line goes into the log's
 * queue before the reply, so that the lines of one caller have the order of its
 * calls. At other levels a request costs one relaxed load.
 *
 * Until the reply, a request about a file is in flight (in-flight.h). It ends
 * before the reply, so that a caller that got its reply finds it ended.
 */
#ifndef BLKSPARSEFS_REQUEST_H
#define BLKSPARSEFS_REQUEST_H

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/statvfs.h>

#include "in-flight.h"

/* Used by one handler, until it replies. */
struct request {
	fuse_req_t req;
	const char *name; /* of the file or of a new file */
	const char *op;
	uint64_t off, len;
	int64_t start_ns;  /* CLOCK_MONOTONIC; 0: not logged */
	struct slot *slot; /* where it is counted; NULL: nowhere */
};

/* Begins to handle req. name and op must outlive the reply. */
struct request request_begin(fuse_req_t req, const char *name, const char *op,
			     uint64_t off, uint64_t len);

/* Each of these replies; error is 0 or -errno. */
void reply_error(const struct request *request, int error);
void reply_entry(const struct request *request,
		 const struct fuse_entry_param *entry);
void reply_link(const struct request *request, const char *target);
void reply_attr(const struct request *request, const struct stat *st,
		double timeout);
void reply_statfs(const struct request *request, const struct statvfs *st);
void reply_xattr_size(const struct request *request, size_t size);
void reply_data(const struct request *request, const char *buf, size_t len);
void reply_written(const struct request *request, size_t len);
void reply_offset(const struct request *request, uint64_t off);
void reply_ioctl(const struct request *request, const void *data, size_t len);

/* False if the caller was killed: the kernel then sends no release. */
bool reply_open(const struct request *request, const struct fuse_file_info *fi);

#endif
