/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * State that the parts of soak share. All of it lies in memory that the main
 * process and the processes of the workers share.
 */
#ifndef SOAK_H
#define SOAK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "../unit/dice.h"

enum {
	SOAK_FILES = 4,	  /* at most, in a mount */
	SOAK_STRIPES = 4, /* at most, of a file: a worker each */
	SOAK_WORKERS = SOAK_FILES * SOAK_STRIPES,
	SOAK_PROCESSES = 3,
	SOAK_PAGE = 4096,
	SOAK_LONGEST = 256 << 10, /* bytes of an operation */
};

enum soak_mode {
	SOAK_WRITE, /* ends with an unmount */
	SOAK_KILL,  /* ends with a driver that is killed */
	SOAK_CUT,   /* ends with a power cut of the disks */
	SOAK_FAULT, /* windows in which the disks fail */
	SOAK_READ,  /* a read-only mount beside writers of the nodes */
};

enum soak_kind {
	SOAK_LOOP,   /* a loop device on an image */
	SOAK_IMAGE,  /* an image itself */
	SOAK_NBD,    /* an export of nbdkit */
	SOAK_LOSING, /* a loop device on a losing-disk */
	SOAK_GIVEN,  /* --device */
};

/* --- The shadow (shadow.c) --- */

enum change { CHANGE_DATA, CHANGE_ZERO, CHANGE_CUT };

/* A change that is not known to be durable. */
struct record {
	uint64_t off, len;
	uint32_t at; /* of its bytes in the stripe's store */
	enum change kind;
	bool failed; /* write it again */
};

enum { RECORDS = 1024, STORE = 4 << 20 };

/*
 * A part of a file that one worker changes. Its lock protects all of it but
 * from and to, which change only while the worker has the whole file.
 */
struct stripe {
	uint64_t from, to;
	pthread_mutex_t lock;
	struct record records[RECORDS];
	unsigned char store[STORE];
	uint32_t stored, count;
	uint64_t first; /* number of records[0]; counts from the start */
	uint64_t done;	/* number of the first that is not complete */
	/* The number of the file's last window whose faults this worker has
	 * repaired; see soak_file.windows. */
	atomic_uint settled;
};

struct soak_file {
	/* Fixed. */
	char name[16], path[256], reader_path[256];
	char device[256]; /* to mount */
	char image[256];  /* the bytes below it, or "" */
	enum soak_kind kind;
	unsigned stripes;
	bool mapped; /* so that stripes are whole pages */
	bool resizes;
	bool exchanges; /* its loop device gets other files */
	uint32_t block; /* bytes of a block of the device: 512 or 4096 */
	uint64_t max;	/* bytes of the arrays */

	/* Changed by the worker of the last stripe, under its lock. */
	_Atomic uint64_t len;
	uint64_t capacity; /* of the device */

	/* Each byte belongs to a stripe, whose lock protects it. */
	unsigned char *now;  /* the file; zero past its end */
	unsigned char *base; /* the device, as of the last promise */
	bool *loose;	     /* base is not known */

	/* Odd while faults are injected. */
	atomic_uint windows;
	/* Shared for an operation, exclusive for one on the whole file. */
	pthread_rwlock_t whole;
	struct stripe stripe[SOAK_STRIPES];
};

/* The promise of an fsync in progress. */
struct promise {
	uint64_t done[SOAK_STRIPES];
	bool holds[SOAK_STRIPES];
};

struct worker_state {
	atomic_int tid;
	_Atomic int64_t began; /* an operation, in ns; or 0 */
	_Atomic uint64_t op;
	atomic_bool idle; /* it waits because of soak.pause */
	char what[64];	  /* the operation */
};

struct soak {
	/* Fixed for a round. */
	uint64_t seed;
	enum soak_mode mode;
	uint64_t granule;
	bool shows_holes;  /* no -o minhole */
	bool closes_count; /* a close is a promise, too */
	unsigned files, workers;
	uint64_t ops; /* of a worker, or 0 */

	struct soak_file file[SOAK_FILES];
	struct worker_state worker[SOAK_WORKERS];
	atomic_bool stop;   /* workers finish */
	atomic_bool ending; /* any error is right from now on */
	atomic_bool pause;  /* workers wait */
	atomic_bool failed; /* a worker has found a fault */
};

void *soak_shared(uint64_t len);
_Noreturn void soak_die(const char *what);
int64_t soak_now_ns(void);

static inline uint64_t soak_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t soak_max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Lays the stripes out, and takes the bytes of the device. */
void shadow_begin(struct soak_file *file, uint64_t size,
		  const unsigned char *device);

/* Whether the stripe has room for another record with len bytes. */
bool shadow_has_room(struct stripe *stripe, uint64_t len);

/* Record a change that begins: the file holds the new bytes from now on, and
 * the device may hold them. A cut is that of a file that ends at off now. */
void shadow_data(struct soak_file *file, struct stripe *stripe, uint64_t off,
		 const void *buf, uint64_t len);
void shadow_zero(struct soak_file *file, struct stripe *stripe, uint64_t off,
		 uint64_t len);
void shadow_cut(struct soak_file *file, struct stripe *stripe, uint64_t off,
		uint64_t len);

/* All changes so far are complete; the last one failed, or not. */
void shadow_done(struct stripe *stripe, bool failed);

/* The bytes [off, off + len) are those of the device now, and durable. */
void shadow_is(struct soak_file *file, struct stripe *stripe, uint64_t off,
	       uint64_t len, const unsigned char *bytes);

/* Whether faults may have changed the stripe since its worker has settled. */
bool shadow_is_unsure(struct soak_file *file, struct stripe *stripe);

/* Call the one before an fsync, the other after it if it has succeeded. */
void promise_begin(struct soak_file *file, struct promise *promise);
void promise_keep(struct soak_file *file, const struct promise *promise);

/* Makes the worker's own promise although it was unsure. */
void promise_own(struct soak_file *file, struct stripe *stripe);

/* Whether the file may show that byte, although it is not now[off]. */
bool shadow_may_read(struct soak_file *file, uint64_t off, unsigned char value,
		     uint64_t granule);

/* Whether the device may hold that byte after the driver was killed. */
bool shadow_may_hold(struct soak_file *file, uint64_t off, unsigned char value);

#endif
