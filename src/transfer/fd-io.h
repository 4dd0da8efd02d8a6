/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading and writing a stream through a descriptor: a pipe, a socket or a
 * file, with O_NONBLOCK or without. Both can be interrupted.
 */
#ifndef BSP_TRANSFER_FD_IO_H
#define BSP_TRANSFER_FD_IO_H

#include "blksparse.h"

/* A descriptor, and a function that can end waiting for it. */
struct bsp_fd {
	int fd;
	bsp_interrupted_fn interrupted; /* or NULL */
	void *data;
};

/* Gives a pipe a larger buffer, if the kernel permits. */
void bsp_fd_widen(int fd);

/* Whether bytes, the end or an error can be read within ms milliseconds. */
bool bsp_fd_is_ready(const struct bsp_fd *from, int ms);

/*
 * Reads up to len bytes. Returns the count, 0 at the end; -ECANCELED when
 * interrupted; or -errno.
 */
ssize_t bsp_fd_read(const struct bsp_fd *from, void *buf, size_t len);

/*
 * Writes all of head, then all of buf. Returns 0, -ECANCELED, or -errno. After
 * an error a part may be written.
 */
int bsp_fd_write(const struct bsp_fd *to, const void *head, size_t head_len,
		 const void *buf, size_t len);

#endif
