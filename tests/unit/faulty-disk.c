/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The disk's three layers, and the events that move a sector from one to the
 * next or lose it. The state of each sector is a set of bits; a sector without
 * any is the same in all three layers.
 *
 * Each call begins with a few random events (live()), because a real host
 * writes back and drops pages at any time. All chances come from the test's
 * dice, so that a seed repeats a run.
 */
#include "faulty-disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/range.h"

/* The states of a sector that is not clean. */
enum {
	CACHED = 1 << 0,   /* seen is newer than held, and will go down */
	PHANTOM = 1 << 1,  /* seen is newer than held, and will never go down */
	VOLATILE = 1 << 2, /* held is newer than durable */
	BAD = 1 << 3,	   /* cannot be read */
	OLD = 1 << 4,	   /* seen is of the medium or the size before */
};

enum { PAGE = 4096 };

struct disk {
	struct bsp_device dev;
	struct disk_options options;
	struct disk_mood mood;
	struct dice *dice;
	uint64_t size;
	bool gone;
	/* A writeback failed: the next flush, and the next wait_written(),
	 * return the error. */
	bool latched, latched_through;
	/* The same for the next read_through() of a disk that sticks. */
	bool latched_read;
	unsigned char *seen, *held, *durable;
	unsigned char *sectors;
	uint64_t counter;
	bool dirty_outside;
	bool unsettled;
	struct bsp_medium medium;
	unsigned faults[DISK_CALLS];
	unsigned flushes;
	const char *misuse;
	disk_range_fn changes, lost;
	void *watcher;
	unsigned calls_left;
	void (*at_call)(void *data);
	void *at_call_data;
};

static struct disk *to_disk(struct bsp_device *dev)
{
	return (struct disk *)dev;
}

/* --- Layers --- */

static uint64_t sector_len(const struct disk *disk, uint64_t sector)
{
	return bsp_range_clamp(sector * DISK_SECTOR, DISK_SECTOR,
			       disk->options.capacity);
}

static void copy_sector(struct disk *disk, unsigned char *to,
			const unsigned char *from, uint64_t sector)
{
	memcpy(to + sector * DISK_SECTOR, from + sector * DISK_SECTOR,
	       sector_len(disk, sector));
}

/* Drops the page from the host's cache: readers see the bytes that the disk
 * holds. */
static void drop(struct disk *disk, uint64_t sector)
{
	disk->sectors[sector] &= (unsigned char)~(CACHED | PHANTOM | OLD);
	copy_sector(disk, disk->seen, disk->held, sector);
	disk->lost(disk->watcher, sector * DISK_SECTOR, DISK_SECTOR);
}

/* Makes a page one that can no longer reach the disk. */
static void lose_page(struct disk *disk, uint64_t sector)
{
	if (disk->mood.phantoms && dice_chance(disk->dice, 500)) {
		disk->sectors[sector] &= (unsigned char)~CACHED;
		disk->sectors[sector] |= PHANTOM;
	} else {
		drop(disk, sector);
	}
}

static void write_back(struct disk *disk, uint64_t sector)
{
	if (!(disk->sectors[sector] & CACHED))
		return;
	disk->sectors[sector] &= (unsigned char)~(CACHED | BAD);
	disk->sectors[sector] |= VOLATILE;
	copy_sector(disk, disk->held, disk->seen, sector);
}

static void harden(struct disk *disk, uint64_t sector)
{
	disk->sectors[sector] &= (unsigned char)~VOLATILE;
	copy_sector(disk, disk->durable, disk->held, sector);
}

/* Loses a sector from the disk's cache; the host's page may stay. */
static void lose_held(struct disk *disk, uint64_t sector)
{
	if (!(disk->sectors[sector] & VOLATILE))
		return;
	disk->sectors[sector] &= (unsigned char)~VOLATILE;
	copy_sector(disk, disk->held, disk->durable, sector);
	if (!(disk->sectors[sector] & CACHED))
		lose_page(disk, sector);
}

static uint64_t sectors_to(uint64_t end)
{
	return bsp_granules(end, 9);
}

static uint64_t random_sector(struct disk *disk)
{
	return dice_below(disk->dice, sectors_to(disk->size));
}

/* Does the random work of host and disk between calls. */
static void live(struct disk *disk)
{
	if (disk->size == 0)
		return;
	for (int i = 0; i < 8; i++) {
		uint64_t sector = random_sector(disk);

		if (dice_chance(disk->dice, disk->mood.evicts) &&
		    (disk->sectors[sector] & PHANTOM))
			drop(disk, sector);
		if (dice_chance(disk->dice, disk->mood.fails_early) &&
		    (disk->sectors[sector] & CACHED)) {
			disk->latched = disk->latched_through =
				disk->latched_read = true;
			lose_page(disk, sector);
		}
		if (dice_chance(disk->dice, disk->mood.writes_back)) {
			write_back(disk, sector);
			if (dice_chance(disk->dice, 500))
				harden(disk, sector);
		}
	}
}

/* --- Calls --- */

/* Begins a call. Returns whether it has to fail. */
static bool begin(struct disk *disk, enum disk_call call)
{
	if (disk->at_call && disk->calls_left-- == 0) {
		void (*fn)(void *) = disk->at_call;

		disk->at_call = NULL;
		fn(disk->at_call_data);
	}
	live(disk);
	if (disk->gone || dice_chance(disk->dice, disk->mood.fails[call])) {
		disk->faults[call]++;
		return true;
	}
	return false;
}

static int error_of(struct disk *disk)
{
	return disk->gone ? -ENODEV : -EIO;
}

/* Returns how many of len bytes the call transfers. */
static uint64_t shortened(struct disk *disk, uint64_t len)
{
	if (len < 2 || !dice_chance(disk->dice, disk->mood.shortens))
		return len;
	return 1 + dice_below(disk->dice, len - 1);
}

/* A bad sector can be read while its page waits to be written. */
static bool is_bad(const struct disk *disk, uint64_t sector)
{
	return (disk->sectors[sector] & (BAD | CACHED)) == BAD;
}

/* Returns the offset of the first bad sector in [off, end), or end. */
static uint64_t good_until(struct disk *disk, uint64_t off, uint64_t end)
{
	for (uint64_t at = off; at < end;
	     at = (at / DISK_SECTOR + 1) * DISK_SECTOR)
		if (is_bad(disk, at / DISK_SECTOR))
			return at;
	return end;
}

static ssize_t disk_read(struct bsp_device *dev, uint64_t off, void *buf,
			 size_t len)
{
	struct disk *disk = to_disk(dev);
	uint64_t good;

	if (begin(disk, DISK_READ))
		return error_of(disk);
	len = shortened(disk, bsp_range_clamp(off, len, disk->size));
	if (len == 0)
		return 0;
	good = good_until(disk, off, off + len) - off;
	if (good < len)
		disk->faults[DISK_READ]++;
	if (good == 0)
		return -EIO;
	memcpy(buf, disk->seen + off, good);
	return (ssize_t)good;
}

/* Reads past the pages, which stay. Fails once after a writeback has. */
static ssize_t read_below(struct disk *disk, uint64_t off, unsigned char *buf,
			  size_t len)
{
	ssize_t n = disk_read(&disk->dev, off, buf, len);

	for (uint64_t at = off; n > 0 && at < off + (uint64_t)n; at++)
		if (disk->sectors[at / DISK_SECTOR] & PHANTOM)
			buf[at - off] = disk->held[at];
	if (!disk->latched_read)
		return n;
	disk->latched_read = false;
	disk->faults[DISK_READ]++;
	return -EIO;
}

static ssize_t disk_read_through(struct bsp_device *dev, uint64_t off,
				 void *buf, size_t len)
{
	struct disk *disk = to_disk(dev);
	uint64_t end = off + bsp_range_clamp(off, len, disk->size);
	bool drops = !disk->mood.deceives && !disk->mood.sticks;

	for (uint64_t s = off / DISK_SECTOR; s < sectors_to(end); s++) {
		write_back(disk, s);
		if ((disk->sectors[s] & PHANTOM) && drops)
			drop(disk, s);
	}
	if (disk->mood.sticks)
		return read_below(disk, off, buf, len);
	return disk_read(dev, off, buf, len);
}

static int disk_get_size(struct bsp_device *dev, uint64_t *ret_size)
{
	struct disk *disk = to_disk(dev);

	*ret_size = disk->size;
	return disk->gone ? -ENODEV : 0;
}

static void disk_medium(struct bsp_device *dev, enum bsp_depth depth,
			struct bsp_medium *ret_medium)
{
	struct disk *disk = to_disk(dev);

	*ret_medium = disk->medium;
	if (depth < BSP_DEPTH_ALL)
		ret_medium->table = 0;
	if (depth < BSP_DEPTH_CHEAP)
		ret_medium->file_ino = 0;
}

static void disk_content(struct bsp_device *dev,
			 struct bsp_content *ret_content)
{
	struct disk *disk = to_disk(dev);

	disk->counter += disk->dirty_outside;
	disk->dirty_outside = false;
	*ret_content = (struct bsp_content){ .value = { disk->counter },
					     .counted = disk->options.counts,
					     .settled = !disk->unsettled };
}

/* A page that is in use may stay. It is an error if it lies at or past from. */
static int disk_drop_pages(struct bsp_device *dev, uint64_t from)
{
	struct disk *disk = to_disk(dev);
	bool stays = dice_chance(disk->dice, disk->mood.fails[DISK_READ]);

	for (uint64_t s = 0; s < sectors_to(disk->size); s++) {
		write_back(disk, s);
		if (disk->sectors[s] & (PHANTOM | OLD) &&
		    !(stays && from != UINT64_MAX))
			drop(disk, s);
	}
	return stays && from != UINT64_MAX ? -EBUSY : 0;
}

static struct bsp_known_answer disk_known(struct bsp_device *dev,
					  uint64_t generation, bool may_build,
					  uint64_t off, uint64_t limit)
{
	struct disk *disk = to_disk(dev);
	uint64_t end = off;

	while (disk->options.has_zeros && end < limit &&
	       !(disk->sectors[end / DISK_SECTOR] &
		 (CACHED | PHANTOM | BAD | OLD)) &&
	       disk->held[end] == 0)
		end++;
	return (struct bsp_known_answer){ end > off, end > off ? end : limit };
}

/* --- Changes --- */

/* Changes the bytes of [off, off + len), all in one sector; a NULL buf is
 * zeros. They are seen, and cached or held. */
static void change_sector(struct disk *disk, uint64_t off,
			  const unsigned char *buf, uint64_t len, bool through)
{
	uint64_t sector = off / DISK_SECTOR;

	/* The host reads the rest of the page from the disk first. */
	if (disk->sectors[sector] & PHANTOM)
		drop(disk, sector);
	if (buf)
		memcpy(disk->seen + off, buf, len);
	else
		memset(disk->seen + off, 0, len);
	disk->sectors[sector] |= CACHED;
	if (through)
		write_back(disk, sector);
}

/* Changes [off, off + len), or each sector of it at random. */
static void change(struct disk *disk, uint64_t off, const unsigned char *buf,
		   uint64_t len, bool through, bool perhaps)
{
	uint64_t end = off + len, next;

	if (len == 0)
		return;
	disk->changes(disk->watcher, off, len);
	for (uint64_t at = off; at < end; at = next) {
		next = bsp_min((at / DISK_SECTOR + 1) * DISK_SECTOR, end);
		if (!perhaps || dice_chance(disk->dice, 500))
			change_sector(disk, at, buf ? buf + (at - off) : NULL,
				      next - at, through);
	}
}

static ssize_t write_as(struct disk *disk, uint64_t off, const void *buf,
			size_t len, bool through)
{
	uint64_t in = bsp_range_clamp(off, len, disk->size);

	if (begin(disk, DISK_WRITE)) {
		in = bsp_range_clamp(off, len, disk->size);
		change(disk, off, buf, in, through, true);
		return error_of(disk);
	}
	in = bsp_range_clamp(off, len, disk->size);
	if (in < len)
		disk->faults[DISK_WRITE]++;
	if (in == 0)
		return -ENOSPC;
	in = shortened(disk, in);
	change(disk, off, buf, in, through, false);
	return (ssize_t)in;
}

static ssize_t disk_write(struct bsp_device *dev, uint64_t off, const void *buf,
			  size_t len)
{
	struct disk *disk = to_disk(dev);

	return write_as(disk, off, buf, len, disk->options.direct);
}

static ssize_t disk_write_through(struct bsp_device *dev, uint64_t off,
				  const void *buf, size_t len)
{
	struct disk *disk = to_disk(dev);

	return write_as(disk, off, buf, len, !disk->options.waits_written);
}

static int disk_wait_written(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	struct disk *disk = to_disk(dev);
	bool fails = begin(disk, DISK_WRITE);

	for (uint64_t s = off / DISK_SECTOR; s < sectors_to(off + len); s++) {
		if (!(disk->sectors[s] & CACHED))
			continue;
		if (fails && dice_chance(disk->dice, disk->mood.loses))
			lose_page(disk, s);
		else
			write_back(disk, s);
	}
	/* Each descriptor gets the error once: this one now, that of flush at
	 * the next flush. */
	disk->latched |= fails;
	if (disk->latched_through && !fails) {
		disk->faults[DISK_WRITE]++;
		fails = true;
	}
	disk->latched_through = false;
	return fails ? error_of(disk) : 0;
}

/* Checks the range of a zeroing command. */
static bool is_valid(struct disk *disk, uint64_t off, uint64_t len)
{
	uint64_t block = disk->options.block;

	if (off % block || len % block || len == 0) {
		disk->misuse = "a zeroing command that cuts a block";
		return false;
	}
	if (off + len <= disk->size)
		return true;
	disk->faults[DISK_WRITE]++;
	return false;
}

/* Unmaps: leaves zeros or other bytes, at random. */
static void change_to_anything(struct disk *disk, uint64_t off, uint64_t len)
{
	unsigned char buf[DISK_SECTOR];

	for (uint64_t at = 0; at < len; at += DISK_SECTOR) {
		memset(buf, dice_chance(disk->dice, 500) ? 0 : DISK_JUNK,
		       sizeof(buf));
		change(disk, off + at, buf, bsp_min(DISK_SECTOR, len - at),
		       true, false);
	}
}

static int zero_as(struct disk *disk, enum disk_zero how, uint64_t off,
		   uint64_t len)
{
	bool fails = begin(disk, DISK_ZERO);

	if (disk->options.refused & 1U << how)
		return -EOPNOTSUPP;
	if (!is_valid(disk, off, len))
		return -EINVAL;
	if (disk->options.broken & 1U << how && !fails) {
		disk->faults[DISK_ZERO]++;
		fails = true;
	}
	if (disk->gone)
		return -ENODEV;
	if (how == DISK_UNMAP)
		change_to_anything(disk, off, len);
	else
		change(disk, off, NULL, len, true, fails);
	if (!fails)
		return 0;
	return dice_chance(disk->dice, 300) ? -ENOSPC : -EIO;
}

static int disk_punch(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return zero_as(to_disk(dev), DISK_PUNCH, off, len);
}

static int disk_zero_out(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return zero_as(to_disk(dev), DISK_ZERO_OUT, off, len);
}

static int disk_unmap(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return zero_as(to_disk(dev), DISK_UNMAP, off, len);
}

/* Commands for an image file may cover parts of blocks. */
static int disk_discard(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	struct disk *disk = to_disk(dev);

	if (begin(disk, DISK_ZERO))
		return error_of(disk);
	change_to_anything(disk, off, len);
	return 0;
}

static void disk_write_back(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	struct disk *disk = to_disk(dev);

	for (uint64_t s = off / DISK_SECTOR; s < sectors_to(off + len); s++)
		if (dice_chance(disk->dice, 500))
			write_back(disk, s);
}

/* Loses or keeps one sector of a flush that fails. */
static void flush_badly(struct disk *disk, uint64_t sector)
{
	if (disk->sectors[sector] & CACHED) {
		if (dice_chance(disk->dice, disk->mood.loses))
			lose_page(disk, sector);
		else
			write_back(disk, sector);
	}
	if (dice_chance(disk->dice, disk->mood.loses))
		lose_held(disk, sector);
	else if (dice_chance(disk->dice, 500))
		harden(disk, sector);
}

static int disk_flush(struct bsp_device *dev)
{
	struct disk *disk = to_disk(dev);
	bool fails = begin(disk, DISK_FLUSH);

	disk->flushes++;
	for (uint64_t s = 0; s < sectors_to(disk->options.capacity); s++) {
		if (fails) {
			flush_badly(disk, s);
		} else {
			write_back(disk, s);
			harden(disk, s);
		}
	}
	if (fails)
		return error_of(disk);
	if (!disk->latched)
		return 0;
	disk->latched = false;
	disk->faults[DISK_FLUSH]++;
	return -EIO;
}

static void disk_close(struct bsp_device *dev)
{
	struct disk *disk = to_disk(dev);

	g_free(disk->seen);
	g_free(disk->held);
	g_free(disk->durable);
	g_free(disk->sectors);
	g_free(disk);
}

/* --- For tests --- */

void disk_fill(struct dice *dice, unsigned char *buf, uint64_t len)
{
	static const uint64_t runs[] = { 100, 1024, 4096, 3 * 4096, 8 * 4096 };

	for (uint64_t at = 0; at < len;) {
		uint64_t run = 1 + dice_below(dice, runs[dice_below(dice, 5)]);
		uint64_t end = bsp_min(len, at + run);
		uint64_t first = dice_throw(dice);

		if (dice_chance(dice, 450))
			memset(buf + at, 0, end - at);
		else
			for (uint64_t i = at; i < end; i++)
				buf[i] = (unsigned char)(1 +
							 (first +
							  i) % (DISK_JUNK - 1));
		at = end;
	}
}

static void ignore(void *data, uint64_t off, uint64_t len)
{
}

static const struct bsp_device_ops disk_ops = {
	.read = disk_read,
	.size = disk_get_size,
	.medium = disk_medium,
	.content = disk_content,
	.drop_pages = disk_drop_pages,
	.known = disk_known,
	.write = disk_write,
	.read_through = disk_read_through,
	.write_through = disk_write_through,
	.punch = disk_punch,
	.zero_out = disk_zero_out,
	.unmap = disk_unmap,
	.discard = disk_discard,
	.write_back = disk_write_back,
	.flush = disk_flush,
	.close = disk_close,
};

static const struct bsp_device_ops waiting_ops = {
	.read = disk_read,
	.size = disk_get_size,
	.medium = disk_medium,
	.content = disk_content,
	.drop_pages = disk_drop_pages,
	.known = disk_known,
	.write = disk_write,
	.read_through = disk_read_through,
	.write_through = disk_write_through,
	.wait_written = disk_wait_written,
	.punch = disk_punch,
	.zero_out = disk_zero_out,
	.unmap = disk_unmap,
	.discard = disk_discard,
	.write_back = disk_write_back,
	.flush = disk_flush,
	.close = disk_close,
};

struct disk *disk_new(const struct disk_options *options, struct dice *dice)
{
	struct disk *disk = g_new0(struct disk, 1);
	uint64_t capacity = options->capacity;

	disk->dev.ops = options->waits_written ? &waiting_ops : &disk_ops;
	disk->dev.path = g_strdup("disk");
	disk->dev.info.size = options->size;
	disk->dev.info.logical_block_size = options->block;
	disk->dev.info.is_block = true;
	disk->dev.info.writable = options->writable;
	pthread_mutex_init(&disk->dev.through_lock, NULL);
	disk->options = *options;
	disk->dice = dice;
	disk->size = options->size;
	disk->changes = disk->lost = ignore;
	disk->medium =
		(struct bsp_medium){ .sequence = 1, .file_ino = 1, .table = 1 };
	disk->seen = g_malloc(capacity);
	disk_fill(dice, disk->seen, capacity);
	disk->held = g_memdup2(disk->seen, capacity);
	disk->durable = g_memdup2(disk->seen, capacity);
	disk->sectors = g_malloc0(sectors_to(capacity));
	return disk;
}

struct bsp_device *disk_device(struct disk *disk)
{
	return &disk->dev;
}

void disk_watch(struct disk *disk, disk_range_fn changes, disk_range_fn lost,
		void *data)
{
	disk->changes = changes;
	disk->lost = lost;
	disk->watcher = data;
}

void disk_set_mood(struct disk *disk, const struct disk_mood *mood)
{
	disk->mood = *mood;
}

const unsigned char *disk_seen(const struct disk *disk)
{
	return disk->seen;
}

const unsigned char *disk_held(const struct disk *disk)
{
	return disk->held;
}

const unsigned char *disk_durable(const struct disk *disk)
{
	return disk->durable;
}

bool disk_is_phantom(const struct disk *disk, uint64_t off)
{
	return disk->sectors[off / DISK_SECTOR] & PHANTOM;
}

bool disk_is_bad(const struct disk *disk, uint64_t off)
{
	return is_bad(disk, off / DISK_SECTOR);
}

void disk_make_bad(struct disk *disk, uint64_t off)
{
	if (!(disk->sectors[off / DISK_SECTOR] & (CACHED | PHANTOM)))
		disk->sectors[off / DISK_SECTOR] |= BAD;
}

void disk_evict(struct disk *disk)
{
	for (uint64_t s = 0; s < sectors_to(disk->options.capacity); s++)
		if (disk->sectors[s] & PHANTOM)
			drop(disk, s);
}

uint64_t disk_size(const struct disk *disk)
{
	return disk->size;
}

/* The host keeps the page that the old end cut, with zeros past that end. */
static void keep_end(struct disk *disk, uint64_t old, uint64_t end)
{
	for (uint64_t s = old / DISK_SECTOR; s < end / DISK_SECTOR; s++) {
		memset(disk->seen + s * DISK_SECTOR, 0, DISK_SECTOR);
		disk->sectors[s] |= OLD;
	}
}

void disk_resize(struct disk *disk, uint64_t size, bool new_bytes)
{
	uint64_t old = disk->size;

	disk->size = size;
	/* Pages past the end are dropped. */
	for (uint64_t s = sectors_to(size); s < sectors_to(old); s++) {
		copy_sector(disk, disk->seen, disk->held, s);
		copy_sector(disk, disk->durable, disk->held, s);
		disk->sectors[s] = 0;
	}
	if (size <= old)
		return;
	if (new_bytes)
		disk_fill(disk->dice, disk->seen + old, size - old);
	memcpy(disk->held + old, disk->seen + old, size - old);
	memcpy(disk->durable + old, disk->seen + old, size - old);
	if (!disk->options.ragged)
		keep_end(disk, old, bsp_min(bsp_align_up(old, 12), size));
}

void disk_change_medium(struct disk *disk, enum disk_field field)
{
	bool stays = false;

	disk->medium.sequence += field == DISK_SEQUENCE;
	disk->medium.file_off += field == DISK_FILE;
	disk->medium.table += field == DISK_TABLE;
	if (disk->options.writable && field == DISK_TABLE)
		return;
	disk_fill(disk->dice, disk->held, disk->size);
	memcpy(disk->durable, disk->held, disk->size);
	for (uint64_t s = 0; s < sectors_to(disk->size); s++) {
		if (s % (PAGE / DISK_SECTOR) == 0)
			stays = dice_chance(disk->dice, 500);
		if (!stays)
			copy_sector(disk, disk->seen, disk->held, s);
		disk->sectors[s] = stays ? OLD : 0;
	}
}

void disk_set_unsettled(struct disk *disk, bool unsettled)
{
	disk->counter += unsettled;
	disk->unsettled = unsettled;
}

void disk_set_gone(struct disk *disk, bool gone)
{
	disk->gone = gone;
}

void disk_write_outside(struct disk *disk, uint64_t off, uint64_t len,
			bool late)
{
	disk_fill(disk->dice, disk->held + off, len);
	memcpy(disk->seen + off, disk->held + off, len);
	memcpy(disk->durable + off, disk->held + off, len);
	/* A writer changes the host's pages, which readers see. */
	for (uint64_t s = off / DISK_SECTOR; s < sectors_to(off + len); s++)
		drop(disk, s);
	if (late && !disk->unsettled)
		disk->dirty_outside = true;
	else if (!disk->unsettled)
		disk->counter++;
}

void disk_at_call(struct disk *disk, unsigned calls, void (*fn)(void *data),
		  void *data)
{
	disk->calls_left = calls;
	disk->at_call = fn;
	disk->at_call_data = data;
}

unsigned disk_faults(const struct disk *disk, enum disk_call call)
{
	return disk->faults[call];
}

unsigned disk_flushes(const struct disk *disk)
{
	return disk->flushes;
}

void disk_forget_faults(struct disk *disk)
{
	memset(disk->faults, 0, sizeof(disk->faults));
}

const char *disk_misuse(const struct disk *disk)
{
	return disk->misuse;
}
