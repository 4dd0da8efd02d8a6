/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * POSIX ACLs as mode bits.
 *
 * Threads: any.
 */
#ifndef BSP_DEVICE_ACL_H
#define BSP_DEVICE_ACL_H

#include <stddef.h>
#include <sys/types.h>

/*
 * The permission bits for a copy of fd's file that has no ACL: mode, as fstat
 * gives it, less what its POSIX ACL keeps from the owning group, or from a
 * named user or group. An ACL that cannot be read leaves the owner's bits.
 */
mode_t bsp_acl_mode_of_file(int fd, mode_t mode);

/* The same of an ACL in the form of the attribute, [bytes, bytes + len). */
mode_t bsp_acl_limit_mode(mode_t mode, const void *bytes, size_t len);

#endif
