/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BSP_BASE_SYNC_NAME_H
#define BSP_BASE_SYNC_NAME_H

/* Makes durable that path is there, or that it was removed: syncs its
 * directory. Returns 0 or -errno; 0 as well if the directory cannot be opened
 * for reading, or its file system cannot sync one. */
int bsp_sync_name(const char *path);

#endif
