/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file that gets its name when it is complete and durable: until then, and
 * after a failure, an older file of that name stays as it is.
 */
#ifndef NEW_FILE_H
#define NEW_FILE_H

#include <stdint.h>

#include "output.h"

struct new_file {
	struct output out; /* for the caller to write to */
	const char *path;
	char *final;	 /* path, or where it leads as a symbolic link */
	char *temporary; /* the name until then; NULL: path is no regular file,
			    or is standard output, and is written directly */
};

/*
 * Opens it. path must stay valid. A block device is refused, and a file that is
 * the source of the command, or a part of it. Returns an exit status after it
 * has shown an error.
 */
int new_file_open(struct new_file *file, const char *path, const char *source);

/*
 * Reserves room for the next bytes, as far as 192 KiB, so that a full file
 * system is known at the start. Where files cannot reserve room it does
 * nothing. Returns an exit status, as new_file_open(), after it has removed the
 * file.
 */
int new_file_reserve(struct new_file *file, uint64_t bytes);

/* Gives the file its name. Shows an error. Returns an exit status. */
int new_file_finish(struct new_file *file);

/* Removes the unfinished file. */
void new_file_discard(struct new_file *file);

#endif
