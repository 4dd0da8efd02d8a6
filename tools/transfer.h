/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The common part of blksparse send, blksparse recv and blksparse digest:
 * options, progress and summary.
 */
#ifndef TRANSFER_H
#define TRANSFER_H

#include "blksparse.h"
#include "new-file.h"
#include "progress.h"

/* The common options, and that for the format of a stream; each command adds
 * them to its own. */
extern const GOptionEntry transfer_entries[];
extern const GOptionEntry transfer_format_entries[];

struct transfer {
	const char *command; /* send, recv, digest */
	const char *path;
	bool json_to_stdout;
	int64_t started;
	struct progress progress;
	struct new_file *digest;   /* gets the digest, or NULL */
	struct bsp_sparse *source; /* that is read; NULL: a stream */
};

/* Checks that the options go together. Returns an exit status. */
int transfer_check_options(void);

/*
 * Begins a transfer: sets format, progress and interrupted
 * in *ret_options.
 */
void transfer_begin(struct transfer *transfer, const char *command,
		    const char *path, struct bsp_transfer_options *ret_options);

/*
 * Ends a transfer: writes the summary, unless the user wants none. error is
 * NULL after a success; it becomes part of a JSON summary, and the caller shows
 * it. Returns an exit status: whether the summary was written.
 */
int transfer_end(struct transfer *transfer, const struct bsp_progress *done,
		 const GError *error);

/* Reserves room for the beginning of the digest of size bytes. Returns as
 * new_file_reserve(). */
int transfer_reserve_digest(struct new_file *digest, uint64_t size);

/* Whether a standard descriptor is open on the device or the file at path, or
 * on one that shares bytes with it. */
bool transfer_is_on(int fd, const char *path);

/* Checks that the user gave one path. Returns an exit status. */
int transfer_one_path(char **paths, const char *what);

#endif
