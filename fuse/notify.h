/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages to a service manager such as systemd; sd_notify(3) describes the
 * protocol.
 */
#ifndef BLKSPARSEFS_NOTIFY_H
#define BLKSPARSEFS_NOTIFY_H

/* Tells the manager a state, such as "READY=1". Does nothing if there is none
 * that waits for it. A failure is logged. */
void notify(const char *state);

#endif
