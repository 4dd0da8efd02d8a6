/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The check that two files or devices share no bytes.
 *
 * Threads: any.
 */
#ifndef BSP_DEVICE_SAME_DEVICE_H
#define BSP_DEVICE_SAME_DEVICE_H

#include <sys/stat.h>

#include "blksparse.h"

/* bsp_check_not_same_device() of files with these names that were looked at. */
bool bsp_check_not_same_file(const char *from, const struct stat *from_stat,
			     const char *to, const struct stat *to_stat,
			     GError **error);

#endif
