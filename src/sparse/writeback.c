/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writeback behind a sequential writer, such as cp. While the writer goes on,
 * the zeros between its data are flushed, and the kernel starts to write its
 * data back, so that the flush at the end is short.
 *
 * A run is a sequence of writes that go upwards. Each write moves the run's
 * top. Data is written back one step below the top, and markers are flushed
 * further below, because the kernel may have several writes of one program in
 * progress at once, in any order. A write far below the top begins a new run.
 *
 * Nothing depends on this file: whatever it leaves undone, or fails to do, a
 * flush does, and reports. So it may forget a run at any time. The caller runs
 * one bsp_sparse_write_back() at a time, but writers come in between.
 */
#include "sparse/writeback.h"

#include "base/range.h"
#include "sparse/sparse.h"

enum {
	/* Bytes to be written before a run counts as sequential; and the least
	 * that is written back at once. */
	WRITE_BACK_STEP = 4 << 20,
	FLUSH_STEP = 64 << 20,
	/*
	 * Among writes in progress at once, one may be this much below another.
	 * Markers this close to the top are left alone, too: the writer may
	 * write there next.
	 */
	REORDER_MAX = 32 << 20,
};

/* A run begins at off. lock held. */
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
	bool due;

	pthread_mutex_lock(&writeback->lock);
	due = write_back_due(writeback) || flush_due(writeback);
	pthread_mutex_unlock(&writeback->lock);
	return due;
}

/* Takes the range to write back: returns its start, and sets *ret_to to its
 * end. The range is empty if no write-back is due. */
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

/* Does nothing if another run began meanwhile. */
static void note_flushed(struct bsp_writeback *writeback, uint64_t from,
			 uint64_t to)
{
	pthread_mutex_lock(&writeback->lock);
	if (writeback->flushed_to == from)
		writeback->flushed_to = to;
	pthread_mutex_unlock(&writeback->lock);
}

void bsp_sparse_write_back(struct bsp_sparse *sp,
			   bsp_interrupted_fn interrupted, void *data)
{
	uint64_t to, from = take_write_back(&sp->writeback, &to);

	if (from < to && sp->dev->ops->write_back)
		sp->dev->ops->write_back(sp->dev, from, to - from);
	if (take_flush(&sp->writeback, &from, &to)) {
		uint64_t at = from;

		(void)bsp_sparse_flush_markers_before(sp, &at, to, interrupted,
						      data);
		note_flushed(&sp->writeback, from, at);
	}
}
