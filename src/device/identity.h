/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The identity of a device. Two samples, compared, tell whether it still is the
 * same device, and whether it still holds the same bytes. A sample has two
 * parts.
 *
 * The medium: the disk, the file below a loop device, the table of the device
 * mapper. Another medium has other bytes everywhere, even where the kernel has
 * cached pages of the device's node.
 *
 * The content: the bytes of the medium, by the counters or times that move when
 * they change. Other programs write them through the same kernel, so that its
 * cached pages are right.
 *
 * All of this is pure. The kinds of devices fill the samples, and refresh.c (in
 * sparse) acts on the difference.
 */
#ifndef BSP_DEVICE_IDENTITY_H
#define BSP_DEVICE_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Which fields of the medium a sample has, from cheap to expensive. */
enum bsp_depth {
	BSP_DEPTH_SEQUENCE, /* the disk sequence number: before each write */
	BSP_DEPTH_CHEAP,    /* and the file of a loop device: at each look */
	BSP_DEPTH_ALL,	    /* and the device mapper's table: once a second */
};

/* A field that is 0 was not sampled, or the device does not have it. */
struct bsp_medium {
	uint64_t sequence; /* BLKGETDISKSEQ (Linux 5.15) */
	/* The file below a loop device: st_dev, st_ino, and the offset in bytes
	 * at which the device begins (no meaning if file_ino is 0). */
	uint64_t file_dev, file_ino, file_off;
	uint64_t table;	 /* bsp_hash() of the device mapper's table */
	uint64_t layers; /* rises when a layer below is another one (known.h) */
	uint64_t connection; /* rises when that to a server is lost */
	bool disconnected;   /* there is none now; not compared */
};

enum bsp_medium_change {
	BSP_MEDIUM_SAME,
	/* Another table of the device mapper: any byte of the device may
	 * differ, or none (pvmove). */
	BSP_MEDIUM_TABLE,
	/* The connection to the server was lost: there may be another medium
	 * behind the next one. */
	BSP_MEDIUM_CONNECTION,
	BSP_MEDIUM_OTHER,
};

/* Compares the fields that both samples have. Pure. */
enum bsp_medium_change bsp_medium_compare(const struct bsp_medium *was,
					  const struct bsp_medium *now);

/* Copies the fields that now has into *medium. */
void bsp_medium_update(struct bsp_medium *medium, const struct bsp_medium *now);

/* Returns a hash of text (FNV-1a), never 0. hash is the hash of the text before
 * it, or 0. */
uint64_t bsp_hash(uint64_t hash, const void *text, size_t size);

enum { BSP_CONTENT_VALUES = 10 };

/*
 * The counters or times that move when the content changes. If two samples are
 * equal, no program wrote to the device between them, as far as this host can
 * tell.
 */
struct bsp_content {
	uint64_t value[BSP_CONTENT_VALUES];
	bool counted; /* false: the kernel does not count writes to this
		       * device, and no two samples are equal */
	/* false: a write that moved the values may still be under way. Bytes
	 * that are read now may change without moving the values again. */
	bool settled;
	/* A program that writes to a file below the device may not have ended a
	 * write that moved the values. When the file's change time settles,
	 * this is false again, and all may have changed once more. */
	bool young;
};

bool bsp_content_equal(const struct bsp_content *a,
		       const struct bsp_content *b);

/*
 * A change time is settled when it is old enough to be relied on. It moves when
 * a write begins, its clock ticks coarsely, and the write may take a while. So
 * it is settled when it is BSP_SETTLE_SECONDS old. Its age is measured with the
 * clock of now, and with the same clock as if it had not been set since the
 * first sample; the younger age counts. A time in the future, or a wrong clock,
 * must not prevent that for ever: a time that has not moved for so long while
 * it was sampled is settled as well.
 */
enum { BSP_SETTLE_SECONDS = 5 };

/* The state of one file. All zero before the first call of bsp_settle(). */
struct bsp_settling {
	struct timespec changed; /* the change time of the last sample */
	int64_t seen_ns;  /* CLOCK_BOOTTIME of the first sample with it */
	int64_t ahead_ns; /* CLOCK_REALTIME minus CLOCK_BOOTTIME at the first
			     sample */
	bool seen;
};

/* Samples a change time, with both clocks of now in nanoseconds. Returns
 * whether the time is settled. */
bool bsp_settle(struct bsp_settling *settling, const struct timespec *changed,
		int64_t realtime_ns, int64_t boottime_ns);

#endif
