/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BSP_DEVICE_PAGES_H
#define BSP_DEVICE_PAGES_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Has the kernel a page in its cache of [from, to), to which the pages that
 * either end cuts belong? True if that cannot be found out. The size of what fd
 * is open on does not matter. Where the kernel has no cachestat(2) it takes
 * some seconds for a TiB. Any thread.
 */
bool bsp_pages_cached(int fd, uint64_t from, uint64_t to);

#endif
