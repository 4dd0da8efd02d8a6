/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Makes a map of 80 GiB with EXTENTS extents, evenly spread, and prints the
 * microseconds of a seek in it, of a seek that does not check for other
 * writers, and of a stat, and the memory in MiB. The data is never read; the
 * check for other writers uses DEVICE.
 *
 *   map-seeks EXTENTS DEVICE
 */
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "sparse/sparse.h"

enum { SEEKS = 1000000, GRANULE = 4096 };
static const uint64_t SIZE = UINT64_C(80) << 30;

/* NULL: no check for other writers */
static struct bsp_device *looked_at;

static ssize_t never_read(struct bsp_device *dev, uint64_t off, void *buf,
			  size_t len)
{
	errx(1, "the device was read");
}

static int size_now(struct bsp_device *dev, uint64_t *ret_size)
{
	int r = looked_at ? looked_at->ops->size(looked_at, ret_size) : 0;

	*ret_size = SIZE;
	return r;
}

static void content_now(struct bsp_device *dev, struct bsp_content *ret_content)
{
	*ret_content = (struct bsp_content){ .counted = true, .settled = true };
	if (looked_at)
		looked_at->ops->content(looked_at, ret_content);
}

static void medium_now(struct bsp_device *dev, enum bsp_depth depth,
		       struct bsp_medium *ret_medium)
{
	*ret_medium = (struct bsp_medium){ 0 };
	if (looked_at)
		looked_at->ops->medium(looked_at, depth, ret_medium);
}

static void close_nothing(struct bsp_device *dev)
{
}

static const struct bsp_device_ops ops = {
	.read = never_read,
	.size = size_now,
	.medium = medium_now,
	.content = content_now,
	.close = close_nothing,
};

static struct bsp_sparse *new_sparse(struct bsp_device *dev)
{
	GError *error = NULL;
	struct bsp_sparse *sp = bsp_sparse_new(dev, NULL, &error);

	if (!sp)
		errx(1, "%s", error->message);
	return sp;
}

static void learn(struct bsp_sparse *sp, uint64_t from, uint64_t to, bool zero)
{
	if (from < to && bsp_map_learned(sp->map, bsp_map_generation(sp->map),
					 from, to, zero))
		errx(1, "no memory");
}

static void learn_extents(struct bsp_sparse *sp, uint64_t extents)
{
	uint64_t granules = SIZE / GRANULE, each = granules / extents;

	for (uint64_t at = 0; at < granules; at += each) {
		uint64_t end = at + each < granules ? at + each : granules;

		learn(sp, at, at + 1, false);
		learn(sp, at + 1, end, true);
	}
}

static double now_us(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static double time_seeks(struct bsp_sparse *sp)
{
	uint64_t random = 88172645463325252, to;
	double start = now_us();

	for (int i = 0; i < SEEKS; i++) {
		int r;

		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		if (i % 2)
			r = bsp_sparse_seek_data(sp, random % SIZE, NULL, NULL,
						 &to);
		else
			r = bsp_sparse_seek_hole(sp, random % SIZE, NULL, NULL,
						 &to);
		if (r && r != -ENXIO)
			errx(1, "seek: %d", r);
	}
	return (now_us() - start) / (double)SEEKS;
}

static double time_stats(struct bsp_sparse *sp)
{
	struct bsp_stat stat;
	double start = now_us();

	for (int i = 0; i < SEEKS; i++)
		bsp_sparse_stat(sp, &stat);
	return (now_us() - start) / (double)SEEKS;
}

static uint64_t resident(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	uint64_t pages = 0;

	if (!file || fscanf(file, "%*u %" SCNu64, &pages) != 1)
		err(1, "/proc/self/statm");
	fclose(file);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

int main(int argc, char **argv)
{
	uint64_t extents = argc == 3 ? strtoull(argv[1], NULL, 0) : 0;
	GError *error = NULL;
	struct bsp_device device = {
		.ops = &ops,
		.path = g_strdup("nothing"),
		.info = { .size = SIZE,
			  .logical_block_size = 512,
			  .is_block = true },
	};
	struct bsp_sparse *sp;
	uint64_t before;
	double seeks, lookups;

	if (extents == 0 || extents > SIZE / GRANULE / 2)
		errx(2, "usage: map-seeks EXTENTS DEVICE");
	sp = new_sparse(&device);
	before = resident();
	learn_extents(sp, extents);
	lookups = time_seeks(sp);
	looked_at = bsp_device_open(argv[2], &error);
	if (!looked_at)
		errx(1, "%s", error->message);
	/* The first look at its counters is a change, after which all is
	 * unknown again. */
	(void)bsp_sparse_refresh(sp);
	learn_extents(sp, extents);
	seeks = time_seeks(sp);
	printf("%.4f %.4f %.4f %.1f\n", seeks, lookups, time_stats(sp),
	       (double)(resident() - before) / (1 << 20));
	bsp_sparse_free(sp);
	bsp_device_close(looked_at);
	return 0;
}
