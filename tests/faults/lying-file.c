/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file system with one file of which it says that all is a hole:
 *
 *	lying-file IMAGE MOUNTPOINT
 *
 * shows the image as MOUNTPOINT/file until it is unmounted. Its bytes are those
 * of the image; SEEK_DATA finds none. Each seek prints a line.
 */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int image;

/* The change time is old: while it is young, a writer may be to blame. */
static int get_image_attr(struct stat *st)
{
	if (fstat(image, st) < 0)
		return -errno;
	st->st_ctim = (struct timespec){ .tv_sec = 1 };
	return 0;
}

static int get_attr(const char *path, struct stat *st,
		    struct fuse_file_info *fi)
{
	memset(st, 0, sizeof(*st));
	if (strcmp(path, "/file") == 0)
		return get_image_attr(st);
	st->st_mode = S_IFDIR | 0755;
	return strcmp(path, "/") ? -ENOENT : 0;
}

static int read_file(const char *path, char *buf, size_t len, off_t off,
		     struct fuse_file_info *fi)
{
	ssize_t n = pread(image, buf, len, off);

	return n < 0 ? -errno : (int)n;
}

static int write_file(const char *path, const char *buf, size_t len, off_t off,
		      struct fuse_file_info *fi)
{
	ssize_t n = pwrite(image, buf, len, off);

	return n < 0 ? -errno : (int)n;
}

static off_t seek(const char *path, off_t off, int whence,
		  struct fuse_file_info *fi)
{
	puts(whence == SEEK_DATA ? "SEEK_DATA" : "SEEK_HOLE");
	(void)fflush(stdout);
	return whence == SEEK_HOLE ? off : -ENXIO;
}

/* The file below a loop device is asked only if the kernel finds it without a
 * server, and it has the inode number that the loop device has noted. */
static void *init(struct fuse_conn_info *conn, struct fuse_config *config)
{
	config->use_ino = 1;
	config->entry_timeout = config->attr_timeout = 24 * 60 * 60;
	return NULL;
}

static const struct fuse_operations operations = {
	.init = init,
	.getattr = get_attr,
	.read = read_file,
	.write = write_file,
	.lseek = seek,
};

int main(int argc, char **argv)
{
	char foreground[] = "-f";
	char *args[] = { argv[0], argc == 3 ? argv[2] : NULL, foreground,
			 NULL };

	if (argc != 3) {
		fprintf(stderr, "usage: lying-file IMAGE MOUNTPOINT\n");
		return 2;
	}
	image = open(argv[1], O_RDWR);
	if (image < 0) {
		perror(argv[1]);
		return 2;
	}
	return fuse_main(3, args, &operations, NULL);
}
