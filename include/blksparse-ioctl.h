/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ioctl by which blksparsefs tells what one of its files does. blksparse
 * stat asks it. Not installed: see blksparse-mount.h.
 *
 *	struct bsp_ioctl_stat st = { .index = 0 };
 *	int folder = open("/mnt", O_RDONLY | O_DIRECTORY);
 *
 *	while (ioctl(folder, BSP_IOCTL_STAT, &st) == 0) {
 *		printf("%s: %s\n", st.name, st.device);
 *		st.index++;
 *	}
 *
 * It is asked of the folder with the index of a file, in the order of the
 * folder, or of a file itself, with index 0. It never waits for a device. An
 * opening of a file may wait for the device, but not one with O_ASYNC, a flag
 * that other file systems ignore: that is the way to ask a mount point that is
 * a regular file.
 *
 * Errors: ENOENT without a file of that index; ENOTTY from any other file
 * system, and from a version of blksparsefs that does not know the number.
 *
 * The structure has the same layout on all machines, and its size is part of
 * the number. A field that is added takes room from reserved, which is zero,
 * and version rises. A change that would break a program gets another number.
 */
#ifndef BLKSPARSE_IOCTL_H
#define BLKSPARSE_IOCTL_H

#include <linux/ioctl.h>
#include <stdint.h>

enum {
	BSP_IOCTL_VERSION = 1,
	BSP_IOCTL_LAYERS = 8,
	BSP_IOCTL_TYPE = 0xb5,
};

/* Bits of flags. */
enum {
	BSP_IOCTL_WRITABLE = 1 << 0,
	BSP_IOCTL_GONE = 1 << 1,       /* the device is lost; see bsp_change */
	BSP_IOCTL_DISTRUSTED = 1 << 2, /* a layer below was found to err */
};

struct bsp_ioctl_layer {
	char name[248]; /* ends with a null byte, and is cut if too long */
	uint64_t zeros; /* bytes that it knew to be zeros */
};

/* Sizes are bytes. Those that struct bsp_figures or struct bsp_stat of the
 * library has mean the same here. */
struct bsp_ioctl_stat {
	uint32_t version;
	uint32_t index; /* set by the caller; nothing else is read */
	uint32_t files; /* of the mount */
	uint32_t flags; /* BSP_IOCTL_WRITABLE... */
	uint32_t granule;
	uint32_t layers; /* that knew zeros; layer[] has the first of them */
	uint64_t node;	 /* st_ino of the file */
	/* Of the device: st_rdev, or st_dev and st_ino of an image. */
	uint64_t device_number;
	uint64_t device_file_system;
	uint64_t device_inode;

	uint64_t size, capacity;
	uint64_t data, hole, unknown;
	uint64_t pending;
	uint64_t read, written, zeroed;
	uint64_t saved_seeks, saved_holes, saved_zeros, saved_same;
	uint64_t read_errors, write_errors, failed_flushes;
	uint64_t other_writers;

	uint64_t requests;   /* in flight now */
	uint64_t slowest_us; /* since the oldest of them came */
	uint64_t slowest_off;
	uint64_t slowest_len;
	char slowest[24]; /* its operation, such as "read" */

	/* As above, these end with a null byte. */
	char name[256];
	char device[1024];
	struct bsp_ioctl_layer layer[BSP_IOCTL_LAYERS];

	uint64_t process; /* of blksparsefs, in its own namespace */

	uint64_t reserved[64];
};

_Static_assert(sizeof(struct bsp_ioctl_stat) == 4096, "the layout is fixed");

#define BSP_IOCTL_STAT _IOWR(BSP_IOCTL_TYPE, 0, struct bsp_ioctl_stat)

#endif
