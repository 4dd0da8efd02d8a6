/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes that a file must have, and those that its device may have.
 *
 * A byte of the device is right if it is that of the last promise (base), or
 * one of those that it was given since (the records). A promise is an fsync
 * that returned 0: it covers each change that was complete when the fsync
 * began, of all workers.
 */
#include "soak.h"

#include <string.h>

/* --- Records --- */

static struct stripe *stripe_at(struct soak_file *file, uint64_t off)
{
	unsigned i = 0;

	while (i + 1 < file->stripes && off >= file->stripe[i].to)
		i++;
	return &file->stripe[i];
}

static void add(struct stripe *stripe, enum change kind, uint64_t off,
		const void *buf, uint64_t len)
{
	struct record *record = &stripe->records[stripe->count++];

	*record = (struct record){
		.off = off, .len = len, .at = stripe->stored, .kind = kind
	};
	if (kind != CHANGE_DATA)
		return;
	memcpy(stripe->store + stripe->stored, buf, len);
	stripe->stored += (uint32_t)len;
}

bool shadow_has_room(struct stripe *stripe, uint64_t len)
{
	bool has;

	pthread_mutex_lock(&stripe->lock);
	has = stripe->count + 4 < RECORDS && stripe->stored + len <= STORE;
	pthread_mutex_unlock(&stripe->lock);
	return has;
}

void shadow_data(struct soak_file *file, struct stripe *stripe, uint64_t off,
		 const void *buf, uint64_t len)
{
	pthread_mutex_lock(&stripe->lock);
	add(stripe, CHANGE_DATA, off, buf, len);
	memcpy(file->now + off, buf, len);
	pthread_mutex_unlock(&stripe->lock);
}

static void make_zero(struct soak_file *file, struct stripe *stripe,
		      enum change kind, uint64_t off, uint64_t len)
{
	if (!len)
		return;
	pthread_mutex_lock(&stripe->lock);
	add(stripe, kind, off, NULL, len);
	memset(file->now + off, 0, len);
	pthread_mutex_unlock(&stripe->lock);
}

void shadow_zero(struct soak_file *file, struct stripe *stripe, uint64_t off,
		 uint64_t len)
{
	make_zero(file, stripe, CHANGE_ZERO, off, len);
}

void shadow_cut(struct soak_file *file, struct stripe *stripe, uint64_t off,
		uint64_t len)
{
	make_zero(file, stripe, CHANGE_CUT, off, len);
}

void shadow_done(struct stripe *stripe, bool failed)
{
	pthread_mutex_lock(&stripe->lock);
	for (uint64_t i = stripe->done;
	     failed && i < stripe->first + stripe->count; i++)
		stripe->records[i - stripe->first].failed = true;
	stripe->done = stripe->first + stripe->count;
	pthread_mutex_unlock(&stripe->lock);
}

void shadow_is(struct soak_file *file, struct stripe *stripe, uint64_t off,
	       uint64_t len, const unsigned char *bytes)
{
	pthread_mutex_lock(&stripe->lock);
	memcpy(file->now + off, bytes, len);
	memcpy(file->base + off, bytes, len);
	memset(file->loose + off, 0, len);
	pthread_mutex_unlock(&stripe->lock);
}

static void lock_new(pthread_mutex_t *lock)
{
	pthread_mutexattr_t shared;

	pthread_mutexattr_init(&shared);
	pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(lock, &shared);
	pthread_mutexattr_destroy(&shared);
}

/* An operation on the whole file must not wait forever for those on parts. */
static void whole_lock_new(pthread_rwlock_t *lock)
{
	pthread_rwlockattr_t shared;

	pthread_rwlockattr_init(&shared);
	pthread_rwlockattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	pthread_rwlockattr_setkind_np(
		&shared, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(lock, &shared);
	pthread_rwlockattr_destroy(&shared);
}

void shadow_begin(struct soak_file *file, uint64_t size,
		  const unsigned char *device)
{
	uint64_t part = size / file->stripes, at = 0;

	/* Unless they map it, two workers share the page at their border. */
	part = file->mapped ? part / SOAK_PAGE * SOAK_PAGE : part | 1;
	whole_lock_new(&file->whole);
	for (unsigned i = 0; i < file->stripes; i++) {
		struct stripe *stripe = &file->stripe[i];

		stripe->from = at;
		stripe->to = at = i + 1 < file->stripes ? at + part : size;
		stripe->count = stripe->stored = 0;
		stripe->first = stripe->done = 0;
		atomic_store(&stripe->settled, 0);
		lock_new(&stripe->lock);
	}
	atomic_store(&file->windows, 0);
	atomic_store(&file->len, size);
	file->capacity = size;
	memset(file->now, 0, file->max);
	memcpy(file->now, device, size);
	memcpy(file->base, file->now, file->max);
	memset(file->loose, 0, file->max);
}

/* --- Promises --- */

bool shadow_is_unsure(struct soak_file *file, struct stripe *stripe)
{
	return atomic_load(&file->windows) != atomic_load(&stripe->settled);
}

static void apply(struct soak_file *file, const struct stripe *stripe,
		  const struct record *record)
{
	uint64_t off = record->off, len = record->len;

	memset(file->loose + off, record->kind == CHANGE_CUT, len);
	if (record->kind == CHANGE_DATA)
		memcpy(file->base + off, stripe->store + record->at, len);
	else
		memset(file->base + off, 0, len);
}

/* Applies and drops the records before number end. The lock is held. */
static void apply_before(struct soak_file *file, struct stripe *stripe,
			 uint64_t end)
{
	uint32_t n = end > stripe->first ? (uint32_t)(end - stripe->first) : 0;
	uint32_t stored;

	for (uint32_t i = 0; i < n; i++)
		apply(file, stripe, &stripe->records[i]);
	stored = n < stripe->count ? stripe->records[n].at : stripe->stored;
	stripe->first += n;
	stripe->count -= n;
	stripe->stored -= stored;
	memmove(stripe->records, stripe->records + n,
		stripe->count * sizeof(stripe->records[0]));
	memmove(stripe->store, stripe->store + stored, stripe->stored);
	for (uint32_t i = 0; i < stripe->count; i++)
		stripe->records[i].at -= stored;
}

void promise_begin(struct soak_file *file, struct promise *promise)
{
	for (unsigned i = 0; i < file->stripes; i++) {
		struct stripe *stripe = &file->stripe[i];

		pthread_mutex_lock(&stripe->lock);
		promise->done[i] = stripe->done;
		promise->holds[i] = !shadow_is_unsure(file, stripe);
		pthread_mutex_unlock(&stripe->lock);
	}
}

void promise_keep(struct soak_file *file, const struct promise *promise)
{
	for (unsigned i = 0; i < file->stripes; i++) {
		struct stripe *stripe = &file->stripe[i];

		if (!promise->holds[i])
			continue;
		pthread_mutex_lock(&stripe->lock);
		apply_before(file, stripe, promise->done[i]);
		pthread_mutex_unlock(&stripe->lock);
	}
}

void promise_own(struct soak_file *file, struct stripe *stripe)
{
	pthread_mutex_lock(&stripe->lock);
	apply_before(file, stripe, stripe->done);
	pthread_mutex_unlock(&stripe->lock);
}

/* --- Questions --- */

static bool is_in(const struct record *record, uint64_t off)
{
	return off >= record->off && off - record->off < record->len;
}

static unsigned char byte_of(const struct stripe *stripe,
			     const struct record *record, uint64_t off)
{
	return record->kind == CHANGE_DATA
		       ? stripe->store[record->at + (off - record->off)]
		       : 0;
}

/* Whether a value was given to the byte since the last promise, or was its
 * value then. The lock is held. */
static bool was_given(const struct soak_file *file, const struct stripe *stripe,
		      uint64_t off, unsigned char value)
{
	if (file->loose[off] || file->base[off] == value)
		return true;
	for (uint32_t i = 0; i < stripe->count; i++)
		if (is_in(&stripe->records[i], off) &&
		    byte_of(stripe, &stripe->records[i], off) == value)
			return true;
	return false;
}

/* Whether the last change that touched the granule of off made all of it zero.
 * Then it reads as zeros whatever failed. The lock is held. */
static bool is_zero_granule(const struct stripe *stripe, uint64_t off,
			    uint64_t granule)
{
	uint64_t from = off / granule * granule, to = from + granule;

	for (uint32_t i = stripe->count; i-- > 0;) {
		const struct record *record = &stripe->records[i];

		if (record->off >= to || record->off + record->len <= from)
			continue;
		return record->kind != CHANGE_DATA && !record->failed &&
		       record->off <= from && record->off + record->len >= to;
	}
	return false;
}

bool shadow_may_read(struct soak_file *file, uint64_t off, unsigned char value,
		     uint64_t granule)
{
	struct stripe *stripe = stripe_at(file, off);
	bool may;

	pthread_mutex_lock(&stripe->lock);
	may = shadow_is_unsure(file, stripe) &&
	      !is_zero_granule(stripe, off, granule) &&
	      was_given(file, stripe, off, value);
	pthread_mutex_unlock(&stripe->lock);
	return may;
}

bool shadow_may_hold(struct soak_file *file, uint64_t off, unsigned char value)
{
	struct stripe *stripe = stripe_at(file, off);

	return was_given(file, stripe, off, value);
}
