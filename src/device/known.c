/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/known.h"

#include <errno.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "blksparse-thread.h"
#include "device/sysfs.h"

enum {
	DEPTH_MAX = 8, /* devices above one another */
	/* Devices below one. A table may have any number of targets, and each
	 * of them lead to a device with as many. */
	DEVICES_MAX = 1024,
	RETRY_US = 50000, /* until layers that cannot be built yet are tried
			     again */
	BUSY_MS = 100,	  /* the longest that a handler waits for a question */
};

struct bsp_known {
	/* Fixed. */
	dev_t rdev;

	pthread_mutex_t lock;
	pthread_cond_t answered; /* no question is under way */
	/* Protected by lock: */
	struct bsp_layer_use use;
	bool made;		 /* layer is valid */
	struct bsp_layer *layer; /* NULL: nothing is known */
	uint64_t stamp;		 /* the layers', of the last sample */
	bool young;		 /* the stamp was not settled then */
	bool built;		 /* the layers, for generation */
	bool silent;		 /* nothing is known in generation */
	uint64_t generation;	 /* of the map */
	uint64_t medium_moves, content_moves;

	bool asking; /* a question is under way */
	/* The layer that the question uses without the lock. It lives until the
	 * question's end, even if it is no longer the device's. */
	struct bsp_layer *in_use;
	/* The last generation that was asked about, and the times of its first
	 * question and of the next try to build, in microseconds of
	 * CLOCK_MONOTONIC. */
	uint64_t asked_generation;
	int64_t asked, next_try;
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

struct bsp_layer *bsp_layer_new(dev_t rdev, const struct bsp_layer_use *use,
				unsigned depth)
{
	struct bsp_layer *layer = NULL;

	if (depth >= DEPTH_MAX || *use->left == 0)
		return NULL;
	--*use->left;
	if (has_entry(rdev, "partition"))
		return bsp_layer_partition_new(rdev, use, depth);
	if (has_entry(rdev, "dm"))
		layer = bsp_layer_dm_new(rdev, use, depth);
	else if (has_entry(rdev, "loop"))
		layer = bsp_layer_loop_new(rdev, use->trust);
	if (!layer && use->trust == BSP_KNOWN_ALL && !use->writable)
		layer = bsp_layer_lseek_new(rdev);
	return layer;
}

/* --- The layers of a device --- */

struct bsp_known *bsp_known_new(dev_t rdev, const struct bsp_layer_use *use)
{
	struct bsp_known *known = calloc(1, sizeof(*known));

	if (!known)
		return NULL;
	known->rdev = rdev;
	known->use = *use;
	pthread_mutex_init(&known->lock, NULL);
	bsp_cond_init(&known->answered);
	return known;
}

/* Frees the layers; the next sample or question makes them anew. lock held. */
static void drop(struct bsp_known *known)
{
	if (known->layer != known->in_use)
		bsp_layer_free(known->layer);
	known->layer = NULL;
	known->stamp = 0;
	known->made = known->built = false;
}

void bsp_known_free(struct bsp_known *known)
{
	if (!known)
		return;
	drop(known);
	pthread_cond_destroy(&known->answered);
	pthread_mutex_destroy(&known->lock);
	free(known);
}

/*
 * Takes the layers' stamp. Returns false if it cannot be read. The stamp comes
 * before its age: a write between the two changes the next stamp. In the other
 * order, this stamp would include the write and count as old, and a second
 * write in the same tick of the clock would never show. lock held.
 */
static bool take_stamp(struct bsp_known *known)
{
	struct bsp_layer *layer = known->layer;
	const struct bsp_layer_ops *ops = layer->ops;
	uint64_t was = known->stamp;

	known->stamp = ops->content ? ops->content(layer, 1) : 1;
	if (known->stamp != was || known->young)
		known->young = ops->settled && !ops->settled(layer);
	return known->stamp != 0;
}

/* Makes the layers if that was not tried yet. lock held. */
static void make(struct bsp_known *known)
{
	unsigned left = DEVICES_MAX;

	if (known->made || known->use.trust == BSP_KNOWN_OFF)
		return;
	known->made = true;
	known->use.left = &left;
	known->layer = bsp_layer_new(known->rdev, &known->use, 0);
	known->use.left = NULL;
	if (known->layer && !take_stamp(known)) {
		bsp_layer_free(known->layer);
		known->layer = NULL;
	}
	if (known->layer)
		bsp_layer_set_paths(known->layer, NULL);
}

/*
 * Makes sure that the device still has these layers, or makes its present ones.
 * Others than before count as another medium: granules that were read since the
 * last sample may be out of date, too. lock held.
 */
static void check_layers(struct bsp_known *known, enum bsp_depth depth)
{
	struct bsp_layer *layer = known->layer;
	bool other = known->made;

	if (layer && layer->ops->is_same(layer, depth))
		return;
	drop(known);
	make(known);
	if (other && (layer || known->layer))
		known->medium_moves++;
}

/* --- Questions --- */

/* Waits until no other question is under way. Returns false if a handler would
 * wait for long. lock held. */
static bool begin_question(struct bsp_known *known, bool may_wait)
{
	struct timespec limit = bsp_cond_limit(BUSY_MS);
	int timeout = 0;

	while (known->asking && !timeout) {
		if (may_wait)
			pthread_cond_wait(&known->answered, &known->lock);
		else
			timeout = pthread_cond_timedwait(&known->answered,
							 &known->lock, &limit);
	}
	if (known->asking)
		return false;
	known->asking = true;
	return true;
}

/* lock held. */
static void end_question(struct bsp_known *known)
{
	known->asking = false;
	pthread_cond_signal(&known->answered);
}

/* Lets go of the lock while the question uses the layers. lock held. */
static struct bsp_layer *use_layer(struct bsp_known *known)
{
	struct bsp_layer *layer = known->in_use = known->layer;

	pthread_mutex_unlock(&known->lock);
	return layer;
}

/* Takes the lock again. Returns false if the layers are others by now, or were
 * dropped; frees the old ones. */
static bool finish_use(struct bsp_known *known)
{
	struct bsp_layer *layer = known->in_use;

	pthread_mutex_lock(&known->lock);
	known->in_use = NULL;
	if (layer == known->layer)
		return true;
	bsp_layer_free(layer);
	return false;
}

/* lock held. */
static bool is_built(const struct bsp_known *known, uint64_t generation)
{
	return known->use.trust == BSP_KNOWN_OFF ||
	       (known->built && known->generation >= generation);
}

/* lock held. */
static bool is_due(const struct bsp_known *known, uint64_t generation)
{
	return !is_built(known, generation) &&
	       g_get_monotonic_time() >= known->next_try;
}

bool bsp_known_is_due(struct bsp_known *known, uint64_t generation)
{
	bool is;

	pthread_mutex_lock(&known->lock);
	is = is_due(known, generation);
	pthread_mutex_unlock(&known->lock);
	return is;
}

/* lock held. */
static void note_question(struct bsp_known *known, uint64_t generation)
{
	if (known->asked && known->asked_generation >= generation)
		return;
	known->asked_generation = generation;
	known->asked = g_get_monotonic_time();
}

/* lock held; let go of meanwhile. */
static void build(struct bsp_known *known, uint64_t generation)
{
	struct bsp_layer *layer;
	int64_t since = known->asked;
	int r = 0;

	check_layers(known, BSP_DEPTH_ALL);
	if (known->layer && known->layer->ops->build) {
		known->built = false;
		layer = use_layer(known);
		r = layer->ops->build(layer, since);
		if (!finish_use(known))
			r = -EAGAIN;
	}
	if (r == -EAGAIN) {
		known->next_try = g_get_monotonic_time() + RETRY_US;
		return;
	}
	known->built = true;
	known->silent = r != 0;
	known->generation = generation;
}

/* Asks the layers. An answer beyond the question is not believed: then nothing
 * is known. lock held; let go of meanwhile. */
static struct bsp_known_answer ask(struct bsp_known *known, uint64_t off,
				   uint64_t limit)
{
	struct bsp_known_answer nothing = { false, limit }, answer;
	struct bsp_layer *layer;

	if (!known->layer || known->silent)
		return nothing;
	layer = use_layer(known);
	answer = layer->ops->ask(layer, off, limit);
	if (!finish_use(known))
		return (struct bsp_known_answer){ false, off };
	return answer.end > off && answer.end <= limit ? answer : nothing;
}

struct bsp_known_answer bsp_known_ask(struct bsp_known *known,
				      uint64_t generation, bool may_build,
				      uint64_t off, uint64_t limit)
{
	struct bsp_known_answer answer = { false, off };

	pthread_mutex_lock(&known->lock);
	if (begin_question(known, may_build)) {
		if (may_build && is_due(known, generation)) {
			note_question(known, generation);
			build(known, generation);
		}
		if (is_built(known, generation))
			answer = ask(known, off, limit);
		end_question(known);
	}
	pthread_mutex_unlock(&known->lock);
	return answer;
}

/* --- Samples --- */

uint64_t bsp_known_medium(struct bsp_known *known, enum bsp_depth depth)
{
	uint64_t moves;

	pthread_mutex_lock(&known->lock);
	if (known->layer || !known->made)
		check_layers(known, depth);
	moves = known->medium_moves;
	pthread_mutex_unlock(&known->lock);
	return moves;
}

/* Whether the layers have changed since the last sample. lock held. */
static bool has_moved(struct bsp_known *known)
{
	uint64_t stamp = known->stamp;

	if (!take_stamp(known)) {
		drop(known);
		return true;
	}
	return known->stamp != stamp;
}

uint64_t bsp_known_content(struct bsp_known *known, bool *ret_young)
{
	uint64_t moves;

	pthread_mutex_lock(&known->lock);
	make(known);
	if (known->layer && has_moved(known))
		known->content_moves++;
	moves = known->content_moves;
	*ret_young = known->layer && known->young;
	pthread_mutex_unlock(&known->lock);
	return moves;
}

void bsp_known_set_trust(struct bsp_known *known, enum bsp_known_trust trust)
{
	pthread_mutex_lock(&known->lock);
	known->use.trust = trust;
	drop(known);
	pthread_mutex_unlock(&known->lock);
}

void bsp_known_list(struct bsp_known *known, bsp_layer_fn fn, void *data)
{
	g_autofree char *name = bsp_layer_device_name(known->rdev);
	g_autoptr(GPtrArray) layers = bsp_layers_new();
	const char *reason = NULL;

	pthread_mutex_lock(&known->lock);
	if (known->use.trust == BSP_KNOWN_OFF)
		reason = "known=off";
	else if (!known->built)
		reason = "not asked";
	else if (known->layer && !known->silent)
		bsp_layers_add(layers, known->layer);
	else
		bsp_layers_add_device(layers, known->rdev);
	pthread_mutex_unlock(&known->lock);
	if (reason)
		fn(data, name, reason);
	bsp_layers_list(layers, fn, data);
}
