/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finding the parts in which two objects differ.
 *
 * Worker threads read a piece of the one, then of the other (pair.h), and
 * compare granules. Zeros that both know are not read, and zeros that one knows
 * stand for its bytes:
 *
 *	first	second
 *	zeros	zeros	nothing is read
 *	zeros	other	the second is read
 *	other	zeros	the first is read
 *	other	other	both are read
 *
 * If a layer below one of them was wrong about zeros (spot-check.c), all is
 * compared once more: a false hole hides a difference, or makes one.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/changes.h"
#include "base/error.h"
#include "base/range.h"
#include "base/zero.h"
#include "transfer/pair.h"

enum { PIECE = BSP_PAIR_PIECE };

struct diff {
	struct bsp_pair pair; /* first */
	uint64_t unit;	      /* the larger granule of the two */
	struct bsp_changes *changes;
};

static struct diff *to_diff(struct bsp_pair *pair)
{
	return (struct diff *)pair;
}

/* The end of the zeros of a side that start at the cursor: whole units. */
static uint64_t zeros_end(struct bsp_pair *pair, unsigned side)
{
	uint64_t end = bsp_pair_zeros(pair, side);

	return end >= pair->size ? end : end - end % to_diff(pair)->unit;
}

static uint64_t pass(struct bsp_pair *pair)
{
	uint64_t end = zeros_end(pair, 0);

	if (end > pair->cursor)
		end = bsp_min(end, zeros_end(pair, 1));
	if (end > pair->cursor)
		pair->progress.same += end - pair->cursor;
	return end;
}

static void cut(struct bsp_pair *pair, struct bsp_pair_piece *piece)
{
	uint64_t off = piece->off, unit = to_diff(pair)->unit;
	uint64_t end = off + bsp_range_clamp(off, PIECE, pair->size);
	uint64_t first = off + bsp_range_clamp(off, unit, pair->size);

	for (unsigned i = 0; i < 2; i++) {
		uint64_t zeros = zeros_end(pair, i);

		piece->zero[i] = zeros > off;
		end = piece->zero[i] ? bsp_min(end, zeros)
				     : bsp_sparse_read_end(pair->side[i], off,
							   end, true);
	}
	if (end != pair->size)
		end = bsp_max(end - end % unit, first);
	piece->len = (size_t)(end - off);
}

static bool read_side(struct bsp_pair *pair, const struct bsp_pair_piece *piece,
		      unsigned side, char *buf)
{
	ssize_t n;

	if (piece->zero[side])
		return true;
	n = bsp_sparse_read(pair->side[side], piece->off, buf, piece->len);
	if (n == (ssize_t)piece->len)
		return true;
	bsp_pair_fail(pair, n < 0 ? (int)n : -ENODATA,
		      side ? BSP_PAIR_READING_BACK : BSP_PAIR_READING,
		      piece->off);
	return false;
}

static bool read_first(struct bsp_pair *pair,
		       const struct bsp_pair_piece *piece, char *buf)
{
	return read_side(pair, piece, 0, buf);
}

/* Adds the granules that differ, and their bytes to *data. */
static int compare(struct diff *d, const struct bsp_pair_piece *piece,
		   const char *a, const char *b, uint64_t *data)
{
	int r = 0;

	for (size_t at = 0; at < piece->len && !r;) {
		size_t len = bsp_min(piece->len - at, BSP_GRANULE_MIN);

		if (memcmp(a + at, b + at, len) != 0) {
			*data += len;
			r = bsp_changes_add(d->changes, piece->off + at, len);
		}
		at += len;
	}
	return r;
}

static bool read_and_compare(struct bsp_pair *pair,
			     const struct bsp_pair_piece *piece, char *buf,
			     uint64_t *data)
{
	const char *a = piece->zero[0] ? bsp_zeros : buf;
	const char *b = piece->zero[1] ? bsp_zeros : buf + PIECE;
	int r;

	if (!read_side(pair, piece, 1, buf + PIECE))
		return false;
	r = compare(to_diff(pair), piece, a, b, data);
	if (r)
		bsp_pair_fail(pair, r, BSP_PAIR_COMPARING, piece->off);
	return !r;
}

static void count(struct bsp_pair *pair, const struct bsp_pair_piece *piece,
		  uint64_t data)
{
	pair->progress.data += data;
	pair->progress.same += piece->len - data;
}

static const struct bsp_pair_ops diff_ops = {
	.pass = pass,
	.cut = cut,
	.first = read_first,
	.second = read_and_compare,
	.count = count,
};

/* --- The call --- */

static int compare_all(struct diff *d, uint64_t size)
{
	static const bool watched[2] = { true, true };
	struct bsp_pair *pair = &d->pair;
	int r;

	do {
		bsp_changes_free(d->changes);
		d->changes = bsp_changes_new(size);
		if (!d->changes)
			return -ENOMEM;
		pair->progress.data = pair->progress.same = 0;
		r = bsp_pair_run(pair, BSP_PHASE_TRANSFER, watched);
	} while (!r && bsp_pair_is_misled(pair));
	if (r)
		return r;
	/* The rest of the larger one differs. */
	pair->progress.data += size - pair->size;
	return bsp_changes_add(d->changes, pair->size, size - pair->size);
}

/* Sets the error that the threads left. */
static void set_error(const struct diff *d, int r)
{
	const struct bsp_pair *pair = &d->pair;
	unsigned side = pair->failed_step == BSP_PAIR_READING_BACK;

	if (r == -ECANCELED)
		(void)bsp_transfer_interrupted(&pair->call);
	else if (pair->error && pair->failed_step != BSP_PAIR_COMPARING)
		(void)bsp_transfer_read_failed(&pair->call, pair->side[side],
					       pair->failed_off, r);
	else
		(void)bsp_error_set_errno(pair->call.error, -r,
					  "compare %s with %s",
					  bsp_device_path(pair->side[0]->dev),
					  bsp_device_path(pair->side[1]->dev));
}

static struct bsp_changes *run_diff(struct diff *d)
{
	struct bsp_pair *pair = &d->pair;
	uint64_t size[2];
	int r;

	for (unsigned i = 0; i < 2; i++) {
		(void)bsp_sparse_refresh(pair->side[i]);
		size[i] = bsp_sparse_size(pair->side[i]);
		d->unit = bsp_max(d->unit, bsp_sparse_granule(pair->side[i]));
	}
	pair->size = bsp_min(size[0], size[1]);
	pair->buffer_size = (size_t)2 * PIECE;
	pair->progress.size_known = true;
	pair->progress.size = bsp_max(size[0], size[1]);
	bsp_pair_init(pair);
	r = compare_all(d, pair->progress.size);
	if (r)
		set_error(d, r);
	bsp_pair_clear(pair);
	pair->progress.done = r ? 0 : pair->progress.size;
	*pair->call.progress = pair->progress;
	if (!r)
		return d->changes;
	bsp_changes_free(d->changes);
	return NULL;
}

struct bsp_changes *bsp_diff(struct bsp_sparse *first,
			     struct bsp_sparse *second,
			     const struct bsp_transfer_options *options,
			     struct bsp_progress *ret_progress, GError **error)
{
	struct diff d = {
		.pair = { .ops = &diff_ops, .side = { first, second } },
	};
	struct bsp_changes *changes;

	if (!bsp_transfer_begin(&d.pair.call, options, ret_progress, error))
		return NULL;
	changes = run_diff(&d);
	bsp_transfer_end(&d.pair.call);
	return changes;
}
