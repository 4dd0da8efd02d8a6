/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command line.
 */
#ifndef BLKSPARSEFS_OPTIONS_H
#define BLKSPARSEFS_OPTIONS_H

#include <fuse_opt.h>
#include <glib.h>
#include <stdbool.h>

#include "blksparse.h"

enum {
	EXIT_USAGE = 2,
};

/* A device, and the file it is to be. */
struct source {
	char *name;
	const char *path;
};

struct options {
	GPtrArray *sources;  /* struct source; at least one */
	GPtrArray *operands; /* char *, which the strings below point into */
	const char *mountpoint;
	struct bsp_sparse_options sparse;
	char *sizes; /* the options that made sparse, as they were given; or
			NULL */
	unsigned max_read; /* bytes; 0: the kernel's */
	bool foreground;
	bool writable;
	bool background;    /* scan all while a file is open */
	bool without_uring; /* also where the kernel offers it */
	enum bsp_tail tail;
	struct fuse_args fuse; /* for libfuse */
};

/*
 * Reads the command line. If that settles the matter (help, version, a
 * mistake, which it names on stderr) false, and *ret_status is what to exit
 * with. Either way options_done() follows.
 */
bool options_parse(int argc, char **argv, struct options *ret, int *ret_status);

void options_done(struct options *options);

#endif
