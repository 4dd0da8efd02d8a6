/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Learning: telling the map the content that a read of the device found. All of
 * it goes through here, whether a reader or a scan did the read.
 *
 * Reads go by bytes, the map by granules. Only whole granules are learned; a
 * part of one says nothing of the rest. The exception is the last granule of a
 * device that ends inside of it.
 *
 * Learning takes no lock: the map accepts a state only where it knew nothing,
 * and only if nothing was forgotten since the generation that the caller took
 * before the read. So a caller must take the generation first, then read, then
 * learn. Zeros that the device knows pass a spot check before (spot-check.c).
 */
#include "sparse/sparse.h"

#include "base/range.h"
#include "base/zero.h"

#define GIB (UINT64_C(1) << 30)
#define MIB (UINT64_C(1) << 20)

/* How much of one answer is used, so that its checks take a bounded time; and
 * how much is read before the next question, after a check that failed. */
#define ANSWER_MAX (64 * GIB)
#define ASK_AGAIN (64 * MIB)

enum {
	/* Shorter zeros that the device knows are read together with the data
	 * around them: one long read costs less than two short ones. */
	WORTH_SKIPPING = 64 << 10,
};

/*
 * Learns the last granule, which is short because the device ends in it. Adds
 * its bytes to *bytes if it was unknown.
 * watch_lock keeps the size as it is: if the device grew in between, a hole
 * that is known for the short granule would count as a hole of the whole
 * granule.
 */
static int learn_last(struct bsp_sparse *sp, uint64_t generation,
		      uint64_t granule, uint64_t size, bool zero,
		      uint64_t *bytes)
{
	uint64_t n = 0;
	int r = 0;

	pthread_mutex_lock(&sp->watch_lock);
	if (size == atomic_load(&sp->size))
		r = bsp_map_learned_count(sp->map, generation, granule,
					  granule + 1, zero, &n);
	pthread_mutex_unlock(&sp->watch_lock);
	*bytes += n * (size - (granule << sp->shift));
	return r;
}

/* Learns a run, and sets *ret_bytes to the bytes of it that were unknown. */
static int learn_run(struct bsp_sparse *sp, uint64_t generation, uint64_t off,
		     uint64_t len, bool zero, uint64_t *ret_bytes)
{
	uint64_t size = atomic_load(&sp->size);
	uint64_t end = off + len;
	uint64_t from = bsp_granules(off, sp->shift);
	uint64_t to = end >> sp->shift;
	uint64_t n = 0;
	int r = 0;

	if (from < to)
		r = bsp_map_learned_count(sp->map, generation, from, to, zero,
					  &n);
	*ret_bytes = n << sp->shift;
	if (!r && end == size && from <= to && to << sp->shift != end)
		r = learn_last(sp, generation, to, size, zero, ret_bytes);
	return r;
}

int bsp_sparse_learn_run(struct bsp_sparse *sp, uint64_t generation,
			 uint64_t off, uint64_t len, bool zero)
{
	uint64_t bytes;

	return learn_run(sp, generation, off, len, zero, &bytes);
}

int bsp_sparse_learn(struct bsp_sparse *sp, uint64_t generation, uint64_t off,
		     const void *buf, uint64_t len)
{
	uint64_t end = off + len;
	uint64_t at = bsp_align_up(off, sp->shift);

	while (at < end) {
		bool zero;
		size_t run = bsp_zero_run((const char *)buf + (at - off),
					  (size_t)(end - at),
					  (size_t)1 << sp->shift, &zero);
		int r = bsp_sparse_learn_run(sp, generation, at, run, zero);

		if (r)
			return r;
		at += run;
	}
	return 0;
}

uint64_t bsp_sparse_run_end(struct bsp_sparse *sp, unsigned set, uint64_t off,
			    uint64_t end)
{
	uint64_t next = bsp_map_next(sp->map, set, off >> sp->shift,
				     bsp_granules(end, sp->shift));

	return bsp_max(off, bsp_granule_start(next, sp->shift, end));
}

/* --- Holes that the device knows --- */

/* Whether off lies in the last range of which the device knew nothing. */
static bool is_asked(struct bsp_sparse *sp, uint64_t generation, uint64_t off)
{
	const struct bsp_asked *asked = &sp->asked;
	bool is;

	pthread_mutex_lock(&sp->asked_lock);
	is = asked->generation == generation && off >= asked->from &&
	     off < asked->to;
	pthread_mutex_unlock(&sp->asked_lock);
	return is;
}

static void note_asked(struct bsp_sparse *sp, uint64_t generation,
		       uint64_t from, uint64_t to)
{
	pthread_mutex_lock(&sp->asked_lock);
	sp->asked = (struct bsp_asked){ generation, from, to };
	pthread_mutex_unlock(&sp->asked_lock);
}

/* Returns the end of the zeros that the device knows to start at off, off if
 * there are none. The end is past the first granule. Sets *ret_layer to the
 * layer that knows them. */
static uint64_t ask_zeros(struct bsp_sparse *sp, uint64_t generation,
			  uint64_t off, uint64_t size, bool may_build,
			  const char **ret_layer)
{
	struct bsp_known_answer answer;

	if (!sp->dev->ops->known || off >= size ||
	    is_asked(sp, generation, off))
		return off;
	answer = sp->dev->ops->known(sp->dev, generation, may_build, off, size);
	if (answer.end <= off)
		return off;
	/* Zeros that end in the first granule are not worth asking again. */
	if (!answer.zeros || (answer.end < size &&
			      answer.end >> sp->shift == off >> sp->shift)) {
		answer.end =
			bsp_max(answer.end, bsp_align_up(off + 1, sp->shift));
		note_asked(sp, generation, off, answer.end);
		return off;
	}
	*ret_layer = answer.layer;
	return answer.end;
}

/* Returns the end of the zeros that start at off, as far as they passed a spot
 * check. */
static uint64_t ask_and_check(struct bsp_sparse *sp, uint64_t generation,
			      uint64_t off, uint64_t size, bool may_build,
			      const char **ret_layer)
{
	uint64_t end =
		ask_zeros(sp, generation, off, size, may_build, ret_layer);

	end = bsp_min(end, off + ANSWER_MAX);
	if (end <= off ||
	    bsp_sparse_spot_check(sp, generation, off, end, *ret_layer))
		return end;
	/* The check may have moved the generation: it looks for changes. Do not
	 * ask, and check, at once again, but read. */
	note_asked(sp, bsp_map_generation(sp->map), off,
		   bsp_min(end, off + ASK_AGAIN));
	return off;
}

/* The end of the last range of which the device knew nothing, up to a granule,
 * if off lies in it; end otherwise. */
static uint64_t asked_end(struct bsp_sparse *sp, uint64_t generation,
			  uint64_t off, uint64_t end)
{
	const struct bsp_asked *asked = &sp->asked;
	uint64_t to = end;

	pthread_mutex_lock(&sp->asked_lock);
	if (asked->generation == generation && off >= asked->from &&
	    off < asked->to)
		to = bsp_align_up(asked->to, sp->shift);
	pthread_mutex_unlock(&sp->asked_lock);
	return bsp_min(to, end);
}

uint64_t bsp_sparse_asked_end(struct bsp_sparse *sp, uint64_t off)
{
	uint64_t end =
		asked_end(sp, bsp_map_generation(sp->map), off, UINT64_MAX);

	return end == UINT64_MAX ? off : end;
}

uint64_t bsp_sparse_read_end(struct bsp_sparse *sp, uint64_t off, uint64_t end,
			     bool may_build)
{
	uint64_t generation = bsp_map_generation(sp->map);
	uint64_t stop = asked_end(sp, generation, off, end);
	const char *layer;
	uint64_t zeros;

	if (stop >= end)
		return end;
	zeros = ask_zeros(sp, generation, stop, atomic_load(&sp->size),
			  may_build, &layer);
	return zeros - stop >= WORTH_SKIPPING ? stop : end;
}

int bsp_sparse_learn_known(struct bsp_sparse *sp, uint64_t off, bool may_build)
{
	uint64_t generation = bsp_map_generation(sp->map);
	uint64_t size = atomic_load(&sp->size);
	const char *layer;
	uint64_t end =
		ask_and_check(sp, generation, off, size, may_build, &layer);
	uint64_t bytes;
	int r;

	if (end <= off)
		return 0;
	/*
	 * A punch relies on a hole for good. If the device has another table by
	 * now, the old one's layers may have answered, about blocks that are no
	 * longer the device's.
	 */
	if (sp->dev->info.writable && bsp_sparse_has_other_medium(sp))
		return 0;
	/* Before the map has such a hole (relied.c). */
	if (sp->dev->info.writable)
		atomic_store(&sp->knows_holes, true);
	r = learn_run(sp, generation, off, end - off, true, &bytes);
	bsp_sparse_count_known(sp, generation, layer, bytes);
	return r;
}

/*
 * Cuts zeros [off, end), which the device knew in that generation of the map,
 * where this object has written since. The device may have answered before the
 * write, or not see it yet. Returns off if the map may have forgotten a write:
 * forgetting raises the generation first.
 */
static uint64_t cut_at_data(struct bsp_sparse *sp, uint64_t generation,
			    uint64_t off, uint64_t end)
{
	if (end <= off || !sp->dev->info.writable)
		return end;
	end = bsp_sparse_run_end(sp, BSP_IN_DATA, off, end);
	return bsp_map_generation(sp->map) == generation ? end : off;
}

uint64_t bsp_sparse_known_zeros(struct bsp_sparse *sp, uint64_t off,
				uint64_t end, bool may_build)
{
	uint64_t generation = bsp_map_generation(sp->map);
	uint64_t size = atomic_load(&sp->size);
	const char *layer;
	uint64_t zeros =
		ask_and_check(sp, generation, off, size, may_build, &layer);

	zeros = cut_at_data(sp, generation, off, bsp_min(zeros, end));
	if (zeros < end)
		zeros = bsp_max(off, bsp_align_down(zeros, sp->shift));
	if (zeros > off)
		bsp_sparse_count_known(sp, generation, layer, zeros - off);
	return zeros;
}
