/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Moving the bytes of streams through descriptors: pipes, sockets, files,
 * whether they wait or not, until it is interrupted.
 */
#ifndef BSP_TRANSFER_FD_IO_H
#define BSP_TRANSFER_FD_IO_H

#include "blksparse.h"

/* A descriptor, and who may end the waiting for it. */
struct bsp_fd {
	int fd;
	bsp_interrupted_fn interrupted; /* or NULL */
	void *data;
};

/* Makes a pipe take more at once, where that may be. */
void bsp_fd_widen(int fd);

/*
 * Reads up to len bytes. Returns the count, 0 at the end; -ECANCELED when
 * interrupted; or -errno.
 */
ssize_t bsp_fd_read(const struct bsp_fd *from, void *buf, size_t len);

/*
 * Writes all of head, then all of buf. Returns 0, -ECANCELED, or -errno with
 * some of it perhaps written.
 */
int bsp_fd_write(const struct bsp_fd *to, const void *head, size_t head_len,
		 const void *buf, size_t len);

#endif
