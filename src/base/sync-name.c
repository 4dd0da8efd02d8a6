/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/sync-name.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <unistd.h>

int bsp_sync_name(const char *path)
{
	g_autofree char *directory = g_path_get_dirname(path);
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = 0;

	if (fd < 0)
		return 0;
	if (fsync(fd) < 0 && errno != EINVAL)
		r = -errno;
	close(fd);
	return r;
}
