/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Verifying holes: reads them from the device, as if the map knew nothing, with
 * several reads in flight.
 *
 * A byte that is not zero proves that the hole was false only if no program
 * wrote to the device meanwhile. So the identity is sampled after such a byte
 * was read, and once more at the end, and compared with the sample before the
 * first read. If it has moved, all verifying ends: the holes are not those of
 * the device any more.
 * Where the kernel does not count writes, or the file below a loop device was
 * written to a moment ago, each sample differs.
 *
 * Reads complete in any order, and are judged in the order of their offsets, so
 * that neighbours are reported as one.
 */
#include "sparse/sparse.h"

#include <errno.h>
#include <stdlib.h>

#include "base/interrupt.h"
#include "base/range.h"
#include "base/trace.h"
#include "base/zero.h"
#include "sparse/scan.h"

enum {
	DEPTH = BSP_SCAN_DEPTH,
	READ_LEN = BSP_SCAN_READ,
	UNIT = BSP_GRANULE_MIN, /* false holes are multiples of this */
};

struct slot {
	struct bsp_read read; /* first: bsp_read_wait() returns it */
	bool done;
};

struct verify {
	/* Fixed: */
	struct bsp_sparse *sp;
	struct bsp_extent_source source;
	bsp_false_hole_fn false_hole;
	bsp_interrupted_fn interrupted;
	bsp_progress_fn progress;
	void *data;
	uint64_t generation; /* of the map, before the first read */
	struct bsp_read_queue *queue;
	char *memory;

	uint64_t at, hole_end; /* the next read; the rest of its hole */
	/* A ring, in the order of offsets: slots [oldest, next). */
	struct slot slots[DEPTH];
	unsigned oldest, next;
	struct bsp_false_hole found; /* not reported yet; len may be 0 */
	bool waited;  /* for writes, at the first byte that is not zero */
	bool recheck; /* there were more since then */
	struct bsp_progress now;
};

/* --- False holes --- */

static void report_found(struct verify *v)
{
	if (v->found.len)
		v->false_hole(v->data, &v->found);
	v->found.len = 0;
}

/* Returns the layer that says that [off, off + len) begins with zeros. */
static const char *layer_of(struct verify *v, uint64_t off, uint64_t len)
{
	struct bsp_device *dev = v->sp->dev;
	struct bsp_known_answer answer = { false, off };

	if (dev->ops->known)
		answer = dev->ops->known(dev, v->generation, false, off,
					 off + len);
	return answer.zeros ? answer.layer : NULL;
}

static void add_found(struct verify *v, uint64_t off, uint64_t len, int error)
{
	const char *layer = layer_of(v, off, len);
	struct bsp_false_hole *found = &v->found;

	if (found->len && found->off + found->len == off &&
	    found->layer == layer && found->error == error) {
		found->len += len;
		return;
	}
	report_found(v);
	*found = (struct bsp_false_hole){ off, len, error, layer };
}

/* Whether no program wrote to the device since the first read. Waits for a
 * write that may not be counted yet only the first time: false holes may be
 * many. */
static bool is_unchanged(struct verify *v)
{
	v->recheck = v->waited;
	if (!v->waited) {
		v->waited = true;
		return !bsp_sparse_was_written(v->sp, v->generation);
	}
	(void)bsp_sparse_refresh_all(v->sp);
	return bsp_sparse_is_current(v->sp, v->generation);
}

/* Judges bytes that were read. */
static int judge_bytes(struct verify *v, uint64_t off, const char *buf,
		       size_t len)
{
	if (bsp_is_zero(buf, len))
		return 0;
	if (!is_unchanged(v))
		return -ESTALE;
	for (size_t at = 0; at < len;) {
		bool zero;
		size_t run = bsp_zero_run(buf + at, len - at, UNIT, &zero);

		if (!zero)
			add_found(v, off + at, run, 0);
		at += run;
	}
	return 0;
}

/* Judges a range that could not be read at once: unit by unit, to find the
 * unreadable ones. */
static int judge_unread(struct verify *v, struct bsp_read *read)
{
	for (size_t at = 0; at < read->len;) {
		size_t len = bsp_min(UNIT, read->len - at);
		ssize_t n = bsp_device_read_all(v->sp->dev, read->off + at,
						read->buf, len);
		int r = 0;

		if (n == (ssize_t)len)
			r = judge_bytes(v, read->off + at, read->buf, len);
		else if (!is_unchanged(v))
			r = -ESTALE;
		else
			add_found(v, read->off + at, len,
				  n < 0 ? (int)n : -EIO);
		if (r)
			return r;
		at += len;
	}
	return 0;
}

static int judge_slot(struct verify *v, struct slot *slot)
{
	struct bsp_read *read = &slot->read;
	int r;

	if (read->result == (ssize_t)read->len)
		r = judge_bytes(v, read->off, read->buf, read->len);
	else
		r = judge_unread(v, read);
	v->now.done += read->len;
	return r;
}

/* --- Reading --- */

/* Moves to the next hole. Returns 1, 0 at the end, or -errno. */
static int find_hole(struct verify *v)
{
	struct bsp_extent extent;

	while (v->at >= v->hole_end) {
		int r = v->source.extent(v->source.data, v->at, &extent);

		if (r <= 0)
			return r;
		if (extent.off != v->at || !extent.len)
			return -EPROTO;
		if (extent.type == BSP_EXTENT_HOLE)
			v->hole_end = bsp_add_sat(extent.off, extent.len);
		else
			v->at = bsp_add_sat(extent.off, extent.len);
	}
	return 1;
}

/* Fills the free slots. Returns 0 or -errno. */
static int submit(struct verify *v)
{
	while (v->next - v->oldest < DEPTH) {
		struct slot *slot = &v->slots[v->next % DEPTH];
		int r = find_hole(v);

		if (r <= 0)
			return r;
		slot->done = false;
		slot->read.buf =
			v->memory + (size_t)(v->next % DEPTH) * READ_LEN;
		slot->read.off = v->at;
		slot->read.len = (size_t)bsp_min(READ_LEN, v->hole_end - v->at);
		v->at += slot->read.len;
		v->next++;
		bsp_read_submit(v->queue, &slot->read);
	}
	return 0;
}

/* Waits for one read, and judges those that have no older one before them. */
static int complete(struct verify *v)
{
	struct slot *slot = (struct slot *)bsp_read_wait(v->queue);
	int r = 0;

	slot->done = true;
	while (!r && v->oldest != v->next && v->slots[v->oldest % DEPTH].done)
		r = judge_slot(v, &v->slots[v->oldest++ % DEPTH]);
	return r;
}

static int run(struct verify *v)
{
	int r = submit(v);

	while (!r && v->oldest != v->next) {
		if (v->progress)
			v->progress(v->data, &v->now);
		if (v->interrupted && v->interrupted(v->data))
			return -ECANCELED;
		r = complete(v);
		if (!r)
			r = submit(v);
	}
	return r;
}

static int verify(struct verify *v)
{
	int r = -ENOMEM;

	if (v->sp->dev->info.writable)
		return -EINVAL;
	v->generation = bsp_map_generation(v->sp->map);
	v->queue = bsp_read_queue_new(v->sp->dev, DEPTH);
	v->memory = bsp_buffer_new((size_t)DEPTH * READ_LEN);
	if (v->queue && v->memory)
		r = run(v);
	if (!r && v->recheck && bsp_sparse_was_written(v->sp, v->generation))
		r = -ESTALE;
	report_found(v);
	bsp_read_queue_free(v->queue);
	free(v->memory);
	return r;
}

int bsp_sparse_verify(struct bsp_sparse *sp, struct bsp_extent_source source,
		      bsp_false_hole_fn false_hole,
		      bsp_interrupted_fn interrupted, bsp_progress_fn progress,
		      void *data)
{
	uint64_t started = bsp_trace_start();
	struct verify v = {
		.sp = sp,
		.source = source,
		.false_hole = false_hole,
		.interrupted = interrupted,
		.progress = progress,
		.data = data,
		.now = { .phase = BSP_PHASE_VERIFY },
	};
	struct bsp_interrupt before = bsp_interrupt_swap((struct bsp_interrupt){
		.interrupted = interrupted,
		.data = data,
		.patience_ms = BSP_PATIENCE_MS,
	});
	int r = verify(&v);

	(void)bsp_interrupt_swap(before);
	bsp_trace_end(started, "sparse.verify", bsp_device_path(sp->dev), 0,
		      v.now.done, r);
	return r;
}
