/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The reason why the kernel or fusermount3(1) may have refused a mount, for
 * people. Both report little more than "Permission denied".
 */
#ifndef BLKSPARSEFS_MOUNT_REASON_H
#define BLKSPARSEFS_MOUNT_REASON_H

/* Returns the end of a message, ": REASON; ADVICE", or "" if no reason is
 * found. Call it in the thread that could not mount. */
const char *mount_reason(void);

#endif
