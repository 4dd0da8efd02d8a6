/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A ring of a few slots between two threads. The reading thread fills the next
 * free slot, the caller takes filled slots in order. The end or an error is the
 * content of the last slot.
 *
 * Holes that the map knows, from seeks or writes before, are not read. Markers
 * must not be: the device still has old bytes there. On a read-only device the
 * reading thread teaches the map nothing: a stream passes once and has no use
 * for it, and the map of a device that alternates between data and holes would
 * take memory in proportion to the device.
 */
#include "transfer/chunk-reader.h"

#include <errno.h>
#include <stdlib.h>

#include "base/range.h"
#include "blksparse-thread.h"
#include "sparse/scan.h"

enum { SLOTS = 4 };

struct slot {
	struct bsp_chunk chunk;
	int result; /* as bsp_chunk_reader_next() gives it */
	unsigned char *buffer;
};

struct bsp_chunk_reader {
	/* Fixed after bsp_chunk_reader_new(): */
	struct bsp_sparse *sp;
	uint64_t end;
	pthread_t thread;

	uint64_t off; /* the thread's own: where it reads next */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* protected by lock: */
	unsigned filled; /* slots filled so far */
	unsigned taken;	 /* of them, those that the caller has returned */
	bool stop;

	bool holding;		  /* the caller's own: it has a chunk */
	struct slot slots[SLOTS]; /* the thread's until filled, then the
				     caller's until taken */
};

/* --- The thread --- */

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

/*
 * The device of a writable object may lack zeros beside data that a failed
 * flush has lost (undurable.h). Its object reads, then, and learns.
 */
static ssize_t read_some(struct bsp_sparse *sp, uint64_t off, void *buf,
			 uint64_t len)
{
	if (sp->dev->info.writable)
		return bsp_sparse_read(sp, off, buf, (size_t)len);
	return bsp_device_read_all(sp->dev, off, buf, (size_t)len);
}

/*
 * Reads [off, off + len), or, when that fails, only its first granule: so the
 * caller gets all granules before the one that fails.
 */
static int read_chunk(struct bsp_sparse *sp, struct slot *slot, uint64_t off,
		      uint64_t len)
{
	uint64_t granule = UINT64_C(1) << sp->shift;
	ssize_t n = read_some(sp, off, slot->buffer, len);

	if (n < 0 && len > granule) {
		len = granule;
		n = read_some(sp, off, slot->buffer, len);
	}
	slot->chunk.off = off;
	slot->chunk.len = len;
	slot->chunk.data = slot->buffer;
	if (n < 0)
		return (int)n;
	return (uint64_t)n == len ? 1 : -ENODATA;
}

static void fill(struct bsp_chunk_reader *reader, struct slot *slot)
{
	struct bsp_sparse *sp = reader->sp;
	uint64_t off = reader->off;
	uint64_t most = off + bsp_min(reader->end - off, BSP_SCAN_CHUNK);
	uint64_t zeros, stop;

	slot->chunk = (struct bsp_chunk){ .off = off };
	slot->result = 0;
	if (off == reader->end)
		return;
	do {
		zeros = known_zeros(sp, off, reader->end);
		stop = bsp_sparse_run_end(sp, BSP_IN_ZERO, off, most);
		/* Neither: another thread made it a hole in between. */
	} while (zeros == off && stop == off);
	if (zeros > off) {
		slot->chunk.len = zeros - off;
		slot->result = 1;
	} else {
		stop = bsp_sparse_read_end(sp, off, stop, true);
		slot->result = read_chunk(sp, slot, off, stop - off);
	}
	reader->off += slot->chunk.len;
}

static struct slot *next_free(struct bsp_chunk_reader *reader)
{
	struct slot *slot = NULL;

	pthread_mutex_lock(&reader->lock);
	while (reader->filled - reader->taken == SLOTS && !reader->stop)
		pthread_cond_wait(&reader->changed, &reader->lock);
	if (!reader->stop)
		slot = &reader->slots[reader->filled % SLOTS];
	pthread_mutex_unlock(&reader->lock);
	return slot;
}

static void *run(void *data)
{
	struct bsp_chunk_reader *reader = data;
	struct slot *slot;
	bool more = true;

	while (more && (slot = next_free(reader))) {
		fill(reader, slot);
		more = slot->result > 0;
		pthread_mutex_lock(&reader->lock);
		reader->filled++;
		pthread_cond_signal(&reader->changed);
		pthread_mutex_unlock(&reader->lock);
	}
	return NULL;
}

/* --- The caller --- */

int bsp_chunk_reader_next(struct bsp_chunk_reader *reader,
			  struct bsp_chunk *ret_chunk)
{
	struct slot *slot;

	pthread_mutex_lock(&reader->lock);
	if (reader->holding) {
		reader->taken++;
		pthread_cond_signal(&reader->changed);
	}
	while (reader->filled == reader->taken)
		pthread_cond_wait(&reader->changed, &reader->lock);
	slot = &reader->slots[reader->taken % SLOTS];
	/* The last slot is kept: later calls give it again. */
	reader->holding = slot->result > 0;
	pthread_mutex_unlock(&reader->lock);
	*ret_chunk = slot->chunk;
	return slot->result;
}

static bool start(struct bsp_chunk_reader *reader)
{
	void *buffer;

	for (int i = 0; i < SLOTS; i++) {
		if (posix_memalign(&buffer, BSP_BUFFER_ALIGN, BSP_SCAN_CHUNK))
			return false;
		reader->slots[i].buffer = buffer;
	}
	return bsp_thread_start(&reader->thread, run, reader) == 0;
}

static void release(struct bsp_chunk_reader *reader)
{
	for (int i = 0; i < SLOTS; i++)
		free(reader->slots[i].buffer);
	pthread_cond_destroy(&reader->changed);
	pthread_mutex_destroy(&reader->lock);
	free(reader);
}

struct bsp_chunk_reader *bsp_chunk_reader_new(struct bsp_sparse *sp,
					      uint64_t off, uint64_t end)
{
	struct bsp_chunk_reader *reader = calloc(1, sizeof(*reader));

	if (!reader)
		return NULL;
	reader->sp = sp;
	reader->off = off;
	reader->end = end;
	pthread_mutex_init(&reader->lock, NULL);
	bsp_cond_init(&reader->changed);
	if (!start(reader)) {
		release(reader);
		return NULL;
	}
	return reader;
}

void bsp_chunk_reader_free(struct bsp_chunk_reader *reader)
{
	if (!reader)
		return;
	pthread_mutex_lock(&reader->lock);
	reader->stop = true;
	pthread_cond_signal(&reader->changed);
	pthread_mutex_unlock(&reader->lock);
	pthread_join(reader->thread, NULL);
	release(reader);
}
