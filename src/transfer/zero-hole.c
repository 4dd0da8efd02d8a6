/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transfer/zero-hole.h"

#include <errno.h>
#include <stdlib.h>

#include "base/range.h"
#include "base/zero.h"
#include "device/zero-range.h"

enum {
	KNOWN_SHIFT = 12, /* log2 of the unit of known zeros */
};

#define CHECK_EACH (UINT64_C(512) << 20)
#define KNOWN_MAX (UINT64_C(512) << 20) /* of one answer */

/* Which layers answer: changes with the table, or the file, of any of them. */
static uint64_t layers_of(struct bsp_device *dev)
{
	struct bsp_medium medium = { 0 };

	if (dev->ops->medium)
		dev->ops->medium(dev, BSP_DEPTH_ALL, &medium);
	return medium.layers;
}

/*
 * Returns the end of the zeros in [off, end) that the device knows to start at
 * off, or off; then hole->unknown_to is past it. The question goes beyond end:
 * it costs no more, and where nothing is known, the next holes need none. Zeros
 * beyond end do not count: data may come there. The answer counts only if no
 * layer was exchanged meanwhile: the old one may tell of blocks that are the
 * device's no longer.
 */
static uint64_t ask_zeros(struct bsp_zero_hole *hole, uint64_t off,
			  uint64_t end)
{
	struct bsp_device *dev = hole->dev;
	uint64_t limit = bsp_max(end, bsp_min(off + KNOWN_MAX, dev->info.size));
	uint64_t layers = layers_of(dev);
	struct bsp_known_answer answer =
		dev->ops->known(dev, 0, true, off, limit);
	uint64_t zeros = answer.end >= end
				 ? end
				 : bsp_align_down(answer.end, KNOWN_SHIFT);

	hole->layer = answer.layer;
	if (answer.zeros && zeros > off && layers_of(dev) == layers)
		return zeros;
	hole->unknown_to =
		answer.zeros ? off + 1 : bsp_max(answer.end, off + 1);
	hole->unknown_to = bsp_align_up(hole->unknown_to, KNOWN_SHIFT);
	return off;
}

/* The same, where a part of a block may be among the bytes that were written
 * just before off, or where the device need not be asked. */
static uint64_t known_zeros(struct bsp_zero_hole *hole, uint64_t off,
			    uint64_t end)
{
	uint64_t block = bsp_align_up(off + 1, KNOWN_SHIFT);

	if (!hole->dev->ops->known || hole->mode != BSP_ZERO_UNMAP)
		hole->unknown_to = end;
	else if (off % (1 << KNOWN_SHIFT))
		hole->unknown_to = bsp_max(hole->unknown_to, block);
	return off < hole->unknown_to ? off : ask_zeros(hole, off, end);
}

/* Reads one block in half a GiB of the zeros that the device knew. */
static int check_known(struct bsp_zero_hole *hole, uint64_t off, uint64_t end)
{
	size_t len = (size_t)bsp_min(end - off, 1 << KNOWN_SHIFT);
	char *buf;
	ssize_t n;
	bool zero;

	if (hole->unchecked && hole->unchecked + (end - off) < CHECK_EACH) {
		hole->unchecked += end - off;
		return 0;
	}
	hole->unchecked = end - off;
	buf = bsp_buffer_new(1 << KNOWN_SHIFT);
	if (!buf)
		return -ENOMEM;
	n = hole->dev->ops->read_through(hole->dev, off, buf, len);
	zero = n < 0 || bsp_is_zero(buf, (size_t)n);
	free(buf);
	if (zero)
		return 0;
	hole->liar = hole->layer ? hole->layer : "a layer below";
	return -EIO;
}

/* Returns the end of the zeros that are known at off, and that the caller then
 * leaves as they are; or off. */
static uint64_t leave_zeros(struct bsp_zero_hole *hole, uint64_t off,
			    uint64_t end, int *ret_error)
{
	uint64_t zeros;

	bsp_device_begin_change(hole->dev);
	zeros = known_zeros(hole, off, bsp_min(end, off + KNOWN_MAX));
	*ret_error = zeros > off ? check_known(hole, off, zeros) : 0;
	bsp_device_end_change(hole->dev, zeros > off);
	return zeros;
}

int bsp_zero_hole_step(struct bsp_zero_hole *hole, uint64_t off, uint64_t end,
		       uint64_t *ret_next)
{
	int r;
	uint64_t zeros = leave_zeros(hole, off, end, &r);

	if (zeros > off) {
		*ret_next = zeros;
		return r;
	}
	end = bsp_min(end, hole->unknown_to);
	*ret_next =
		bsp_min(end, off + bsp_device_zero_step(hole->dev, hole->mode));
	return bsp_device_zero(hole->dev, hole->mode, off, *ret_next - off);
}
