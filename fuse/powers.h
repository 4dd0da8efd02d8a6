/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Giving up the privileges that a mount does not need.
 */
#ifndef BLKSPARSEFS_POWERS_H
#define BLKSPARSEFS_POWERS_H

#include <glib.h>
#include <stdbool.h>

/*
 * Drops all capabilities but those that serving and unmounting need, for good;
 * and, as root, all chances to get others by running a program. To be called
 * when the devices are open, before any thread is started and before mounting.
 * Does nothing for a process without capabilities, and where libcap-ng is not
 * built in.
 */
bool powers_drop(GError **error);

#endif
