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
	WRITE_BACK_STEP = 4 << 20,
	FLUSH_STEP = 64 << 20,
	/* Of several writes under way one may be this much before another, and
	 * what is zeroed should not be written right after. */
	REORDER_MAX = 32 << 20,
};

/* A way begins there. lock held. */
static void begin_run(struct bsp_writeback *writeback, uint64_t off)
{
	writeback->top = writeback->written_back_to = writeback->flushed_to =
		off;
	writeback->flush_at = off + REORDER_MAX + FLUSH_STEP;
	writeback->bytes = 0;
}

void bsp_writeback_init(struct bsp_writeback *writeback)
{
	begin_run(writeback, 0);
	pthread_mutex_init(&writeback->lock, NULL);
}

void bsp_writeback_done(struct bsp_writeback *writeback)
{
	pthread_mutex_destroy(&writeback->lock);
}

/* lock held. */
static bool write_back_due(const struct bsp_writeback *writeback)
{
	return writeback->bytes >= WRITE_BACK_STEP &&
	       writeback->top >= writeback->written_back_to +
					 2 * (uint64_t)WRITE_BACK_STEP;
}

static bool flush_due(const struct bsp_writeback *writeback)
{
	return writeback->bytes >= WRITE_BACK_STEP &&
	       writeback->top >= writeback->flush_at;
}

void bsp_writeback_wrote(struct bsp_writeback *writeback, uint64_t off,
			 uint64_t len)
{
	uint64_t end = off + len;

	pthread_mutex_lock(&writeback->lock);
	if (off + REORDER_MAX < writeback->top)
		begin_run(writeback, off);
	writeback->bytes += len;
	writeback->top = bsp_max(writeback->top, end);
	pthread_mutex_unlock(&writeback->lock);
}

bool bsp_sparse_writeback_due(struct bsp_sparse *sp)
{
	struct bsp_writeback *writeback = &sp->writeback;
	bool is;

	pthread_mutex_lock(&writeback->lock);
	is = write_back_due(writeback) || flush_due(writeback);
	pthread_mutex_unlock(&writeback->lock);
	return is;
}

/* From where data is settled; nothing, if that is *ret_to. */
static uint64_t take_write_back(struct bsp_writeback *writeback,
				uint64_t *ret_to)
{
	uint64_t from;

	pthread_mutex_lock(&writeback->lock);
	from = *ret_to = writeback->written_back_to;
	if (write_back_due(writeback))
		writeback->written_back_to = *ret_to =
			writeback->top - WRITE_BACK_STEP;
	pthread_mutex_unlock(&writeback->lock);
	return from;
}

static bool take_flush(struct bsp_writeback *writeback, uint64_t *ret_from,
		       uint64_t *ret_to)
{
	bool due;

	pthread_mutex_lock(&writeback->lock);
	due = flush_due(writeback);
	*ret_from = writeback->flushed_to;
	*ret_to = writeback->top - REORDER_MAX;
	if (due)
		writeback->flush_at = writeback->top + FLUSH_STEP;
	pthread_mutex_unlock(&writeback->lock);
	return due;
}

/* Unless there is another way meanwhile. */
static void note_flushed(struct bsp_writeback *writeback, uint64_t from,
			 uint64_t to)
{
	pthread_mutex_lock(&writeback->lock);
	if (writeback->flushed_to == from)
		writeback->flushed_to = to;
	pthread_mutex_unlock(&writeback->lock);
}

void bsp_sparse_write_back(struct bsp_sparse *sp, bsp_writeback_fn settled,
			   void *settled_data, bsp_interrupted_fn interrupted,
			   void *data)
{
	uint64_t to, from = take_write_back(&sp->writeback, &to);

	if (from < to) {
		settled(settled_data, from, to - from);
		if (sp->dev->ops->write_back)
			sp->dev->ops->write_back(sp->dev, from, to - from);
	}
	if (take_flush(&sp->writeback, &from, &to)) {
		uint64_t at = from;

		(void)bsp_sparse_flush_markers_before(sp, &at, to, interrupted,
						      data);
		note_flushed(&sp->writeback, from, at);
	}
}
