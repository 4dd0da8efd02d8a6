/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The unmapped blocks of a thin volume, from the metadata of its pool.
 *
 * Until a commit, the pool has new mappings in memory only. So building the
 * layer has the pool commit: asking for the pool's status does that, unless
 * DM_NOFLUSH_FLAG is set. After that, the metadata device has all earlier
 * mappings, and each later one moves the volume's counters. A commit for one
 * volume will do for all of its pool.
 *
 * A pool that is suspended, read-only or out of metadata space does not commit,
 * and its status does not say so; commit() looks for these. Reads from a pool
 * that has failed return errors. Nothing is known then.
 *
 * The pool changes its metadata meanwhile. A walk goes down the trees with
 * direct reads, checks each block, and is valid only if the superblock is the
 * same afterwards (thin-tree.h). A reserved metadata snapshot would need no
 * such care, but it outlives the program and blocks other tools. A superblock
 * has no number of its own: after two commits it may look the same again. That
 * does no harm. The pool writes other nodes of the volume only after a write to
 * the volume, and such a write ends the generation.
 *
 * If the trees cannot be walked, the volume's status still gives the highest
 * mapped sector: everything past it is unmapped. The status includes mappings
 * that are not committed.
 *
 * An unmapped block reads as zeros, or as the external origin, and as zeros
 * past the origin's end. But a pool that does not zero new blocks leaves old
 * bytes around the first write to a block. Where other programs write, that
 * write moves the counters, and the zeros are forgotten. The owner of a
 * writable device remembers zeros beside its own writes: it must know nothing
 * of such a pool.
 */
#include "device/known-thin.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/range.h"
#include "device/device.h"
#include "device/dm-table.h"
#include "device/dm.h"
#include "device/sysfs.h"
#include "device/thin-tree.h"

enum {
	SECTOR = 512,
	TRIES = 4, /* walks, if the pool commits during each of them */
	COMMIT_US = 1000000, /* between two commits of a pool */
};

/* How much is left unknown when all walks fail. */
#define BUSY_LEN (UINT64_C(64) << 20)

struct thin_layer {
	struct bsp_layer layer;
	struct bsp_thin_volume volume;
	bool origin_silent;  /* it knows nothing in this generation */
	int control;	     /* the caller's */
	uint64_t pool_table; /* the hash of its table when this was made */

	int fd; /* of the metadata device; -1: only the status is known */
	struct bsp_thin_tree tree; /* block_size is 0 until it was opened */
	bool open;		   /* the tree has a superblock */
	/* The offset from which on nothing was mapped when this was built; 0 if
	 * nothing was mapped at all. */
	uint64_t highest;
};

static struct thin_layer *to_thin(struct bsp_layer *layer)
{
	return (struct thin_layer *)layer;
}

/* --- Reading the metadata --- */

int bsp_thin_read_block(int fd, uint64_t block, void *buf)
{
	ssize_t n;

	if (block > (uint64_t)INT64_MAX / BSP_THIN_BLOCK)
		return -EPROTO;
	do
		n = pread(fd, buf, BSP_THIN_BLOCK,
			  (off_t)(block * BSP_THIN_BLOCK));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == BSP_THIN_BLOCK ? 0 : -EPROTO;
}

/* A bsp_thin_read_fn. */
static int read_block(void *data, uint64_t block, void *buf)
{
	const struct thin_layer *thin = data;

	return bsp_thin_read_block(thin->fd, block, buf);
}

static int open_tree(struct thin_layer *thin)
{
	int r = bsp_thin_tree_open(&thin->tree, thin->volume.number);

	thin->open = r == 0;
	return r;
}

/* Finds the run at a block, by a walk during which the pool did not commit. */
static int find_run(struct thin_layer *thin, uint64_t block,
		    struct bsp_thin_run *ret_run)
{
	int r = -EAGAIN;

	for (unsigned i = 0; i < TRIES && r == -EAGAIN; i++) {
		r = thin->open ? 0 : open_tree(thin);
		if (!r)
			r = bsp_thin_tree_find(&thin->tree, block, ret_run);
		/* A node that looks broken may be a block that the pool has
		 * used again. */
		if (thin->tree.fresh && (!r || r == -EPROTO || r == -ENOENT)) {
			int current = bsp_thin_tree_is_current(&thin->tree);

			if (current < 0)
				r = current;
			else if (!current)
				r = -EAGAIN;
		}
		if (r)
			thin->open = false;
	}
	return r;
}

/* --- The layer --- */

/* The answer for unmapped blocks. */
static struct bsp_known_answer ask_origin(struct thin_layer *thin, uint64_t off,
					  uint64_t limit)
{
	struct bsp_layer *origin = thin->volume.origin;

	if (off >= thin->volume.origin_size)
		return (struct bsp_known_answer){ true, limit,
						  thin->layer.path };
	limit = bsp_min(limit, thin->volume.origin_size);
	if (!origin || thin->origin_silent)
		return (struct bsp_known_answer){ false, limit };
	return origin->ops->ask(origin, off, limit);
}

static struct bsp_known_answer thin_ask(struct bsp_layer *layer, uint64_t off,
					uint64_t limit)
{
	struct thin_layer *thin = to_thin(layer);
	struct bsp_known_answer answer = { false, limit };
	struct bsp_thin_run run;
	uint64_t size = thin->tree.block_size;
	int r = -ENODATA;

	if (thin->fd >= 0 && size)
		r = find_run(thin, off / size, &run);
	if (!r) {
		if (run.end <= limit / size)
			answer.end = run.end * size;
		return run.mapped ? answer : ask_origin(thin, off, answer.end);
	}
	if (off >= thin->highest)
		return ask_origin(thin, off, limit);
	answer.end = bsp_min(limit, thin->highest);
	/* The next walk may have more luck. */
	if (r == -EAGAIN)
		answer.end = bsp_min(answer.end, off + BUSY_LEN);
	return answer;
}

static bool thin_is_same(struct bsp_layer *layer, enum bsp_depth depth)
{
	const struct thin_layer *thin = to_thin(layer);
	struct bsp_layer *origin = thin->volume.origin;

	if (depth == BSP_DEPTH_ALL &&
	    bsp_dm_table_hash(thin->control, thin->volume.pool) !=
		    thin->pool_table)
		return false;
	return !origin || origin->ops->is_same(origin, depth);
}

static uint64_t thin_content(struct bsp_layer *layer, uint64_t hash)
{
	struct bsp_layer *origin = to_thin(layer)->volume.origin;

	if (!origin || !origin->ops->content)
		return hash;
	return origin->ops->content(origin, hash);
}

static bool thin_settled(struct bsp_layer *layer)
{
	struct bsp_layer *origin = to_thin(layer)->volume.origin;

	return !origin || !origin->ops->settled || origin->ops->settled(origin);
}

static bool thin_below(struct bsp_layer *layer, unsigned i,
		       struct bsp_layer_below *ret_below)
{
	*ret_below = (struct bsp_layer_below){ to_thin(layer)->volume.origin };
	return i == 0 && ret_below->layer;
}

static void thin_free(struct bsp_layer *layer)
{
	struct thin_layer *thin = to_thin(layer);

	bsp_layer_free(thin->volume.origin);
	if (thin->fd >= 0)
		close(thin->fd);
	free(thin->tree.memory);
	g_free(layer->name);
	g_free(thin);
}

/* --- Building --- */

/* The times of a pool's commits, in microseconds of CLOCK_MONOTONIC. */
struct commits {
	gint64 pool;
	int64_t tried; /* when the last one began */
	int64_t done;  /* when the last one began that succeeded */
};

static GMutex commits_lock;

/* commits_lock held. */
static struct commits *commits_of(dev_t pool)
{
	static GHashTable *all; /* by pool; never freed */
	gint64 key = (gint64)pool;
	struct commits *commits;

	if (!all)
		all = g_hash_table_new(g_int64_hash, g_int64_equal);
	commits = g_hash_table_lookup(all, &key);
	if (!commits) {
		commits = g_new0(struct commits, 1);
		*commits = (struct commits){ key, -COMMIT_US, -1 };
		g_hash_table_insert(all, &commits->pool, commits);
	}
	return commits;
}

/*
 * Has the pool commit. Its status is "Fail", or the fifth word tells the mode.
 * A pool that was suspended meanwhile may not have committed; if it was resumed
 * before that is looked up, it did so when it was suspended. Returns 0, -EAGAIN
 * if the pool is suspended, or another -errno if it cannot commit.
 */
static int commit(int control, dev_t pool)
{
	g_autoptr(GArray) targets = bsp_dm_status(control, pool);
	const struct bsp_dm_target *target;
	g_auto(GStrv) words = NULL;

	if (!targets || targets->len != 1)
		return -EIO;
	target = &g_array_index(targets, struct bsp_dm_target, 0);
	words = g_strsplit(target->params, " ", -1);
	if (strcmp(target->type, "thin-pool") != 0 || g_strv_length(words) < 5)
		return -EIO;
	if (strcmp(words[4], "rw") != 0 &&
	    strcmp(words[4], "out_of_data_space") != 0)
		return -EROFS;
	return bsp_dm_is_suspended(control, pool) ? -EAGAIN : 0;
}

int bsp_thin_commit(int control, dev_t pool, int64_t since)
{
	int64_t now = g_get_monotonic_time();
	struct commits *commits;
	bool done, may;
	int r;

	g_mutex_lock(&commits_lock);
	commits = commits_of(pool);
	done = commits->done >= since;
	may = now - commits->tried >= COMMIT_US;
	if (!done && may)
		commits->tried = now;
	g_mutex_unlock(&commits_lock);
	if (done)
		return 0;
	if (!may)
		return -EAGAIN;
	r = commit(control, pool);
	g_mutex_lock(&commits_lock);
	if (!r)
		commits->done = MAX(commits->done, now);
	g_mutex_unlock(&commits_lock);
	return r;
}

/* Reads the volume's status, "MAPPED HIGHEST" in sectors, or "0 -" if nothing
 * is mapped. */
static bool read_status(struct thin_layer *thin)
{
	g_autoptr(GArray) targets =
		bsp_dm_status(thin->control, thin->volume.rdev);
	unsigned long long mapped, highest;
	const char *params;

	if (!targets || targets->len != 1)
		return false;
	params = g_array_index(targets, struct bsp_dm_target, 0).params;
	thin->highest = 0;
	if (sscanf(params, "%llu %llu", &mapped, &highest) != 2)
		return strcmp(params, "0 -") == 0;
	if (highest >= UINT64_MAX / SECTOR)
		return false;
	thin->highest = ((uint64_t)highest + 1) * SECTOR;
	return true;
}

/* Opens the trees of the last transaction. Without them, the status has to
 * do. */
static int thin_build(struct bsp_layer *layer, int64_t since)
{
	struct thin_layer *thin = to_thin(layer);
	struct bsp_layer *origin = thin->volume.origin;
	int r = 0;

	thin->open = false;
	if (origin && origin->ops->build)
		r = origin->ops->build(origin, since);
	thin->origin_silent = r != 0;
	if (r != -EAGAIN)
		r = bsp_thin_commit(thin->control, thin->volume.pool, since);
	if (r)
		return r;
	if (!read_status(thin))
		return -EIO;
	if (thin->fd >= 0)
		(void)open_tree(thin);
	return 0;
}

static const struct bsp_layer_ops thin_ops = {
	.build = thin_build,
	.ask = thin_ask,
	.is_same = thin_is_same,
	.content = thin_content,
	.settled = thin_settled,
	.below = thin_below,
	.free = thin_free,
	.answers = true,
};

/* --- Life --- */

/* The metadata device is the first word of the parameters. */
int bsp_thin_open_metadata(const char *params)
{
	unsigned major_number, minor_number;
	int folder, fd;

	if (sscanf(params, "%u:%u", &major_number, &minor_number) != 2)
		return -1;
	folder = bsp_sysfs_open(makedev(major_number, minor_number));
	if (folder < 0)
		return -1;
	fd = bsp_sysfs_open_node(folder);
	close(folder);
	if (fd >= 0 && fcntl(fd, F_SETFL, O_DIRECT) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* Reads the pool's table. Returns false if nothing is to be known of it. */
static bool find_pool(struct thin_layer *thin, bool writable)
{
	g_autoptr(GArray) targets = bsp_dm_targets(
		thin->control, thin->volume.pool, &thin->pool_table);
	const struct bsp_dm_target *target;

	if (!targets || targets->len != 1)
		return false;
	target = &g_array_index(targets, struct bsp_dm_target, 0);
	if (writable && bsp_dm_skips_zeroing(target))
		return false;
	thin->fd = bsp_thin_open_metadata(target->params);
	return true;
}

struct bsp_layer *bsp_layer_thin_new(int control,
				     const struct bsp_thin_volume *volume,
				     bool writable)
{
	g_autofree char *pool_name = bsp_layer_device_name(volume->pool);
	struct thin_layer *thin = g_new0(struct thin_layer, 1);

	thin->layer.ops = &thin_ops;
	thin->layer.name =
		g_strdup_printf("thin volume %" G_GUINT64_FORMAT " of %s",
				volume->number, pool_name);
	thin->volume = *volume;
	thin->control = control;
	thin->fd = -1;
	thin->tree.read = read_block;
	thin->tree.memory = bsp_buffer_new(BSP_THIN_MEMORY);
	thin->tree.data = thin;
	if (!thin->tree.memory || !find_pool(thin, writable)) {
		thin_free(&thin->layer);
		return NULL;
	}
	return &thin->layer;
}
