/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copying one sparse object to another.
 *
 * Worker threads take pieces of the source in order. Each reads its piece, and
 * writes the granules in it that are not zero. Up to `jobs` threads read at a
 * time, and up to `jobs` others write, so that a copy takes as long as the
 * slower of the two sides. Known holes, from the map or from a source that
 * knows its holes, are not read.
 *
 * If the source was wrong about a hole (spot-check.c), the copy starts over and
 * reads all: the target keeps its zeros and data until they are written again.
 *
 * Data is written past the page cache: nothing reads it again, and the cache
 * would put off the writing to the end.
 *
 * Before the first piece, the target is truncated to 0 and grown to the size of
 * the source, so that all of it is markers. A zero thread follows the workers
 * and zeroes the device in long ranges where no data came; the flush at the end
 * does the rest. A target that reads as zeros already skips all this.
 */
#include "sparse/sparse.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/range.h"
#include "blksparse-thread.h"
#include "base/error.h"
#include "base/zero.h"
#include "transfer/transfer.h"

enum {
	JOBS_DEFAULT = 8,
	JOBS_MAX = 64,
	/* For each job, one thread reads, one writes, and one is between the
	 * two. */
	THREADS_EACH = 3,
	THREADS_MAX = THREADS_EACH * JOBS_MAX,
	PIECE = 1 << 20,
	ZERO_STEP = 16 << 20, /* the zero thread works in steps of this */
	TICK_MS = 100,	      /* between two progress reports */
};

/* The work of a thread when it failed. */
enum step { READING, WRITING, FLUSHING, READING_BACK, COMPARING };

/* The readers, or the writers. Protected by the copy's lock. */
struct side {
	unsigned busy; /* threads */
	pthread_cond_t left;
};

struct copy {
	/* Fixed while threads run. */
	struct bsp_transfer call;
	struct bsp_sparse *from, *to;
	uint64_t size;
	bool verifying;
	bool trusting; /* the layers below the source were right so far */
	unsigned jobs; /* threads on each side at a time */
	char *memory;  /* a buffer for each thread */
	size_t buffer_size;

	pthread_mutex_t lock; /* a leaf lock, but for those of the source */
	pthread_cond_t changed;
	pthread_cond_t moved; /* wakes the zero thread */
	/* protected by lock: */
	uint64_t cursor; /* where the next piece starts */
	/* Where the piece of each thread starts; UINT64_MAX: it has none. */
	uint64_t at[THREADS_MAX];
	uint64_t zero_at; /* wake the zero thread when all below is written */
	unsigned started;
	unsigned running; /* threads */
	bool stop;
	int error;
	enum step failed_step; /* of the error */
	uint64_t failed_off;
	struct bsp_progress progress;
	struct side source, target;
};

struct piece {
	uint64_t off;
	size_t len;
};

/* --- Pieces of the source --- */

/* The end of the zeros that are known to start at off; off if there are none.
 */
static uint64_t known_zeros(struct copy *c, uint64_t off)
{
	struct bsp_sparse *from = c->from;
	unsigned others = BSP_IN_UNKNOWN | BSP_IN_DATA;
	uint64_t end = bsp_sparse_run_end(from, others, off, c->size);

	if (end > off) {
		/* Another program may have written there: look again. */
		(void)bsp_sparse_refresh(from);
		end = bsp_sparse_run_end(from, others, off, c->size);
	}
	if (end > off)
		return end;
	if (bsp_map_get(from->map, off >> from->shift) != BSP_UNKNOWN)
		return off;
	/* The map must not learn these zeros: to verify is to read them. */
	return bsp_sparse_known_zeros(from, off, c->size, true);
}

/* Was a layer below the source found to err about zeros, since this pass began?
 * Then data was skipped before. */
static bool is_misled(const struct copy *c)
{
	return c->trusting && atomic_load(&c->from->distrusted);
}

/* Waits for room on a side. lock held. */
static void enter(struct copy *c, struct side *side)
{
	while (side->busy == c->jobs)
		pthread_cond_wait(&side->left, &c->lock);
	side->busy++;
}

static void leave(struct side *side)
{
	side->busy--;
	pthread_cond_signal(&side->left);
}

/* Stops reading and starts writing, as soon as there is room. */
static void change_sides(struct copy *c)
{
	pthread_mutex_lock(&c->lock);
	leave(&c->source);
	enter(c, &c->target);
	pthread_mutex_unlock(&c->lock);
}

/* Notes where the piece of a thread starts. lock held. */
static void set_position(struct copy *c, unsigned self, uint64_t off)
{
	c->at[self] = off;
	if (c->cursor >= c->zero_at)
		pthread_cond_signal(&c->moved);
}

/* Takes the next piece of a thread and enters the source's side. Returns false
 * if there is none left. */
static bool take_piece(struct copy *c, unsigned self, struct piece *piece)
{
	bool found;

	pthread_mutex_lock(&c->lock);
	enter(c, &c->source);
	while (!c->verifying && !c->stop && c->cursor < c->size &&
	       !is_misled(c)) {
		uint64_t end = known_zeros(c, c->cursor);

		if (end <= c->cursor)
			break;
		c->progress.done += end - c->cursor;
		c->progress.hole += end - c->cursor;
		c->cursor = end;
	}
	found = !c->stop && c->cursor < c->size && !is_misled(c);
	if (found) {
		piece->off = c->cursor;
		piece->len = bsp_range_clamp(c->cursor, PIECE, c->size);
		if (!c->verifying)
			piece->len = bsp_sparse_read_end(
					     c->from, piece->off,
					     piece->off + piece->len, true) -
				     piece->off;
		c->cursor += piece->len;
	}
	set_position(c, self, found ? piece->off : UINT64_MAX);
	if (!found)
		leave(&c->source);
	pthread_mutex_unlock(&c->lock);
	return found;
}

/* Ends a piece and leaves the target's side. */
static void finish_piece(struct copy *c, unsigned self,
			 const struct piece *piece, uint64_t data, bool ok)
{
	pthread_mutex_lock(&c->lock);
	leave(&c->target);
	/* The thread may wait long for its next piece. */
	set_position(c, self, UINT64_MAX);
	if (ok)
		c->progress.done += piece->len;
	if (ok && !c->verifying) {
		c->progress.data += data;
		c->progress.hole += piece->len - data;
	}
	pthread_mutex_unlock(&c->lock);
}

/* Notes an error. Of several, the one at the lowest offset counts: it does not
 * depend on which thread is faster. */
static void fail(struct copy *c, int error, enum step step, uint64_t off)
{
	pthread_mutex_lock(&c->lock);
	if (!c->error || (c->error != -ECANCELED && off < c->failed_off)) {
		c->error = error;
		c->failed_step = step;
		c->failed_off = off;
	}
	c->stop = true;
	pthread_mutex_unlock(&c->lock);
}

/* --- A worker thread --- */

/* Writes the runs of buf that are not zero, and adds their bytes to *data. */
static bool write_data(struct copy *c, const char *buf,
		       const struct piece *piece, uint64_t *data)
{
	size_t granule = (size_t)bsp_sparse_granule(c->to);

	for (size_t at = 0; at < piece->len;) {
		bool zero;
		size_t run =
			bsp_zero_run(buf + at, piece->len - at, granule, &zero);
		ssize_t n = (ssize_t)run;

		if (!zero) {
			n = bsp_sparse_write(c->to, piece->off + at, buf + at,
					     run);
			*data += n > 0 ? (uint64_t)n : 0;
		}
		if (n <= 0) {
			fail(c, n ? (int)n : -ENOSPC, WRITING, piece->off + at);
			return false;
		}
		at += (size_t)n;
	}
	return true;
}

/* Reads the piece of the target from the device, not from the page cache, and
 * compares it with buf. */
static bool compare(struct copy *c, const char *buf, char *other,
		    const struct piece *piece)
{
	struct bsp_device *dev = c->to->dev;
	size_t done = 0;

	while (done < piece->len) {
		ssize_t n =
			dev->ops->read_through(dev, piece->off + done,
					       other + done, piece->len - done);

		if (n <= 0) {
			fail(c, n ? (int)n : -EIO, READING_BACK,
			     piece->off + done);
			return false;
		}
		done += (size_t)n;
	}
	for (size_t at = 0; at < piece->len; at++) {
		size_t rest = bsp_min(piece->len - at, BSP_GRANULE_MIN);

		if (memcmp(buf + at, other + at, rest) == 0) {
			at += rest - 1;
		} else if (buf[at] != other[at]) {
			fail(c, -EBADMSG, COMPARING, piece->off + at);
			return false;
		}
	}
	return true;
}

static bool do_piece(struct copy *c, unsigned self, char *buf,
		     const struct piece *piece)
{
	ssize_t n = bsp_sparse_read(c->from, piece->off, buf, piece->len);
	bool ok = n == (ssize_t)piece->len;
	uint64_t data = 0;

	change_sides(c);
	if (!ok)
		fail(c, n < 0 ? (int)n : -EIO, READING, piece->off);
	else if (!c->verifying)
		ok = write_data(c, buf, piece, &data);
	else
		ok = compare(c, buf, buf + PIECE, piece);
	finish_piece(c, self, piece, data, ok);
	return ok;
}

static void *worker_main(void *data)
{
	struct copy *c = data;
	struct piece piece;
	unsigned self;

	pthread_mutex_lock(&c->lock);
	self = c->started++;
	pthread_mutex_unlock(&c->lock);
	while (take_piece(c, self, &piece) &&
	       do_piece(c, self, c->memory + self * c->buffer_size, &piece))
		;
	pthread_mutex_lock(&c->lock);
	c->running--;
	pthread_cond_signal(&c->changed);
	pthread_cond_signal(&c->moved);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* --- The zero thread --- */

/* The offset below which all pieces are written. lock held. */
static uint64_t written_until(const struct copy *c)
{
	uint64_t off = c->cursor;

	for (unsigned i = 0; i < THREADS_MAX; i++)
		off = bsp_min(off, c->at[i]);
	return off;
}

/* A bsp_interrupted_fn. */
static bool is_stopped(void *data)
{
	struct copy *c = data;
	bool stop;

	pthread_mutex_lock(&c->lock);
	stop = c->stop;
	pthread_mutex_unlock(&c->lock);
	return stop;
}

/* A range that cannot be zeroed stays markers; the flush at the end tries it
 * again and reports the error. */
static void *zero_main(void *data)
{
	struct copy *c = data;
	uint64_t off = 0;
	int r = 0;

	while (!r) {
		uint64_t until;
		bool end;

		pthread_mutex_lock(&c->lock);
		while (c->running && !c->stop && written_until(c) < c->zero_at)
			pthread_cond_wait(&c->moved, &c->lock);
		until = written_until(c);
		c->zero_at = until + ZERO_STEP;
		end = !c->running || c->stop;
		pthread_mutex_unlock(&c->lock);
		if (end)
			break;
		r = bsp_sparse_flush_markers_before(c->to, &off, until,
						    is_stopped, c);
	}
	return NULL;
}

/* --- The threads --- */

static unsigned start_workers(struct copy *c, pthread_t *threads, unsigned n)
{
	unsigned started = 0;
	int r = 0;

	pthread_mutex_lock(&c->lock);
	while (started < n && r == 0) {
		r = bsp_thread_start(&threads[started], worker_main, c);
		started += r == 0;
	}
	c->running = started;
	pthread_mutex_unlock(&c->lock);
	if (started == 0)
		fail(c, r, READING, 0);
	return started;
}

/* Waits for the threads, and reports how far they are. */
static void watch_threads(struct copy *c)
{
	struct bsp_progress now;

	pthread_mutex_lock(&c->lock);
	while (c->running) {
		struct timespec until;
		bool end;

		now = c->progress;
		pthread_mutex_unlock(&c->lock);
		bsp_transfer_report(&c->call, &now);
		end = bsp_transfer_is_interrupted(&c->call);
		until = bsp_cond_limit(TICK_MS);
		pthread_mutex_lock(&c->lock);
		if (end && !c->stop && !c->error)
			c->error = -ECANCELED;
		c->stop |= end;
		if (c->running)
			(void)pthread_cond_timedwait(&c->changed, &c->lock,
						     &until);
	}
	now = c->progress;
	pthread_mutex_unlock(&c->lock);
	bsp_transfer_report(&c->call, &now);
}

/* Goes over the source once, to copy it or to verify the copy. */
static int run_phase(struct copy *c, bool verifying)
{
	pthread_t threads[THREADS_MAX], zero_thread;
	bool zeroes;
	unsigned n = THREADS_EACH * c->jobs;

	c->verifying = verifying;
	c->progress.phase = verifying ? BSP_PHASE_VERIFY : BSP_PHASE_TRANSFER;
	c->progress.done = 0;
	if (!verifying)
		c->progress.data = c->progress.hole = 0;
	c->trusting = !verifying && !atomic_load(&c->from->distrusted);
	/* One allocation, so that it gets huge pages: a piece in scattered
	 * small pages has more segments than many devices take in a request.
	 */
	c->buffer_size = verifying ? 2 * PIECE : PIECE;
	c->memory = bsp_buffer_new(n * c->buffer_size);
	if (!c->memory) {
		fail(c, -ENOMEM, READING, 0);
		return c->error;
	}
	c->cursor = 0;
	c->started = 0;
	c->zero_at = ZERO_STEP;
	for (unsigned i = 0; i < THREADS_MAX; i++)
		c->at[i] = UINT64_MAX;
	n = start_workers(c, threads, n);
	zeroes = !verifying && n &&
		 bsp_thread_start(&zero_thread, zero_main, c) == 0;
	watch_threads(c);
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	if (zeroes)
		pthread_join(zero_thread, NULL);
	free(c->memory);
	return c->error;
}

/* --- The copy --- */

/* Makes all of the target markers, unless it reads as zeros already. */
static int prepare_target(struct copy *c, bool is_zero)
{
	int r = 0;

	if (is_zero)
		return 0;
	r = bsp_sparse_truncate(c->to, 0);
	return r ? r : bsp_sparse_truncate(c->to, c->size);
}

static int flush_target(struct copy *c)
{
	const struct bsp_transfer_options *options = c->call.options;
	int r;

	c->progress.phase = BSP_PHASE_FLUSH;
	r = bsp_sparse_flush(c->to, options->interrupted, options->data);
	if (r)
		fail(c, r == -EINTR ? -ECANCELED : r, FLUSHING, 0);
	return r;
}

static int copy_and_verify(struct copy *c)
{
	const struct bsp_transfer_options *options = c->call.options;
	int r = prepare_target(c, options->target_is_zero);

	if (r) {
		fail(c, r, WRITING, 0);
		return r;
	}
	c->jobs = options->jobs ? options->jobs : JOBS_DEFAULT;
	c->jobs = c->jobs < JOBS_MAX ? c->jobs : JOBS_MAX;
	atomic_store(&c->to->dev->past_cache, true);
	do
		r = run_phase(c, false);
	while (!r && is_misled(c));
	atomic_store(&c->to->dev->past_cache, false);
	if (!r)
		r = flush_target(c);
	if (!r && options->verify)
		r = run_phase(c, true);
	return r;
}

/* Sets the error that the threads left. Returns false. */
static bool set_error(const struct copy *c)
{
	static const char *const verbs[] = {
		[READING] = "reading",
		[WRITING] = "writing",
		[READING_BACK] = "reading back",
	};
	const char *from = c->from->dev->path, *to = c->to->dev->path;
	GError **error = c->call.error;

	if (c->error == -ECANCELED)
		return bsp_transfer_interrupted(&c->call);
	if (c->failed_step == FLUSHING)
		return bsp_error_set_errno(error, -c->error,
					   "zeroing or syncing %s", to);
	if (c->failed_step == COMPARING)
		return bsp_error_set(
			error, BSP_ERROR_DIFFERS,
			"%s is not what %s is, at byte %" PRIu64
			": one of the two is failing, or was written to",
			to, from, c->failed_off);
	return bsp_error_set_errno(error, -c->error, "%s %s at byte %" PRIu64,
				   verbs[c->failed_step],
				   c->failed_step == READING ? from : to,
				   c->failed_off);
}

static bool check_target(const struct copy *c)
{
	const char *from = c->from->dev->path, *to = c->to->dev->path;
	uint64_t capacity = atomic_load(&c->to->capacity);

	if (!c->to->dev->info.writable)
		return bsp_error_set_errno(c->call.error, EROFS, "write to %s",
					   to);
	if (c->size > capacity)
		return bsp_error_set(c->call.error, BSP_ERROR_TOO_SMALL,
				     "%s is too small: %" PRIu64
				     " bytes, and %s has %" PRIu64
				     "; nothing was written",
				     to, capacity, from, c->size);
	return true;
}

bool bsp_copy(struct bsp_sparse *from, struct bsp_sparse *to,
	      const struct bsp_transfer_options *options,
	      struct bsp_progress *ret_progress, GError **error)
{
	struct copy c = { .from = from, .to = to };
	bool copied;

	if (!bsp_transfer_begin(&c.call, options, ret_progress, error))
		return false;
	(void)bsp_sparse_refresh(from);
	(void)bsp_sparse_refresh(to);
	c.size = bsp_sparse_size(from);
	c.progress.size_known = true;
	c.progress.size = c.size;
	*c.call.progress = c.progress;
	if (!check_target(&c))
		return false;
	pthread_mutex_init(&c.lock, NULL);
	bsp_cond_init(&c.changed);
	bsp_cond_init(&c.moved);
	bsp_cond_init(&c.source.left);
	bsp_cond_init(&c.target.left);
	copied = copy_and_verify(&c) == 0 || set_error(&c);
	c.progress.done = copied ? c.size : 0;
	*c.call.progress = c.progress;
	pthread_cond_destroy(&c.target.left);
	pthread_cond_destroy(&c.source.left);
	pthread_cond_destroy(&c.moved);
	pthread_cond_destroy(&c.changed);
	pthread_mutex_destroy(&c.lock);
	return copied;
}
