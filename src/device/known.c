/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/known.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "device/sysfs.h"

enum {
	DEPTH_MAX = 8, /* devices above one another */
};

struct bsp_known {
	/* Fixed. */
	dev_t rdev;

	pthread_mutex_t lock;
	/* Protected by lock: */
	enum bsp_known_trust trust;
	bool built;		 /* layer is the one of generation */
	uint64_t generation;	 /* of the map */
	struct bsp_layer *layer; /* NULL: nothing is known */
	uint64_t content;	 /* the layers' stamp when they were built */
	bool young;		 /* the stamp had not settled then */
	uint64_t medium_moves, content_moves;
};

/* --- The choice of layers --- */

bool bsp_known_from_name(const char *name, enum bsp_known_trust *ret_known,
			 GError **error)
{
	static const char *const names[] = {
		[BSP_KNOWN_AUTO] = "auto",
		[BSP_KNOWN_ALL] = "all",
		[BSP_KNOWN_OFF] = "off",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		if (strcmp(name, names[i]) == 0) {
			*ret_known = (enum bsp_known_trust)i;
			return true;
		}
	}
	return bsp_error_set(error, BSP_ERROR_USAGE,
			     "'%s' is not auto, all or off", name);
}

/* --- Layers --- */

void bsp_layer_free(struct bsp_layer *layer)
{
	if (layer)
		layer->ops->free(layer);
}

static bool has_entry(dev_t rdev, const char *name)
{
	int folder = bsp_sysfs_open(rdev);
	bool has = folder >= 0 && bsp_sysfs_has(folder, name);

	if (folder >= 0)
		close(folder);
	return has;
}

struct bsp_layer *bsp_layer_new(dev_t rdev, enum bsp_known_trust trust,
				unsigned depth)
{
	if (depth >= DEPTH_MAX)
		return NULL;
	if (has_entry(rdev, "partition"))
		return bsp_layer_partition_new(rdev, trust, depth);
	if (has_entry(rdev, "dm"))
		return bsp_layer_dm_new(rdev, trust, depth);
	if (has_entry(rdev, "loop"))
		return bsp_layer_loop_new(rdev, trust);
	return NULL;
}

/* --- The layers of a device --- */

struct bsp_known *bsp_known_new(dev_t rdev, enum bsp_known_trust trust)
{
	struct bsp_known *known = calloc(1, sizeof(*known));

	if (!known)
		return NULL;
	known->rdev = rdev;
	known->trust = trust;
	pthread_mutex_init(&known->lock, NULL);
	return known;
}

/* Frees the layers; the next question builds them anew. lock held. */
static void drop(struct bsp_known *known)
{
	bsp_layer_free(known->layer);
	known->layer = NULL;
	known->built = false;
}

void bsp_known_free(struct bsp_known *known)
{
	if (!known)
		return;
	drop(known);
	pthread_mutex_destroy(&known->lock);
	free(known);
}

/* lock held. */
static uint64_t stamp(const struct bsp_known *known)
{
	struct bsp_layer *layer = known->layer;

	return layer->ops->content ? layer->ops->content(layer, 1) : 1;
}

/* lock held. */
static void build(struct bsp_known *known, uint64_t generation)
{
	drop(known);
	known->built = true;
	known->generation = generation;
	known->layer = bsp_layer_new(known->rdev, known->trust, 0);
	if (!known->layer)
		return;
	bsp_layer_set_paths(known->layer, NULL);
	known->young = known->layer->ops->settled &&
		       !known->layer->ops->settled(known->layer);
	known->content = stamp(known);
	if (!known->content) {
		drop(known);
		known->built = true;
	}
}

/* lock held. */
static bool is_built(const struct bsp_known *known, uint64_t generation)
{
	return known->trust == BSP_KNOWN_OFF ||
	       (known->built && known->generation >= generation);
}

bool bsp_known_is_built(struct bsp_known *known, uint64_t generation)
{
	bool is;

	pthread_mutex_lock(&known->lock);
	is = is_built(known, generation);
	pthread_mutex_unlock(&known->lock);
	return is;
}

struct bsp_known_answer bsp_known_ask(struct bsp_known *known,
				      uint64_t generation, bool may_build,
				      uint64_t off, uint64_t limit)
{
	struct bsp_known_answer answer = { false, off };

	pthread_mutex_lock(&known->lock);
	if (may_build && !is_built(known, generation))
		build(known, generation);
	if (is_built(known, generation)) {
		answer.end = limit;
		if (known->layer)
			answer = known->layer->ops->ask(known->layer, off,
							limit);
	}
	pthread_mutex_unlock(&known->lock);
	return answer;
}

uint64_t bsp_known_medium(struct bsp_known *known, enum bsp_depth depth)
{
	uint64_t moves;

	pthread_mutex_lock(&known->lock);
	if (known->layer && !known->layer->ops->is_same(known->layer, depth)) {
		known->medium_moves++;
		drop(known);
	}
	moves = known->medium_moves;
	pthread_mutex_unlock(&known->lock);
	return moves;
}

uint64_t bsp_known_content(struct bsp_known *known)
{
	uint64_t moves;

	pthread_mutex_lock(&known->lock);
	/* While the stamp was young, a write that had begun earlier could still
	 * change the file. So the end of that time counts as a change. */
	if (known->layer &&
	    (stamp(known) != known->content ||
	     (known->young && known->layer->ops->settled(known->layer)))) {
		known->content_moves++;
		drop(known);
	}
	moves = known->content_moves;
	pthread_mutex_unlock(&known->lock);
	return moves;
}

void bsp_known_set_trust(struct bsp_known *known, enum bsp_known_trust trust)
{
	pthread_mutex_lock(&known->lock);
	known->trust = trust;
	drop(known);
	pthread_mutex_unlock(&known->lock);
}

void bsp_known_list(struct bsp_known *known, bsp_layer_fn fn, void *data)
{
	g_autofree char *name = bsp_layer_device_name(known->rdev);
	g_autoptr(GPtrArray) layers = bsp_layers_new();
	const char *reason = NULL;

	pthread_mutex_lock(&known->lock);
	if (known->trust == BSP_KNOWN_OFF)
		reason = "known=off";
	else if (!known->built)
		reason = "not asked";
	else if (known->layer)
		bsp_layers_add(layers, known->layer);
	else
		bsp_layers_add_device(layers, known->rdev);
	pthread_mutex_unlock(&known->lock);
	if (reason)
		fn(data, name, reason);
	bsp_layers_list(layers, fn, data);
}
