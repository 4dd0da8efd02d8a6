/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changes a granule while its neighbours are read and written.
 *
 * The granule is a marker over old bytes. It is filled in part, or zeroed by
 * writing; its neighbours are data. The kernel may have all of them in one page
 * of its cache. Afterwards the granule must hold the written bytes and zeros,
 * in the cache and on the device.
 *
 *	beside DEVICE fill|zero ROUNDS
 *
 * The device has slow writes, so that the neighbours' accesses fall into the
 * change. Ends with status 1 and the offset if a byte is wrong.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "blksparse.h"

enum {
	GRANULE = 4096,
	PART = 100,	  /* the length of the write, */
	PART_AT = 1000,	  /* and its offset in the granule */
	REGION = 4 << 20, /* the rounds use one after the other */
	REGIONS = 11,
	CHUNK = 64 << 10,
	OLD = 0xdd,
	OTHER = 0xee,
};

/* Fixed while threads run, but for the fields that a barrier orders. */
static struct bsp_sparse *sp;
static uint64_t base, at; /* the region, and the granule in it */
static pthread_barrier_t begin, end;
static bool over;
static unsigned pause_us; /* of the thread that writes beside */

static void must(bool good, const char *what)
{
	if (!good) {
		fprintf(stderr, "beside: %s failed\n", what);
		exit(2);
	}
}

static void nap(unsigned us)
{
	const struct timespec time = { .tv_nsec = us * 1000L };

	(void)nanosleep(&time, NULL);
}

/* Reads in order and uncached, so that the kernel reads ahead. */
static void *read_beside(void *data)
{
	static char buf[CHUNK];

	for (;;) {
		(void)pthread_barrier_wait(&begin);
		if (over)
			return NULL;
		for (uint64_t off = base; off < at + CHUNK; off += CHUNK)
			must(bsp_sparse_read(sp, off, buf, CHUNK) == CHUNK,
			     "reading beside it");
		(void)pthread_barrier_wait(&end);
	}
}

static void *write_beside(void *data)
{
	char part[PART];

	memset(part, OTHER, PART);
	for (;;) {
		(void)pthread_barrier_wait(&begin);
		if (over)
			return NULL;
		nap(pause_us);
		for (int i = 0; i < 30; i++)
			must(bsp_sparse_write(
				     sp,
				     at + PART_AT +
					     (uint64_t)(i % 2 ? GRANULE
							      : -GRANULE),
				     part, PART) == PART,
			     "writing beside it");
		(void)pthread_barrier_wait(&end);
	}
}

/* Makes the granule a marker over old bytes, without cached pages. */
static void prepare(int node, unsigned round)
{
	char old[GRANULE];

	base = round % REGIONS * (uint64_t)REGION;
	at = base + (uint64_t)(16 + random() % 40) * CHUNK +
	     (uint64_t)(1 + random() % 14) * GRANULE;
	pause_us = (unsigned)(random() % 4000);
	memset(old, OLD, GRANULE);
	must(bsp_sparse_write(sp, at, old, GRANULE) == GRANULE, "preparing");
	must(bsp_sparse_flush(sp, NULL, NULL) == 0, "a flush");
	must(bsp_sparse_fallocate(sp,
				  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				  at, GRANULE) == 0,
	     "punching");
	(void)posix_fadvise(node, (off_t)base, REGION, POSIX_FADV_DONTNEED);
}

/* Returns the number of wrong bytes. */
static unsigned wrong(const unsigned char *granule, unsigned char value)
{
	unsigned n = 0;

	for (unsigned i = 0; i < GRANULE; i++)
		n += granule[i] !=
		     (i >= PART_AT && i < PART_AT + PART ? value : 0);
	return n;
}

/* Reads the granule from the device itself. */
static void read_device(int direct, unsigned char *granule)
{
	static unsigned char aligned[GRANULE] __attribute__((aligned(GRANULE)));

	must(pread(direct, aligned, GRANULE, (off_t)at) == GRANULE,
	     "reading the device");
	memcpy(granule, aligned, GRANULE);
}

static bool check(int direct, unsigned round, unsigned char value)
{
	unsigned char granule[GRANULE];
	unsigned seen, held;

	must(bsp_sparse_read(sp, at, granule, GRANULE) == GRANULE, "reading");
	seen = wrong(granule, value);
	must(bsp_sparse_flush(sp, NULL, NULL) == 0, "a flush");
	read_device(direct, granule);
	held = wrong(granule, value);
	if (seen || held)
		printf("round %u: of the granule at %ju %u bytes are wrong, and %u on the device\n",
		       round, (uintmax_t)at, seen, held);
	return !seen && !held;
}

int main(int argc, char **argv)
{
	bool zeroes = argc == 4 && strcmp(argv[2], "zero") == 0;
	const struct bsp_sparse_options options = {
		.zero_mode = zeroes ? BSP_ZERO_WRITE : BSP_ZERO_UNMAP,
	};
	unsigned rounds = argc == 4 ? (unsigned)atoi(argv[3]) : 0, bad = 0;
	size_t all = (size_t)REGION * (REGIONS + 1);
	struct bsp_device *dev;
	GError *error = NULL;
	pthread_t threads[2];
	int node, direct;
	char *data;

	must(rounds > 0, "understanding the arguments");
	dev = bsp_device_open_writable(argv[1], &error);
	if (!dev) {
		fprintf(stderr, "beside: %s\n", error->message);
		return 2;
	}
	sp = bsp_sparse_new(dev, &options, NULL);
	must(sp, "making the object");
	node = open(argv[1], O_RDONLY);
	direct = open(argv[1], O_RDONLY | O_DIRECT);
	must(node >= 0 && direct >= 0, "opening the device");
	data = malloc(all);
	must(data, "malloc");
	memset(data, OTHER, all);
	must(bsp_sparse_write(sp, 0, data, all) == (ssize_t)all, "writing");
	(void)pthread_barrier_init(&begin, NULL, 3);
	(void)pthread_barrier_init(&end, NULL, 3);
	must(pthread_create(&threads[0], NULL, read_beside, NULL) == 0 &&
		     pthread_create(&threads[1], NULL, write_beside, NULL) == 0,
	     "starting threads");
	for (unsigned i = 0; i < rounds; i++) {
		unsigned char value = (unsigned char)(1 + i % 200);

		prepare(node, i);
		memset(data, value, PART);
		(void)pthread_barrier_wait(&begin);
		if (zeroes)
			must(bsp_sparse_flush_markers(sp, NULL, NULL) == 0,
			     "carrying out");
		else
			must(bsp_sparse_write(sp, at + PART_AT, data, PART) ==
				     PART,
			     "filling");
		(void)pthread_barrier_wait(&end);
		if (zeroes)
			must(bsp_sparse_write(sp, at + PART_AT, data, PART) ==
				     PART,
			     "writing a part");
		bad += !check(direct, i, value);
	}
	over = true;
	(void)pthread_barrier_wait(&begin);
	(void)pthread_join(threads[0], NULL);
	(void)pthread_join(threads[1], NULL);
	printf("%u rounds, %u wrong\n", rounds, bad);
	free(data);
	close(node);
	close(direct);
	bsp_sparse_free(sp);
	return bad != 0;
}
