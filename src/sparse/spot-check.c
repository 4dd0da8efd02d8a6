/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Spot checks of zeros that a layer below knows. A file system may err, or a
 * server lie. So before an answer is used, a few places of it are read.
 *
 * One block is read of each half GiB, at random; short answers add up. The
 * first answer of an object is always checked, and so is the one after a check
 * that did not succeed. Few checks find few errors: they are there to notice a
 * layer that errs often, soon.
 *
 * A read on a network may take long, so of a huge device on one about a
 * thousand blocks are read, however far they are apart.
 *
 * Of a huge device, a caller would wait longer for the checks than for its
 * data. So on a read-only mount only the first places, and then one of each
 * answer, are checked before the answer is used. The scan thread checks the
 * others when it is idle. A scan of the whole device checks them at its end,
 * several at a time.
 *
 * A byte that is not zero has one of two causes. Another program wrote it after
 * the layer was asked: then the device's next sample differs from the one that
 * belongs to the question, and only this answer is dropped. Otherwise the
 * answer was wrong, and so may be all that the layer said before: no layer is
 * asked any more, and the map forgets all. A sample of a device that does not
 * count writes, or that has not settled, always differs; there each answer is
 * checked until one is found right.
 *
 * The content of a writable object is not sampled: it is the only writer. It
 * marks a granule as data while it has locked it. So the check locks the
 * granule and reads it only while the map knows nothing of it. A program that
 * writes to the file below the device is taken for an error of the layer.
 *
 * A read that fails proves nothing: the answer is not used.
 */
#include "sparse/sparse.h"

#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "base/range.h"
#include "base/zero.h"
#include "device/read-queue.h"

enum {
	BLOCK = BSP_BUFFER_ALIGN, /* bytes read at a place */
	STRETCH = 512 << 20,	  /* bytes of zeros for each place, at least */
	NETWORK_PLACES = 1024,	  /* of a device on a network, about */
	AT_ONCE = 64,		  /* places, where others can wait */
	LATE_STEP = 256,	  /* places, between two looks for work */
	IN_FLIGHT = 16,		  /* reads of these */
	PATIENCE_MS = 1000,
	STEP_MS = 50,
};

_Static_assert(BLOCK <= (int)BSP_GRANULE_MIN, "a block is in one granule");

void bsp_spot_checks_init(struct bsp_spot_checks *checks,
			  const struct bsp_device *dev)
{
	uint64_t stretch = STRETCH;

	if (dev->ops->is_connected)
		stretch = bsp_max(stretch, dev->info.size / NETWORK_PLACES);
	*checks = (struct bsp_spot_checks){ .stretch = stretch,
					    .unchecked = stretch,
					    .patience_ms = PATIENCE_MS,
					    .at_once = AT_ONCE };
	if (getrandom(&checks->random, sizeof(checks->random), GRND_NONBLOCK) <
	    0)
		checks->random = (uint64_t)clock();
}

char *bsp_sparse_false_zeros(struct bsp_sparse *sp)
{
	char *error;

	pthread_mutex_lock(&sp->asked_lock);
	error = g_strdup(sp->spot_checks.error);
	pthread_mutex_unlock(&sp->asked_lock);
	return error;
}

/* --- Places --- */

/* Returns the next number of the generator (splitmix64). */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Counts len bytes of zeros. Returns how many places of them to check, and a
 * start for the generator of their offsets. */
static uint64_t take_due(struct bsp_sparse *sp, uint64_t len,
			 uint64_t *ret_random)
{
	struct bsp_spot_checks *checks = &sp->spot_checks;
	uint64_t due;

	pthread_mutex_lock(&sp->asked_lock);
	checks->unchecked += len;
	due = checks->unchecked / checks->stretch;
	checks->unchecked %= checks->stretch;
	*ret_random = next_random(&checks->random);
	pthread_mutex_unlock(&sp->asked_lock);
	return due;
}

/* After a check that did not succeed. */
static void check_next_answer(struct bsp_sparse *sp)
{
	pthread_mutex_lock(&sp->asked_lock);
	sp->spot_checks.unchecked = sp->spot_checks.stretch;
	pthread_mutex_unlock(&sp->asked_lock);
}

/*
 * Puts off all but a few of the due checks of [off, end), if a scan thread can
 * make them later. Returns how many. The content of a writable object may be
 * another by then.
 */
static uint64_t put_off(struct bsp_sparse *sp, uint64_t generation,
			uint64_t off, uint64_t end, uint64_t due,
			const char *layer)
{
	struct bsp_spot_checks *checks = &sp->spot_checks;
	uint64_t now, later;

	bool scanning = atomic_load(&sp->scans);

	if (!(scanning || sp->scan_ahead) || sp->dev->info.writable)
		return 0;
	pthread_mutex_lock(&sp->asked_lock);
	now = bsp_min(due, bsp_max(checks->at_once, scanning ? 0 : 1));
	later = due - now;
	checks->at_once -= bsp_min(now, checks->at_once);
	if (later && (!checks->late || checks->late_generation != generation)) {
		checks->late = 0;
		checks->late_off = off;
		checks->late_end = end;
		checks->late_generation = generation;
	}
	if (later) {
		checks->late += later;
		checks->late_off = bsp_min(checks->late_off, off);
		checks->late_end = bsp_max(checks->late_end, end);
		checks->late_layer = layer;
	}
	pthread_mutex_unlock(&sp->asked_lock);
	return later;
}

/* Moves *at, in [start, end), to the next block whose state is in the set, or
 * to the first one in [start, end) if none follows. False if there is none. */
static bool find_block(struct bsp_sparse *sp, unsigned set, uint64_t *at,
		       uint64_t start, uint64_t end)
{
	*at = bsp_sparse_run_end(sp, set, *at, end);
	if (*at >= end)
		*at = bsp_sparse_run_end(sp, set, start, end);
	return *at < end;
}

/* --- Checks --- */

enum found { FOUND_ZEROS, FOUND_DATA, FOUND_NOTHING };

/* Looks at the bytes that were read at an offset. Sets *ret_off to one that is
 * not zero. */
static enum found look_at(const unsigned char *buf, uint64_t at, size_t len,
			  uint64_t *ret_off)
{
	for (size_t i = 0; i < len; i++) {
		if (buf[i]) {
			*ret_off = at + i;
			return FOUND_DATA;
		}
	}
	return FOUND_ZEROS;
}

/* Reads a block, as far as it lies before end. Sets *ret_off to a byte that is
 * not zero. */
static enum found read_block(struct bsp_sparse *sp, uint64_t at, uint64_t end,
			     uint64_t *ret_off)
{
	_Alignas(BSP_BUFFER_ALIGN) unsigned char buf[BLOCK];
	size_t len = (size_t)bsp_min(BLOCK, end - at);

	if (bsp_device_read_all(sp->dev, at, buf, len) != (ssize_t)len)
		return FOUND_NOTHING;
	return look_at(buf, at, len, ret_off);
}

/* Checks the block at that offset. A block that the map has got to know
 * meanwhile needs no check: the map would learn nothing there. */
static enum found check_block(struct bsp_sparse *sp, uint64_t at, uint64_t end,
			      uint64_t *ret_off)
{
	uint64_t granule = at >> sp->shift;
	enum found found = FOUND_ZEROS;
	struct bsp_range_hold hold;

	bsp_range_lock(&sp->ranges, &hold, granule, granule + 1, true);
	if (bsp_map_get(sp->map, granule) == BSP_UNKNOWN)
		found = read_block(sp, at, end, ret_off);
	bsp_range_unlock(&sp->ranges, &hold);
	return found;
}

/* Checks the due places, one in each part of [off, end). */
static enum found check_places(struct bsp_sparse *sp, uint64_t off,
			       uint64_t end, uint64_t due, uint64_t random,
			       uint64_t *ret_off)
{
	uint64_t part = due ? (end - off) / due : 0;
	enum found found = FOUND_ZEROS;

	for (uint64_t i = 0; i < due && found == FOUND_ZEROS; i++) {
		uint64_t place = off + i * part + next_random(&random) % part;

		place = bsp_max(off, bsp_align_down(place, 12));
		if (find_block(sp, BSP_IN_UNKNOWN, &place, off, end))
			found = check_block(sp, place, end, ret_off);
	}
	return found;
}

/* Ends all questions: layer said that the byte at off is zero, and it is not.
 * The first of several threads says so. */
static void distrust(struct bsp_sparse *sp, uint64_t off, const char *layer)
{
	bool first;

	pthread_mutex_lock(&sp->asked_lock);
	first = !sp->spot_checks.error;
	if (first)
		sp->spot_checks.error =
			g_strdup_printf("%s said that byte %" G_GUINT64_FORMAT
					" of %s is zero, and it is not",
					layer ? layer : "a layer below", off,
					bsp_device_path(sp->dev));
	pthread_mutex_unlock(&sp->asked_lock);
	if (sp->dev->ops->set_trust)
		sp->dev->ops->set_trust(sp->dev, BSP_KNOWN_OFF);
	if (!first)
		return;
	/* In this order: a thread that sees the second can forget. */
	atomic_store(&sp->forget_due, true);
	atomic_store(&sp->distrusted, true);
}

bool bsp_sparse_was_written(struct bsp_sparse *sp, uint64_t generation)
{
	const struct timespec step = { .tv_nsec = STEP_MS * 1000000L };

	for (unsigned ms = 0;; ms += STEP_MS) {
		(void)bsp_sparse_refresh_all(sp);
		if (bsp_map_generation(sp->map) != generation)
			return true;
		if (ms >= sp->spot_checks.patience_ms)
			return false;
		(void)nanosleep(&step, NULL);
	}
}

/* Finds out why the byte at off is not zero, and acts on it. */
static void judge(struct bsp_sparse *sp, uint64_t generation, uint64_t off,
		  const char *layer)
{
	bool writable = sp->dev->info.writable;

	if (writable ? bsp_map_generation(sp->map) != generation
		     : bsp_sparse_was_written(sp, generation))
		return;
	distrust(sp, off, layer);
	if (!writable)
		(void)bsp_sparse_refresh(sp);
}

bool bsp_sparse_spot_check(struct bsp_sparse *sp, uint64_t generation,
			   uint64_t off, uint64_t end, const char *layer)
{
	uint64_t random, bad = off;
	uint64_t due = take_due(sp, end - off, &random);
	enum found found;

	due -= put_off(sp, generation, off, end, due, layer);
	found = check_places(sp, off, end, due, random, &bad);
	if (found == FOUND_DATA)
		judge(sp, generation, bad, layer);
	if (found != FOUND_ZEROS)
		check_next_answer(sp);
	return found == FOUND_ZEROS;
}

/* --- Checks that were put off --- */

/* Takes up to LATE_STEP places to check. Returns whether there are any. */
static bool take_late(struct bsp_sparse *sp, struct bsp_spot_checks *ret_late)
{
	struct bsp_spot_checks *checks = &sp->spot_checks;
	uint64_t generation = bsp_map_generation(sp->map);

	pthread_mutex_lock(&sp->asked_lock);
	if (checks->late_generation != generation)
		checks->late = 0;
	*ret_late = *checks;
	ret_late->late = bsp_min(checks->late, LATE_STEP);
	checks->late -= ret_late->late;
	(void)next_random(&checks->random);
	pthread_mutex_unlock(&sp->asked_lock);
	return ret_late->late > 0;
}

/* Several reads in flight. */
struct batch {
	struct bsp_read_queue *queue;
	unsigned char *memory;
	struct bsp_read reads[IN_FLIGHT];
	enum found found;
	uint64_t bad; /* a byte that is not zero */
};

/* Waits for a read and looks at its bytes. Returns the read, which may be used
 * again; NULL if none is in flight. */
static struct bsp_read *finish_read(struct batch *batch)
{
	struct bsp_read *read = bsp_read_wait(batch->queue);

	if (read && read->result == (ssize_t)read->len &&
	    batch->found == FOUND_ZEROS)
		batch->found =
			look_at(read->buf, read->off, read->len, &batch->bad);
	return read;
}

/* Starts a read at a random hole of those that were put off. Returns false if
 * there is none. Some of them may be holes that a scan found: a check of such a
 * hole is needless, and right. */
static bool start_read(struct bsp_sparse *sp, struct batch *batch,
		       struct bsp_spot_checks *late, struct bsp_read *read)
{
	uint64_t place =
		late->late_off +
		next_random(&late->random) % (late->late_end - late->late_off);

	place = bsp_align_down(place, 12);
	if (!find_block(sp, BSP_IN_HOLE, &place, late->late_off,
			late->late_end))
		return false;
	read->off = place;
	read->len = (size_t)bsp_min(BLOCK, late->late_end - place);
	read->buf = batch->memory + (size_t)(read - batch->reads) * BLOCK;
	bsp_read_submit(batch->queue, read);
	return true;
}

static void read_late(struct bsp_sparse *sp, struct batch *batch,
		      struct bsp_spot_checks *late)
{
	struct bsp_read *spare = NULL;
	unsigned used = 0;

	for (uint64_t i = 0; i < late->late && batch->found == FOUND_ZEROS;
	     i++) {
		if (!spare)
			spare = used < IN_FLIGHT ? &batch->reads[used++]
						 : finish_read(batch);
		if (start_read(sp, batch, late, spare))
			spare = NULL;
	}
	while (finish_read(batch))
		;
}

bool bsp_sparse_spot_check_late(struct bsp_sparse *sp)
{
	struct batch batch = { .found = FOUND_ZEROS };
	struct bsp_spot_checks late;

	if (!take_late(sp, &late))
		return false;
	batch.queue = bsp_read_queue_new(sp->dev, IN_FLIGHT);
	batch.memory = bsp_buffer_new((size_t)IN_FLIGHT * BLOCK);
	if (batch.queue && batch.memory)
		read_late(sp, &batch, &late);
	bsp_read_queue_free(batch.queue);
	free(batch.memory);
	if (batch.found == FOUND_DATA)
		judge(sp, late.late_generation, batch.bad, late.late_layer);
	return true;
}
