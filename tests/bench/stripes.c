/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file system with one file that has very many extents, and no memory:
 *
 *	stripes EXTENTS MOUNTPOINT
 *
 * shows MOUNTPOINT/file, of EXTENTS blocks of 4 KiB of data with a block of
 * zeros after each, until it is unmounted. A block of data begins with its
 * offset in 20 digits and a semicolon; the rest is the letter x. The file knows
 * its holes.
 */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 4096, MARK = 21 };

static off_t size;

static int get_attr(const char *path, struct stat *st,
		    struct fuse_file_info *fi)
{
	memset(st, 0, sizeof(*st));
	st->st_mode = S_IFDIR | 0755;
	if (strcmp(path, "/") == 0)
		return 0;
	if (strcmp(path, "/file") != 0)
		return -ENOENT;
	st->st_mode = S_IFREG | 0444;
	st->st_size = size;
	st->st_blocks = size / 2 / 512;
	/* The change time is old: a young one may hide a later change. */
	st->st_ctim.tv_sec = 1;
	return 0;
}

/* The kernel is not to cache it. */
static int open_file(const char *path, struct fuse_file_info *fi)
{
	fi->direct_io = 1;
	return 0;
}

static int is_data(off_t off)
{
	return off / BLOCK % 2 == 0;
}

/* Fills a block, or the part of it that begins at off. */
static void fill(char *buf, size_t len, off_t off)
{
	size_t at = (size_t)(off % BLOCK), part;
	char mark[MARK + 1];

	memset(buf, is_data(off) ? 'x' : 0, len);
	if (!is_data(off) || at >= MARK)
		return;
	(void)snprintf(mark, sizeof(mark), "%020jd;",
		       (intmax_t)(off - (off_t)at));
	part = len < MARK - at ? len : MARK - at;
	memcpy(buf, mark + at, part);
}

static int read_file(const char *path, char *buf, size_t len, off_t off,
		     struct fuse_file_info *fi)
{
	size_t done = 0;

	if (off >= size)
		return 0;
	if (len > (size_t)(size - off))
		len = (size_t)(size - off);
	while (done < len) {
		off_t at = off + (off_t)done;
		size_t part = BLOCK - (size_t)(at % BLOCK);

		if (part > len - done)
			part = len - done;
		fill(buf + done, part, at);
		done += part;
	}
	return (int)len;
}

static off_t seek(const char *path, off_t off, int whence,
		  struct fuse_file_info *fi)
{
	if (off < 0 || off >= size)
		return -ENXIO;
	if (is_data(off) == (whence == SEEK_DATA))
		return off;
	off = (off / BLOCK + 1) * BLOCK;
	/* The last block is a hole. */
	return off < size ? off : -ENXIO;
}

static const struct fuse_operations operations = {
	.getattr = get_attr,
	.open = open_file,
	.read = read_file,
	.lseek = seek,
};

int main(int argc, char **argv)
{
	char foreground[] = "-f", options[] = "-oro,default_permissions";
	char *args[] = { argv[0], argc == 3 ? argv[2] : NULL, foreground,
			 options, NULL };

	if (argc != 3 || atoll(argv[1]) <= 0) {
		fprintf(stderr, "usage: stripes EXTENTS MOUNTPOINT\n");
		return 2;
	}
	size = (off_t)atoll(argv[1]) * 2 * BLOCK;
	return fuse_main(4, args, &operations, NULL);
}
