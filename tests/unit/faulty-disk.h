/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A disk in memory that fails at random, as disks do. It keeps its bytes in
 * three layers:
 *
 *	seen	 this host reads them: the kernel's page cache
 *	held	 the disk answers them: its own volatile cache
 *	durable	 a power cut leaves them
 *
 * A write lands in the first layer, a write through and a zeroing command in
 * the second, and a flush takes all to the third. A sector of 512 bytes may go
 * down by itself at any time. When that fails, or a flush does, some of the
 * sectors on the way are lost, each for itself: readers see the layer below, at
 * once, or later, when the host drops the page (until then the sector is a
 * phantom: it reads well and will never be written).
 *
 * Bytes have values below DISK_VALUES; an unmapped one may be DISK_JUNK, which
 * is none of a fill. Threads: one at a time.
 */
#ifndef FAULTY_DISK_H
#define FAULTY_DISK_H

#include "device/device.h"
#include "dice.h"

enum { DISK_SECTOR = 512, DISK_VALUES = 16, DISK_JUNK = DISK_VALUES - 1 };

/* The kinds of calls, for chances and counts. */
enum disk_call {
	DISK_READ,
	DISK_WRITE, /* also through, and wait_written */
	DISK_ZERO,  /* punch, zero-out, unmap, discard */
	DISK_FLUSH,
	DISK_CALLS,
};

/* The chances of random events, in 1000 calls. */
struct disk_mood {
	unsigned fails[DISK_CALLS];
	unsigned shortens;    /* a read or write does less than it was asked */
	unsigned writes_back; /* sectors go down by themselves, well */
	unsigned fails_early; /* or badly; the next flush says so */
	unsigned evicts;      /* phantoms vanish */
	unsigned loses; /* of 1000 sectors on their way, when a flush fails */
	bool phantoms;	/* lost sectors may be seen for a while */
	bool deceives;	/* even when it is read through */
};

/* How a disk is made. */
struct disk_options {
	uint64_t capacity; /* the most bytes it will ever have */
	uint64_t size;
	uint32_t block;
	bool writable;
	bool ragged;	    /* an image: its end is where it is, to the byte */
	bool waits_written; /* a write through is done after wait_written */
	bool direct;	    /* writes go past the host's cache */
	bool counts;	    /* writes from outside */
	bool has_zeros;	    /* it knows some zeros without a read */
	unsigned refused;   /* zeroing commands (bits of 1 << enum disk_zero) */
	unsigned broken;    /* and those that always fail */
};

enum disk_zero { DISK_PUNCH, DISK_ZERO_OUT, DISK_UNMAP };

struct disk;

/* Is told of an event in [off, off + len). */
typedef void (*disk_range_fn)(void *data, uint64_t off, uint64_t len);

/* Its bytes are as zeros and data come; the dice stay the caller's. */
struct disk *disk_new(const struct disk_options *options, struct dice *dice);

/* As it is given to bsp_sparse_new(), which frees it too. */
struct bsp_device *disk_device(struct disk *disk);

/*
 * Sets two functions: changes is called for each range before a call changes
 * it, lost for each range in which readers may see older bytes from now on.
 */
void disk_watch(struct disk *disk, disk_range_fn changes, disk_range_fn lost,
		void *data);

/* Sets the chances from now on; all zero: nothing fails. */
void disk_set_mood(struct disk *disk, const struct disk_mood *mood);

const unsigned char *disk_seen(const struct disk *disk);
const unsigned char *disk_held(const struct disk *disk);
const unsigned char *disk_durable(const struct disk *disk);

/* Will the byte at off, as it is seen, never be written? */
bool disk_is_phantom(const struct disk *disk, uint64_t off);

/* Can the sector at off not be read? A write of all of it cures it. */
bool disk_is_bad(const struct disk *disk, uint64_t off);
void disk_make_bad(struct disk *disk, uint64_t off);

/* Phantoms vanish. */
void disk_evict(struct disk *disk);

uint64_t disk_size(const struct disk *disk);

/* Sets its size. A part that it gains has new bytes, or those of before. */
void disk_resize(struct disk *disk, uint64_t size, bool new_bytes);

/*
 * Another medium, with other bytes. Pages of the one before may still be read,
 * until they are dropped. On a writable disk another table has the same bytes.
 */
enum disk_field { DISK_SEQUENCE, DISK_FILE, DISK_TABLE };
void disk_change_medium(struct disk *disk, enum disk_field field);

/* A write from outside has begun, and the counters have moved: they move for
 * no further byte of it until it is settled. */
void disk_set_unsettled(struct disk *disk, bool unsettled);

/* All calls fail with ENODEV, or no longer. */
void disk_set_gone(struct disk *disk, bool gone);

/* Another program writes [off, off + len): now, or it is in that program's
 * cache until counters are read. */
void disk_write_outside(struct disk *disk, uint64_t off, uint64_t len,
			bool late);

/* Called once, in the call after so many: to do any of the above then. */
void disk_at_call(struct disk *disk, unsigned calls, void (*fn)(void *data),
		  void *data);

/* How many flushes it was asked for. */
unsigned disk_flushes(const struct disk *disk);

/* How many calls failed, or did less, since the last disk_forget_faults(). */
unsigned disk_faults(const struct disk *disk, enum disk_call call);
void disk_forget_faults(struct disk *disk);

/* A call that no disk would take, in words; NULL if there was none. */
const char *disk_misuse(const struct disk *disk);

/* Random bytes: runs of zeros and of other values. */
void disk_fill(struct dice *dice, unsigned char *buf, uint64_t len);

#endif
