/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transfer/digester.h"

#include <stdlib.h>
#include <string.h>

#include "base/range.h"
#include "base/zero.h"
#include "blksparse-thread.h"

enum {
	THREADS_DEFAULT = 8, /* at most */
	CHUNKS = BSP_DIGESTER_PART / BSP_CHUNK_MIN,
};

/* A part of the content, or a hole. */
struct part {
	const unsigned char *buf; /* NULL: a hole */
	uint64_t len;
	size_t head; /* the bytes of a part before its first whole chunk */
	size_t n, next, done; /* whole chunks; taken by a thread; computed */
	bool zero[CHUNKS];
	unsigned char digests[CHUNKS][BSP_SHA256];
};

struct bsp_digester {
	/* The caller's own: */
	uint64_t size, chunk;
	bsp_digester_fn put;
	void *data;
	uint64_t added; /* the end of the parts */
	uint64_t pos;	/* the end of those that are done */
	int error;
	unsigned char *shared; /* the chunk that parts share */
	size_t n_shared;       /* its bytes so far */

	pthread_t *threads; /* without the caller */
	unsigned n_threads;

	pthread_mutex_t lock; /* a leaf lock */
	pthread_cond_t work, done;
	/* protected by lock, but for the results of chunks that are taken and
	 * not done: these are the thread's that took them: */
	struct part parts[BSP_DIGESTER_PARTS]; /* a ring */
	unsigned first, n_parts;	       /* written by the caller */
	bool stop;
};

/* --- Threads --- */

/* Returns the first part with a chunk that no thread has taken; NULL if there
 * is none. lock held. */
static struct part *find_work(struct bsp_digester *d)
{
	for (unsigned i = 0; i < d->n_parts; i++) {
		struct part *part =
			&d->parts[(d->first + i) % BSP_DIGESTER_PARTS];

		if (part->next < part->n)
			return part;
	}
	return NULL;
}

/* Takes the next chunk, computes it, and counts it. Returns false if there is
 * none. lock held; it is released meanwhile. */
static bool compute_one(struct bsp_digester *d)
{
	struct part *part = find_work(d);
	size_t chunk = (size_t)d->chunk, i;
	const unsigned char *buf;

	if (!part)
		return false;
	i = part->next++;
	buf = part->buf + part->head + i * chunk;
	pthread_mutex_unlock(&d->lock);
	part->zero[i] = bsp_is_zero(buf, chunk);
	if (!part->zero[i])
		bsp_sha256(buf, chunk, part->digests[i]);
	pthread_mutex_lock(&d->lock);
	if (++part->done == part->n)
		pthread_cond_signal(&d->done);
	return true;
}

static void *run(void *data)
{
	struct bsp_digester *d = data;

	pthread_mutex_lock(&d->lock);
	while (!d->stop) {
		if (!compute_one(d))
			pthread_cond_wait(&d->work, &d->lock);
	}
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

/* --- Chunks that parts share --- */

static void put(struct bsp_digester *d, uint64_t len,
		const unsigned char *digest, const unsigned char *content)
{
	if (!d->error && len)
		d->error = d->put(d->data, len, digest, content);
}

/* Adds bytes of the shared chunk; NULL: zeros. It ends at the end of a chunk or
 * of the content. */
static void add_shared(struct bsp_digester *d, const unsigned char *buf,
		       size_t len)
{
	unsigned char digest[BSP_SHA256];

	memcpy(d->shared + d->n_shared, buf ? (const void *)buf : bsp_zeros,
	       len);
	d->n_shared += len;
	d->pos += len;
	if (d->n_shared < d->chunk && d->pos < d->size)
		return;
	if (bsp_is_zero(d->shared, d->n_shared)) {
		put(d, d->n_shared, NULL, NULL);
	} else {
		bsp_sha256(d->shared, d->n_shared, digest);
		put(d, d->n_shared, digest, d->shared);
	}
	d->n_shared = 0;
}

/* --- Parts --- */

/* Adds a part to the ring, which has room. buf NULL: a hole. */
static void add_part(struct bsp_digester *d, const unsigned char *buf,
		     uint64_t len)
{
	size_t in_chunk = (size_t)(d->added % d->chunk);
	struct part *part;

	pthread_mutex_lock(&d->lock);
	part = &d->parts[(d->first + d->n_parts++) % BSP_DIGESTER_PARTS];
	part->buf = buf;
	part->len = len;
	part->head = in_chunk ? (size_t)bsp_min(len, d->chunk - in_chunk) : 0;
	part->n = buf ? (size_t)((len - part->head) / d->chunk) : 0;
	part->next = part->done = 0;
	if (part->n)
		pthread_cond_broadcast(&d->work);
	pthread_mutex_unlock(&d->lock);
	d->added += len;
}

/* Passes on the whole chunks that threads computed. */
static void put_chunks(struct bsp_digester *d, const struct part *part)
{
	for (size_t i = 0; i < part->n; i++) {
		bool zero = part->zero[i];

		put(d, d->chunk, zero ? NULL : part->digests[i],
		    zero ? NULL : part->buf + part->head + i * d->chunk);
		d->pos += d->chunk;
	}
}

/* Passes on the whole chunks of a hole. */
static void put_hole(struct bsp_digester *d, const struct part *part)
{
	uint64_t len = part->len - part->head;

	len -= len % d->chunk;
	put(d, len, NULL, NULL);
	d->pos += len;
}

static void put_part(struct bsp_digester *d, const struct part *part)
{
	uint64_t end = d->pos + part->len;
	size_t rest;

	if (part->head)
		add_shared(d, part->buf, part->head);
	if (part->buf)
		put_chunks(d, part);
	else
		put_hole(d, part);
	rest = (size_t)(end - d->pos);
	if (rest)
		add_shared(d, part->buf ? part->buf + part->len - rest : NULL,
			   rest);
}

/* Waits for the first part, passes on its chunks, and removes it. The caller
 * computes as well until then. */
static void finish_first(struct bsp_digester *d)
{
	struct part *part = &d->parts[d->first];

	pthread_mutex_lock(&d->lock);
	while (part->done < part->n) {
		if (!compute_one(d))
			pthread_cond_wait(&d->done, &d->lock);
	}
	pthread_mutex_unlock(&d->lock);
	put_part(d, part);
	pthread_mutex_lock(&d->lock);
	d->first = (d->first + 1) % BSP_DIGESTER_PARTS;
	d->n_parts--;
	pthread_mutex_unlock(&d->lock);
}

/* --- The caller --- */

void bsp_digester_skip(struct bsp_digester *d, uint64_t off)
{
	d->added = d->pos = off;
}

int bsp_digester_start(struct bsp_digester *d, const void *buf, size_t len)
{
	if (d->n_parts == BSP_DIGESTER_PARTS)
		finish_first(d);
	add_part(d, buf, len);
	return d->error;
}

int bsp_digester_hole(struct bsp_digester *d, uint64_t len)
{
	if (d->n_parts == BSP_DIGESTER_PARTS)
		finish_first(d);
	add_part(d, NULL, len);
	return d->error;
}

int bsp_digester_wait(struct bsp_digester *d)
{
	while (d->n_parts)
		finish_first(d);
	return d->error;
}

uint64_t bsp_digester_pos(const struct bsp_digester *d)
{
	return d->pos;
}

int bsp_digester_encode(void *data, uint64_t len, const unsigned char *digest,
			const unsigned char *content)
{
	struct bsp_digest_encoder *enc = data;

	return digest ? bsp_digest_encoder_add(enc, digest)
		      : bsp_digest_encoder_zeros(enc, len);
}

/* --- Beginning and end --- */

static unsigned default_threads(void)
{
	return MIN(g_get_num_processors(), (guint)THREADS_DEFAULT);
}

static bool start_threads(struct bsp_digester *d, unsigned threads)
{
	d->threads = calloc(threads, sizeof(*d->threads));
	if (!d->threads)
		return false;
	for (; d->n_threads + 1 < threads; d->n_threads++) {
		if (bsp_thread_start(&d->threads[d->n_threads], run, d))
			return false;
	}
	return true;
}

struct bsp_digester *bsp_digester_new(uint64_t size, uint32_t chunk,
				      unsigned threads,
				      bsp_digester_fn put_chunk, void *data)
{
	struct bsp_digester *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	pthread_mutex_init(&d->lock, NULL);
	bsp_cond_init(&d->work);
	bsp_cond_init(&d->done);
	d->size = size;
	d->chunk = chunk;
	d->put = put_chunk;
	d->data = data;
	d->shared = malloc(chunk);
	if (!d->shared ||
	    !start_threads(d, threads ? threads : default_threads())) {
		bsp_digester_free(d);
		return NULL;
	}
	return d;
}

void bsp_digester_free(struct bsp_digester *d)
{
	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	d->stop = true;
	pthread_cond_broadcast(&d->work);
	pthread_mutex_unlock(&d->lock);
	for (unsigned i = 0; i < d->n_threads; i++)
		pthread_join(d->threads[i], NULL);
	pthread_cond_destroy(&d->done);
	pthread_cond_destroy(&d->work);
	pthread_mutex_destroy(&d->lock);
	free(d->threads);
	free(d->shared);
	free(d);
}
