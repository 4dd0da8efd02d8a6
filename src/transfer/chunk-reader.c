/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A ring of slots, in the order of their offsets. The reader fills the free
 * ones with known holes and with reads, which come back in any order, and the
 * caller takes the next one when its read is done, and keeps it for a while.
 *
 * Holes that the map knows, from seeks or writes before, are not read. Markers
 * must not be: the device still has old bytes there. On a read-only device the
 * reads teach the map nothing: a stream passes once and has no use for it, and
 * the map of a device that alternates between data and holes would take memory
 * in proportion to the device.
 *
 * The device of a writable object may lack zeros beside data that a failed
 * flush has lost (undurable.h). Its object reads, then, and learns.
 */
#include "transfer/chunk-reader.h"

#include <errno.h>
#include <stdlib.h>

#include "base/range.h"
#include "sparse/scan.h"

enum {
	READS = BSP_SCAN_DEPTH + 1, /* in flight, with that of the next chunk */
	SLOTS = BSP_SCAN_DEPTH + BSP_CHUNKS_KEPT,
};

struct slot {
	struct bsp_read read; /* first: the queue returns it */
	struct bsp_chunk chunk;
	bool in_flight;
	bool unchecked; /* it was read; the result was not looked at */
	/* After the chunk: 0, or the error of the granule behind it. */
	int error;
};

struct bsp_chunk_reader {
	struct bsp_sparse *sp;
	struct bsp_read_queue *queue;
	bool through;
	char *memory;
	size_t read_len;
	uint64_t off, end; /* what is not in a slot yet */
	struct slot slots[SLOTS];
	unsigned first, n; /* the slots that are filled */
	unsigned kept;	   /* the caller has so many of them, the first */

	const struct bsp_changes *changes; /* NULL: all has changed */
	uint64_t unit, limit;		   /* of the changes */
	uint64_t changed_end;		   /* of the change that off is in */
};

/* The slot of the next chunk. */
static struct slot *next_slot(struct bsp_chunk_reader *reader)
{
	return &reader->slots[(reader->first + reader->kept) % SLOTS];
}

/* The end of the zeros that are known to start at off; off if there are none.
 */
static uint64_t known_zeros(struct bsp_sparse *sp, uint64_t off, uint64_t end)
{
	uint64_t zeros =
		bsp_sparse_run_end(sp, BSP_IN_UNKNOWN | BSP_IN_DATA, off, end);

	if (zeros > off) {
		/* Another program may have written there: look again. */
		(void)bsp_sparse_refresh(sp);
		zeros = bsp_sparse_run_end(sp, BSP_IN_UNKNOWN | BSP_IN_DATA,
					   off, end);
	}
	if (zeros > off ||
	    bsp_map_get(sp->map, off >> sp->shift) != BSP_UNKNOWN)
		return zeros;
	/* Without memory it is read. */
	(void)bsp_sparse_learn_known(sp, off, true);
	return bsp_sparse_run_end(sp, BSP_IN_UNKNOWN | BSP_IN_DATA, off, end);
}

/* --- Filling --- */

static ssize_t read_sparse(void *data, uint64_t off, void *buf, size_t len)
{
	return bsp_sparse_read(data, off, buf, len);
}

static ssize_t read_through(void *data, uint64_t off, void *buf, size_t len)
{
	struct bsp_sparse *sp = data;
	size_t done = 0;

	while (done < len) {
		ssize_t n = bsp_device_read_through(
			sp->dev, off + done, (char *)buf + done, len - done);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static ssize_t read_some(struct bsp_sparse *sp, uint64_t off, void *buf,
			 size_t len)
{
	if (sp->dev->info.writable)
		return bsp_sparse_read(sp, off, buf, len);
	return bsp_device_read_all(sp->dev, off, buf, len);
}

static void submit(struct bsp_chunk_reader *reader, struct slot *slot,
		   uint64_t len)
{
	slot->chunk.data = slot->read.buf;
	slot->chunk.len = len;
	slot->read.off = slot->chunk.off;
	slot->read.len = (size_t)len;
	slot->in_flight = slot->unchecked = true;
	bsp_read_submit(reader->queue, &slot->read);
}

/* Finds the end of what has changed at off, or of what has not. Returns whether
 * it has changed. */
static bool find_change(struct bsp_chunk_reader *reader, uint64_t *ret_end)
{
	uint64_t off = reader->off, from = reader->end, to = reader->end;

	if (off >= reader->changed_end) {
		if (!bsp_changes_find(reader->changes, off, reader->unit, &from,
				      &to) ||
		    from >= reader->limit) {
			from = bsp_max(off, reader->limit);
			to = reader->end;
		}
		*ret_end = bsp_min(from, reader->end);
		if (from > off)
			return false;
		reader->changed_end = bsp_min(to, reader->end);
	}
	*ret_end = reader->changed_end;
	return true;
}

/* Fills the next slot. */
static void fill(struct bsp_chunk_reader *reader)
{
	struct slot *slot =
		&reader->slots[(reader->first + reader->n++) % SLOTS];
	struct bsp_sparse *sp = reader->sp;
	uint64_t off = reader->off, end = reader->end;
	uint64_t most, zeros, stop;

	slot->chunk = (struct bsp_chunk){ .off = off };
	slot->unchecked = false;
	slot->error = 0;
	if (reader->changes && !find_change(reader, &end)) {
		slot->chunk.unchanged = true;
		slot->chunk.len = end - off;
		reader->off = end;
		return;
	}
	most = off + bsp_min(end - off, reader->read_len);
	do {
		zeros = known_zeros(sp, off, end);
		stop = bsp_sparse_run_end(sp, BSP_IN_ZERO, off, most);
		/* Neither: another thread made it a hole in between. */
	} while (zeros == off && stop == off);
	if (zeros > off)
		slot->chunk.len = zeros - off;
	else
		submit(reader, slot,
		       bsp_sparse_read_end(sp, off, stop, true) - off);
	reader->off += slot->chunk.len;
}

/* --- Reads that are done --- */

/* Reads the chunk granule by granule, up to the one that fails. */
static void read_granules(struct bsp_chunk_reader *reader, struct slot *slot)
{
	size_t granule = (size_t)1 << reader->sp->shift;
	uint64_t off = slot->read.off;
	size_t at = 0;

	while (at < slot->read.len && !slot->error) {
		size_t len = bsp_min(granule, slot->read.len - at);
		ssize_t n = read_some(reader->sp, off + at,
				      (char *)slot->read.buf + at, len);

		if (n < (ssize_t)len)
			slot->error = n < 0 ? (int)n : -ENODATA;
		else
			at += len;
	}
	slot->chunk.len = at;
}

/* The device returns the error of a failed writeback once: another read would
 * hide it. */
static void fail_chunk(struct slot *slot)
{
	ssize_t n = slot->read.result;

	slot->error = n < 0 ? (int)n : -EIO;
	slot->chunk.len = 0;
}

/* Waits for the read of a slot, and looks at its result. Those of slots behind
 * wait for their turn: where reads fail, each may take long. */
static void finish(struct bsp_chunk_reader *reader, struct slot *slot)
{
	while (slot->in_flight) {
		struct slot *done = (struct slot *)bsp_read_wait(reader->queue);

		done->in_flight = false;
	}
	if (slot->unchecked && slot->read.result != (ssize_t)slot->read.len) {
		if (reader->through)
			fail_chunk(slot);
		else
			read_granules(reader, slot);
	}
	slot->unchecked = false;
}

/* --- The caller --- */

static void release_first(struct bsp_chunk_reader *reader)
{
	reader->first = (reader->first + 1) % SLOTS;
	reader->n--;
	reader->kept--;
}

/* A slot with an error is not released: it stays the next one. */
static void stay_at_error(struct bsp_chunk_reader *reader)
{
	unsigned last = (reader->first + reader->kept + SLOTS - 1) % SLOTS;
	struct slot *slot = &reader->slots[last];

	if (reader->kept && slot->error) {
		slot->chunk.off += slot->chunk.len;
		slot->chunk.len = 0;
		reader->kept--;
	}
}

/* Whether an error comes before all that is not in a slot yet. */
static bool has_failed(struct bsp_chunk_reader *reader)
{
	return reader->n > reader->kept && next_slot(reader)->error;
}

int bsp_chunk_reader_next(struct bsp_chunk_reader *reader,
			  struct bsp_chunk *ret_chunk)
{
	struct slot *slot;

	stay_at_error(reader);
	if (reader->kept == BSP_CHUNKS_KEPT)
		release_first(reader);
	while (!has_failed(reader) && reader->n < reader->kept + READS &&
	       reader->off < reader->end)
		fill(reader);
	bsp_read_start(reader->queue);
	slot = next_slot(reader);
	if (reader->n == reader->kept) {
		*ret_chunk = (struct bsp_chunk){ .off = reader->off };
		return 0;
	}
	finish(reader, slot);
	*ret_chunk = slot->chunk;
	if (!slot->chunk.len)
		return slot->error;
	reader->kept++;
	return 1;
}

/* A device with a queue of its own has no pages on this host. */
static struct bsp_read_queue *make_queue(struct bsp_sparse *sp, bool through)
{
	if (through && !sp->dev->ops->read_queue)
		return bsp_read_queue_calls_new(read_through, sp, READS);
	if (!through && sp->dev->info.writable)
		return bsp_read_queue_calls_new(read_sparse, sp, READS);
	return bsp_read_queue_new(sp->dev, READS);
}

static struct bsp_chunk_reader *make(struct bsp_sparse *sp, uint64_t off,
				     uint64_t end, bool through)
{
	struct bsp_chunk_reader *reader = calloc(1, sizeof(*reader));

	if (!reader)
		return NULL;
	reader->sp = sp;
	reader->off = off;
	reader->end = end;
	/* Large pages for a short range would take longer than its reads: the
	 * kernel zeroes them. */
	reader->read_len = (size_t)bsp_min(
		bsp_max(BSP_SCAN_READ, UINT64_C(1) << sp->shift),
		bsp_align_up(bsp_max(end - off, 1), sp->shift));
	reader->memory = bsp_buffer_new(SLOTS * reader->read_len);
	reader->through = through;
	reader->queue = make_queue(sp, through);
	if (!reader->memory || !reader->queue) {
		bsp_chunk_reader_free(reader);
		return NULL;
	}
	for (unsigned i = 0; i < SLOTS; i++)
		reader->slots[i].read.buf =
			reader->memory + i * reader->read_len;
	return reader;
}

struct bsp_chunk_reader *bsp_chunk_reader_new(struct bsp_sparse *sp,
					      uint64_t off, uint64_t end)
{
	return make(sp, off, end, false);
}

struct bsp_chunk_reader *
bsp_chunk_reader_new_through(struct bsp_sparse *sp, uint64_t off, uint64_t end)
{
	return make(sp, off, end, true);
}

void bsp_chunk_reader_set_changes(struct bsp_chunk_reader *reader,
				  const struct bsp_changes *changes,
				  uint64_t unit, uint64_t limit)
{
	reader->changes = changes;
	reader->unit = unit;
	reader->limit = limit;
}

void bsp_chunk_reader_free(struct bsp_chunk_reader *reader)
{
	if (!reader)
		return;
	bsp_read_queue_free(reader->queue);
	free(reader->memory);
	free(reader);
}
