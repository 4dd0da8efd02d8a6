/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The holes of a regular file, as lseek(2) reports them.
 *
 * A hole reads as zeros by definition. But a file system may report a hole
 * where data is still on its way to the disk, as ZFS did (openzfs issue 15526).
 * So only file systems whose answers were tested beside writers, millions of
 * times, are trusted by default.
 *
 * The file's change time and size are the stamp. The time moves when a write
 * begins, and the write may take a while (identity.h): a young time is not
 * settled. A store through a shared mapping moves the time only if its page was
 * clean. So when the time is old enough, the dirty pages are written back once,
 * and then the stamp is settled: each later store moves the time. (tmpfs writes
 * nothing back; there such stores cannot be seen.) While other programs go on
 * writing, the time stays young, and nothing waits for their pages.
 *
 * The size is read before SEEK_DATA: if the file grows in between, the hole
 * ends too early, but never covers new data. Nothing is known past the size: on
 * some kernels a loop device fails such reads.
 */
#include "device/known-lseek.h"

#include <fcntl.h>
#include <glib.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

/* fs/xfs/libxfs/xfs_format.h (XFS_SUPER_MAGIC); linux/magic.h has it since
 * 5.17 only. */
#define MAGIC_XFS 0x58465342

struct file_layer {
	struct bsp_layer layer;
	int fd;
	uint64_t start;
	struct bsp_settling settling;
};

static struct file_layer *to_file(struct bsp_layer *layer)
{
	return (struct file_layer *)layer;
}

/* The first four are trusted. ext2 and ext3 have the number of ext4, and are
 * served by its driver. The driver of ext2 itself, which is off in most
 * kernels, reports no holes. */
static const struct {
	uint32_t magic;
	const char *name;
} file_systems[] = {
	{ EXT4_SUPER_MAGIC, "ext4" },	{ MAGIC_XFS, "XFS" },
	{ BTRFS_SUPER_MAGIC, "btrfs" }, { TMPFS_MAGIC, "tmpfs" },
	{ F2FS_SUPER_MAGIC, "F2FS" },	{ MSDOS_SUPER_MAGIC, "FAT" },
	{ NFS_SUPER_MAGIC, "NFS" },	{ OVERLAYFS_SUPER_MAGIC, "overlayfs" },
	{ 0x2011bab0, "exFAT" },	{ 0x2fc12fc1, "ZFS" },
	{ 0x65735546, "FUSE" },		{ 0xca451a4e, "bcachefs" },
	{ 0xfe534d42, "SMB" },		{ 0xff534d42, "CIFS" },
};
enum { TRUSTED = 4 };

const char *bsp_known_file_system(int fd, enum bsp_known_trust trust)
{
	size_t i = 0, n = G_N_ELEMENTS(file_systems);
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return NULL;
	while (i < n && file_systems[i].magic != (uint32_t)fs.f_type)
		i++;
	if (i >= TRUSTED && trust != BSP_KNOWN_ALL)
		return NULL;
	return i < n ? file_systems[i].name : "another file system";
}

static struct bsp_known_answer file_ask(struct bsp_layer *layer, uint64_t off,
					uint64_t limit)
{
	struct file_layer *file = to_file(layer);
	struct bsp_known_answer answer = { .end = limit };
	struct stat st;

	if (fstat(file->fd, &st) == 0)
		answer = bsp_known_lseek(file->fd, (uint64_t)st.st_size,
					 file->start, off, limit);
	answer.layer = layer->path;
	return answer;
}

static bool file_is_same(struct bsp_layer *layer, enum bsp_depth depth)
{
	return true; /* a descriptor stays with its file */
}

static uint64_t file_content(struct bsp_layer *layer, uint64_t hash)
{
	struct stat st;
	uint64_t values[3];

	if (fstat(to_file(layer)->fd, &st) < 0)
		return 0;
	values[0] = (uint64_t)st.st_ctim.tv_sec;
	values[1] = (uint64_t)st.st_ctim.tv_nsec;
	values[2] = (uint64_t)st.st_size;
	return bsp_hash(hash, values, sizeof(values));
}

static int64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	(void)clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static bool is_old(struct file_layer *file)
{
	struct stat st;

	return fstat(file->fd, &st) == 0 &&
	       bsp_settle(&file->settling, &st.st_ctim,
			  clock_ns(CLOCK_REALTIME), clock_ns(CLOCK_BOOTTIME));
}

/* The time is looked at once more after the pages are clean: a store before
 * that may have moved it. */
static bool file_settled(struct bsp_layer *layer)
{
	struct file_layer *file = to_file(layer);

	if (!is_old(file))
		return false;
	(void)sync_file_range(file->fd, 0, 0,
			      SYNC_FILE_RANGE_WAIT_BEFORE |
				      SYNC_FILE_RANGE_WRITE |
				      SYNC_FILE_RANGE_WAIT_AFTER);
	return is_old(file);
}

static void file_free(struct bsp_layer *layer)
{
	close(to_file(layer)->fd);
	g_free(layer->name);
	g_free(to_file(layer));
}

static const struct bsp_layer_ops file_ops = {
	.ask = file_ask,
	.is_same = file_is_same,
	.content = file_content,
	.settled = file_settled,
	.free = file_free,
	.answers = true,
};

struct bsp_layer *bsp_layer_file_new(const char *name, int fd, uint64_t start,
				     enum bsp_known_trust trust)
{
	const char *kind = bsp_known_file_system(fd, trust);
	struct file_layer *file;

	if (!kind) {
		close(fd);
		return NULL;
	}
	file = g_new0(struct file_layer, 1);
	file->layer.ops = &file_ops;
	file->layer.name = bsp_layer_file_name(name, kind);
	file->fd = fd;
	file->start = start;
	return &file->layer;
}
