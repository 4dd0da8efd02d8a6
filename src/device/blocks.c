/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every call asks anew, so that the answer is that of now: no events to follow,
 * no table to keep up to date, and the same result with udevd and without it.
 */
#include "blksparse-blocks.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "blksparse-mountinfo.h"
#include "device/loop.h"
#include "device/sysfs.h"

enum {
	SECTOR = 512,
	/* Layers below each other. The kernel allows fewer: dm devices share a
	 * stack of few pages, loop devices nest up to 8 deep. */
	DEPTH_MAX = 32,
};

G_STATIC_ASSERT((int)BSP_BLOCK_NODE_SIZE >= (int)BSP_NODE_SIZE);

DIR *bsp_block_list(void)
{
	return bsp_sysfs_list_devices();
}

DIR *bsp_block_list_links(const char *folder)
{
	int dev = open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = bsp_sysfs_list(dev, folder);
	int error = errno;

	if (dev >= 0)
		close(dev);
	errno = error;
	return dir;
}

const char *bsp_block_next(DIR *list)
{
	return bsp_sysfs_next(list);
}

/* --- One device ---------------------------------------------------------- */

/* Reads the counters of a disk's writes and discards
 * (Documentation/block/stat.rst). */
static bool read_writes(int disk, uint64_t *ret_writes)
{
	uint64_t value[4];
	char text[512];

	if (bsp_sysfs_read_number(disk, "queue/iostats") == 0 ||
	    bsp_sysfs_has(disk, "loop/backing_file") ||
	    !bsp_sysfs_read_line(disk, "stat", text, sizeof(text)) ||
	    sscanf(text,
		   "%*u %*u %*u %*u %" SCNu64 " %*u %" SCNu64
		   " %*u %*u %*u %*u %" SCNu64 " %*u %" SCNu64,
		   &value[0], &value[1], &value[2], &value[3]) != 4)
		return false;
	/* Each of them only rises. */
	*ret_writes = value[0] + value[1] + value[2] + value[3];
	return true;
}

/* Gets what the node tells. Returns 0 or -ENOENT. */
static int look_at_node(struct bsp_block *block)
{
	struct stat st;

	if (stat(block->node, &st) < 0 || !S_ISBLK(st.st_mode) ||
	    st.st_rdev != block->rdev ||
	    faccessat(AT_FDCWD, block->node, R_OK, AT_EACCESS) < 0)
		return -ENOENT;
	block->uid = st.st_uid;
	block->gid = st.st_gid;
	block->mode = st.st_mode & 0777;
	return 0;
}

/* The same of sysfs. */
static int look_at_folder(int folder, struct bsp_block *block)
{
	bool partition;
	int disk;

	block->rdev = bsp_sysfs_rdev(folder);
	block->size = bsp_sysfs_read_number(folder, "size") * SECTOR;
	if (!block->rdev || !block->size ||
	    !bsp_sysfs_node(folder, block->node))
		return -ENOENT;
	disk = bsp_sysfs_open_disk(block->rdev, &partition);
	if (disk < 0)
		return -ENOENT;
	block->sequence = bsp_sysfs_read_number(disk, "diskseq");
	block->counted = read_writes(disk, &block->writes);
	close(disk);
	return 0;
}

int bsp_block_find(const char *name, struct bsp_block *ret)
{
	int folder = bsp_sysfs_open_named(name);
	int r;

	memset(ret, 0, sizeof(*ret));
	if (folder < 0)
		return -ENOENT;
	(void)g_strlcpy(ret->name, name, sizeof(ret->name));
	r = look_at_folder(folder, ret);
	close(folder);
	return r ? r : look_at_node(ret);
}

int bsp_block_follow(const char *folder, const char *link,
		     char ret_name[BSP_BLOCK_NAME_SIZE])
{
	char path[512];
	struct stat st;

	if ((size_t)snprintf(path, sizeof(path), "/dev/%s/%s", folder, link) >=
		    sizeof(path) ||
	    stat(path, &st) < 0 || !S_ISBLK(st.st_mode) ||
	    !bsp_sysfs_name(st.st_rdev, ret_name, BSP_BLOCK_NAME_SIZE))
		return -ENOENT;
	return 0;
}

/* --- Layers -------------------------------------------------------------- */

/* The file system that the answer is about, and its mounts. */
struct question {
	const char *file_system;
	GPtrArray *mounts; /* struct bsp_mount *; NULL: not read yet */
};

static bool lies_on(struct question *question, dev_t rdev, int depth);

static bool any_slave_lies_on(struct question *question, int disk, int depth)
{
	DIR *dir = bsp_sysfs_list(disk, "slaves");
	bool found = false;
	const char *name;

	while (!found && (name = bsp_sysfs_next(dir))) {
		int folder = bsp_sysfs_open_below(dirfd(dir), name);

		if (folder < 0)
			continue;
		found = lies_on(question, bsp_sysfs_rdev(folder), depth);
		close(folder);
	}
	if (dir)
		(void)closedir(dir);
	return found;
}

/* The device of a node below /dev; 0 if it is none. Other folders may hang. */
static dev_t node_rdev(const char *path)
{
	struct stat st;

	return g_str_has_prefix(path, "/dev/") && stat(path, &st) == 0 &&
			       S_ISBLK(st.st_mode)
		       ? st.st_rdev
		       : 0;
}

static bool file_lies_on(struct question *question, const char *path, int depth)
{
	dev_t rdev = node_rdev(path);
	const char *device;
	unsigned maj, min;

	if (rdev)
		return lies_on(question, rdev, depth);
	if (!question->mounts)
		question->mounts = bsp_mountinfo_read(BSP_MOUNTINFO_SELF);
	if (!question->mounts)
		return true; /* it cannot be told: leave it out */
	device = bsp_mount_device_of(question->mounts, path);
	if (!device)
		return false;
	if (strcmp(device, question->file_system) == 0)
		return true;
	return sscanf(device, "%u:%u", &maj, &min) == 2 &&
	       lies_on(question, makedev(maj, min), depth);
}

static bool lies_on(struct question *question, dev_t rdev, int depth)
{
	bool partition, found = false;
	int disk = bsp_sysfs_open_disk(rdev, &partition);
	struct bsp_loop loop;

	if (disk < 0)
		return false;
	if (depth >= DEPTH_MAX)
		found = true; /* too deep to tell: leave it out */
	else if (bsp_loop_describe(disk, &loop))
		found = file_lies_on(question, loop.file, depth + 1);
	else
		found = any_slave_lies_on(question, disk, depth + 1);
	close(disk);
	return found;
}

bool bsp_block_lies_on(dev_t rdev, const char *file_system)
{
	struct question question = { .file_system = file_system };
	bool found = lies_on(&question, rdev, 0);

	if (question.mounts)
		g_ptr_array_unref(question.mounts);
	return found;
}
