/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One datagram; a library for that would be one more to load. */
#include "notify.h"

#include <errno.h>
#include <glib.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "log.h"

/* Returns 0 or an error number. */
static int send_to(const char *path, const char *state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t len = strlen(path);
	int fd, error = 0;

	if ((path[0] != '/' && path[0] != '@') ||
	    len >= sizeof(address.sun_path))
		return EAFNOSUPPORT;
	memcpy(address.sun_path, path, len);
	if (path[0] == '@') /* a name that is not in the file system */
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno;
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL,
		   (struct sockaddr *)&address,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) <
	    0)
		error = errno;
	close(fd);
	return error;
}

void notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	int error = path ? send_to(path, state) : 0;

	if (error)
		log_line(LOG_WARNING, "cannot tell %s to %s: %s", state, path,
			 g_strerror(error));
}
