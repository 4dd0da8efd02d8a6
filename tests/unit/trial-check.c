/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "trial.h"

#include <errno.h>
#include <string.h>

#include "base/range.h"

/* The end of the file's part that the device has now. */
static uint64_t end_of(const struct trial *t)
{
	return bsp_min(t->o->size, disk_size(t->disk));
}

static uint64_t first_wrong(const uint16_t *may, const unsigned char *bytes,
			    uint64_t len)
{
	uint64_t at = 0;

	while (at < len && may[at] >> bytes[at] & 1)
		at++;
	return at;
}

/* [off, end) reads as bytes, of which the first is that at off. */
static void check_bytes(struct trial *t, const char *how, uint64_t off,
			uint64_t end, const unsigned char *bytes)
{
	uint64_t at = off + first_wrong(t->o->may + off, bytes, end - off);

	if (at < end)
		trial_wrong(t,
			    "%s byte %" PRIu64
			    " is %u; it may be %#x (and %#x below%s)",
			    how, at, bytes[at - off], t->o->may[at],
			    t->o->below[at],
			    t->o->zeroed[at] ? ", it is zero for good" : "");
}

void trial_check_read(struct trial *t, uint64_t off, const unsigned char *buf,
		      uint64_t n)
{
	check_bytes(t, "read", off, off + n, buf);
}

/* --- Extents and stat --- */

/*
 * Puts the bytes of an extent into t->now: zeros for a hole, for data the bytes
 * that the device shows. Reads data only where these are wrong, because a read
 * would learn, or find a change, before the next operation does.
 */
static void check_extent(struct trial *t, const struct bsp_extent *extent)
{
	const unsigned char *seen = disk_seen(t->disk);
	bool hole = extent->type == BSP_EXTENT_HOLE;
	uint64_t off = extent->off;
	uint64_t end = bsp_min(off + extent->len, end_of(t)), at;

	if (off >= end)
		return;
	if (hole)
		memset(t->now + off, 0, end - off);
	else
		memcpy(t->now + off, seen + off, end - off);
	at = first_wrong(t->o->may + off, t->now + off, end - off) + off;
	if (!hole && at < end &&
	    bsp_sparse_read(t->sp, off, t->now + off, end - off) < 0)
		return; /* a bad sector */
	check_bytes(t, hole ? "hole's" : "data's", off, end, t->now + off);
}

/* A granule that was zeroed as a whole must not be unknown or data. */
static void check_zeroed(struct trial *t, const struct bsp_extent *extent)
{
	uint64_t end = extent->off + extent->len;

	if (extent->type == BSP_EXTENT_HOLE || t->was_short)
		return;
	for (uint64_t at = extent->off; at < end; at += t->granule) {
		uint64_t stop = bsp_min(at + t->granule, end);

		if (!memchr(t->o->zeroed + at, false, stop - at))
			trial_wrong(t,
				    "the granule at %" PRIu64
				    " is no hole, but it was zeroed",
				    at);
	}
}

static void check_stat(struct trial *t, const struct bsp_stat *st,
		       const uint64_t totals[3])
{
	uint64_t full = st->size / 512;
	uint64_t blocks = (st->data + st->unknown + 511) / 512;
	bool right;

	if (st->size != t->o->size || st->data != totals[BSP_EXTENT_DATA] ||
	    st->hole != totals[BSP_EXTENT_HOLE] ||
	    st->unknown != totals[BSP_EXTENT_UNKNOWN])
		trial_wrong(t,
			    "stat has size %" PRIu64 ", data %" PRIu64
			    ", hole %" PRIu64 ", unknown %" PRIu64
			    "; extents have %" PRIu64 ", %" PRIu64 ", %" PRIu64,
			    st->size, st->data, st->hole, st->unknown,
			    totals[BSP_EXTENT_DATA], totals[BSP_EXTENT_HOLE],
			    totals[BSP_EXTENT_UNKNOWN]);
	if (st->unknown)
		right = st->blocks > 0 &&
			(full < 2 || (st->blocks < full &&
				      st->blocks == bsp_min(blocks, full - 1)));
	else
		right = st->blocks == blocks;
	if (!right)
		trial_wrong(t, "stat has %" PRIu64 " blocks", st->blocks);
}

/* Walks the extents: they partition the file. */
static void walk(struct trial *t, uint64_t totals[3])
{
	struct bsp_extent extent;
	uint64_t at = 0;

	while (at < t->o->size && !t->wrong) {
		if (bsp_sparse_extent(t->sp, at, &extent) != 1 ||
		    extent.off != at || extent.len == 0 ||
		    extent.len > t->o->size - at) {
			trial_wrong(t, "no extent at %" PRIu64, at);
			return;
		}
		check_extent(t, &extent);
		check_zeroed(t, &extent);
		totals[extent.type] += extent.len;
		at += extent.len;
	}
	if (bsp_sparse_extent(t->sp, at, &extent) != 0)
		trial_wrong(t, "an extent at the end");
}

void trial_check(struct trial *t)
{
	uint64_t totals[3] = { 0 };
	struct bsp_stat st;

	if (!t->writable)
		(void)bsp_sparse_refresh_all(t->sp);
	trial_looked(t, !t->writable);
	bsp_sparse_stat(t->sp, &st); /* may find that the size has changed */
	trial_follow(t);
	if (t->wrong)
		return;
	walk(t, totals);
	/* Without memory more may be unknown, past the end as well. */
	if (!t->wrong && !t->was_short)
		check_stat(t, &st, totals);
	if (!t->wrong && t->writable && !st.pending)
		trial_check_flushed(t);
}

/* --- Reads --- */

static bool any_bad(struct trial *t, uint64_t off, uint64_t end)
{
	for (uint64_t at = off; at < end; at += DISK_SECTOR)
		if (disk_is_bad(t->disk, at))
			return true;
	return end > off && disk_is_bad(t->disk, end - 1);
}

void trial_check_reads(struct trial *t)
{
	uint64_t step = t->granule;

	for (uint64_t at = 0; at < end_of(t) && !t->wrong; at += step) {
		uint64_t len = bsp_min(step, end_of(t) - at);
		ssize_t n = bsp_sparse_read(t->sp, at, t->now, len);

		if (n == -EIO && any_bad(t, at, at + len))
			continue;
		if (n != (ssize_t)len)
			trial_wrong(t, "a read at %" PRIu64 " gives %zd", at,
				    n);
		else
			trial_check_read(t, at, t->now, len);
		trial_follow(t);
	}
}

/* --- The disk --- */

void trial_check_crash(struct trial *t)
{
	const unsigned char *durable = disk_durable(t->disk);
	const unsigned char *synced = t->o->synced;
	const bool *touched = t->o->touched;
	/* Without memory more granules than needed are zeroed again. */
	int junk = t->was_short ? DISK_JUNK : -1;
	uint64_t at = 0, end = end_of(t);

	while (at < end && (touched[at] || durable[at] == synced[at] ||
			    (synced[at] == 0 && durable[at] == junk)))
		at++;
	if (at < end)
		trial_wrong(t,
			    "byte %" PRIu64 " is durable as %u, and was as %u",
			    at, durable[at], synced[at]);
}

/* The same for one sector. */
static void check_durable(struct trial *t, uint64_t off, uint64_t end)
{
	const unsigned char *durable = disk_durable(t->disk);
	bool lost = disk_is_phantom(t->disk, off);

	for (uint64_t at = off; at < end; at++) {
		bool below = t->o->below[at] >> durable[at] & 1;

		if (durable[at] != t->now[at] && !(lost && below))
			trial_wrong(t,
				    "byte %" PRIu64
				    " reads as %u, and is durable as %u%s",
				    at, t->now[at], durable[at],
				    lost ? " (was lost)" : "");
		oracle_synced(t->o, at, durable[at], lost);
	}
}

void trial_check_durable(struct trial *t)
{
	uint64_t device = t->o->device, end;

	trial_check(t);
	end = t->wrong ? 0 : end_of(t);
	for (uint64_t at = 0; at < end; at += DISK_SECTOR)
		check_durable(t, at, bsp_min(at + DISK_SECTOR, end));
	if (t->o->device > device) /* as the check has found */
		trial_opened(t, device);
}

static void check_zeros_below(struct trial *t, uint64_t off, uint64_t end)
{
	const unsigned char *seen = disk_seen(t->disk);
	const unsigned char *held = disk_held(t->disk);

	while (off < end && !seen[off] && !held[off])
		off++;
	if (off < end)
		trial_wrong(
			t,
			"byte %" PRIu64
			" lies in a hole; the disk holds %u, and %u is seen",
			off, held[off], seen[off]);
}

void trial_check_flushed(struct trial *t)
{
	struct bsp_extent extent;

	for (uint64_t at = 0; at < end_of(t) && !t->wrong; at += extent.len) {
		if (bsp_sparse_extent(t->sp, at, &extent) != 1)
			return;
		if (extent.type == BSP_EXTENT_HOLE)
			check_zeros_below(t, at,
					  bsp_min(at + extent.len, end_of(t)));
	}
}
