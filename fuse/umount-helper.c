/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * umount.fuse.blksparsefs unmounts, and returns when blksparsefs has ended.
 * The device is free only then, and has the zeros that were pending.
 *
 * umount(8) calls it for mounts with uhelper=fuse.blksparsefs. For others it
 * takes the type from statfs(2), which is "fuse" without a subtype.
 *
 *	umount.fuse.blksparsefs MOUNTPOINT [-nlfvr] [-N NAMESPACE] [-t TYPE]
 *
 * The driver tells its process before the unmount (blksparse-ioctl.h). A child
 * asks, because a driver that is stopped does not answer.
 *
 * A driver that still serves a copy of the mount, as in the namespace of a
 * container, does not end. The folder of its connection tells; see
 * Documentation/filesystems/fuse.rst.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blksparse-ioctl.h"

#define NAME "umount.fuse.blksparsefs"
#define CONNECTIONS "/sys/fs/fuse/connections"

enum {
	ASK_MS = 3000,	   /* for the driver to answer */
	QUIET_MS = 2000,   /* before a message says why this waits */
	MOUNT_FAILED = 32, /* as umount(8) has it */
};

struct mount {
	uint64_t process;    /* the driver; 0: unknown */
	uint32_t connection; /* the number of its folder below CONNECTIONS */
};

static _Noreturn void tell_mount(const char *mountpoint, int to)
{
	struct mount mount = { 0 };
	struct bsp_ioctl_stat st = { 0 };
	struct statx stx = { 0 };
	int fd = open(mountpoint, O_RDONLY | O_CLOEXEC | O_ASYNC);

	if (fd < 0 || ioctl(fd, BSP_IOCTL_STAT, &st) < 0 ||
	    statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &stx) < 0)
		_exit(1);
	mount.process = st.process;
	mount.connection = stx.stx_dev_minor;
	_exit(write(to, &mount, sizeof(mount)) < 0);
}

/* The child's descriptor makes the mount busy until the child has ended. One
 * that waits for a driver without answers cannot be killed; it is left to init.
 */
static void end_child(pid_t child)
{
	struct pollfd ended = { .fd = pidfd_open(child, 0), .events = POLLIN };

	(void)kill(child, SIGKILL);
	/* poll() passes over a negative descriptor: then this waits in full. */
	(void)poll(&ended, 1, ASK_MS);
	if (ended.fd >= 0)
		close(ended.fd);
	(void)waitpid(child, NULL, WNOHANG);
}

/* The process is 0 if the driver does not tell. */
static struct mount ask_mount(const char *mountpoint)
{
	struct pollfd answer = { .events = POLLIN };
	struct mount mount = { 0 };
	int fds[2];
	pid_t child;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return mount;
	child = fork();
	if (child == 0)
		tell_mount(mountpoint, fds[1]);
	close(fds[1]);
	answer.fd = fds[0];
	if (child < 0 || poll(&answer, 1, ASK_MS) <= 0 ||
	    read(fds[0], &mount, sizeof(mount)) != sizeof(mount))
		mount.process = 0;
	close(fds[0]);
	if (child > 0)
		end_child(child);
	return mount;
}

/* Returns a pidfd, or -1. The driver may be of another namespace, in which its
 * number is that of another process. */
static int open_driver(pid_t process)
{
	char path[64], name[64];
	ssize_t len;
	int driver, fd;

	if (!process)
		return -1;
	driver = pidfd_open(process, 0);
	(void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)process);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	len = fd < 0 ? -1 : read(fd, name, sizeof(name) - 1);
	if (fd >= 0)
		close(fd);
	if (len > 0 && strncmp(name, "blksparsefs\n", (size_t)len) == 0)
		return driver;
	if (driver >= 0)
		close(driver);
	return -1;
}

/* Runs umount(8) without helpers. Returns its exit status. */
static int unmount(int argc, char **argv)
{
	static char program[] = "umount", internal[] = "-i";
	char **args = calloc((size_t)argc + 2, sizeof(*args));
	int status = 0;
	pid_t child;

	if (!args)
		return MOUNT_FAILED;
	args[0] = program;
	args[1] = internal;
	memcpy(args + 2, argv + 1, ((size_t)argc - 1) * sizeof(*args));
	child = fork();
	if (child == 0) {
		execvp(args[0], args);
		warn("umount");
		_exit(MOUNT_FAILED);
	}
	free(args);
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		continue;
	return child > 0 && WIFEXITED(status) ? WEXITSTATUS(status)
					      : MOUNT_FAILED;
}

static void wait_for(int driver, const char *mountpoint)
{
	struct pollfd end = { .fd = driver, .events = POLLIN };

	if (poll(&end, 1, QUIET_MS) != 0)
		return;
	(void)fprintf(stderr,
		      "%s: %s is unmounted; waiting for blksparsefs to end\n",
		      NAME, mountpoint);
	while (poll(&end, 1, -1) < 0 && errno == EINTR)
		continue;
}

/* Whether the file system of a mount that was unmounted is mounted elsewhere.
 */
static bool is_elsewhere(const struct mount *mount)
{
	char path[64];

	(void)snprintf(path, sizeof(path), CONNECTIONS "/%u",
		       (unsigned)mount->connection);
	return access(path, F_OK) == 0;
}

/* A lazy unmount returns at once: programs may use the files for long. */
static bool is_lazy(int argc, char **argv)
{
	for (int i = 2; i < argc; i++) {
		if (argv[i][0] == '-' && strchr("nlfvr", argv[i][1]) &&
		    strchr(argv[i], 'l'))
			return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	struct mount mount = { 0 };
	int driver, status;

	if (argc < 2) {
		(void)fprintf(
			stderr,
			"%s: umount(8) calls this; use umount MOUNTPOINT\n",
			NAME);
		return EXIT_FAILURE;
	}
	if (!is_lazy(argc, argv))
		mount = ask_mount(argv[1]);
	driver = open_driver((pid_t)mount.process);
	status = unmount(argc, argv);
	if (status == 0 && driver >= 0 && is_elsewhere(&mount))
		warnx("%s is unmounted, but mounted elsewhere, too, as by mount --bind or in a container; blksparsefs goes on",
		      argv[1]);
	else if (status == 0 && driver >= 0)
		wait_for(driver, argv[1]);
	return status;
}
