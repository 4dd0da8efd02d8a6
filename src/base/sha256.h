/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SHA-256, by libgcrypt, which uses the processor's instructions for it. The
 * functions need no locks: any thread may call them, an object belongs to one
 * thread at a time.
 */
#ifndef BSP_BASE_SHA256_H
#define BSP_BASE_SHA256_H

#include <stddef.h>

enum { BSP_SHA256 = 32 }; /* bytes of a digest */

/* The digest of [buf, buf + len). Allocates nothing. */
void bsp_sha256(const void *buf, size_t len, unsigned char *ret_digest);

/* The digest of bytes that come in parts. */
struct bsp_sha256;

/* Returns NULL without memory. */
struct bsp_sha256 *bsp_sha256_new(void);

void bsp_sha256_add(struct bsp_sha256 *sum, const void *buf, size_t len);

/* Gives the digest of all bytes since the beginning, or since the last call. */
void bsp_sha256_end(struct bsp_sha256 *sum, unsigned char *ret_digest);

/* sum may be NULL. */
void bsp_sha256_free(struct bsp_sha256 *sum);

#endif
