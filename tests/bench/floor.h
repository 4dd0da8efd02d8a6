/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include <stddef.h>
#include <stdint.h>

/* As many reads as this in flight, each so long. */
enum { FLOOR_DEPTH = 8, FLOOR_BLOCK = 256 << 10 };

/* Tells the 4 KiB pages in a block that hold anything but zeros. */
uint64_t floor_data_pages(const void *block, size_t len);

/*
 * Reads all of FD, tests it, and returns the pages of data; ends the program
 * when it cannot. Two engines: floor-uring.c, floor-threads.c.
 */
uint64_t floor_scan(int fd, uint64_t size);

#endif
