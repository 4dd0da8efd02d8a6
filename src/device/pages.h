/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether the kernel has pages of a file or device in its page cache.
 *
 * Threads: any.
 */
#ifndef BSP_DEVICE_PAGES_H
#define BSP_DEVICE_PAGES_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Whether the kernel has a page of [from, to) in its page cache; pages that
 * either end cuts count. Returns true if that cannot be found out. The size of
 * the file that fd is open on does not matter. Without cachestat(2), the call
 * takes some seconds for a TiB.
 */
bool bsp_pages_cached(int fd, uint64_t from, uint64_t to);

#endif
