/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is done behind one who writes upwards, as cp does: the zeros between the
 * data are carried out, and the data is written back, while that one goes on.
 * Little is left for the end.
 */
#include "sparse/writeback.h"

#include "base/range.h"
#include "sparse/sparse.h"

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
static void begin(struct bsp_writeback *behind, uint64_t off)
{
	behind->top = behind->settled_to = behind->carried_to = off;
	behind->carry_at = off + DISORDER + CARRY_STEP;
	behind->bytes = 0;
}

void bsp_writeback_init(struct bsp_writeback *behind)
{
	begin(behind, 0);
	pthread_mutex_init(&behind->lock, NULL);
}

void bsp_writeback_done(struct bsp_writeback *behind)
{
	pthread_mutex_destroy(&behind->lock);
}

/* lock held. */
static bool must_settle(const struct bsp_writeback *behind)
{
	return behind->bytes >= SETTLE_STEP &&
	       behind->top >= behind->settled_to + 2 * (uint64_t)SETTLE_STEP;
}

static bool must_carry(const struct bsp_writeback *behind)
{
	return behind->bytes >= SETTLE_STEP && behind->top >= behind->carry_at;
}

void bsp_writeback_wrote(struct bsp_writeback *behind, uint64_t off,
			 uint64_t len)
{
	uint64_t end = off + len;

	pthread_mutex_lock(&behind->lock);
	if (off + DISORDER < behind->top)
		begin(behind, off);
	behind->bytes += len;
	behind->top = bsp_max(behind->top, end);
	pthread_mutex_unlock(&behind->lock);
}

bool bsp_sparse_writeback_due(struct bsp_sparse *sp)
{
	struct bsp_writeback *behind = &sp->behind;
	bool is;

	pthread_mutex_lock(&behind->lock);
	is = must_settle(behind) || must_carry(behind);
	pthread_mutex_unlock(&behind->lock);
	return is;
}

/* From where data is settled; nothing, if that is *ret_to. */
static uint64_t take_settle(struct bsp_writeback *behind, uint64_t *ret_to)
{
	uint64_t from;

	pthread_mutex_lock(&behind->lock);
	from = *ret_to = behind->settled_to;
	if (must_settle(behind))
		behind->settled_to = *ret_to = behind->top - SETTLE_STEP;
	pthread_mutex_unlock(&behind->lock);
	return from;
}

static bool take_carry(struct bsp_writeback *behind, uint64_t *ret_from,
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
static void carried(struct bsp_writeback *behind, uint64_t from, uint64_t to)
{
	pthread_mutex_lock(&behind->lock);
	if (behind->carried_to == from)
		behind->carried_to = to;
	pthread_mutex_unlock(&behind->lock);
}

void bsp_sparse_write_back(struct bsp_sparse *sp, bsp_writeback_fn settled,
			   void *settled_data, bsp_interrupted_fn interrupted,
			   void *data)
{
	uint64_t to, from = take_settle(&sp->behind, &to);

	if (from < to) {
		settled(settled_data, from, to - from);
		if (sp->dev->ops->write_back)
			sp->dev->ops->write_back(sp->dev, from, to - from);
	}
	if (take_carry(&sp->behind, &from, &to)) {
		uint64_t at = from;

		(void)bsp_sparse_flush_behind(sp, &at, to, interrupted, data);
		carried(&sp->behind, from, at);
	}
}
