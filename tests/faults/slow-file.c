/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file system with one file whose reads and writes are slow:
 *
 *	slow-file IMAGE MILLISECONDS MOUNTPOINT
 *
 * shows the image as MOUNTPOINT/file until it is unmounted. The file always has
 * the current size of the image. After SIGUSR2, stat of it does not return.
 * After SIGUSR1, such a stat returns and the file is no longer slow.
 */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int image;
static volatile sig_atomic_t delay_ms;
static volatile sig_atomic_t stat_hangs;

static int get_attr(const char *path, struct stat *st,
		    struct fuse_file_info *fi)
{
	memset(st, 0, sizeof(*st));
	while (stat_hangs)
		usleep(10000);
	if (strcmp(path, "/file") == 0)
		return fstat(image, st) < 0 ? -errno : 0;
	st->st_mode = S_IFDIR | 0755;
	return strcmp(path, "/") ? -ENOENT : 0;
}

static int open_file(const char *path, struct fuse_file_info *fi)
{
	fi->direct_io = 1;
	return 0;
}

static void take_time(void)
{
	const struct timespec delay = { delay_ms / 1000,
					delay_ms % 1000 * 1000000 };

	(void)nanosleep(&delay, NULL);
}

static int read_file(const char *path, char *buf, size_t len, off_t off,
		     struct fuse_file_info *fi)
{
	ssize_t n;

	take_time();
	n = pread(image, buf, len, off);
	return n < 0 ? -errno : (int)n;
}

static int write_file(const char *path, const char *buf, size_t len, off_t off,
		      struct fuse_file_info *fi)
{
	ssize_t n;

	take_time();
	n = pwrite(image, buf, len, off);
	return n < 0 ? -errno : (int)n;
}

static void hurry(int sig)
{
	delay_ms = 0;
	stat_hangs = 0;
}

static void hang(int sig)
{
	stat_hangs = 1;
}

/* The kernel must cache nothing: the size may change. */
static void *init(struct fuse_conn_info *conn, struct fuse_config *config)
{
	config->attr_timeout = 0;
	return NULL;
}

static const struct fuse_operations operations = {
	.init = init,
	.getattr = get_attr,
	.open = open_file,
	.read = read_file,
	.write = write_file,
};

int main(int argc, char **argv)
{
	char foreground[] = "-f";
	char *args[] = { argv[0], argc == 4 ? argv[3] : NULL, foreground,
			 NULL };

	if (argc != 4) {
		fprintf(stderr,
			"usage: slow-file IMAGE MILLISECONDS MOUNTPOINT\n");
		return 2;
	}
	image = open(argv[1], O_RDWR);
	if (image < 0) {
		perror(argv[1]);
		return 2;
	}
	delay_ms = (sig_atomic_t)atol(argv[2]);
	(void)signal(SIGUSR1, hurry);
	(void)signal(SIGUSR2, hang);
	return fuse_main(3, args, &operations, NULL);
}
