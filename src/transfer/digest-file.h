/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A digest file that is open, to compare content with it in order. It takes
 * little memory, whatever its size.
 */
#ifndef BSP_TRANSFER_DIGEST_FILE_H
#define BSP_TRANSFER_DIGEST_FILE_H

#include "stream/digest.h"

struct bsp_digest_file;

/* Opens a regular file, and reads all of it: it is whole and undamaged, or
 * refused. */
struct bsp_digest_file *bsp_digest_file_open(const char *path, GError **error);

const struct bsp_digest_identity *
bsp_digest_file_identity(const struct bsp_digest_file *file);

/*
 * Finds the chunk at off, which is a multiple of the chunk, below the size, and
 * never less than at the call before. Gives its digest; or, for zeros, NULL and
 * their end. Returns 0, or -errno: -ESTALE if the file has changed.
 */
int bsp_digest_file_find(struct bsp_digest_file *file, uint64_t off,
			 const unsigned char **ret_digest, uint64_t *ret_end);

/*
 * Reads the rest, after the last bsp_digest_file_find(). Returns 0 if all that
 * these returned was that of the identity; -ESTALE if the file was changed
 * meanwhile; another -errno.
 */
int bsp_digest_file_check(struct bsp_digest_file *file);

/* file may be NULL. */
void bsp_digest_file_close(struct bsp_digest_file *file);

#endif
