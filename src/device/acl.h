/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * POSIX ACLs as mode bits: a file that blksparsefs shows has a mode but no ACL,
 * and must not allow more than the device does.
 *
 * Threads: any.
 */
#ifndef BSP_DEVICE_ACL_H
#define BSP_DEVICE_ACL_H

#include <stddef.h>
#include <sys/types.h>

/*
 * Returns the permission bits for a file that shows fd's file without its ACL.
 * mode is the mode from fstat(2). Permissions that the ACL denies to the owning
 * group, or to a user or group that it names, are removed. If the ACL cannot be
 * read, only the owner's bits are left.
 */
mode_t bsp_acl_mode_of_file(int fd, mode_t mode);

/* Does the same with an ACL in the format of the extended attribute. */
mode_t bsp_acl_limit_mode(mode_t mode, const void *bytes, size_t len);

#endif
