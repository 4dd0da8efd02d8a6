/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Buffered output that reports every error.
 */
#ifndef OUTPUT_H
#define OUTPUT_H

#include <stddef.h>

struct progress;

struct output {
	int fd;			   /* 0: standard output */
	struct progress *progress; /* cleared before a write; or NULL */
	int error; /* -errno of the write that failed; -EINTR: Ctrl-C */
	size_t used;
	char buf[1 << 16];
};

/* A bsp_write_fn; data is a struct output. */
int output_write(void *data, const void *buf, size_t len);

/* Writes what is buffered. Returns 0 or -errno. */
int output_flush(struct output *out);

/* The same, and closes the descriptor. */
int output_finish(struct output *out);

/* Writes text and finishes; reports a failure. Returns an exit status. */
int output_text(const char *text);

/* Prints why output failed. Returns an exit status. */
int output_failure(const struct output *out);

#endif
