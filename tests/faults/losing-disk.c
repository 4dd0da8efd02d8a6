/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file system with a file that behaves as a disk with a cache that it may
 * lose:
 *
 *	losing-disk IMAGE SEED MOUNTPOINT
 *
 * shows the image as MOUNTPOINT/disk until it is unmounted. Written sectors of
 * 512 bytes reach IMAGE at an fsync, and some of them earlier, in any order. A
 * line that is written to MOUNTPOINT/control acts at once:
 *
 *	errors N  from now on N of 1000 reads, writes and fsyncs fail. A write
 *		  that fails has written some of its sectors. An fsync that
 *		  fails has lost some sectors: they hold again what IMAGE holds.
 *	slow N	  from now on each request takes up to N milliseconds
 *	cut	  the power fails: each sector that was not synced is lost, or
 *		  not, and from now on all requests fail
 *
 * The seed selects the requests and sectors; which they are depends on the
 * order of the requests as well.
 */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../unit/dice.h"

enum { SECTOR = 512 };

/* The lock protects all of it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct dice dice;
static unsigned char *durable; /* the image */
static unsigned char *current; /* the bytes that a read gives */
static bool *dirty;	       /* of each sector: not synced */
static size_t size;	       /* fixed */
static unsigned errors, slow_ms;
static bool is_cut;

static void keep_sector(size_t sector)
{
	memcpy(durable + sector * SECTOR, current + sector * SECTOR, SECTOR);
	dirty[sector] = false;
}

static void lose_sector(size_t sector)
{
	memcpy(current + sector * SECTOR, durable + sector * SECTOR, SECTOR);
	dirty[sector] = false;
}

/* Keeps each dirty sector with a chance of so many of 1000; the others are
 * lost, or stay dirty. */
static void sync_sectors(unsigned per_mille, bool loses)
{
	for (size_t i = 0; i < size / SECTOR; i++) {
		if (!dirty[i])
			continue;
		if (dice_chance(&dice, per_mille))
			keep_sector(i);
		else if (loses)
			lose_sector(i);
	}
}

static bool fails(void)
{
	return is_cut || dice_chance(&dice, errors);
}

/* The delay of a request; takes the lock for the rest of the request. */
static void begin(void)
{
	unsigned ms;

	pthread_mutex_lock(&lock);
	ms = slow_ms ? (unsigned)dice_below(&dice, slow_ms + 1) : 0;
	pthread_mutex_unlock(&lock);
	if (ms)
		(void)usleep(ms * 1000);
	pthread_mutex_lock(&lock);
}

static int end(int r)
{
	pthread_mutex_unlock(&lock);
	return r;
}

static bool is_disk(const char *path)
{
	return strcmp(path, "/disk") == 0;
}

static int get_attr(const char *path, struct stat *st,
		    struct fuse_file_info *fi)
{
	memset(st, 0, sizeof(*st));
	st->st_mode = S_IFDIR | 0755;
	if (strcmp(path, "/") == 0)
		return 0;
	if (!is_disk(path) && strcmp(path, "/control") != 0)
		return -ENOENT;
	st->st_mode = S_IFREG | 0600;
	st->st_nlink = 1;
	st->st_size = is_disk(path) ? (off_t)size : 0;
	return 0;
}

static int open_file(const char *path, struct fuse_file_info *fi)
{
	fi->direct_io = 1;
	return 0;
}

static int cut_file(const char *path, off_t len, struct fuse_file_info *fi)
{
	return is_disk(path) ? -EPERM : 0;
}

/* Bytes of [off, off + len) that are inside the disk. */
static size_t inside(off_t off, size_t len)
{
	size_t at = (size_t)off;

	if (at >= size)
		return 0;
	return len < size - at ? len : size - at;
}

static int read_file(const char *path, char *buf, size_t len, off_t off,
		     struct fuse_file_info *fi)
{
	if (!is_disk(path))
		return 0;
	begin();
	if (fails())
		return end(-EIO);
	len = inside(off, len);
	memcpy(buf, current + off, len);
	return end((int)len);
}

/* Writes bytes, or zeros if buf is NULL. A sector that was dirty may have
 * reached the image before. */
static void change(const char *buf, size_t len, size_t off)
{
	size_t first = off / SECTOR, last = (off + len + SECTOR - 1) / SECTOR;

	for (size_t i = first; i < last; i++) {
		if (dirty[i] && dice_chance(&dice, 100))
			keep_sector(i);
		dirty[i] = true;
	}
	if (buf)
		memcpy(current + off, buf, len);
	else
		memset(current + off, 0, len);
}

/* Returns 0 or -EIO. */
static int change_or_fail(const char *buf, size_t len, size_t off)
{
	size_t part = len;
	bool failed = fails();

	if (failed) /* some of its sectors */
		part = dice_below(&dice, len / SECTOR + 1) * SECTOR;
	if (part && !is_cut)
		change(buf, part, off);
	return failed ? -EIO : 0;
}

static void act(const char *text)
{
	unsigned n;

	if (sscanf(text, "errors %u", &n) == 1)
		errors = n;
	else if (sscanf(text, "slow %u", &n) == 1)
		slow_ms = n;
	else if (strncmp(text, "cut", 3) == 0) {
		is_cut = true;
		sync_sectors((unsigned)dice_below(&dice, 1001), true);
	}
}

static int write_control(const char *buf, size_t len)
{
	char text[64];

	if (len >= sizeof(text))
		return -EINVAL;
	memcpy(text, buf, len);
	text[len] = '\0';
	pthread_mutex_lock(&lock);
	act(text);
	return end((int)len);
}

static int write_file(const char *path, const char *buf, size_t len, off_t off,
		      struct fuse_file_info *fi)
{
	int r;

	if (!is_disk(path))
		return write_control(buf, len);
	begin();
	len = inside(off, len);
	r = len ? change_or_fail(buf, len, (size_t)off) : -ENOSPC;
	return end(r ? r : (int)len);
}

static int allocate(const char *path, int mode, off_t off, off_t len,
		    struct fuse_file_info *fi)
{
	if (!is_disk(path) || !(mode & FALLOC_FL_KEEP_SIZE) ||
	    !(mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)))
		return -EOPNOTSUPP;
	begin();
	len = (off_t)inside(off, (size_t)len);
	return end(len ? change_or_fail(NULL, (size_t)len, (size_t)off) : 0);
}

static int sync_file(const char *path, int datasync, struct fuse_file_info *fi)
{
	bool failed;

	begin();
	failed = fails();
	if (!is_cut)
		sync_sectors(failed ? 500 : 1000, failed);
	return end(failed ? -EIO : 0);
}

static const struct fuse_operations operations = {
	.getattr = get_attr,
	.open = open_file,
	.truncate = cut_file,
	.read = read_file,
	.write = write_file,
	.fallocate = allocate,
	.fsync = sync_file,
};

static bool open_image(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return false;
	size = (size_t)st.st_size / SECTOR * SECTOR;
	durable = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	current = malloc(size);
	dirty = calloc(size / SECTOR, sizeof(*dirty));
	if (durable == MAP_FAILED || !current || !dirty)
		return false;
	memcpy(current, durable, size);
	return true;
}

int main(int argc, char **argv)
{
	char foreground[] = "-f";
	char *args[] = { argv[0], argc == 4 ? argv[3] : NULL, foreground,
			 NULL };

	if (argc != 4) {
		fprintf(stderr, "usage: losing-disk IMAGE SEED MOUNTPOINT\n");
		return 2;
	}
	if (!open_image(argv[1])) {
		perror(argv[1]);
		return 2;
	}
	dice.state = strtoull(argv[2], NULL, 10);
	return fuse_main(3, args, &operations, NULL);
}
