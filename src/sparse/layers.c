/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How many zeros each layer below the device knew.
 *
 * The layers are made anew now and then, so the counts belong to their paths.
 * A count holds what the map has learned of the layer's answers, or a copy has
 * skipped. When the map forgets all, the counts begin at 0 again: otherwise a
 * device that is written to and searched in turn would seem to have more zeros
 * than bytes. An answer of a generation before that does not count.
 *
 * A count is not lowered when known zeros are overwritten.
 */
#include "sparse/sparse.h"

void bsp_sparse_forget_all(struct bsp_sparse *sp)
{
	struct bsp_known_counts *counts = &sp->known_counts;

	/* No answer of the new generation may be counted in between. */
	pthread_mutex_lock(&sp->asked_lock);
	bsp_map_forget(sp->map, 0, UINT64_MAX);
	counts->oldest = bsp_map_generation(sp->map);
	if (counts->layers)
		g_array_set_size(counts->layers, 0);
	pthread_mutex_unlock(&sp->asked_lock);
}

/* Returns the count of a layer; NULL if it has none. asked_lock held. */
static struct bsp_known_layer *find(const struct bsp_known_counts *counts,
				    const char *layer)
{
	for (unsigned i = 0; counts->layers && i < counts->layers->len; i++) {
		struct bsp_known_layer *count = &g_array_index(
			counts->layers, struct bsp_known_layer, i);

		if (count->name == layer)
			return count;
	}
	return NULL;
}

void bsp_sparse_count_known(struct bsp_sparse *sp, uint64_t generation,
			    const char *layer, uint64_t bytes)
{
	struct bsp_known_counts *counts = &sp->known_counts;
	struct bsp_known_layer count = { .name = layer, .zeros = bytes };
	struct bsp_known_layer *had;

	if (!layer || !bytes)
		return;
	pthread_mutex_lock(&sp->asked_lock);
	had = find(counts, layer);
	if (!counts->layers)
		counts->layers = g_array_new(false, false, sizeof(count));
	if (generation < counts->oldest)
		; /* the map has forgotten these zeros */
	else if (had)
		had->zeros += bytes;
	else
		g_array_append_val(counts->layers, count);
	pthread_mutex_unlock(&sp->asked_lock);
}

size_t bsp_sparse_known_counts(struct bsp_sparse *sp,
			       struct bsp_known_layer *ret_layers, size_t max)
{
	const struct bsp_known_counts *counts = &sp->known_counts;
	size_t n;

	pthread_mutex_lock(&sp->asked_lock);
	n = counts->layers ? counts->layers->len : 0;
	for (size_t i = 0; i < n && i < max; i++)
		ret_layers[i] = g_array_index(counts->layers,
					      struct bsp_known_layer, i);
	pthread_mutex_unlock(&sp->asked_lock);
	return n;
}

/* --- The list --- */

uint64_t bsp_sparse_bytes_read(struct bsp_sparse *sp)
{
	return bsp_counted(&sp->dev->counts.read);
}

struct list {
	struct bsp_sparse *sp;
	bsp_known_fn known;
	void *data;
};

/* A bsp_layer_fn. */
static void add_layer(void *data, const char *path, const char *reason)
{
	struct list *list = data;
	struct bsp_sparse *sp = list->sp;
	struct bsp_known_layer layer = { .name = path, .reason = reason };
	const struct bsp_known_layer *count;

	pthread_mutex_lock(&sp->asked_lock);
	count = find(&sp->known_counts, g_intern_string(path));
	if (count)
		layer.zeros = count->zeros;
	pthread_mutex_unlock(&sp->asked_lock);
	if (atomic_load(&sp->distrusted))
		layer.reason = "not asked any more, after a wrong answer";
	list->known(list->data, &layer);
}

void bsp_sparse_known(struct bsp_sparse *sp, bsp_known_fn known, void *data)
{
	struct list list = { sp, known, data };

	if (sp->dev->ops->layers)
		sp->dev->ops->layers(sp->dev, add_layer, &list);
}
