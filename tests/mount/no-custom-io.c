/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For LD_PRELOAD: a libfuse that was built without custom I/O, as libfuse 3.18
 * is unless its builder asks for it (-Denable-custom-io=true).
 */
#include <errno.h>
#include <fuse_log.h>

int fuse_session_custom_io(void);
int fuse_session_custom_io_317(void);

int fuse_session_custom_io(void)
{
	fuse_log(FUSE_LOG_ERR,
		 "fuse: custom io is not enabled in this build\n");
	return -ENOTSUP;
}

/* The name that headers from 3.17 on give it. */
int fuse_session_custom_io_317(void)
{
	return fuse_session_custom_io();
}
