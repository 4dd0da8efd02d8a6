/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include <stddef.h>
#include <stdint.h>

/* The number of reads in flight, and the length of each. */
enum { FLOOR_DEPTH = 8, FLOOR_BLOCK = 256 << 10 };

/* Returns the number of nonzero 4 KiB pages in a block. */
uint64_t floor_data_pages(const void *block, size_t len);

/*
 * Reads all of FD, tests it, and returns the number of pages of data; exits on
 * an error. There are two versions: floor-uring.c and floor-threads.c.
 */
uint64_t floor_scan(int fd, uint64_t size);

#endif
