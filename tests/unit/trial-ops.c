/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "trial.h"

#include <errno.h>
#include <linux/falloc.h>
#include <string.h>

#include "base/range.h"

static uint64_t down(const struct trial *t, uint64_t off)
{
	return off / t->granule * t->granule;
}

static uint64_t up(const struct trial *t, uint64_t off)
{
	return down(t, off + t->granule - 1);
}

/* An offset, often at or beside a border, up to past. */
static uint64_t any_offset(struct trial *t, uint64_t past)
{
	uint64_t off = dice_below(&t->dice, past + 1);

	if (dice_chance(&t->dice, 400))
		off = down(t, off);
	if (dice_chance(&t->dice, 200))
		off = off / DISK_SECTOR * DISK_SECTOR;
	if (dice_chance(&t->dice, 100))
		off = t->o->size;
	if (dice_chance(&t->dice, 50))
		off = t->o->device;
	if (dice_chance(&t->dice, 100) && off)
		off--;
	return bsp_min(off, past);
}

/* A length from off on, up to end. */
static uint64_t any_length(struct trial *t, uint64_t off, uint64_t end)
{
	uint64_t to = off + 1 + dice_below(&t->dice, 6 * t->granule);

	if (dice_chance(&t->dice, 400))
		to = bsp_max(up(t, to), off + 1);
	if (dice_chance(&t->dice, 150))
		to = t->o->size;
	if (dice_chance(&t->dice, 50))
		to = end;
	return bsp_max(bsp_min(to, end), off + 1) - off;
}

static bool is_zero(const unsigned char *buf, uint64_t len)
{
	return buf[0] == 0 && memcmp(buf, buf + 1, len - 1) == 0;
}

/* --- Writes --- */

/* Tells the oracle that buf was written to [off, end) of a device that ends at
 * stop. Zeros over a whole granule are recorded as zeroed. */
static void wrote(struct trial *t, const unsigned char *buf, uint64_t off,
		  uint64_t end, uint64_t stop)
{
	uint64_t next;

	for (uint64_t at = off; at < end; at = next) {
		const unsigned char *piece = buf + (at - off);
		bool whole;

		next = bsp_min(down(t, at) + t->granule, end);
		whole = at == down(t, at) &&
			(next == at + t->granule || next == stop);
		if (whole && is_zero(piece, next - at))
			oracle_zeroed(t->o, at, next);
		else
			oracle_wrote(t->o, at, next, piece);
	}
}

/* Only [off, done) was written: the disk may have the rest, or not. */
static void failed(struct trial *t, const unsigned char *buf, uint64_t off,
		   uint64_t done, uint64_t end)
{
	uint64_t in = bsp_max(bsp_min(end, t->o->size), done);

	oracle_write_failed(t->o, done, in, buf + (done - off));
	oracle_write_failed_past_end(t->o, in, end, buf + (in - off));
}

static void check_write(struct trial *t, uint64_t off, uint64_t len, ssize_t n)
{
	uint64_t old = t->o->size, device = t->o->device;
	uint64_t end = off + bsp_range_clamp(off, len, device);
	uint64_t done = off + (n > 0 ? (uint64_t)n : 0);

	if (off >= device) {
		if (n != -ENOSPC)
			trial_explain(t, n, BY_NOTHING);
		return;
	}
	if (end > old)
		trial_opened(t, old);
	if (n == 0 || done > end)
		trial_wrong(t, "a write cannot give %zd", n);
	else if (done < end)
		trial_explain(t, n, BY_WRITES);
	if (n > 0 && done > old)
		trial_resized(t, done);
	wrote(t, t->buf, off, done, end == device ? end : 0);
	if (done < end)
		failed(t, t->buf, off, done, end);
}

/* Fills buf with the bytes at off that readers see, or that are below cached
 * pages, but for a random part. */
static void fill_with_same(struct trial *t, uint64_t off, uint64_t len)
{
	uint64_t in = bsp_range_clamp(off, len, t->capacity);
	uint64_t from = dice_below(&t->dice, len);
	bool below = dice_chance(&t->dice, 500);

	memset(t->buf, 0, len);
	memcpy(t->buf, disk_seen(t->disk) + off, in);
	for (uint64_t at = off; below && at < off + in; at++)
		if (disk_is_phantom(t->disk, at))
			t->buf[at - off] = disk_held(t->disk)[at];
	if (dice_chance(&t->dice, 500))
		disk_fill(&t->dice, t->buf + from,
			  1 + dice_below(&t->dice, len - from));
}

static void do_write(struct trial *t)
{
	uint64_t off = any_offset(t, t->capacity);
	uint64_t len = any_length(t, off, t->capacity + 5000);
	uint64_t end = off + len, from = off;
	ssize_t n;

	len = bsp_min(len, t->capacity);
	if (dice_chance(&t->dice, 150))
		memset(t->buf, 0, len);
	else if (dice_chance(&t->dice, t->skips ? 500 : 50))
		fill_with_same(t, off, len);
	else
		disk_fill(&t->dice, t->buf, len);
	if (end > t->o->size)
		from = bsp_min(off, t->o->size);
	trial_begin(t, down(t, from),
		    bsp_min(up(t, end), bsp_max(end, t->o->size)),
		    "write %" PRIu64 "+%" PRIu64, off, len);
	n = bsp_sparse_write(t->sp, off, t->buf, len);
	trial_end(t, n);
	check_write(t, off, len, n);
}

/* --- Sizes and zeros --- */

static void do_truncate(struct trial *t)
{
	uint64_t size = any_offset(t, t->capacity + 3);
	uint64_t old = t->o->size;
	int r;

	trial_begin(t, down(t, old),
		    size > old ? bsp_min(up(t, old), size) : down(t, old),
		    "truncate %" PRIu64, size);
	r = bsp_sparse_truncate(t->sp, size);
	trial_end(t, r);
	if (size > t->o->device && r != -EFBIG)
		trial_explain(t, r, BY_NOTHING);
	else if (size <= t->o->device && r)
		trial_explain(t, r, BY_WRITES);
	if (size > old)
		trial_opened(t, old);
	if (r == 0)
		trial_resized(t, size);
	else if (size < old)
		oracle_write_failed(t->o, size, old, NULL);
}

/* Tells the oracle that [off, end) was zeroed: whole granules as zeroed, the
 * parts at the ends as data. */
static void zeroed(struct trial *t, uint64_t off, uint64_t end)
{
	uint64_t from = bsp_min(up(t, off), end);
	uint64_t to = end == t->o->size ? end : bsp_max(down(t, end), from);

	oracle_wrote(t->o, off, from, NULL);
	oracle_zeroed(t->o, from, to);
	oracle_wrote(t->o, to, end, NULL);
}

static void check_fallocate(struct trial *t, int mode, uint64_t off,
			    uint64_t end, int r)
{
	bool zeroes = mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);
	bool grows = !(mode & FALLOC_FL_KEEP_SIZE) && end > t->o->size;
	uint64_t old = t->o->size;

	if (!(mode & FALLOC_FL_PUNCH_HOLE) && end > t->o->device) {
		if (r != -ENOSPC)
			trial_explain(t, r, BY_NOTHING);
		return;
	}
	if (r)
		trial_explain(t, r, BY_WRITES);
	if (grows)
		trial_opened(t, old);
	if (grows && (!r || bsp_sparse_size(t->sp) == end))
		trial_resized(t, end);
	end = bsp_min(end, t->o->size);
	if (!r && zeroes && off < end)
		zeroed(t, off, end);
	else if (zeroes && off < old)
		oracle_write_failed(t->o, off, bsp_min(end, old), NULL);
}

static void do_fallocate(struct trial *t)
{
	static const int modes[] = {
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_KEEP_SIZE,
		0,
	};
	int mode = modes[dice_below(&t->dice, 6)], r;
	uint64_t off = any_offset(t, t->capacity);
	uint64_t len = any_length(t, off, t->capacity + 5000);
	uint64_t end = off + len, from = off, size = t->o->size;

	if (end > size && !(mode & FALLOC_FL_KEEP_SIZE))
		from = bsp_min(off, size);
	else
		end = bsp_min(end, size);
	trial_begin(t, down(t, from), bsp_min(up(t, end), bsp_max(end, size)),
		    "fallocate %d %" PRIu64 "+%" PRIu64, mode, off, len);
	r = bsp_sparse_fallocate(t->sp, mode, off, len);
	trial_end(t, r);
	check_fallocate(t, mode, off, off + len, r);
}

/* --- Flushes --- */

static void begin_flush_markers(struct trial *t, const char *what)
{
	trial_begin(t, 0, t->o->size, "%s", what);
	t->only_touched = true;
}

/* Was the operation interrupted, and does it say so? */
static bool was_interrupted(const struct trial *t, int r)
{
	return r == -EINTR && t->interrupted;
}

static void do_flush(struct trial *t)
{
	int r;

	begin_flush_markers(t, "flush");
	r = bsp_sparse_flush(t->sp, trial_interrupted, t);
	trial_end(t, r);
	if (r && !was_interrupted(t, r))
		trial_explain(t, r, BY_WRITES | BY_FLUSHES);
	trial_follow(t);
	if (!r && !t->wrong) {
		trial_check_flushed(t);
		trial_check_durable(t);
	}
}

static void do_flush_markers(struct trial *t)
{
	int r;

	begin_flush_markers(t, "carry out");
	r = bsp_sparse_flush_markers(t->sp, trial_interrupted, t);
	trial_end(t, r);
	if (r && !was_interrupted(t, r))
		trial_explain(t, r, BY_WRITES);
	trial_follow(t);
	if (!r && !t->wrong)
		trial_check_flushed(t);
}

static void do_catch_up(struct trial *t)
{
	begin_flush_markers(t, "catch up");
	bsp_sparse_write_back(t->sp, trial_interrupted, t);
	trial_end(t, 0);
}

static void do_carry_behind(struct trial *t)
{
	uint64_t off = any_offset(t, t->capacity);
	uint64_t limit = off + any_length(t, off, t->capacity + t->granule);
	int r;

	begin_flush_markers(t, "carry behind");
	r = bsp_sparse_flush_markers_before(t->sp, &off, limit,
					    trial_interrupted, t);
	trial_end(t, r);
	if (r && !was_interrupted(t, r))
		trial_explain(t, r, BY_WRITES);
}

/* --- Reads and seeks --- */

static void do_read(struct trial *t)
{
	uint64_t off = any_offset(t, t->capacity);
	uint64_t len = any_length(t, off, t->capacity + 100);
	uint64_t size = t->o->size, in;
	ssize_t n;

	len = bsp_min(len, t->capacity);
	trial_begin(t, 0, 0, "read %" PRIu64 "+%" PRIu64, off, len);
	n = bsp_sparse_read(t->sp, off, t->buf, len);
	trial_end(t, n);
	in = bsp_range_clamp(off, len, size);
	if (n < 0)
		trial_explain(t, n, BY_READS);
	else if ((uint64_t)n != in && !t->unsteady)
		trial_wrong(t, "a read gives %zd bytes of %" PRIu64, n, in);
	if (n > 0)
		trial_check_read(t, off, t->buf,
				 bsp_range_clamp(off, (uint64_t)n,
						 bsp_min(size, t->o->size)));
}

static void check_zeros(struct trial *t, uint64_t from, uint64_t to)
{
	to = bsp_min(to, bsp_min(t->o->size, disk_size(t->disk)));
	for (uint64_t at = from; at < to; at++)
		if (!oracle_may(t->o, at, 0))
			trial_wrong(t,
				    "byte %" PRIu64
				    " was called zero; it may be %#x",
				    at, t->o->may[at]);
}

/* Does the map keep its states, while no other program writes to the device? */
static bool is_steady(const struct trial *t)
{
	return !t->unsteady && !t->outside &&
	       (t->writable || (t->counts && !t->unsettled));
}

/* Looks for a hole behind data, even if there is no data: seeks move on. */
static void seek_on(struct trial *t, uint64_t off)
{
	uint64_t at = 0;
	int r;

	trial_begin(t, 0, 0, "seek on %" PRIu64, off);
	r = bsp_sparse_seek_hole(t->sp, off, trial_interrupted, t, &at);
	trial_end(t, r ? r : (int64_t)at);
	if (r && r != -ENXIO)
		trial_explain(t, r, BY_NOTHING);
	else if (is_steady(t) && (r || at <= off))
		trial_wrong(t, "data at %" PRIu64 " is a hole", off);
}

static void do_seek_data(struct trial *t)
{
	uint64_t off = any_offset(t, t->capacity), at = 0;
	uint64_t size = t->o->size;
	int r;

	trial_begin(t, 0, 0, "seek data %" PRIu64, off);
	r = bsp_sparse_seek_data(t->sp, off, trial_interrupted, t, &at);
	trial_end(t, r ? r : (int64_t)at);
	trial_looked(t, false);
	if (r && r != -ENXIO)
		trial_explain(t, r, BY_NOTHING);
	else if (r || off >= size)
		check_zeros(t, off, size);
	else
		check_zeros(t, off, at);
	if (!r && !t->unsteady &&
	    (at < off || at >= size || (at != off && at != down(t, at))))
		trial_wrong(t, "no data is to be found at %" PRIu64, at);
	if (!r && is_steady(t) && dice_chance(&t->dice, 500))
		seek_on(t, at);
}

/* No granule in [off, end) may be one that was zeroed as a whole: it would be a
 * hole. */
static void check_no_hole(struct trial *t, uint64_t off, uint64_t end)
{
	for (uint64_t at = up(t, off); at + t->granule <= end; at += t->granule)
		if (!memchr(t->o->zeroed + at, false, t->granule) &&
		    !t->was_short && !t->minhole)
			trial_wrong(t, "the hole at %" PRIu64 " was missed",
				    at);
}

static void do_seek_hole(struct trial *t)
{
	uint64_t off = any_offset(t, t->capacity), at = 0;
	uint64_t size = t->o->size;
	int r;

	trial_begin(t, 0, 0, "seek hole %" PRIu64, off);
	r = bsp_sparse_seek_hole(t->sp, off, trial_interrupted, t, &at);
	trial_end(t, r ? r : (int64_t)at);
	trial_looked(t, false);
	if (r == -ENXIO && off < size && !t->unsteady)
		trial_wrong(t, "there is an end");
	else if (r && r != -ENXIO)
		trial_explain(t, r, BY_NOTHING);
	if (r || t->unsteady)
		return;
	if (at < off || at > size || off >= size ||
	    (at != off && at != size && at != down(t, at)))
		trial_wrong(t, "no hole is to be found at %" PRIu64, at);
	else if (at == off)
		check_zeros(t, off, up(t, off + 1));
	else
		check_no_hole(t, off, at);
}

static void do_refresh(struct trial *t)
{
	bool all = dice_chance(&t->dice, 500);

	trial_begin(t, 0, 0, all ? "refresh all" : "refresh");
	(void)(all ? bsp_sparse_refresh_all : bsp_sparse_refresh)(t->sp);
	trial_end(t, 0);
	trial_looked(t, all);
}

static void do_stat(struct trial *t)
{
	struct bsp_stat st;

	trial_begin(t, 0, 0, "stat");
	bsp_sparse_stat(t->sp, &st);
	trial_end(t, (int64_t)st.size);
}

/* --- The device, and other programs --- */

/* Gives the device another size, once the file has found the one before. */
static void do_resize(struct trial *t)
{
	uint64_t size = t->o->device;
	bool new_bytes = dice_chance(&t->dice, 700);

	if (!t->resizes || t->gone || size != disk_size(t->disk))
		return;
	size = trial_any_size(t);
	if (dice_chance(&t->dice, 200))
		size = down(t, size);
	g_string_append_printf(t->log, "device: %" PRIu64 "%s\n", size,
			       new_bytes ? "" : ", as it was");
	disk_resize(t->disk, size, new_bytes);
}

static void do_gone(struct trial *t)
{
	if (!t->gone && (!t->resizes || dice_chance(&t->dice, 700)))
		return;
	t->gone = !t->gone;
	g_string_append_printf(t->log, "device: %s\n",
			       t->gone ? "gone" : "back");
	disk_set_gone(t->disk, t->gone);
}

static void do_outside(struct trial *t)
{
	uint64_t size = disk_size(t->disk);
	uint64_t off = dice_below(&t->dice, size);
	uint64_t len = bsp_min(any_length(t, off, size), size - off);

	if (t->writable)
		return;
	g_string_append_printf(t->log, "outside: %" PRIu64 "+%" PRIu64 "\n",
			       off, len);
	disk_write_outside(t->disk, off, len, dice_chance(&t->dice, 500));
	trial_may_be_held(t, off, off + len);
	t->outside = true;
}

static void do_medium(struct trial *t)
{
	enum disk_field field =
		t->writable ? DISK_TABLE
			    : (enum disk_field)dice_below(&t->dice, 3);
	uint64_t size =
		t->writable ? 0 : bsp_min(t->o->size, disk_size(t->disk));

	g_string_append_printf(t->log, "device: another medium, %d\n", field);
	disk_change_medium(t->disk, field);
	t->outside = !t->writable;
	t->looks = field == DISK_TABLE || t->looks == ALL_UNLOOKED
			   ? ALL_UNLOOKED
			   : UNLOOKED;
	trial_may_be_held(t, 0, size);
}

static void do_unsettle(struct trial *t)
{
	if (t->writable)
		return;
	t->unsettled = !t->unsettled;
	g_string_append_printf(t->log, "device: %ssettled\n",
			       t->unsettled ? "un" : "");
	disk_set_unsettled(t->disk, t->unsettled);
}

static const struct {
	unsigned weight;
	bool writes;
	void (*fn)(struct trial *t);
} ops[] = {
	{ 28, true, do_write },	       { 10, true, do_truncate },
	{ 12, true, do_fallocate },    { 8, true, do_flush },
	{ 5, true, do_flush_markers }, { 4, true, do_carry_behind },
	{ 1, true, do_catch_up },      { 10, false, do_read },
	{ 6, false, do_seek_data },    { 6, false, do_seek_hole },
	{ 2, false, do_refresh },      { 2, false, do_stat },
	{ 4, false, do_resize },       { 2, false, do_gone },
	{ 4, false, do_outside },      { 1, false, do_medium },
	{ 2, false, do_unsettle },
};

static void one(struct trial *t)
{
	uint64_t sum = 0, n;

	for (size_t i = 0; i < G_N_ELEMENTS(ops); i++)
		sum += t->writable || !ops[i].writes ? ops[i].weight : 0;
	n = dice_below(&t->dice, sum);
	for (size_t i = 0; i < G_N_ELEMENTS(ops); i++) {
		uint64_t weight =
			t->writable || !ops[i].writes ? ops[i].weight : 0;

		if (n < weight) {
			ops[i].fn(t);
			return;
		}
		n -= weight;
	}
}

static void log_byte(struct trial *t)
{
	uint64_t at = t->byte;

	g_string_append_printf(
		t->log,
		"\tseen %u, held %u, durable %u; state %u; may %#x, below %#x, stale %#x%s\n",
		disk_seen(t->disk)[at], disk_held(t->disk)[at],
		disk_durable(t->disk)[at],
		bsp_map_get(t->sp->map, at / t->granule), t->o->may[at],
		t->o->below[at], t->o->stale[at],
		t->o->touched[at] ? ", touched" : "");
}

void trial_step(struct trial *t)
{
	one(t);
	if (!t->wrong)
		trial_follow(t);
	if (t->byte < t->capacity)
		log_byte(t);
	if (!t->wrong && dice_chance(&t->dice, 250)) {
		trial_check(t);
		trial_check_crash(t);
	}
	if (!t->wrong && dice_chance(&t->dice, 30) && !t->gone)
		trial_check_reads(t);
}
