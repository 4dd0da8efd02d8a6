/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copying one sparse object to another.
 *
 * Worker threads take pieces of the source in order (pair.h). Each reads its
 * piece, and writes the granules in it that are not zero. Known holes, from the
 * map or from a source that knows its holes, are not read.
 *
 * If the source was wrong about a hole (spot-check.c), the copy starts over and
 * reads all: the target keeps its zeros and data until they are written again.
 *
 * Data is written past the page cache: nothing reads it again, and the cache
 * would put off the writing to the end. From a network to a file, which has no
 * other way than the cache, each thread has several reads in flight, and writes
 * small pieces as they come.
 *
 * Before the first piece, the target is truncated to 0 and grown to the size of
 * the source, so that all of it is markers. A zero thread follows the workers
 * and zeroes the device in long ranges where no data came; the flush at the end
 * does the rest. A server on a network waits for the next command longer than
 * it needs to zero a range, and its zeroing takes turns with the writes that
 * are in flight. So there several threads zero, or most zeros would be left for
 * the time after the last write. A target that reads as zeros already skips all
 * this.
 *
 * A copy of changes leaves the target as it is, but for its size, and makes the
 * target leave out writes that change nothing (sparse/same.c). Then all of a
 * piece is written, zeros as well: only granules that differ get to the device,
 * or become markers for the zero thread. The two sides know zeros, and what is
 * known is not read:
 *
 *	source	target
 *	zeros	zeros	nothing is read
 *	zeros	other	the target is read, and zeroed where it is not zero
 *	other	zeros	the source is read, and its data is written
 *	other	other	both are read
 *
 * If another system knows the changes, a copy of changes goes over these alone.
 * It writes all of them, unless it is to compare as well.
 *
 * The target may be used as before by its zeros alone: they are noted as relied
 * upon (sparse/relied.c). The target is flushed at the end, even if nothing was
 * written: another program may have written what was found to be the same. A
 * target that has lost its cache in a failed flush may return bytes that it
 * does not hold; this copy cannot know that, so that the program that reports a
 * failed flush has to ask for a copy of all.
 */
#include "transfer/pair.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/changes.h"
#include "base/error.h"
#include "base/range.h"
#include "base/zero.h"
#include "blksparse-thread.h"

enum {
	PIECE = BSP_PAIR_PIECE,
	ZERO_STEP = 16 << 20,		/* a zero thread waits for so much */
	ZERO_THREADS = BSP_PAIR_OTHERS, /* of a target on a network */
	ZERO_SHARE = 128 << 20,		/* that one of several threads takes */
};

struct copy {
	struct bsp_pair pair; /* first; from the source to the target */
	/* Fixed while threads run. */
	bool verifying;
	bool changing;	/* the target keeps what is the same */
	bool comparing; /* and is read to know that */
	const struct bsp_changes *changes; /* all else is the same; or NULL */
	struct bsp_progress before; /* the target's counters at the start */
	unsigned n_zero;	    /* zero threads, at most */
	/* Protected by the pair's lock. */
	uint64_t changed_end; /* of the change that the cursor is in */
	uint64_t zeroed;      /* where the next zero thread starts */
};

static struct copy *to_copy(struct bsp_pair *pair)
{
	return (struct copy *)pair;
}

static struct bsp_sparse *source_of(const struct copy *c)
{
	return c->pair.side[0];
}

static struct bsp_sparse *target_of(const struct copy *c)
{
	return c->pair.side[1];
}

static void fail(struct copy *c, int error, enum bsp_pair_step step,
		 uint64_t off)
{
	bsp_pair_fail(&c->pair, error, step, off);
}

/* --- Pieces of the source --- */

/* Returns the end of what has not changed at the cursor; the cursor if that has
 * changed. */
static uint64_t unchanged_end(struct copy *c)
{
	uint64_t off = c->pair.cursor, from;
	uint64_t unit = bsp_max(bsp_sparse_granule(source_of(c)),
				bsp_sparse_granule(target_of(c)));

	if (off < c->changed_end)
		return off;
	if (!bsp_changes_find(c->changes, off, unit, &from, &c->changed_end))
		return c->pair.size;
	return from;
}

/* Passes what has not changed, and the zeros of the source, as far as the
 * target gets them without any work. */
static uint64_t pass(struct bsp_pair *pair)
{
	struct copy *c = to_copy(pair);
	uint64_t end;

	if (c->verifying)
		return pair->cursor;
	end = unchanged_end(c);
	if (end > pair->cursor) {
		pair->progress.same += end - pair->cursor;
		return end;
	}
	end = bsp_min(bsp_pair_zeros(pair, 0), c->changed_end);
	if (end > pair->cursor && c->changing)
		end = bsp_sparse_rely_on_zeros(target_of(c), pair->cursor, end);
	if (end > pair->cursor)
		pair->progress.hole += end - pair->cursor;
	return end;
}

static void cut(struct bsp_pair *pair, struct bsp_pair_piece *piece)
{
	struct copy *c = to_copy(pair);
	uint64_t off = piece->off;
	uint64_t end = off + bsp_range_clamp(off, bsp_pair_piece_max(pair),
					     pair->size);

	if (!c->verifying)
		end = bsp_min(end, c->changed_end);
	piece->zero[0] = !c->verifying && pair->zeros_end[0] > off;
	if (piece->zero[0])
		end = bsp_min(end, pair->zeros_end[0]);
	else if (!c->verifying)
		end = bsp_sparse_read_end(source_of(c), off, end, true);
	piece->len = (size_t)(end - off);
}

static void count(struct bsp_pair *pair, const struct bsp_pair_piece *piece,
		  uint64_t data)
{
	if (to_copy(pair)->verifying)
		return;
	pair->progress.data += data;
	pair->progress.hole += piece->len - data;
}

/* --- A worker thread --- */

static bool read_piece(struct bsp_pair *pair,
		       const struct bsp_pair_piece *piece, char *buf)
{
	ssize_t n;

	if (piece->zero[0])
		return true;
	n = bsp_sparse_read(pair->side[0], piece->off, buf, piece->len);
	if (n == (ssize_t)piece->len)
		return true;
	bsp_pair_fail(pair, n < 0 ? (int)n : -EIO, BSP_PAIR_READING,
		      piece->off);
	return false;
}

/* Writes the runs of buf that are not zero, and adds their bytes to *data. */
static bool write_data(struct copy *c, const char *buf,
		       const struct bsp_pair_piece *piece, uint64_t *data)
{
	size_t granule = (size_t)bsp_sparse_granule(target_of(c));

	for (size_t at = 0; at < piece->len;) {
		bool zero;
		size_t run =
			bsp_zero_run(buf + at, piece->len - at, granule, &zero);
		ssize_t n = (ssize_t)run;

		if (!zero) {
			n = bsp_sparse_write(target_of(c), piece->off + at,
					     buf + at, run);
			*data += n > 0 ? (uint64_t)n : 0;
		}
		if (n <= 0) {
			fail(c, n ? (int)n : -ENOSPC, BSP_PAIR_WRITING,
			     piece->off + at);
			return false;
		}
		at += (size_t)n;
	}
	return true;
}

/* Writes all of buf, of which the target leaves out what it has already, and
 * adds the bytes of granules that are not zero to *data. */
static bool write_changes(struct copy *c, const char *buf,
			  const struct bsp_pair_piece *piece, uint64_t *data)
{
	size_t granule = (size_t)bsp_sparse_granule(target_of(c));
	size_t done = 0;

	while (done < piece->len) {
		ssize_t n = bsp_sparse_write(target_of(c), piece->off + done,
					     buf + done, piece->len - done);

		if (n <= 0) {
			fail(c, n ? (int)n : -ENOSPC, BSP_PAIR_WRITING,
			     piece->off + done);
			return false;
		}
		done += (size_t)n;
	}
	for (size_t at = 0; !piece->zero[0] && at < piece->len;) {
		bool zero;
		size_t run =
			bsp_zero_run(buf + at, piece->len - at, granule, &zero);

		*data += zero ? 0 : run;
		at += run;
	}
	return true;
}

/* Reads the piece of the target from the device, not from the page cache, and
 * compares it with buf. */
static bool compare(struct copy *c, const char *buf, char *other,
		    const struct bsp_pair_piece *piece)
{
	struct bsp_device *dev = target_of(c)->dev;
	size_t done = 0;

	while (done < piece->len) {
		ssize_t n =
			dev->ops->read_through(dev, piece->off + done,
					       other + done, piece->len - done);

		if (n <= 0) {
			fail(c, n ? (int)n : -EIO, BSP_PAIR_READING_BACK,
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
			fail(c, -EBADMSG, BSP_PAIR_COMPARING, piece->off + at);
			return false;
		}
	}
	return true;
}

static bool write_piece(struct bsp_pair *pair,
			const struct bsp_pair_piece *piece, char *buf,
			uint64_t *data)
{
	struct copy *c = to_copy(pair);

	if (c->verifying)
		return compare(c, buf, buf + PIECE, piece);
	if (c->changing)
		return write_changes(c, piece->zero[0] ? bsp_zeros : buf, piece,
				     data);
	return write_data(c, buf, piece, data);
}

/* --- The zero thread --- */

/* A bsp_interrupted_fn. */
static bool is_stopped(void *data)
{
	struct bsp_pair *pair = data;
	bool stop;

	pthread_mutex_lock(&pair->lock);
	stop = pair->stop;
	pthread_mutex_unlock(&pair->lock);
	return stop;
}

/* Takes the next range for a zero thread, [*ret_off, *ret_until). Returns false
 * if there is none left. */
static bool take_zeros(struct copy *c, uint64_t *ret_off, uint64_t *ret_until)
{
	struct bsp_pair *pair = &c->pair;
	bool more;

	pthread_mutex_lock(&pair->lock);
	while (pair->working && !pair->stop &&
	       bsp_pair_done_until(pair) < pair->wake_at)
		pthread_cond_wait(&pair->moved, &pair->lock);
	*ret_off = c->zeroed;
	*ret_until = bsp_pair_done_until(pair);
	if (c->n_zero > 1)
		*ret_until = bsp_min(*ret_until, *ret_off + ZERO_SHARE);
	more = *ret_off < *ret_until && !pair->stop;
	if (more) {
		c->zeroed = *ret_until;
		pair->wake_at = *ret_until + ZERO_STEP;
	}
	pthread_mutex_unlock(&pair->lock);
	return more;
}

/* The run of markers at the end of a range may go on after it. A single thread
 * zeroes the run as one, when more of it is written; of several, each leaves it
 * to the flush at the end. */
static void give_back_zeros(struct copy *c, uint64_t off, uint64_t until)
{
	struct bsp_pair *pair = &c->pair;

	pthread_mutex_lock(&pair->lock);
	if (c->n_zero == 1 && (pair->working || until < pair->cursor))
		c->zeroed = off;
	pthread_mutex_unlock(&pair->lock);
}

/* A range that cannot be zeroed stays markers; the flush at the end tries it
 * again and reports the error. */
static void *zero_main(void *data)
{
	struct copy *c = data;
	uint64_t off, until;
	int r = 0;

	bsp_pair_begin_thread(&c->pair);
	while (!r && take_zeros(c, &off, &until)) {
		r = bsp_sparse_flush_markers_before(target_of(c), &off, until,
						    is_stopped, &c->pair);
		give_back_zeros(c, off, until);
	}
	bsp_pair_end_thread(&c->pair);
	return NULL;
}

/* Returns how many there are; without any, the flush at the end zeroes all. */
static unsigned start_zero_threads(struct bsp_pair *pair, pthread_t *threads)
{
	struct copy *c = to_copy(pair);
	unsigned started = 0;

	if (c->verifying)
		return 0;
	c->n_zero = target_of(c)->dev->ops->is_connected ? ZERO_THREADS : 1;
	pthread_mutex_lock(&pair->lock);
	while (started < c->n_zero &&
	       bsp_thread_start(&threads[started], zero_main, c) == 0)
		started++;
	pair->running += started;
	pthread_mutex_unlock(&pair->lock);
	return started;
}

/* --- The copy --- */

/* Fills in the counters of a copy of changes. */
static void add_counters(struct bsp_pair *pair, struct bsp_progress *progress)
{
	const struct copy *c = to_copy(pair);
	const struct bsp_same *same = &target_of(c)->same;

	if (!c->comparing)
		return;
	progress->compared = atomic_load(&same->compared) - c->before.compared;
	progress->written = atomic_load(&same->written) - c->before.written;
	progress->zeroed = atomic_load(&same->zeroed) - c->before.zeroed;
}

static const struct bsp_pair_ops copy_ops = {
	.pass = pass,
	.cut = cut,
	.first = read_piece,
	.second = write_piece,
	.count = count,
	.report = add_counters,
	.start = start_zero_threads,
};

/*
 * Whether each thread is to write what it has read from the network itself
 * (pair.h). That is right for a target whose writes only go to the page cache,
 * one at a time. A device wants longer ones, and several in flight. If the
 * source is writable, its object has to read (undurable.h).
 */
static bool is_queued(const struct copy *c)
{
	const struct bsp_device *from = source_of(c)->dev,
				*to = target_of(c)->dev;

	return !c->verifying && from->ops->read_queue && !from->info.writable &&
	       !to->info.is_block && !to->ops->is_connected;
}

/* Whether the source is an image file, which the kernel reads ahead, and the
 * target on a network. */
static bool reads_at_once(const struct copy *c)
{
	const struct bsp_device *from = source_of(c)->dev,
				*to = target_of(c)->dev;

	return !c->verifying && !from->info.is_block &&
	       !from->ops->is_connected && to->ops->is_connected;
}

/* Goes over the source once, to copy it or to verify the copy. */
static int run_phase(struct copy *c, bool verifying)
{
	/* The target's zeros are recorded: it marks them itself (relied.c). */
	const bool watched[2] = { !verifying, false };

	c->verifying = verifying;
	if (!verifying)
		c->pair.progress.data = c->pair.progress.hole =
			c->pair.progress.same = 0;
	c->pair.queued = is_queued(c);
	c->pair.reads_at_once = reads_at_once(c);
	c->pair.buffer_size =
		verifying ? (size_t)2 * PIECE : bsp_pair_piece_max(&c->pair);
	c->pair.wake_at = ZERO_STEP;
	c->zeroed = 0;
	c->changed_end = c->changes ? 0 : UINT64_MAX;
	return bsp_pair_run(&c->pair,
			    verifying ? BSP_PHASE_VERIFY : BSP_PHASE_TRANSFER,
			    watched);
}

/* Gives the target the size of the source, and learns its zeros. */
static int prepare_changes(struct copy *c)
{
	int r = 0;

	if (bsp_sparse_size(target_of(c)) != c->pair.size)
		r = bsp_sparse_truncate(target_of(c), c->pair.size);
	if (!r)
		bsp_sparse_learn_before_zeroing(target_of(c), 0, c->pair.size);
	return r;
}

/* Makes all of the target markers, unless it reads as zeros already. */
static int prepare_target(struct copy *c, bool is_zero)
{
	int r = 0;

	if (is_zero)
		return 0;
	if (c->changing)
		return prepare_changes(c);
	r = bsp_sparse_truncate(target_of(c), 0);
	return r ? r : bsp_sparse_truncate(target_of(c), c->pair.size);
}

static int flush_target(struct copy *c)
{
	const struct bsp_transfer_options *options = c->pair.call.options;
	int r;

	c->pair.progress.phase = BSP_PHASE_FLUSH;
	r = bsp_sparse_flush(target_of(c), options->interrupted, options->data);
	if (r)
		fail(c, r == -EINTR ? -ECANCELED : r, BSP_PAIR_FLUSHING, 0);
	return r;
}

/* Copies all pieces, once more if a layer below the source has erred. */
static int copy_all(struct copy *c)
{
	bool skipped = atomic_load(&target_of(c)->same.skipped);
	int r;

	atomic_store(&target_of(c)->dev->past_cache, true);
	atomic_store(&target_of(c)->same.skipped, skipped || c->comparing);
	do {
		c->before = (struct bsp_progress){ 0 };
		add_counters(&c->pair, &c->before);
		r = run_phase(c, false);
	} while (!r && bsp_pair_is_misled(&c->pair));
	atomic_store(&target_of(c)->same.skipped, skipped);
	atomic_store(&target_of(c)->dev->past_cache, false);
	return r;
}

static int copy_and_verify(struct copy *c)
{
	const struct bsp_transfer_options *options = c->pair.call.options;
	int r;

	c->comparing = options->changed && !options->target_is_zero;
	c->changes = options->changes;
	c->changing = c->comparing || c->changes;
	r = prepare_target(c, options->target_is_zero);
	if (r) {
		fail(c, r, BSP_PAIR_WRITING, 0);
		return r;
	}
	r = copy_all(c);
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
		[BSP_PAIR_READING] = "reading",
		[BSP_PAIR_WRITING] = "writing",
		[BSP_PAIR_READING_BACK] = "reading back",
	};
	const char *from = source_of(c)->dev->path,
		   *to = target_of(c)->dev->path;
	GError **error = c->pair.call.error;
	struct bsp_sparse *failed;

	if (c->pair.error == -ECANCELED)
		return bsp_transfer_interrupted(&c->pair.call);
	if (c->pair.failed_step == BSP_PAIR_FLUSHING)
		return bsp_transfer_device_failed(
			&c->pair.call, target_of(c)->dev, c->pair.error,
			"zeroing or syncing %s", to);
	if (c->pair.failed_step == BSP_PAIR_COMPARING)
		return bsp_error_set(
			error, BSP_ERROR_DIFFERS,
			"%s is not what %s is, at byte %" PRIu64
			": one of the two is failing, or was written to",
			to, from, c->pair.failed_off);
	failed = c->pair.failed_step == BSP_PAIR_READING ? source_of(c)
							 : target_of(c);
	return bsp_transfer_device_failed(
		&c->pair.call, failed->dev, c->pair.error,
		"%s %s at byte %" PRIu64, verbs[c->pair.failed_step],
		failed->dev->path, c->pair.failed_off);
}

static bool check_target(const struct copy *c)
{
	const char *from = source_of(c)->dev->path,
		   *to = target_of(c)->dev->path;
	uint64_t capacity = atomic_load(&target_of(c)->capacity);

	if (!target_of(c)->dev->info.writable)
		return bsp_error_set_errno(c->pair.call.error, EROFS,
					   "write to %s", to);
	if (!bsp_transfer_check_changes_of(&c->pair.call, source_of(c)))
		return false;
	if (c->pair.call.options->changes &&
	    c->pair.size != bsp_sparse_size(target_of(c)))
		return bsp_error_set(
			c->pair.call.error, BSP_ERROR_USAGE,
			"%s has %" PRIu64 " bytes, and %s has %" PRIu64
			": it is not the base of the changes; nothing was "
			"written",
			to, bsp_sparse_size(target_of(c)), from, c->pair.size);
	if (c->pair.size > capacity)
		return bsp_error_set(c->pair.call.error, BSP_ERROR_TOO_SMALL,
				     "%s is too small: %" PRIu64
				     " bytes, and %s has %" PRIu64
				     "; nothing was written",
				     to, capacity, from, c->pair.size);
	return true;
}

static bool run_copy(struct copy *c)
{
	bool copied;

	(void)bsp_sparse_refresh(source_of(c));
	(void)bsp_sparse_refresh(target_of(c));
	c->pair.size = bsp_sparse_size(source_of(c));
	c->pair.progress.size_known = true;
	c->pair.progress.size = c->pair.size;
	*c->pair.call.progress = c->pair.progress;
	if (!check_target(c))
		return false;
	bsp_pair_init(&c->pair);
	copied = (copy_and_verify(c) == 0 || set_error(c)) &&
		 bsp_transfer_check_changes(&c->pair.call);
	c->pair.progress.done = copied ? c->pair.size : 0;
	*c->pair.call.progress = c->pair.progress;
	bsp_pair_clear(&c->pair);
	return copied;
}

bool bsp_copy(struct bsp_sparse *from, struct bsp_sparse *to,
	      const struct bsp_transfer_options *options,
	      struct bsp_progress *ret_progress, GError **error)
{
	struct copy c = {
		.pair = { .ops = &copy_ops, .side = { from, to } },
	};
	bool copied;

	if (!bsp_transfer_begin(&c.pair.call, options, ret_progress, error))
		return false;
	copied = run_copy(&c);
	bsp_transfer_end(&c.pair.call);
	return copied;
}
