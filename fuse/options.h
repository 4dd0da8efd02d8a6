/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command line of blksparsefs, parsed into struct options. The parser
 * prints help, version and errors itself, so that main() only has to exit.
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

/* A device and the name of its file. */
struct source {
	char *name;
	const char *path;
};

struct options {
	GPtrArray *sources;  /* struct source; at least one, but for all */
	bool all;	     /* show every block device */
	GPtrArray *matches;  /* char *: patterns of their names; none: all */
	GPtrArray *operands; /* char *; the strings below point into them */
	const char *mountpoint;
	struct bsp_sparse_options sparse;
	char *sizes; /* the options behind sparse, for messages; or NULL */
	unsigned max_read; /* bytes; 0: the kernel's default */
	bool foreground;
	bool writable;
	bool background;    /* scan the whole device while a file is open */
	bool without_uring; /* even if the kernel offers io_uring */
	enum bsp_tail tail;
	struct fuse_args fuse; /* the arguments of libfuse */
};

/* Parses the command line. On false the program must exit with *ret_status:
 * after help or version, or after an error, which was printed. Call
 * options_done() in either case. */
bool options_parse(int argc, char **argv, struct options *ret, int *ret_status);

void options_done(struct options *options);

#endif
