/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "trial.h"

#include <errno.h>

#include "base/range.h"

static void recover(struct trial *t)
{
	g_string_append(t->log, "all is well\n");
	t->memory_chance = 0;
	t->mood = (struct disk_mood){ 0 };
	t->resizes = false;
	t->gone = false;
	disk_set_gone(t->disk, false);
	/* The first check may still return an old failure of the disk. */
	for (int i = 0; i < 2; i++)
		(void)bsp_sparse_refresh(t->sp);
	trial_follow(t);
	if (t->o->device != disk_size(t->disk))
		trial_wrong(t, "the device's size is not noticed");
}

static void flush_well(struct trial *t)
{
	int r = -EIO;

	t->unsteady = false;
	t->change_to = t->o->size;
	t->only_touched = true;
	/* Each open descriptor of the disk reports an old failure once. */
	for (int i = 0; i < 3 && r; i++)
		r = bsp_sparse_flush(t->sp, NULL, NULL);
	if (r)
		trial_wrong(t, "the third flush gives %d", r);
	t->change_to = 0;
	t->only_touched = false;
	disk_evict(t->disk);
	if (!t->wrong)
		trial_check_durable(t);
}

static void check_tail(struct trial *t, enum bsp_tail tail)
{
	const unsigned char *durable = disk_durable(t->disk);

	for (uint64_t at = t->o->size;
	     tail == BSP_TAIL_ZERO && at < t->o->device; at++)
		if (durable[at])
			trial_wrong(t, "byte %" PRIu64 " of the tail is %u", at,
				    durable[at]);
}

static void finish_tail(struct trial *t)
{
	uint64_t block = disk_device(t->disk)->info.logical_block_size;
	enum bsp_tail tail = (enum bsp_tail)dice_below(&t->dice, 3);
	int r;

	if (tail != BSP_TAIL_KEEP) {
		t->change_from = t->o->size;
		t->change_to = t->o->device;
	}
	if (tail == BSP_TAIL_DISCARD)
		t->change_from = (t->o->size + block - 1) / block * block;
	r = bsp_sparse_finish(t->sp, tail);
	if (r)
		r = bsp_sparse_finish(t->sp, tail);
	if (r)
		trial_wrong(t, "the end, with tail %d, gives %d", tail, r);
	check_tail(t, tail);
	trial_check_durable(t);
}

/* Does one of the calls that could reach the disk. */
static int64_t reach_out(struct trial *t)
{
	switch (dice_below(&t->dice, 6)) {
	case 0:
		return bsp_sparse_write(t->sp, 0, t->buf, t->granule);
	case 1:
		return bsp_sparse_truncate(t->sp, t->o->size / 2);
	case 2:
		return bsp_sparse_fallocate(t->sp, 0, 0, t->granule);
	case 3:
		return bsp_sparse_flush_markers(t->sp, NULL, NULL);
	case 4:
		return bsp_sparse_flush(t->sp, NULL, NULL);
	default:
		return bsp_sparse_finish(t->sp, BSP_TAIL_ZERO);
	}
}

void trial_take_out(struct trial *t)
{
	unsigned flushes = disk_flushes(t->disk);

	g_string_append(t->log, "another medium\n");
	disk_set_gone(t->disk, false);
	disk_change_medium(t->disk, DISK_SEQUENCE);
	for (int i = 0; i < 6; i++) {
		int64_t r = reach_out(t);

		if (r != -ENODEV)
			trial_wrong(t, "another medium gives %" PRId64, r);
	}
	(void)bsp_sparse_refresh_all(t->sp);
	if (bsp_sparse_read(t->sp, 0, t->buf, 1) != -ENODEV)
		trial_wrong(t, "another medium is read");
	if (disk_flushes(t->disk) != flushes)
		trial_wrong(t, "another medium is flushed");
}

void trial_finish(struct trial *t)
{
	disk_set_unsettled(t->disk, false);
	recover(t);
	if (!t->wrong && t->writable)
		flush_well(t);
	if (!t->wrong)
		trial_check_reads(t);
	if (!t->wrong && t->writable)
		finish_tail(t);
}
