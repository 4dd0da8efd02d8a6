/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "behind.h"

enum {
	/* The least to write on the way upwards, for it to be one; and what is
	 * done at once. */
	SETTLE_STEP = 4 << 20,
	CARRY_STEP = 64 << 20,
	/* Of several writes under way one may be this much before another, and
	 * what is zeroed should not be written right after. */
	DISORDER = 32 << 20,
};

/* A way begins there. lock held. */
static void begin(struct behind *behind, uint64_t off)
{
	behind->bottom = behind->top = off;
	behind->settled_to = behind->carried_to = off;
	behind->carry_at = off + DISORDER + CARRY_STEP;
	behind->bytes = 0;
}

void behind_init(struct behind *behind)
{
	begin(behind, 0);
	pthread_mutex_init(&behind->lock, NULL);
}

void behind_done(struct behind *behind)
{
	pthread_mutex_destroy(&behind->lock);
}

/* lock held. */
static bool must_settle(const struct behind *behind)
{
	return behind->bytes >= SETTLE_STEP &&
	       behind->top >= behind->settled_to + 2 * SETTLE_STEP;
}

static bool must_carry(const struct behind *behind)
{
	return behind->bytes >= SETTLE_STEP && behind->top >= behind->carry_at;
}

bool behind_wrote(struct behind *behind, uint64_t off, uint64_t len)
{
	uint64_t end = off + len;
	bool due;

	pthread_mutex_lock(&behind->lock);
	if (off < behind->bottom || off + DISORDER < behind->top)
		begin(behind, off);
	behind->bytes += len;
	if (end > behind->top)
		behind->top = end;
	due = must_settle(behind) || must_carry(behind);
	pthread_mutex_unlock(&behind->lock);
	return due;
}

/* From where to write back and drop; nothing, if that is *ret_to. */
static uint64_t take_settle(struct behind *behind, uint64_t *ret_to)
{
	uint64_t from;

	pthread_mutex_lock(&behind->lock);
	from = *ret_to = behind->settled_to;
	if (must_settle(behind))
		behind->settled_to = *ret_to = behind->top - SETTLE_STEP;
	pthread_mutex_unlock(&behind->lock);
	return from;
}

static bool take_carry(struct behind *behind, uint64_t *ret_from,
		       uint64_t *ret_to)
{
	bool due;

	pthread_mutex_lock(&behind->lock);
	due = must_carry(behind);
	*ret_from = behind->carried_to;
	*ret_to = behind->top - DISORDER;
	if (due)
		behind->carry_at = behind->top + CARRY_STEP;
	pthread_mutex_unlock(&behind->lock);
	return due;
}

/* Unless there is another way meanwhile. */
static void carried(struct behind *behind, uint64_t from, uint64_t to)
{
	pthread_mutex_lock(&behind->lock);
	if (behind->carried_to == from)
		behind->carried_to = to;
	pthread_mutex_unlock(&behind->lock);
}

void behind_catch_up(struct behind *behind, struct bsp_sparse *sp,
		     struct page_cache *cache, bsp_interrupted_fn interrupted,
		     void *data)
{
	uint64_t to, from = take_settle(behind, &to);

	if (from < to) {
		page_cache_drop(cache, from, to - from);
		bsp_sparse_write_back(sp, from, to - from);
	}
	if (take_carry(behind, &from, &to)) {
		uint64_t at = from;

		(void)bsp_sparse_carry_behind(sp, &at, to, interrupted, data);
		carried(behind, from, at);
	}
}
