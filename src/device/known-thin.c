/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The unmapped blocks of a thin volume, from the metadata of its pool.
 *
 * Until a commit, the pool has new mappings in memory only. So building the
 * layer has the pool commit: asking for the pool's status does that, unless
 * DM_NOFLUSH_FLAG is set. After that, the metadata device has all earlier
 * mappings, and each later one moves the volume's counters.
 *
 * The pool changes its metadata meanwhile. A walk goes down the trees with
 * direct reads, checks each block, and is valid only if the superblock is the
 * same afterwards (thin-tree.h). A reserved metadata snapshot would need no
 * such care, but it outlives the program and blocks other tools.
 *
 * If the trees cannot be walked, the volume's status still gives the highest
 * mapped sector: everything past it is unmapped. The status includes mappings
 * that are not committed.
 *
 * An unmapped block reads as zeros, or as the external origin. Reads from a
 * pool that has failed return errors, so nothing is known of its volumes.
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
};

struct thin_layer {
	struct bsp_layer layer;
	struct bsp_layer *origin;
	bool has_origin;
	bool origin_silent; /* it knows nothing in this generation */
	int control;	    /* the caller's */
	dev_t rdev, pool;
	uint64_t pool_table; /* the hash of its table when this was made */
	uint64_t volume;

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

/* A bsp_thin_read_fn. */
static int read_block(void *data, uint64_t block, void *buf)
{
	const struct thin_layer *thin = data;
	ssize_t n;

	if (block > (uint64_t)INT64_MAX / BSP_THIN_BLOCK)
		return -EPROTO;
	do
		n = pread(thin->fd, buf, BSP_THIN_BLOCK,
			  (off_t)(block * BSP_THIN_BLOCK));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == BSP_THIN_BLOCK ? 0 : -EPROTO;
}

static int open_tree(struct thin_layer *thin)
{
	int r = bsp_thin_tree_open(&thin->tree, thin->volume);

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

static struct bsp_known_answer ask_origin(struct thin_layer *thin, uint64_t off,
					  uint64_t limit)
{
	struct bsp_layer *origin = thin->origin;

	if (!thin->has_origin)
		return (struct bsp_known_answer){ true, limit,
						  thin->layer.path };
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

	if (thin->fd >= 0 && size && find_run(thin, off / size, &run) == 0) {
		if (run.end <= limit / size)
			answer.end = run.end * size;
		return run.mapped ? answer : ask_origin(thin, off, answer.end);
	}
	if (off >= thin->highest)
		return ask_origin(thin, off, limit);
	answer.end = bsp_min(limit, thin->highest);
	return answer;
}

static bool thin_is_same(struct bsp_layer *layer, enum bsp_depth depth)
{
	const struct thin_layer *thin = to_thin(layer);
	struct bsp_layer *origin = thin->origin;

	if (depth == BSP_DEPTH_ALL &&
	    bsp_dm_table_hash(thin->control, thin->pool) != thin->pool_table)
		return false;
	return !origin || origin->ops->is_same(origin, depth);
}

static uint64_t thin_content(struct bsp_layer *layer, uint64_t hash)
{
	struct bsp_layer *origin = to_thin(layer)->origin;

	if (!origin || !origin->ops->content)
		return hash;
	return origin->ops->content(origin, hash);
}

static bool thin_settled(struct bsp_layer *layer)
{
	struct bsp_layer *origin = to_thin(layer)->origin;

	return !origin || !origin->ops->settled || origin->ops->settled(origin);
}

static bool thin_below(struct bsp_layer *layer, unsigned i,
		       struct bsp_layer_below *ret_below)
{
	*ret_below = (struct bsp_layer_below){ to_thin(layer)->origin };
	return i == 0 && ret_below->layer;
}

static void thin_free(struct bsp_layer *layer)
{
	struct thin_layer *thin = to_thin(layer);

	bsp_layer_free(thin->origin);
	if (thin->fd >= 0)
		close(thin->fd);
	free(thin->tree.memory);
	g_free(layer->name);
	g_free(thin);
}

/* --- Building --- */

/* Whether the pool may be asked to commit now: at most once a second. */
static bool may_commit(dev_t pool)
{
	static GMutex lock;
	static GHashTable *last; /* milliseconds, by pool; never freed */
	gint64 now = g_get_monotonic_time() / 1000, *then;
	bool may;

	g_mutex_lock(&lock);
	if (!last)
		last = g_hash_table_new_full(g_int64_hash, g_int64_equal,
					     g_free, g_free);
	then = g_hash_table_lookup(last, &(gint64){ (gint64)pool });
	may = !then || now - *then >= 1000;
	if (may)
		g_hash_table_insert(
			last,
			g_memdup2(&(gint64){ (gint64)pool }, sizeof(gint64)),
			g_memdup2(&now, sizeof(now)));
	g_mutex_unlock(&lock);
	return may;
}

/* Has the pool commit. Returns false if it cannot be asked or has failed: its
 * status is then "Fail", and does not begin with a number. */
static bool commit(int control, dev_t pool)
{
	g_autoptr(GArray) targets = bsp_dm_status(control, pool);
	const struct bsp_dm_target *target;

	if (!targets || targets->len != 1)
		return false;
	target = &g_array_index(targets, struct bsp_dm_target, 0);
	return strcmp(target->type, "thin-pool") == 0 &&
	       g_ascii_isdigit(target->params[0]);
}

/* Opens the metadata device, the first word of the pool's parameters. Returns
 * -1 on failure; pool_table is 0 if the pool cannot be asked. */
static int open_metadata(struct thin_layer *thin)
{
	g_autoptr(GArray) targets =
		bsp_dm_targets(thin->control, thin->pool, &thin->pool_table);
	unsigned major_number, minor_number;
	int folder, fd = -1;
	char node[BSP_NODE_SIZE];

	if (!targets || targets->len != 1 ||
	    sscanf(g_array_index(targets, struct bsp_dm_target, 0).params,
		   "%u:%u", &major_number, &minor_number) != 2)
		return -1;
	folder = bsp_sysfs_open(makedev(major_number, minor_number));
	if (folder < 0)
		return -1;
	if (bsp_sysfs_node(folder, node))
		fd = open(node, O_RDONLY | O_DIRECT | O_CLOEXEC);
	close(folder);
	return fd;
}

/* Reads the volume's status, "MAPPED HIGHEST" in sectors, or "0 -" if nothing
 * is mapped. */
static bool read_status(struct thin_layer *thin)
{
	g_autoptr(GArray) targets = bsp_dm_status(thin->control, thin->rdev);
	unsigned long long mapped, highest;
	const char *params;

	if (!targets || targets->len != 1)
		return false;
	params = g_array_index(targets, struct bsp_dm_target, 0).params;
	thin->highest = 0;
	if (sscanf(params, "%llu %llu", &mapped, &highest) == 2)
		thin->highest = ((uint64_t)highest + 1) * SECTOR;
	else if (sscanf(params, "%llu -", &mapped) != 1 || mapped)
		return false;
	return true;
}

/* Has the pool commit, and opens the trees of that transaction. */
static int thin_build(struct bsp_layer *layer)
{
	struct thin_layer *thin = to_thin(layer);
	struct bsp_layer *origin = thin->origin;

	thin->open = false;
	if (!may_commit(thin->pool))
		return -EAGAIN;
	if (!commit(thin->control, thin->pool) || !read_status(thin))
		return -EIO;
	if (thin->fd >= 0)
		(void)open_tree(thin);
	thin->origin_silent =
		origin && origin->ops->build && origin->ops->build(origin);
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

struct bsp_layer *bsp_layer_thin_new(int control, dev_t rdev, dev_t pool,
				     uint64_t volume, bool has_origin,
				     struct bsp_layer *origin)
{
	g_autofree char *pool_name = bsp_layer_device_name(pool);
	struct thin_layer *thin = g_new0(struct thin_layer, 1);

	thin->layer.ops = &thin_ops;
	thin->layer.name = g_strdup_printf(
		"thin volume %" G_GUINT64_FORMAT " of %s", volume, pool_name);
	thin->origin = origin;
	thin->has_origin = has_origin;
	thin->control = control;
	thin->rdev = rdev;
	thin->pool = pool;
	thin->volume = volume;
	thin->fd = -1;
	thin->tree.read = read_block;
	thin->tree.memory = bsp_buffer_new(BSP_THIN_MEMORY);
	thin->tree.data = thin;
	thin->fd = open_metadata(thin);
	if (!thin->tree.memory || !thin->pool_table) {
		thin_free(&thin->layer);
		return NULL;
	}
	return &thin->layer;
}
