/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transfer/pair.h"

#include <errno.h>
#include <stdlib.h>

#include "base/range.h"
#include "blksparse-thread.h"
#include "device/read-queue.h"

enum {
	JOBS_DEFAULT = 8,
	QUEUES_MIN = 2, /* one reads while the other one writes */
	QUEUES_MAX = 4, /* as many as a server gets connections */
	DEPTH_MAX = 16, /* reads in flight of each, while more are allowed */
	TICK_MS = 100,	/* between two progress reports */
};

/* --- Zeros --- */

static uint64_t known_zeros(struct bsp_sparse *sp, uint64_t off, uint64_t size)
{
	unsigned others = BSP_IN_UNKNOWN | BSP_IN_DATA;
	uint64_t end = bsp_sparse_run_end(sp, others, off, size);

	if (end > off) {
		/* Another program may have written there: look again. */
		(void)bsp_sparse_refresh(sp);
		end = bsp_sparse_run_end(sp, others, off, size);
	}
	if (end > off)
		return end;
	if (bsp_map_get(sp->map, off >> sp->shift) != BSP_UNKNOWN)
		return off;
	/* The map must not learn these zeros: to verify is to read them. */
	return bsp_sparse_known_zeros(sp, off, size, true);
}

uint64_t bsp_pair_zeros(struct bsp_pair *p, unsigned side)
{
	if (p->zeros_end[side] <= p->cursor)
		p->zeros_end[side] =
			known_zeros(p->side[side], p->cursor, p->size);
	return p->zeros_end[side];
}

bool bsp_pair_is_misled(const struct bsp_pair *p)
{
	for (unsigned i = 0; i < 2; i++) {
		if (p->trusting[i] && atomic_load(&p->side[i]->distrusted))
			return true;
	}
	return false;
}

/* --- Pieces --- */

/* Waits for room on a side. lock held. */
static void enter(struct bsp_pair *p, struct bsp_pair_side *side)
{
	while (side->busy == p->jobs)
		pthread_cond_wait(&side->left, &p->lock);
	side->busy++;
}

static void leave(struct bsp_pair_side *side)
{
	side->busy--;
	pthread_cond_signal(&side->left);
}

/* Goes to the second side, as soon as there is room. */
static void change_sides(struct bsp_pair *p)
{
	pthread_mutex_lock(&p->lock);
	leave(&p->sides[0]);
	enter(p, &p->sides[1]);
	pthread_mutex_unlock(&p->lock);
}

/* Notes where the piece in a slot starts. lock held. */
static void set_position(struct bsp_pair *p, unsigned slot, uint64_t off)
{
	p->at[slot] = off;
	if (p->cursor >= p->wake_at)
		pthread_cond_broadcast(&p->moved);
}

uint64_t bsp_pair_done_until(const struct bsp_pair *p)
{
	uint64_t off = p->cursor;

	for (unsigned i = 0; i < BSP_PAIR_SLOTS; i++)
		off = bsp_min(off, p->at[i]);
	return off;
}

/* Passes what needs no work. Returns whether there is a piece at the cursor.
 * lock held. */
static bool find_piece(struct bsp_pair *p)
{
	while (!p->stop && p->cursor < p->size && !bsp_pair_is_misled(p)) {
		uint64_t end = p->ops->pass(p);

		if (end <= p->cursor)
			return true;
		p->progress.done += end - p->cursor;
		p->cursor = end;
	}
	return false;
}

/* Takes the next piece of a slot. Returns false if there is none left. lock
 * held. */
static bool take_piece(struct bsp_pair *p, unsigned slot,
		       struct bsp_pair_piece *piece)
{
	bool found = find_piece(p);

	if (found) {
		*piece = (struct bsp_pair_piece){ .off = p->cursor };
		p->ops->cut(p, piece);
		p->cursor += piece->len;
	}
	set_position(p, slot, found ? piece->off : UINT64_MAX);
	return found;
}

/* Takes the next piece of a thread and enters the first side. */
static bool begin_piece(struct bsp_pair *p, unsigned self,
			struct bsp_pair_piece *piece)
{
	bool found;

	pthread_mutex_lock(&p->lock);
	enter(p, &p->sides[0]);
	found = take_piece(p, self, piece);
	if (!found)
		leave(&p->sides[0]);
	pthread_mutex_unlock(&p->lock);
	return found;
}

/* lock held. */
static void finish_piece(struct bsp_pair *p, unsigned slot,
			 const struct bsp_pair_piece *piece, uint64_t data,
			 bool ok)
{
	/* The slot may wait long for its next piece. */
	set_position(p, slot, UINT64_MAX);
	if (ok) {
		p->progress.done += piece->len;
		p->ops->count(p, piece, data);
	}
}

void bsp_pair_fail(struct bsp_pair *p, int error, enum bsp_pair_step step,
		   uint64_t off)
{
	pthread_mutex_lock(&p->lock);
	if (!p->error || (p->error != -ECANCELED && off < p->failed_off)) {
		/* The interrupt has ended connections of a network. */
		p->error = atomic_load(&p->interrupted) ? -ECANCELED : error;
		p->failed_step = step;
		p->failed_off = off;
	}
	p->stop = true;
	pthread_mutex_unlock(&p->lock);
}

/* --- Threads --- */

static bool do_piece(struct bsp_pair *p, unsigned self, char *buf,
		     const struct bsp_pair_piece *piece)
{
	uint64_t data = 0;
	bool ok = p->ops->first(p, piece, buf);

	change_sides(p);
	ok = ok && p->ops->second(p, piece, buf, &data);
	pthread_mutex_lock(&p->lock);
	leave(&p->sides[1]);
	finish_piece(p, self, piece, data, ok);
	pthread_mutex_unlock(&p->lock);
	return ok;
}

/* A bsp_interrupted_fn of the threads. */
static bool is_interrupted(void *data)
{
	struct bsp_pair *p = data;

	return atomic_load(&p->interrupted);
}

void bsp_pair_begin_thread(struct bsp_pair *p)
{
	(void)bsp_interrupt_swap(
		(struct bsp_interrupt){ is_interrupted, p, true });
}

/* lock held. */
static void end_thread(struct bsp_pair *p)
{
	p->running--;
	pthread_cond_signal(&p->changed);
}

void bsp_pair_end_thread(struct bsp_pair *p)
{
	pthread_mutex_lock(&p->lock);
	end_thread(p);
	pthread_mutex_unlock(&p->lock);
}

static unsigned begin_worker(struct bsp_pair *p)
{
	unsigned self;

	bsp_pair_begin_thread(p);
	pthread_mutex_lock(&p->lock);
	self = p->started++;
	pthread_mutex_unlock(&p->lock);
	return self;
}

static void end_worker(struct bsp_pair *p)
{
	pthread_mutex_lock(&p->lock);
	p->working--;
	pthread_cond_broadcast(&p->moved);
	end_thread(p);
	pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *data)
{
	struct bsp_pair *p = data;
	struct bsp_pair_piece piece;
	unsigned self = begin_worker(p);

	while (begin_piece(p, self, &piece) &&
	       do_piece(p, self, p->memory + self * p->buffer_size, &piece))
		;
	end_worker(p);
	return NULL;
}

/* --- With queues --- */

/* A piece that a queue reads. */
struct queued {
	struct bsp_read read; /* first */
	struct bsp_pair_piece piece;
	unsigned slot;
	struct queued *next; /* among those that have no piece */
};

/* Takes the next piece. Returns false if there is none left. */
static bool take_queued(struct bsp_pair *p, struct queued *queued)
{
	bool found;

	pthread_mutex_lock(&p->lock);
	found = take_piece(p, queued->slot, &queued->piece);
	pthread_mutex_unlock(&p->lock);
	queued->read.buf = p->memory + queued->slot * p->buffer_size;
	queued->read.off = queued->piece.off;
	queued->read.len = queued->piece.len;
	queued->read.result = (ssize_t)queued->piece.len;
	return found;
}

/* Reads the rest of a piece, if the queue has read less. */
static bool read_rest(struct bsp_pair *p, const struct bsp_read *read)
{
	ssize_t n = read->result;
	size_t got = n > 0 ? (size_t)n : 0;

	if (got && got < read->len)
		n = bsp_device_read_all(p->side[0]->dev, read->off + got,
					(char *)read->buf + got,
					read->len - got);
	if (n > 0 && (got == read->len || got + (size_t)n == read->len))
		return true;
	bsp_pair_fail(p, n < 0 ? (int)n : -EIO, BSP_PAIR_READING, read->off);
	return false;
}

/* Does the work on the second object, if the first was read. */
static bool complete(struct bsp_pair *p, const struct queued *queued)
{
	uint64_t data = 0;
	bool ok = read_rest(p, &queued->read);

	ok = ok && p->ops->second(p, &queued->piece, queued->read.buf, &data);
	pthread_mutex_lock(&p->lock);
	finish_piece(p, queued->slot, &queued->piece, data, ok);
	pthread_mutex_unlock(&p->lock);
	return ok;
}

/* Keeps the queue filled, and completes what it has read. */
static void run_queue(struct bsp_pair *p, struct bsp_read_queue *queue,
		      struct queued *idle)
{
	bool more = true;

	while (more || queue->in_flight) {
		struct queued *queued;

		while (more && idle) {
			queued = idle;
			more = take_queued(p, queued);
			if (more && queued->piece.zero[0]) {
				more = complete(p, queued);
			} else if (more) {
				idle = queued->next;
				/* Without a connection the read fails. */
				(void)bsp_sparse_connect(p->side[0]);
				bsp_read_submit(queue, &queued->read);
			}
		}
		queued = (struct queued *)bsp_read_wait(queue);
		if (!queued)
			break;
		more = complete(p, queued) && more;
		queued->next = idle;
		idle = queued;
	}
}

static void *queue_main(void *data)
{
	struct bsp_pair *p = data;
	unsigned self = begin_worker(p);
	struct queued *all = calloc(p->depth, sizeof(*all)), *idle = NULL;
	struct bsp_read_queue *queue =
		bsp_read_queue_new(p->side[0]->dev, p->depth);

	for (unsigned i = 0; all && i < p->depth; i++) {
		all[i].slot = self * p->depth + i;
		all[i].next = idle;
		idle = &all[i];
	}
	if (idle && queue)
		run_queue(p, queue, idle);
	else
		bsp_pair_fail(p, -ENOMEM, BSP_PAIR_READING, 0);
	bsp_read_queue_free(queue);
	free(all);
	end_worker(p);
	return NULL;
}

static unsigned start_workers(struct bsp_pair *p, pthread_t *threads,
			      unsigned n)
{
	void *(*run)(void *data) = p->queued ? queue_main : worker_main;
	unsigned started = 0;
	int r = 0;

	pthread_mutex_lock(&p->lock);
	while (started < n && r == 0) {
		r = bsp_thread_start(&threads[started], run, p);
		started += r == 0;
	}
	p->working = p->running = started;
	pthread_mutex_unlock(&p->lock);
	if (started == 0)
		bsp_pair_fail(p, r, BSP_PAIR_READING, 0);
	return started;
}

static void add_counters(struct bsp_pair *p, struct bsp_progress *progress)
{
	if (p->ops->report)
		p->ops->report(p, progress);
}

/* Waits for the threads, and reports how far they are. */
static void watch_threads(struct bsp_pair *p)
{
	struct bsp_progress now;

	pthread_mutex_lock(&p->lock);
	while (p->running) {
		struct timespec until;
		bool end;

		now = p->progress;
		pthread_mutex_unlock(&p->lock);
		add_counters(p, &now);
		bsp_transfer_report(&p->call, &now);
		end = bsp_transfer_is_interrupted(&p->call);
		/* Before the lock: a thread that has it may wait for a server.
		 */
		if (end)
			atomic_store(&p->interrupted, true);
		until = bsp_cond_limit(TICK_MS);
		pthread_mutex_lock(&p->lock);
		if (end && !p->stop && !p->error)
			p->error = -ECANCELED;
		p->stop |= end;
		if (p->running)
			(void)pthread_cond_timedwait(&p->changed, &p->lock,
						     &until);
	}
	add_counters(p, &p->progress);
	now = p->progress;
	pthread_mutex_unlock(&p->lock);
	bsp_transfer_report(&p->call, &now);
}

/* --- A phase --- */

static void begin_phase(struct bsp_pair *p, enum bsp_phase phase,
			const bool watched[2])
{
	p->progress.phase = phase;
	p->progress.done = 0;
	p->cursor = 0;
	p->started = 0;
	for (unsigned i = 0; i < 2; i++) {
		p->zeros_end[i] = 0;
		p->trusting[i] =
			watched[i] && !atomic_load(&p->side[i]->distrusted);
	}
	for (unsigned i = 0; i < BSP_PAIR_SLOTS; i++)
		p->at[i] = UINT64_MAX;
}

/*
 * The number of threads with a queue. Their reads take processor time, as the
 * kernel copies each byte from a socket, and they wait for each other to write
 * to the target. More of them than processors took a tenth more time from a
 * server on this host. But there are as many as it takes to have no more reads
 * in flight on each connection than a server works on at a time.
 */
static unsigned count_queues(const struct bsp_pair *p)
{
	unsigned processors = g_get_num_processors();
	unsigned for_depth =
		(p->jobs * BSP_PAIR_QUEUED_EACH + DEPTH_MAX - 1) / DEPTH_MAX;
	unsigned n = MAX(processors, for_depth);

	return MIN(p->jobs, CLAMP(n, QUEUES_MIN, QUEUES_MAX));
}

int bsp_pair_run(struct bsp_pair *p, enum bsp_phase phase,
		 const bool watched[2])
{
	pthread_t threads[BSP_PAIR_THREADS], others[BSP_PAIR_OTHERS];
	unsigned n_others = 0;
	unsigned n = (p->reads_at_once ? 1 : BSP_PAIR_THREADS_EACH) * p->jobs;

	p->depth = 1;
	if (p->queued) {
		n = count_queues(p);
		p->depth = BSP_PAIR_QUEUED_EACH * p->jobs / n;
	}
	begin_phase(p, phase, watched);
	/* One allocation, so that it gets huge pages: a piece in scattered
	 * small pages has more segments than many devices take in a request.
	 */
	p->memory = bsp_buffer_new((size_t)n * p->depth * p->buffer_size);
	if (!p->memory) {
		bsp_pair_fail(p, -ENOMEM, BSP_PAIR_READING, 0);
		return p->error;
	}
	n = start_workers(p, threads, n);
	if (n && p->ops->start)
		n_others = p->ops->start(p, others);
	watch_threads(p);
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < n_others; i++)
		pthread_join(others[i], NULL);
	free(p->memory);
	return p->error;
}

void bsp_pair_init(struct bsp_pair *p)
{
	unsigned jobs = p->call.options->jobs;

	p->jobs = (unsigned)bsp_min(jobs ? jobs : JOBS_DEFAULT,
				    BSP_PAIR_JOBS_MAX);
	pthread_mutex_init(&p->lock, NULL);
	bsp_cond_init(&p->changed);
	bsp_cond_init(&p->moved);
	for (unsigned i = 0; i < 2; i++)
		bsp_cond_init(&p->sides[i].left);
}

void bsp_pair_clear(struct bsp_pair *p)
{
	for (unsigned i = 0; i < 2; i++)
		pthread_cond_destroy(&p->sides[i].left);
	pthread_cond_destroy(&p->moved);
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
}
