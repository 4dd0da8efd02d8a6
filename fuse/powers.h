/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Drops the privileges that a mount does not need, so that a fault in the code
 * that serves requests gives an attacker little. powers.c lists which are
 * needed and why; nopowers.c is for builds without libcap-ng.
 */
#ifndef BLKSPARSEFS_POWERS_H
#define BLKSPARSEFS_POWERS_H

#include <glib.h>
#include <stdbool.h>

/*
 * Drops all capabilities but those that serving and unmounting need,
 * permanently. As root it also gives up every way to get them back by running a
 * program. Call it after the devices are open, and before any thread starts and
 * before mounting. Does nothing for a process without capabilities, or without
 * libcap-ng. sockets: it will connect to unix sockets again, which may be those
 * of another user.
 */
bool powers_drop(bool sockets, GError **error);

#endif
