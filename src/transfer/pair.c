/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transfer/pair.h"

#include <errno.h>
#include <stdlib.h>

#include "base/range.h"
#include "blksparse-thread.h"

enum {
	JOBS_DEFAULT = 8,
	TICK_MS = 100, /* between two progress reports */
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

/* Notes where the piece of a thread starts. lock held. */
static void set_position(struct bsp_pair *p, unsigned self, uint64_t off)
{
	p->at[self] = off;
	if (p->cursor >= p->wake_at)
		pthread_cond_broadcast(&p->moved);
}

uint64_t bsp_pair_done_until(const struct bsp_pair *p)
{
	uint64_t off = p->cursor;

	for (unsigned i = 0; i < BSP_PAIR_THREADS; i++)
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

/* Takes the next piece of a thread and enters the first side. Returns false if
 * there is none left. */
static bool take_piece(struct bsp_pair *p, unsigned self,
		       struct bsp_pair_piece *piece)
{
	bool found;

	pthread_mutex_lock(&p->lock);
	enter(p, &p->sides[0]);
	found = find_piece(p);
	if (found) {
		*piece = (struct bsp_pair_piece){ .off = p->cursor };
		p->ops->cut(p, piece);
		p->cursor += piece->len;
	}
	set_position(p, self, found ? piece->off : UINT64_MAX);
	if (!found)
		leave(&p->sides[0]);
	pthread_mutex_unlock(&p->lock);
	return found;
}

/* Ends a piece and leaves the second side. */
static void finish_piece(struct bsp_pair *p, unsigned self,
			 const struct bsp_pair_piece *piece, uint64_t data,
			 bool ok)
{
	pthread_mutex_lock(&p->lock);
	leave(&p->sides[1]);
	/* The thread may wait long for its next piece. */
	set_position(p, self, UINT64_MAX);
	if (ok) {
		p->progress.done += piece->len;
		p->ops->count(p, piece, data);
	}
	pthread_mutex_unlock(&p->lock);
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
	finish_piece(p, self, piece, data, ok);
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

static void *worker_main(void *data)
{
	struct bsp_pair *p = data;
	struct bsp_pair_piece piece;
	unsigned self;

	bsp_pair_begin_thread(p);
	pthread_mutex_lock(&p->lock);
	self = p->started++;
	pthread_mutex_unlock(&p->lock);
	while (take_piece(p, self, &piece) &&
	       do_piece(p, self, p->memory + self * p->buffer_size, &piece))
		;
	pthread_mutex_lock(&p->lock);
	p->working--;
	pthread_cond_broadcast(&p->moved);
	end_thread(p);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static unsigned start_workers(struct bsp_pair *p, pthread_t *threads,
			      unsigned n)
{
	unsigned started = 0;
	int r = 0;

	pthread_mutex_lock(&p->lock);
	while (started < n && r == 0) {
		r = bsp_thread_start(&threads[started], worker_main, p);
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
	for (unsigned i = 0; i < BSP_PAIR_THREADS; i++)
		p->at[i] = UINT64_MAX;
}

int bsp_pair_run(struct bsp_pair *p, enum bsp_phase phase,
		 const bool watched[2])
{
	pthread_t threads[BSP_PAIR_THREADS], others[BSP_PAIR_OTHERS];
	unsigned n = BSP_PAIR_THREADS_EACH * p->jobs, n_others = 0;

	begin_phase(p, phase, watched);
	/* One allocation, so that it gets huge pages: a piece in scattered
	 * small pages has more segments than many devices take in a request.
	 */
	p->memory = bsp_buffer_new(n * p->buffer_size);
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
