/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The identity of a device: two samples of it, compared, tell whether it still
 * is the device of the last look, and whether it still holds the same bytes.
 * It has two parts.
 *
 * The medium is what the device shows: which disk, which file below a loop
 * device, which table of the device mapper. Another medium has other bytes
 * everywhere, also where the kernel has pages of the device's node.
 *
 * The content is what the medium holds. Other programs write to it through the
 * same kernel, so that its pages of the node are right.
 *
 * All here is pure: the kinds of devices fill the samples, changes.c draws the
 * conclusions.
 */
#ifndef BSP_DEVICE_IDENTITY_H
#define BSP_DEVICE_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* How much of the medium a sample asks for, from cheap to dear. */
enum bsp_depth {
	BSP_DEPTH_SEQUENCE, /* the disk sequence number: before each write */
	BSP_DEPTH_CHEAP,    /* and the file of a loop device: at each look */
	BSP_DEPTH_ALL,	    /* and the device mapper's table: once a second */
};

/* A field that is 0 was not asked for, or the device has none. */
struct bsp_medium {
	uint64_t sequence; /* BLKGETDISKSEQ (Linux 5.15) */
	/* The file below a loop device: st_dev and st_ino, and where in it the
	 * device begins, bytes (without meaning if file_ino is 0). */
	uint64_t file_dev, file_ino, file_off;
	uint64_t table; /* bsp_hash() of the device mapper's table */
};

enum bsp_medium_change {
	BSP_MEDIUM_SAME,
	/* Another table of the device mapper: the device may hold other bytes
	 * in other places, or the same ones (pvmove). */
	BSP_MEDIUM_TABLE,
	BSP_MEDIUM_OTHER,
};

/* Compares the fields that both samples have. */
enum bsp_medium_change bsp_medium_compare(const struct bsp_medium *was,
					  const struct bsp_medium *now);

/* Takes the fields that now has over into *medium. */
void bsp_medium_update(struct bsp_medium *medium, const struct bsp_medium *now);

/* A hash of size bytes at text that is never 0 (FNV-1a), going on from the hash
 * of the text before it, or from 0. */
uint64_t bsp_hash(uint64_t hash, const void *text, size_t size);

enum { BSP_CONTENT_VALUES = 9 };

/*
 * The counters or times that move when the content changes. While two samples
 * are equal, no program wrote to the device between them, as far as this host
 * can tell.
 */
struct bsp_content {
	uint64_t value[BSP_CONTENT_VALUES];
	bool counted; /* false: nothing counts writes, so nothing is equal */
	/* false: a write that has moved the values may still be under way, so
	 * that bytes which are read now may change without moving them. */
	bool settled;
};

bool bsp_content_equal(const struct bsp_content *a,
		       const struct bsp_content *b);

/*
 * A change time settles. It moves when a write begins, and its clock ticks
 * coarsely; the write may take a while. So a time is settled when it is
 * BSP_SETTLE_SECONDS old. Its age is measured by the clock of now, and by what
 * that clock would say had it not been set since the first look; the younger
 * one counts. A time in the future, or a clock that is wrong, does not keep it
 * from settling: a time that was seen for so long without moving is settled,
 * too.
 */
enum { BSP_SETTLE_SECONDS = 5 };

/* Zero before the first call of bsp_settle(). */
struct bsp_settling {
	struct timespec changed; /* the time that was seen last, */
	int64_t seen_ns;	 /* and since when, CLOCK_BOOTTIME */
	int64_t ahead_ns; /* CLOCK_REALTIME less CLOCK_BOOTTIME at first */
	bool seen;
};

/* Looks at a change time with both clocks as of now, in nanoseconds. Returns
 * whether it is settled. */
bool bsp_settle(struct bsp_settling *settling, const struct timespec *changed,
		int64_t realtime_ns, int64_t boottime_ns);

#endif
