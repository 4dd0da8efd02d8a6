/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A trial: the object, disk and oracle of one seed, and a log of the
 * operations. The first mistake is kept, and ends the trial.
 *
 * An oracle (byte-oracle.h) knows for each byte of the file which values a read
 * may give, and for each byte of the disk which values may be durable. A trial
 * does random operations on the object, tells the oracle about each, and
 * compares the two. Faults of the disk and of memory are chosen by dice of
 * their own, so that a seed repeats all of it.
 *
 *	trial.c		begins and ends an operation; explains failures; follows
 *			the size of the device
 *	trial-ops.c	the operations, and their effects on the oracle
 *	trial-check.c	compares the object and the disk with the oracle
 *	trial-end.c	the end, when nothing fails any more
 */
#ifndef TRIAL_H
#define TRIAL_H

#include <glib.h>
#include <inttypes.h>

#include "byte-oracle.h"
#include "dice.h"
#include "faulty-disk.h"
#include "sparse/sparse.h"

struct trial {
	uint64_t seed;
	struct dice dice;	 /* chooses operations */
	struct dice disk_dice;	 /* chooses the faults of the disk */
	struct dice memory_dice; /* chooses allocations that fail */

	/* Fixed: */
	struct disk *disk;
	struct bsp_sparse *sp;
	struct oracle *o;
	uint64_t granule;
	uint64_t capacity;
	uint32_t block;
	bool writable;
	bool counts;  /* the disk counts writes from outside */
	bool ragged;  /* sizes of any number of bytes */
	bool resizes; /* the device changes its size */
	bool minhole; /* short holes are data for seeks */
	bool skips;   /* writes that change nothing are left out */
	unsigned memory_chance;
	struct disk_mood mood;

	uint64_t byte; /* the log follows it */

	/* The operation in progress: */
	uint64_t change_from, change_to; /* it may change the device there, */
	bool only_touched;    /* and only granules that were touched */
	unsigned allocations; /* failed before it began */
	bool unsteady;	      /* gone, or another size than the file has */
	bool outside;	      /* another program wrote */
	unsigned interrupted; /* how often it was interrupted */

	/* Another medium is there that no check has found: one that any check
	 * of the medium finds, or only a check of all. */
	enum { LOOKED, UNLOOKED, ALL_UNLOOKED } looks;
	bool unsettled;
	bool gone;
	bool was_short; /* memory was short at some time */

	unsigned char *buf; /* capacity bytes, for operations */
	unsigned char *now; /* and for checks */
	bool *lost;	    /* sectors, since the last trial_follow() */
	GString *log;
	char *wrong;
};

enum {
	BY_READS = 1 << DISK_READ,
	BY_WRITES = 1 << DISK_WRITE,
	BY_FLUSHES = 1 << DISK_FLUSH,
	BY_NOTHING = 0
};

struct trial *trial_new(uint64_t seed);
void trial_free(struct trial *t);

/* Keeps the first mistake. */
void trial_wrong(struct trial *t, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* A size of the device. */
uint64_t trial_any_size(struct trial *t);

/* --- An operation --- */

/* An operation begins; it may change the device in [from, to). */
void trial_begin(struct trial *t, uint64_t from, uint64_t to,
		 const char *format, ...) G_GNUC_PRINTF(4, 5);

/* The operation has ended; nothing fails until the next one begins. */
void trial_end(struct trial *t, int64_t result);

/*
 * The operation failed with result. Keeps a mistake unless memory, a device of
 * another size, or faults of the kinds in the set explain it.
 */
void trial_explain(struct trial *t, int64_t result, unsigned kinds);

/* The file was to grow, whether that failed or not: the granule in which it, or
 * the device, ends may be written again with the same bytes. */
void trial_opened(struct trial *t, uint64_t end);

/* The file ends at size, now that the operation has succeeded. */
void trial_resized(struct trial *t, uint64_t size);

/* Has the file found out that the device has another size? */
void trial_follow(struct trial *t);

/* Another program, or medium, has given [off, end) other bytes: readers may
 * get these or those of before. */
void trial_may_be_held(struct trial *t, uint64_t off, uint64_t end);

/* The object has checked which medium is there, with a check of all or not. */
void trial_looked(struct trial *t, bool all);

/* A bsp_interrupted_fn that returns true now and then. */
bool trial_interrupted(void *trial);

/* One random operation. */
void trial_step(struct trial *t);

/* Puts in another medium: nothing may be written to it. */
void trial_take_out(struct trial *t);

/* The end: nothing fails any more, and everything must be right and durable. */
void trial_finish(struct trial *t);

/* --- Checks --- */

/* The extents, stat and the device agree with the oracle. */
void trial_check(struct trial *t);

/* All bytes read as the oracle allows, through the object. */
void trial_check_reads(struct trial *t);

/* Bytes that no operation touched are durable. */
void trial_check_crash(struct trial *t);

/* After a good flush: all of the file is durable. */
void trial_check_durable(struct trial *t);

/* After a flush of markers: the disk has zeros where holes are. */
void trial_check_flushed(struct trial *t);

/* A read gave n bytes at off. */
void trial_check_read(struct trial *t, uint64_t off, const unsigned char *buf,
		      uint64_t n);

#endif
