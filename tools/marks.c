/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Partitions and file systems, by libblkid. It reads the partition table, and
 * the places in which file systems keep their superblocks: some 300 KiB at the
 * begin and at the end of each partition. It is not asked for ZFS, for which
 * alone it would read a MiB of each.
 */
#include <blkid.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "blksparse-mount.h"
#include "drawing.h"

enum { SECTOR = 512 }; /* of libblkid, whatever the device has */

static const char *value_of(blkid_probe probe, const char *name)
{
	const char *value = NULL;

	if (blkid_probe_lookup_value(probe, name, &value, NULL) < 0)
		return NULL;
	return value;
}

/* Returns what is in [off, off + len), or NULL; label replaces a missing one.
 * If two file systems seem to be there, neither is named. */
static char *content_of(int fd, uint64_t off, uint64_t len, const char *label)
{
	static char zfs[] = "zfs_member";
	char *not_asked[] = { zfs, NULL };
	blkid_probe probe = blkid_new_probe();
	char *text = NULL;

	if (!probe)
		return NULL;
	if (blkid_probe_set_device(probe, fd, (blkid_loff_t)off,
				   (blkid_loff_t)len) == 0 &&
	    blkid_probe_set_superblocks_flags(
		    probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL) == 0 &&
	    blkid_probe_filter_superblocks_type(probe, BLKID_FLTR_NOTIN,
						not_asked) == 0 &&
	    blkid_do_safeprobe(probe) == 0) {
		const char *type = value_of(probe, "TYPE");
		const char *own = value_of(probe, "LABEL");

		label = own && *own ? own : label;
		if (type && label && *label)
			text = g_strdup_printf("%s \"%s\"", type, label);
		else
			text = g_strdup(type);
	}
	blkid_free_probe(probe);
	return text;
}

static void add_partition(GArray *marks, int fd, blkid_partition partition)
{
	const char *label = blkid_partition_get_name(partition);
	struct bsp_mark mark = {
		.off = (uint64_t)blkid_partition_get_start(partition) * SECTOR,
		.len = (uint64_t)blkid_partition_get_size(partition) * SECTOR,
	};

	if (mark.len == 0 || blkid_partition_is_extended(partition))
		return;
	mark.name =
		g_strdup_printf("%d", blkid_partition_get_partno(partition));
	mark.text = content_of(fd, mark.off, mark.len, label);
	if (!mark.text && label && *label)
		mark.text = g_strdup_printf("\"%s\"", label);
	g_array_append_val(marks, mark);
}

static int compare_marks(const void *a, const void *b)
{
	const struct bsp_mark *one = a, *other = b;

	return (one->off > other->off) - (one->off < other->off);
}

static void add_partitions(GArray *marks, int fd, blkid_probe probe)
{
	blkid_partlist list = blkid_probe_get_partitions(probe);
	int n = list ? blkid_partlist_numof_partitions(list) : 0;

	for (int i = 0; i < n; i++)
		add_partition(marks, fd, blkid_partlist_get_partition(list, i));
	g_array_sort(marks, compare_marks);
}

static void add_whole(GArray *marks, int fd, uint64_t size)
{
	struct bsp_mark mark = { .len = size };
	char *text = content_of(fd, 0, size, NULL);

	if (!text)
		return;
	mark.name = g_strdup("all");
	mark.text = text;
	g_array_append_val(marks, mark);
}

void marks_find(GArray *marks, const char *path)
{
	blkid_probe probe;
	int fd;

	if (bsp_is_nbd_uri(path))
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	probe = fd >= 0 ? blkid_new_probe() : NULL;
	if (probe && blkid_probe_set_device(probe, fd, 0, 0) == 0) {
		add_partitions(marks, fd, probe);
		if (marks->len == 0)
			add_whole(marks, fd,
				  (uint64_t)blkid_probe_get_size(probe));
	}
	if (probe)
		blkid_free_probe(probe);
	if (fd >= 0)
		close(fd);
}
