/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A batch has a buffer, and runs of data in it, in ascending order. Runs that
 * are neighbours in the buffer and on the target are one run: the frames of a
 * stream are often small, and large writes are cheaper. The receiver submits a
 * batch when the next data does not fit, or when the stream stalls.
 *
 * The good part. The stream comes in order and without gaps, so everything
 * before an offset is good if no batch has unwritten data before it, and no
 * hole before it waits. Each batch knows where its unwritten data begins, and
 * the holes are zeroed in order: the good part ends at the lowest of these
 * offsets. Each of them has the number of bytes in holes before it, to tell how
 * much of the good part is data.
 *
 * Data is written past the page cache, as by bsp_copy(), where offset and
 * length are multiples of the device's block. A write that is not has to go
 * through the cache. Were there a direct write beside it at that time, the
 * cached page could be filled before that write and written back after it, with
 * old bytes. So such a piece is written, or zeroed, alone: after everything
 * before it, and before everything behind. Streams have them at their end at
 * most, but for those of rbd.
 *
 * The zero thread may fall behind. It does so by LAG bytes of data at most,
 * because data beyond a hole that is not zeroed is not good yet: an
 * interrupt would waste it.
 */
#include "transfer/target.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>

#include "base/range.h"
#include "blksparse-thread.h"
#include "stream/stream.h"
#include "transfer/zero-hole.h"

enum {
	RUNS = BSP_STREAM_BUFFER / BSP_BUFFER_ALIGN, /* of a batch */
	HOLES = 1024,
	/* Wake the zero thread for so much; a batch that is submitted wakes it
	 * for less. */
	WAKE_HOLES = 64,
	WAKE_BYTES = 1 << 20,
	LAG = 64 << 20,
	TICK_MS = 100, /* between two progress reports while it waits */
};

enum state { FREE, FILLING, QUEUED, WRITING, FAILED };

struct run {
	uint64_t off;
	const char *data;
	size_t len;
};

struct batch {
	char *buffer;
	/* The receiver's while it is filled, then the writer's: */
	struct run runs[RUNS];
	unsigned n;
	/* Protected by the target's lock: */
	enum state state;
	uint64_t good;	/* all of its data before this is written */
	uint64_t holes; /* bytes in holes before good */
};

struct bsp_target {
	/* Fixed after bsp_target_begin(): */
	const struct bsp_transfer *call;
	struct bsp_target_options options;
	uint64_t alignment; /* of pieces that need not be written alone */
	char *memory;
	struct bsp_zero_hole zero_hole; /* the zero thread's */

	/* The receiver's own: */
	struct batch *filling; /* NULL: none */
	size_t used;	       /* bytes of its buffer */
	pthread_t writers[BSP_TARGET_WRITES], zero_thread;
	unsigned n_writers;
	bool has_zero_thread;

	pthread_mutex_t lock;	/* a leaf lock */
	pthread_cond_t work;	/* wakes writers */
	pthread_cond_t zero;	/* wakes the zero thread */
	pthread_cond_t changed; /* wakes the receiver */
	/* Protected by lock: */
	struct batch batches[BSP_TARGET_BATCHES];
	unsigned idle;	     /* writers that wait for work */
	uint64_t cursor;     /* where the next piece starts */
	uint64_t hole_bytes; /* before cursor */
	/* A ring of the holes that wait. The zero thread works on the first,
	 * and moves its start. */
	struct hole {
		uint64_t off, end;
		bool skip; /* it stays as it is */
	} holes[HOLES];
	unsigned first_hole, n_holes;
	uint64_t zeroed; /* bytes in holes before the first that waits */
	bool zeroing;	 /* the zero thread is at work */
	bool interrupted;
	bool stop;
	struct bsp_target_error error;
};

/* --- State; lock held --- */

static struct hole *first_hole(struct bsp_target *t)
{
	return t->n_holes ? &t->holes[t->first_hole] : NULL;
}

/* The batch with the lowest offset that waits for a writer. */
static struct batch *next_queued(struct bsp_target *t)
{
	struct batch *next = NULL;

	for (unsigned i = 0; i < BSP_TARGET_BATCHES; i++) {
		struct batch *batch = &t->batches[i];

		if (batch->state == QUEUED &&
		    (!next || batch->good < next->good))
			next = batch;
	}
	/* Data behind an error need not be written. */
	return next && t->error.error && next->good >= t->error.off ? NULL
								    : next;
}

/* Returns whether the zero thread has work. */
static bool may_zero(struct bsp_target *t)
{
	const struct hole *hole = first_hole(t);

	return hole && !t->interrupted &&
	       (!t->error.error || hole->off < t->error.off);
}

static bool is_busy(struct bsp_target *t)
{
	for (unsigned i = 0; i < BSP_TARGET_BATCHES; i++) {
		if (t->batches[i].state == WRITING)
			return true;
	}
	return next_queued(t) || t->zeroing || may_zero(t);
}

static void fail(struct bsp_target *t, const struct bsp_target_error *error)
{
	if (!t->error.error || error->off < t->error.off) {
		t->error = *error;
		t->error.interrupted =
			t->interrupted && t->options.dev->ops->cancel;
	}
	pthread_cond_broadcast(&t->changed);
}

/* --- A writer --- */

static ssize_t put(struct bsp_target *t, uint64_t off, const void *buf,
		   size_t len)
{
	return t->options.sp
		       ? bsp_sparse_write(t->options.sp, off, buf, len)
		       : bsp_device_write_all(t->options.dev, off, buf, len);
}

/* Returns the number of bytes written; if it is less than len, sets *error. */
static size_t put_all(struct bsp_target *t, uint64_t off, const char *buf,
		      size_t len, int *error)
{
	size_t done = 0;

	/* After a short count, another write returns the reason. */
	while (done < len) {
		ssize_t n = put(t, off + done, buf + done, len - done);

		if (n <= 0) {
			*error = n < 0 ? (int)n : -EIO;
			break;
		}
		done += (size_t)n;
	}
	return done;
}

/* Writes a batch. Sets *ret_good and *ret_holes as the batch's good and holes
 * are then. */
static int write_batch(struct bsp_target *t, const struct batch *batch,
		       uint64_t *ret_good, uint64_t *ret_holes)
{
	uint64_t end = *ret_good = batch->runs[0].off;
	int error = 0;

	for (unsigned i = 0; i < batch->n && !error; i++) {
		const struct run *run = &batch->runs[i];
		size_t n = put_all(t, run->off, run->data, run->len, &error);

		*ret_holes += run->off - end;
		*ret_good = end = run->off + n;
	}
	return error;
}

/* Rounds a batch's good part down to a granule, in which a stream can be
 * resumed. */
static uint64_t round_down(const struct bsp_target *t,
			   const struct batch *batch, uint64_t off)
{
	for (unsigned i = 0; i < batch->n && t->options.granule; i++) {
		const struct run *run = &batch->runs[i];

		if (off > run->off && off < run->off + run->len)
			return bsp_max(run->off, off / t->options.granule *
							 t->options.granule);
	}
	return off;
}

/* A bsp_interrupted_fn of the target's threads. */
static bool is_interrupted(void *data)
{
	struct bsp_target *t = data;
	bool interrupted;

	pthread_mutex_lock(&t->lock);
	interrupted = t->interrupted;
	pthread_mutex_unlock(&t->lock);
	return interrupted;
}

/* After an interrupt, a device on a network has a while to answer: what it has
 * written counts. */
static void let_be_interrupted(struct bsp_target *t)
{
	(void)bsp_interrupt_swap((struct bsp_interrupt){
		.interrupted = is_interrupted,
		.data = t,
		.ends = true,
		.patience_ms = BSP_PATIENCE_MS,
	});
}

static void *writer_main(void *data)
{
	struct bsp_target *t = data;

	let_be_interrupted(t);
	pthread_mutex_lock(&t->lock);
	while (!t->stop) {
		struct batch *batch = next_queued(t);
		uint64_t good, holes;
		int r;

		if (!batch) {
			t->idle++;
			pthread_cond_wait(&t->work, &t->lock);
			t->idle--;
			continue;
		}
		batch->state = WRITING;
		holes = batch->holes;
		pthread_mutex_unlock(&t->lock);
		r = write_batch(t, batch, &good, &holes);
		pthread_mutex_lock(&t->lock);
		if (r) {
			/* It is never free again: the good part ends in it. */
			fail(t, &(struct bsp_target_error){ r, "write", good });
			batch->good = round_down(t, batch, good);
			batch->holes = holes;
			batch->state = FAILED;
		} else {
			batch->state = FREE;
		}
		pthread_cond_signal(&t->changed);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

/* --- The zero thread --- */

/* Does a step of the first hole. */
static void zero_a_step(struct bsp_target *t)
{
	struct hole *hole = first_hole(t);
	uint64_t off = hole->off, end = hole->end, next = end;
	bool skip = hole->skip;
	int r = 0;

	t->zeroing = true;
	pthread_mutex_unlock(&t->lock);
	if (!skip)
		r = bsp_zero_hole_step(&t->zero_hole, off, end, &next);
	pthread_mutex_lock(&t->lock);
	t->zeroing = false;
	if (r) {
		fail(t, &(struct bsp_target_error){ r, "zero", off,
						    t->zero_hole.liar });
		return;
	}
	hole->off = next;
	t->zeroed += next - off;
	/* The receiver may have made it longer meanwhile. */
	if (hole->off == hole->end) {
		t->first_hole = (t->first_hole + 1) % HOLES;
		t->n_holes--;
	}
	pthread_cond_signal(&t->changed);
}

static void *zero_main(void *data)
{
	struct bsp_target *t = data;

	let_be_interrupted(t);
	pthread_mutex_lock(&t->lock);
	while (!t->stop) {
		if (may_zero(t))
			zero_a_step(t);
		else
			pthread_cond_wait(&t->zero, &t->lock);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

/* --- The receiver's side --- */

/* Waits for a change, and reports progress; lock held. Returns false after an
 * error or an interrupt. */
static bool wait_for_change(struct bsp_target *t)
{
	struct timespec until = bsp_cond_limit(TICK_MS);
	struct bsp_progress now;
	bool interrupted;

	(void)pthread_cond_timedwait(&t->changed, &t->lock, &until);
	pthread_mutex_unlock(&t->lock);
	now = *t->call->progress;
	bsp_target_good(t, &now);
	bsp_transfer_report(t->call, &now);
	interrupted = bsp_transfer_is_interrupted(t->call);
	pthread_mutex_lock(&t->lock);
	t->interrupted |= interrupted;
	return !t->error.error && !t->interrupted;
}

void bsp_target_finish(struct bsp_target *t)
{
	bool interrupted = bsp_transfer_is_interrupted(t->call);

	bsp_target_submit(t);
	pthread_mutex_lock(&t->lock);
	t->interrupted |= interrupted;
	while (is_busy(t))
		(void)wait_for_change(t);
	pthread_mutex_unlock(&t->lock);
}

static struct batch *free_batch(struct bsp_target *t)
{
	for (unsigned i = 0; i < BSP_TARGET_BATCHES; i++) {
		if (t->batches[i].state == FREE)
			return &t->batches[i];
	}
	return NULL;
}

/* How much of the data lies behind the first hole that waits; lock held. */
static uint64_t lag(struct bsp_target *t)
{
	const struct hole *hole = first_hole(t);

	if (!hole)
		return 0;
	return t->cursor - t->hole_bytes - (hole->off - t->zeroed);
}

/* Takes a batch to fill. Returns false after an error or an interrupt. */
static bool take_batch(struct bsp_target *t)
{
	struct batch *batch;
	bool ok;

	pthread_mutex_lock(&t->lock);
	ok = !t->error.error && !t->interrupted;
	while (ok && (!(batch = free_batch(t)) || lag(t) > LAG))
		ok = wait_for_change(t);
	if (ok) {
		batch->state = FILLING;
		batch->good = UINT64_MAX;
		batch->n = 0;
		t->filling = batch;
		t->used = 0;
	}
	pthread_mutex_unlock(&t->lock);
	return ok;
}

void *bsp_target_room(struct bsp_target *t, size_t len)
{
	if (t->filling && len > BSP_STREAM_BUFFER - t->used) {
		bsp_target_submit(t);
		t->used = 0; /* if there was nothing to submit */
	}
	if (!t->filling && !take_batch(t))
		return NULL;
	return t->filling->buffer + t->used;
}

/* Adds a run to the batch that is being filled; lock held. */
static void add_run(struct bsp_target *t, uint64_t off, const char *data,
		    size_t len)
{
	struct batch *batch = t->filling;
	struct run *last = batch->n ? &batch->runs[batch->n - 1] : NULL;

	if (!last) {
		batch->good = off;
		batch->holes = t->hole_bytes;
	}
	if (last && last->off + last->len == off &&
	    last->data + last->len == data)
		last->len += len;
	else
		batch->runs[batch->n++] =
			(struct run){ .off = off, .data = data, .len = len };
	t->cursor = off + len;
	t->used = bsp_align_up((uint64_t)(data + len - batch->buffer), 12);
}

/* --- Pieces --- */

static bool is_aligned(const struct bsp_target *t, uint64_t off, uint64_t len)
{
	return (off | len) % t->alignment == 0;
}

/*
 * Finishes all before a piece that has to be written alone. The batch that is
 * being filled is emptied, but stays the receiver's: the piece may lie in its
 * buffer. Returns false after an error or an interrupt.
 */
static bool finish_before(struct bsp_target *t)
{
	struct batch *batch = t->filling;
	bool ok;

	bsp_target_finish(t);
	pthread_mutex_lock(&t->lock);
	ok = !t->error.error && !t->interrupted;
	if (ok && batch && !t->filling) {
		batch->state = FILLING;
		batch->good = UINT64_MAX;
		batch->n = 0;
		t->filling = batch;
	}
	pthread_mutex_unlock(&t->lock);
	return ok;
}

/* Notes that [off, off + len) is done or, as a hole, need not be zeroed. */
static void pass(struct bsp_target *t, uint64_t off, uint64_t len, bool hole)
{
	pthread_mutex_lock(&t->lock);
	t->cursor = off + len;
	t->hole_bytes += hole ? len : 0;
	t->zeroed += hole ? len : 0;
	pthread_mutex_unlock(&t->lock);
}

static bool fail_here(struct bsp_target *t, const char *verb, uint64_t off,
		      int error)
{
	pthread_mutex_lock(&t->lock);
	fail(t,
	     &(struct bsp_target_error){ error, verb, off, t->zero_hole.liar });
	pthread_mutex_unlock(&t->lock);
	return false;
}

static bool write_alone(struct bsp_target *t, uint64_t off, const char *data,
			size_t len)
{
	int r = 0;
	size_t n;

	if (!finish_before(t))
		return false;
	n = put_all(t, off, data, len, &r);
	pass(t, off, t->options.granule && r ? 0 : n, false);
	return !r || fail_here(t, "write", off + n, r);
}

static bool zero_alone(struct bsp_target *t, uint64_t off, uint64_t len)
{
	uint64_t end = off + len, next;

	if (len && !finish_before(t))
		return false;
	for (; off < end; off = next) {
		int r = bsp_zero_hole_step(&t->zero_hole, off, end, &next);

		if (r)
			return fail_here(t, "zero", off, r);
		pass(t, off, next - off, true);
	}
	return true;
}

bool bsp_target_data(struct bsp_target *t, uint64_t off, const void *data,
		     size_t len)
{
	bool ok;

	if (!is_aligned(t, off, len))
		return write_alone(t, off, data, len);
	pthread_mutex_lock(&t->lock);
	add_run(t, off, data, len);
	ok = !t->error.error;
	pthread_mutex_unlock(&t->lock);
	return ok;
}

/* In an object a hole becomes markers, which its flush zeroes. */
static bool punch(struct bsp_target *t, uint64_t off, uint64_t len)
{
	struct bsp_sparse *sp = t->options.sp;
	int r = 0;

	if (bsp_sparse_size(sp) < off + len)
		r = bsp_sparse_truncate(sp, off + len);
	if (!r)
		r = bsp_sparse_fallocate(
			sp, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off,
			len);
	if (r)
		return fail_here(t, "zero", off, r);
	pass(t, off, len, true);
	return true;
}

/* Adds a hole to the ring; lock held. Returns false after an error or an
 * interrupt. */
static bool add_hole(struct bsp_target *t, uint64_t off, uint64_t len,
		     bool skip)
{
	struct hole *last;
	bool ok = !t->error.error && !t->interrupted;

	while (ok && t->n_holes == HOLES) {
		pthread_cond_signal(&t->zero);
		ok = wait_for_change(t);
	}
	if (!ok)
		return false;
	last = &t->holes[(t->first_hole + t->n_holes + HOLES - 1) % HOLES];
	if (t->n_holes && last->end == off && last->skip == skip)
		last->end = off + len;
	else
		t->holes[(t->first_hole + t->n_holes++) % HOLES] =
			(struct hole){ off, off + len, skip };
	t->cursor = off + len;
	t->hole_bytes += len;
	if (t->n_holes >= WAKE_HOLES || len >= WAKE_BYTES)
		pthread_cond_signal(&t->zero);
	return true;
}

static bool queue_hole(struct bsp_target *t, uint64_t off, uint64_t len)
{
	bool ok;
	int r = 0;

	if (!t->has_zero_thread)
		r = bsp_thread_start(&t->zero_thread, zero_main, t);
	if (r)
		return fail_here(t, "zero", off, r);
	t->has_zero_thread = true;
	pthread_mutex_lock(&t->lock);
	ok = add_hole(t, off, len, false);
	pthread_mutex_unlock(&t->lock);
	return ok;
}

bool bsp_target_hole(struct bsp_target *t, uint64_t off, uint64_t len)
{
	uint64_t align = t->alignment;
	uint64_t head = bsp_min(len, (align - off % align) % align);
	uint64_t tail = (len - head) % align;
	uint64_t whole = len - head - tail;

	if (t->options.sp)
		return punch(t, off, len);
	if (t->options.is_zero) {
		pass(t, off, len, true);
		return true;
	}
	return zero_alone(t, off, head) &&
	       (!whole || queue_hole(t, off + head, whole)) &&
	       zero_alone(t, off + head + whole, tail);
}

/* It keeps its place among the holes that wait: these are counted in order. */
bool bsp_target_skip(struct bsp_target *t, uint64_t off, uint64_t len)
{
	bool ok, waits;

	pthread_mutex_lock(&t->lock);
	waits = t->n_holes;
	ok = !waits || add_hole(t, off, len, true);
	pthread_mutex_unlock(&t->lock);
	if (!waits)
		pass(t, off, len, true);
	return ok;
}

bool bsp_target_is_waiting(const struct bsp_target *t)
{
	return t->filling && t->filling->n;
}

/* Starts another writer if those that wait are too few; lock held. */
static void start_writer(struct bsp_target *t)
{
	unsigned queued = 0;
	int r;

	for (unsigned i = 0; i < BSP_TARGET_BATCHES; i++)
		queued += t->batches[i].state == QUEUED;
	if (queued <= t->idle || t->n_writers == BSP_TARGET_WRITES)
		return;
	r = bsp_thread_start(&t->writers[t->n_writers], writer_main, t);
	t->n_writers += r == 0;
	if (t->n_writers == 0)
		fail(t, &(struct bsp_target_error){ r, "write",
						    next_queued(t)->good });
}

void bsp_target_submit(struct bsp_target *t)
{
	pthread_mutex_lock(&t->lock);
	if (bsp_target_is_waiting(t)) {
		t->filling->state = QUEUED;
		t->filling = NULL;
		start_writer(t);
		pthread_cond_signal(&t->work);
	}
	pthread_cond_signal(&t->zero);
	pthread_mutex_unlock(&t->lock);
}

/* --- The good part --- */

void bsp_target_good(struct bsp_target *t, struct bsp_progress *progress)
{
	const struct hole *hole;
	uint64_t good, holes;

	pthread_mutex_lock(&t->lock);
	good = t->cursor;
	holes = t->hole_bytes;
	for (unsigned i = 0; i < BSP_TARGET_BATCHES; i++) {
		const struct batch *batch = &t->batches[i];

		if (batch->state != FREE && batch->good < good) {
			good = batch->good;
			holes = batch->holes;
		}
	}
	hole = first_hole(t);
	if (hole && hole->off < good) {
		good = hole->off;
		holes = t->zeroed;
	}
	pthread_mutex_unlock(&t->lock);
	progress->done = good;
	progress->hole = holes;
	progress->data = good - t->options.start - holes;
}

struct bsp_target_error bsp_target_error(struct bsp_target *t)
{
	struct bsp_target_error error;

	pthread_mutex_lock(&t->lock);
	error = t->error;
	pthread_mutex_unlock(&t->lock);
	return error;
}

/* --- The beginning and the end --- */

struct bsp_target *bsp_target_new(const struct bsp_transfer *call)
{
	struct bsp_target *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	/* One allocation, so that it gets huge pages, as bsp_copy()'s. Pages
	 * that no data comes to take no memory. */
	t->memory =
		bsp_buffer_new((size_t)BSP_TARGET_BATCHES * BSP_STREAM_BUFFER);
	if (!t->memory) {
		free(t);
		return NULL;
	}
	for (size_t i = 0; i < BSP_TARGET_BATCHES; i++)
		t->batches[i].buffer = t->memory + i * BSP_STREAM_BUFFER;
	t->call = call;
	t->alignment = 1;
	pthread_mutex_init(&t->lock, NULL);
	bsp_cond_init(&t->work);
	bsp_cond_init(&t->zero);
	bsp_cond_init(&t->changed);
	return t;
}

void bsp_target_begin(struct bsp_target *t,
		      const struct bsp_target_options *options)
{
	struct bsp_device *dev = options->dev;

	t->options = *options;
	t->cursor = options->start;
	t->zero_hole = (struct bsp_zero_hole){ .dev = dev,
					       .mode = options->zero_mode };
	/* Files have a cache that is right for all writers, and other threads
	 * may write to an object through the cache. */
	if (options->sp || dev->ops->resize)
		return;
	t->alignment = dev->info.logical_block_size;
	atomic_store(&dev->past_cache, true);
}

void bsp_target_free(struct bsp_target *t)
{
	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->stop = true;
	pthread_cond_broadcast(&t->work);
	pthread_cond_broadcast(&t->zero);
	pthread_mutex_unlock(&t->lock);
	for (unsigned i = 0; i < t->n_writers; i++)
		pthread_join(t->writers[i], NULL);
	if (t->has_zero_thread)
		pthread_join(t->zero_thread, NULL);
	pthread_cond_destroy(&t->changed);
	pthread_cond_destroy(&t->zero);
	pthread_cond_destroy(&t->work);
	pthread_mutex_destroy(&t->lock);
	free(t->memory);
	free(t);
}
