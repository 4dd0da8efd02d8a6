/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parent stays only to give the caller an exit status; the child is the
 * program. The two talk through one byte on a socket: the parent reads it, or
 * sees the end of the child. The child closes the inherited descriptors only
 * when the mount is ready, because until then messages go to the stderr of the
 * caller, and relative paths and /dev/fd/N are those of the caller.
 */
#include "ready.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "log.h"

/*
 * In the parent: waits for a byte, or for the end of the child, and exits.
 */
static _Noreturn void wait_for_child(int fd, pid_t child)
{
	char byte;
	ssize_t n;
	int status;

	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		_exit(EXIT_SUCCESS);
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			_exit(EXIT_FAILURE);
	}
	if (WIFSIGNALED(status))
		log_line(LOG_ERR, "ended by signal %d", WTERMSIG(status));
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE);
}

/* Descriptors that the caller left open for its children: perhaps a lock, or a
 * pipe whose other end a process reads to its end. They cannot be closed at
 * once, since the path of a device may be /dev/fd/N. The descriptors that this
 * program opens are close-on-exec. */
static void add_inherited(GArray *fds, int fd)
{
	int flags = fcntl(fd, F_GETFD);

	if (fd > STDERR_FILENO && flags >= 0 && !(flags & FD_CLOEXEC))
		g_array_append_val(fds, fd);
}

static GArray *find_inherited(void)
{
	enum { TRY_MAX = 1 << 20 };
	GArray *fds = g_array_new(FALSE, FALSE, sizeof(int));
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;
	long end;

	if (dir) {
		while ((entry = readdir(dir)))
			add_inherited(fds, atoi(entry->d_name));
		(void)closedir(dir);
		return fds;
	}
	/* Without /proc try each number. */
	end = sysconf(_SC_OPEN_MAX);
	if (end < 0 || end > TRY_MAX)
		end = TRY_MAX;
	for (int fd = 0; fd < end; fd++)
		add_inherited(fds, fd);
	return fds;
}

bool ready_fork(struct ready *ready)
{
	int fds[2];
	pid_t child;

	/* A socket, because a send to a parent that has gone can return an
	 * error without a signal; a pipe cannot. */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
		log_line(LOG_ERR, "socketpair: %s", g_strerror(errno));
		return false;
	}
	child = fork();
	if (child < 0) {
		log_line(LOG_ERR, "fork: %s", g_strerror(errno));
		close(fds[0]);
		close(fds[1]);
		return false;
	}
	if (child > 0) {
		close(fds[1]);
		wait_for_child(fds[0], child);
	}
	close(fds[0]);
	ready->fd = fds[1];
	ready->inherited = find_inherited();
	return true;
}

/* Later messages go to syslog. */
static void detach_from_caller(const GArray *inherited)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	log_to_syslog();
	(void)setsid();
	if (chdir("/") < 0)
		log_line(LOG_WARNING, "chdir /: %s", g_strerror(errno));
	for (guint i = 0; i < inherited->len; i++)
		close(g_array_index(inherited, int, i));
	if (null < 0) {
		log_line(LOG_WARNING, "open /dev/null: %s", g_strerror(errno));
		return;
	}
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		(void)dup2(null, fd);
	if (null > STDERR_FILENO)
		close(null);
}

bool ready_report(struct ready *ready)
{
	ssize_t n;

	if (ready->fd < 0)
		return true;
	detach_from_caller(ready->inherited);
	n = send(ready->fd, "", 1, MSG_NOSIGNAL);
	close(ready->fd);
	ready->fd = -1;
	return n == 1;
}

void ready_done(struct ready *ready)
{
	if (ready->fd >= 0)
		close(ready->fd);
	g_clear_pointer(&ready->inherited, g_array_unref);
}
