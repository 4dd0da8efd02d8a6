/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Little-endian numbers at any address, as streams and POSIX ACLs have them.
 * memcpy() does not depend on alignment, and compilers turn it into one load or
 * store. Pure; any thread.
 */
#ifndef BSP_BASE_LE_H
#define BSP_BASE_LE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t bsp_get_le32(const void *from)
{
	uint32_t value;

	memcpy(&value, from, sizeof(value));
	return le32toh(value);
}

static inline uint64_t bsp_get_le64(const void *from)
{
	uint64_t value;

	memcpy(&value, from, sizeof(value));
	return le64toh(value);
}

static inline void bsp_put_le32(void *to, uint32_t value)
{
	value = htole32(value);
	memcpy(to, &value, sizeof(value));
}

static inline void bsp_put_le64(void *to, uint64_t value)
{
	value = htole64(value);
	memcpy(to, &value, sizeof(value));
}

#endif
