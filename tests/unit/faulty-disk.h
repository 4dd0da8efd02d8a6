/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A disk in memory that fails at random, as disks do. It keeps its bytes in
 * three layers:
 *
 *	seen	 those that this host reads: the kernel's page cache
 *	held	 those that the disk returns: its own volatile cache
 *	durable	 those that are left after a power cut
 *
 * A write changes the first layer, write_through() and a zeroing command change
 * the second as well, and a flush copies all to the third. A sector of 512
 * bytes may go down a layer by itself at any time. If that fails, or a flush
 * fails, some of the sectors on the way are lost, each independently: readers
 * see the layer below, at once, or later, when the host drops the page. Until
 * then the sector is a phantom: it reads well and will never be written.
 *
 * Bytes have values below DISK_VALUES. Unmapping may leave DISK_JUNK, a value
 * that disk_fill() never uses.
 *
 * Threads: one call at a time.
 */
#ifndef FAULTY_DISK_H
#define FAULTY_DISK_H

#include "device/device.h"
#include "dice.h"

enum { DISK_SECTOR = 512, DISK_VALUES = 16, DISK_JUNK = DISK_VALUES - 1 };

/* The kinds of calls, for chances and counts. */
enum disk_call {
	DISK_READ,
	DISK_WRITE, /* also write_through and wait_written */
	DISK_ZERO,  /* punch, zero-out, unmap, discard */
	DISK_FLUSH,
	DISK_CALLS,
};

/* The chances of random events, of 1000 calls. */
struct disk_mood {
	unsigned fails[DISK_CALLS];
	unsigned shortens;    /* a read or write ends short */
	unsigned writes_back; /* a sector goes down a layer by itself */
	unsigned fails_early; /* that fails; the next flush returns an error */
	unsigned evicts;      /* a phantom vanishes */
	unsigned loses; /* of 1000 sectors on their way, if a flush fails */
	bool phantoms;	/* a lost sector may stay as a phantom */
	bool deceives;	/* even read_through() reads phantoms */
	bool sticks;	/* read_through() reads below them, and they stay */
};

/* How a disk is made. */
struct disk_options {
	uint64_t capacity; /* the most bytes it will ever have */
	uint64_t size;
	uint32_t block;
	bool writable;
	bool ragged;	    /* an image file: its size may be odd */
	bool waits_written; /* a write through is done after wait_written */
	bool direct;	    /* writes bypass the host's page cache */
	bool counts;	    /* writes by other programs */
	bool has_zeros;	    /* known() tells some zeros */
	unsigned refused;   /* zeroing commands (bits of 1 << enum disk_zero) */
	unsigned broken;    /* commands that always fail */
};

enum disk_zero { DISK_PUNCH, DISK_ZERO_OUT, DISK_UNMAP };

struct disk;

/* Called for an event in [off, off + len). */
typedef void (*disk_range_fn)(void *data, uint64_t off, uint64_t len);

/* Returns a disk with random runs of zeros and data. The dice stay the
 * caller's. */
struct disk *disk_new(const struct disk_options *options, struct dice *dice);

/* Returns the device for bsp_sparse_new(), which will free it. */
struct bsp_device *disk_device(struct disk *disk);

/*
 * Sets two functions. changes is called before a call changes a range; lost is
 * called for each range in which readers may see older bytes from now on.
 */
void disk_watch(struct disk *disk, disk_range_fn changes, disk_range_fn lost,
		void *data);

/* Sets the chances. With all of them 0, nothing fails. */
void disk_set_mood(struct disk *disk, const struct disk_mood *mood);

const unsigned char *disk_seen(const struct disk *disk);
const unsigned char *disk_held(const struct disk *disk);
const unsigned char *disk_durable(const struct disk *disk);

/* Whether the byte at off is that of a phantom. */
bool disk_is_phantom(const struct disk *disk, uint64_t off);

/* Whether the sector at off cannot be read. A write of the whole sector mends
 * it. */
bool disk_is_bad(const struct disk *disk, uint64_t off);
void disk_make_bad(struct disk *disk, uint64_t off);

/* Makes all phantoms vanish. */
void disk_evict(struct disk *disk);

uint64_t disk_size(const struct disk *disk);

/* Sets the size. A part that the disk gains has new bytes, or those of before.
 */
void disk_resize(struct disk *disk, uint64_t size, bool new_bytes);

/*
 * Gives the disk another medium, with other bytes. Cached pages of the medium
 * before may still be read until they are dropped. On a writable disk, another
 * table has the same bytes.
 */
enum disk_field { DISK_SEQUENCE, DISK_FILE, DISK_TABLE };
void disk_change_medium(struct disk *disk, enum disk_field field);

/* Begins a write by another program that has moved the counters. No further
 * byte of it moves them until the content is settled again. */
void disk_set_unsettled(struct disk *disk, bool unsettled);

/* Makes all calls fail with ENODEV, or ends that. */
void disk_set_gone(struct disk *disk, bool gone);

/* Writes [off, off + len) as another program. If late, the counters move only
 * when they are read next. */
void disk_write_outside(struct disk *disk, uint64_t off, uint64_t len,
			bool late);

/* Has fn called once, at the start of the call after so many others. It may use
 * all of the functions above. */
void disk_at_call(struct disk *disk, unsigned calls, void (*fn)(void *data),
		  void *data);

/* Returns how many flushes were asked for. */
unsigned disk_flushes(const struct disk *disk);

/* Returns how many calls failed or ended short since the last
 * disk_forget_faults(). */
unsigned disk_faults(const struct disk *disk, enum disk_call call);
void disk_forget_faults(struct disk *disk);

/* Describes a call that a disk would refuse; NULL if there was none. */
const char *disk_misuse(const struct disk *disk);

/* Fills buf with random runs of zeros and of other values. */
void disk_fill(struct dice *dice, unsigned char *buf, uint64_t len);

#endif
