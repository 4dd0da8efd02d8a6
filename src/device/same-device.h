/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The check that two files or devices share no bytes. See also
 * bsp_check_not_same_device() in blksparse.h.
 *
 * Threads: any.
 */
#ifndef BSP_DEVICE_SAME_DEVICE_H
#define BSP_DEVICE_SAME_DEVICE_H

#include <sys/stat.h>

#include "blksparse.h"

/* Does the same as bsp_check_not_same_device() for two files whose stat(2) the
 * caller has. The names are for the message. */
bool bsp_check_not_same_file(const char *from, const struct stat *from_stat,
			     const char *to, const struct stat *to_stat,
			     GError **error);

#endif
