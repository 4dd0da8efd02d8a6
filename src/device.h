/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Devices: what holds the bytes, behind one small table of operations. Only
 * the files device*.c make system calls on them.
 *
 * Threads: all operations may run side by side, but for close.
 */
#ifndef BSP_DEVICE_H
#define BSP_DEVICE_H

#include "blksparse.h"

enum {
	BSP_STAMP_VALUES = 6,
	/* What buffers should be aligned to, so that no copy is needed. */
	BSP_BUFFER_ALIGN = 4096,
};

/*
 * What a device's counters said at one instant. While two stamps are equal
 * nobody wrote to the device between them, as far as this host can tell.
 */
struct bsp_stamp {
	uint64_t value[BSP_STAMP_VALUES];
	bool counted; /* false: nobody counts here, so nothing is equal */
};

bool bsp_stamp_equal(const struct bsp_stamp *a, const struct bsp_stamp *b);

struct bsp_device_ops {
	/*
	 * Reads like pread(2): a count, which may be short, 0 at the end, or
	 * -errno. Any offset, length and buffer; the aligned are faster.
	 */
	ssize_t (*read)(struct bsp_device *dev, void *buf, size_t len,
			uint64_t off);

	/* The size now, bytes. Returns 0, or -errno if the device is gone. */
	int (*size)(struct bsp_device *dev, uint64_t *ret_size);

	/*
	 * Pushes out what this host has written to the device but still holds
	 * in memory, then reads the counters.
	 */
	void (*stamp)(struct bsp_device *dev, struct bsp_stamp *ret_stamp);

	/*
	 * Up to which offset, from off on, the device is known to hold zeros
	 * without reading them; off itself if nothing is known. NULL if this
	 * kind of device never knows.
	 */
	uint64_t (*zeros)(struct bsp_device *dev, uint64_t off);

	/* Frees what is the kind's own, and the structure. */
	void (*close)(struct bsp_device *dev);
};

/* Each kind has this at the head of its own structure. */
struct bsp_device {
	const struct bsp_device_ops *ops;
	char *path;
	struct bsp_device_info info; /* fixed after opening */
};

/*
 * The kinds. fd, path and what is known of them become the device's on
 * success; on failure, which sets error, they stay the caller's.
 */
struct bsp_device *bsp_device_block_new(const char *path, int fd,
					const struct bsp_device_info *info,
					GError **error);
struct bsp_device *bsp_device_file_new(const char *path, int fd,
				       const struct bsp_device_info *info,
				       GError **error);

#endif
