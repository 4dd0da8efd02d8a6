/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libgcrypt wants to be initialized by the program. A program that uses it for
 * itself has done so before; for any other one it is done here. Digests are no
 * secrets: libgcrypt's locked memory is not needed.
 */
#include "base/sha256.h"

#include <gcrypt.h>
#include <pthread.h>
#include <string.h>

static void initialize(void)
{
	if (gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P))
		return;
	(void)gcry_check_version(NULL);
	(void)gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
	(void)gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
}

static void initialize_once(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, initialize);
}

void bsp_sha256(const void *buf, size_t len, unsigned char *ret_digest)
{
	initialize_once();
	gcry_md_hash_buffer(GCRY_MD_SHA256, ret_digest, buf, len);
}

/* The object is libgcrypt's, under a name of ours. */
struct bsp_sha256 *bsp_sha256_new(void)
{
	gcry_md_hd_t handle;

	initialize_once();
	if (gcry_md_open(&handle, GCRY_MD_SHA256, 0))
		return NULL;
	return (struct bsp_sha256 *)handle;
}

void bsp_sha256_add(struct bsp_sha256 *sum, const void *buf, size_t len)
{
	gcry_md_write((gcry_md_hd_t)sum, buf, len);
}

void bsp_sha256_end(struct bsp_sha256 *sum, unsigned char *ret_digest)
{
	gcry_md_hd_t handle = (gcry_md_hd_t)sum;

	memcpy(ret_digest, gcry_md_read(handle, GCRY_MD_SHA256), BSP_SHA256);
	gcry_md_reset(handle);
}

void bsp_sha256_free(struct bsp_sha256 *sum)
{
	gcry_md_close((gcry_md_hd_t)sum);
}
