/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Measuring the rest. The kernel adds to a partition's counter first and then
 * to the disk's, within one section with preemption off (part_stat_add() in
 * include/linux/part_stat.h). So a partition that is read before the disk may
 * lack a write that the disk has counted, and one that is read after the disk
 * may have one more. The partitions and then the disk are read again and again.
 * Only when two such samples in a row are equal, the difference is that of one
 * instant.
 *
 * A sample of a disk that never stands still is not exact; bsp_counters_read()
 * counts such samples, so that the caller takes each of them as a change.
 */
#include "device/counters.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device/sysfs.h"

enum {
	TRIES = 32, /* before a sample is taken as not exact */
	PARTS_MAX = 256,
};

struct sample {
	uint64_t own[BSP_COUNTERS];
	uint64_t parts[BSP_COUNTERS]; /* the sum of all partitions */
	uint64_t disk[BSP_COUNTERS];
};

struct bsp_counters {
	int disk_fd; /* the stat file of the disk */
	int folder;  /* of the disk in sysfs; -1: the device is the disk */
	dev_t rdev;
	int *part_fds; /* the stat files of all partitions */
	size_t parts;
	int own; /* index into part_fds; -1: not found */
	struct sample last;
	bool has_last;	  /* last is set, and exact */
	uint64_t inexact; /* samples that are not exact */
};

static bool read_stat(int fd, uint64_t value[BSP_COUNTERS])
{
	char text[512];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return sscanf(text,
		      "%*u %*u %*u %*u %" SCNu64 " %*u %" SCNu64
		      " %*u %*u %*u %*u %" SCNu64 " %*u %" SCNu64,
		      &value[0], &value[1], &value[2], &value[3]) == 4;
}

/* --- The partitions --- */

static void close_parts(struct bsp_counters *counters)
{
	for (size_t i = 0; i < counters->parts; i++)
		close(counters->part_fds[i]);
	counters->parts = 0;
	counters->own = -1;
}

/* Whether a folder below the disk's is that of this partition. */
static bool is_own_folder(const struct bsp_counters *counters, const char *name)
{
	int folder = bsp_sysfs_open_below(counters->folder, name);
	dev_t rdev;

	if (folder < 0)
		return false;
	rdev = bsp_sysfs_rdev(folder);
	close(folder);
	return rdev == counters->rdev;
}

/* Adds a folder below the disk's, if it is a partition's. Returns false if its
 * counters cannot be read. */
static bool add_part(struct bsp_counters *counters, const char *name)
{
	char path[300];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/partition", name);
	if (!bsp_sysfs_has(counters->folder, path))
		return true;
	(void)snprintf(path, sizeof(path), "%s/stat", name);
	fd = openat(counters->folder, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || counters->parts == PARTS_MAX) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	if (is_own_folder(counters, name))
		counters->own = (int)counters->parts;
	counters->part_fds[counters->parts++] = fd;
	return true;
}

/* Finds the disk's partitions of now. */
static bool find_parts(struct bsp_counters *counters)
{
	DIR *dir = bsp_sysfs_list(counters->folder, ".");
	const char *name;
	bool ok = dir;

	close_parts(counters);
	while (ok && (name = bsp_sysfs_next(dir)))
		ok = add_part(counters, name);
	if (dir)
		(void)closedir(dir);
	return ok && counters->own >= 0;
}

static bool read_parts(struct bsp_counters *counters, struct sample *sample)
{
	memset(sample->parts, 0, sizeof(sample->parts));
	for (size_t i = 0; i < counters->parts; i++) {
		uint64_t value[BSP_COUNTERS];

		if (!read_stat(counters->part_fds[i], value))
			return false; /* the partition is gone */
		for (int j = 0; j < BSP_COUNTERS; j++)
			sample->parts[j] += value[j];
		if ((int)i == counters->own)
			memcpy(sample->own, value, sizeof(value));
	}
	return counters->own >= 0;
}

/* --- Reading --- */

static bool sample_equal(const struct sample *a, const struct sample *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* Whether two samples have the same own counters and the same rest. Writes to
 * other partitions do not matter. */
static bool rest_equal(const struct sample *a, const struct sample *b)
{
	for (int i = 0; i < BSP_COUNTERS; i++)
		if (a->own[i] != b->own[i] ||
		    a->disk[i] - a->parts[i] != b->disk[i] - b->parts[i])
			return false;
	return true;
}

/* Samples the partitions and the disk until two samples in a row are equal.
 * Returns false if a counter cannot be read. */
static bool sample_until_equal(struct bsp_counters *counters,
			       struct sample *sample, bool *ret_exact)
{
	struct sample next = { 0 };

	*ret_exact = false;
	for (int i = 0; i <= TRIES && !*ret_exact; i++) {
		*sample = next;
		if (!read_parts(counters, &next) ||
		    !read_stat(counters->disk_fd, next.disk))
			return false;
		*ret_exact = i > 0 && sample_equal(sample, &next);
	}
	*sample = next;
	return true;
}

/* Does the same. Finds the partitions anew if one is gone, if there was no
 * exact sample before, or if the rest has moved: writes to a new partition move
 * it. */
static bool sample_finding_parts(struct bsp_counters *counters,
				 struct sample *sample, bool *ret_exact)
{
	if (counters->has_last &&
	    sample_until_equal(counters, sample, ret_exact) &&
	    (!*ret_exact || rest_equal(sample, &counters->last)))
		return true;
	return find_parts(counters) &&
	       sample_until_equal(counters, sample, ret_exact);
}

static bool read_partition(struct bsp_counters *counters)
{
	uint64_t disk[BSP_COUNTERS];
	struct sample sample = { 0 };
	bool exact = false;
	bool ok;

	if (!read_stat(counters->disk_fd, disk))
		return false;
	if (counters->has_last &&
	    memcmp(disk, counters->last.disk, sizeof(disk)) == 0)
		return true;
	ok = sample_finding_parts(counters, &sample, &exact);
	counters->last = sample;
	counters->has_last = ok && exact;
	counters->inexact += !exact;
	return ok;
}

bool bsp_counters_read(struct bsp_counters *counters,
		       uint64_t ret_value[BSP_COUNTER_VALUES])
{
	const struct sample *last = &counters->last;

	memset(ret_value, 0, BSP_COUNTER_VALUES * sizeof(*ret_value));
	if (counters->folder < 0)
		return read_stat(counters->disk_fd, ret_value);
	if (!read_partition(counters))
		return false;
	for (int i = 0; i < BSP_COUNTERS; i++) {
		ret_value[i] = last->own[i];
		ret_value[BSP_COUNTERS + i] = last->disk[i] - last->parts[i];
	}
	ret_value[BSP_COUNTER_VALUES - 1] = counters->inexact;
	return true;
}

/* --- Life --- */

struct bsp_counters *bsp_counters_new(dev_t rdev)
{
	struct bsp_counters *counters;
	bool part;
	int disk = bsp_sysfs_open_disk(rdev, &part);

	counters = disk < 0 ? NULL : calloc(1, sizeof(*counters));
	if (!counters) {
		if (disk >= 0)
			close(disk);
		return NULL;
	}
	counters->rdev = rdev;
	counters->own = -1;
	counters->disk_fd = openat(disk, "stat", O_RDONLY | O_CLOEXEC);
	counters->folder = part ? disk : -1;
	if (!part)
		close(disk);
	counters->part_fds = part ? calloc(PARTS_MAX, sizeof(int)) : NULL;
	if (counters->disk_fd < 0 || (part && !counters->part_fds)) {
		bsp_counters_free(counters);
		return NULL;
	}
	return counters;
}

void bsp_counters_free(struct bsp_counters *counters)
{
	if (!counters)
		return;
	close_parts(counters);
	free(counters->part_fds);
	if (counters->folder >= 0)
		close(counters->folder);
	if (counters->disk_fd >= 0)
		close(counters->disk_fd);
	free(counters);
}
