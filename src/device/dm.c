/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asking the device mapper about a device (linux/dm-ioctl.h), and about the
 * devices below it, which sysfs lists as slaves.
 *
 * The check of stacks is for thin pools. A block of a thin volume that was
 * never written has no block of the pool, and reads as zeros. The first write
 * to a part of it maps all of it to a block of the pool. The pool then zeroes
 * the rest of that block, unless it was told to skip that (skip_block_zeroing).
 * With such a pool, zeros may turn into old bytes of the pool when any program
 * writes beside them: zeros that were read, and zeros that were found there and
 * so not written. No map of such a volume can be relied on.
 */
#include "device/dm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "device/dm-table.h"
#include "device/loop.h"
#include "device/sysfs.h"

uint64_t bsp_dm_table_hash(int control, dev_t rdev)
{
	uint64_t hash = 0;
	g_autoptr(GArray) targets = bsp_dm_targets(control, rdev, &hash);

	return targets ? hash : 0;
}

static int open_control(void)
{
	int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static bool is_target(const GArray *targets, unsigned i, const char *type)
{
	return strcmp(g_array_index(targets, struct bsp_dm_target, i).type,
		      type) == 0;
}

bool bsp_dm_is_thin(dev_t rdev)
{
	int control = open_control();
	g_autoptr(GArray) targets = NULL;
	bool thin;

	if (control < 0)
		return false;
	targets = bsp_dm_targets(control, rdev, NULL);
	thin = targets && targets->len;
	for (unsigned i = 0; thin && i < targets->len; i++)
		thin = is_target(targets, i, "thin");
	close(control);
	return thin;
}

static bool any_is(const GArray *targets, const char *type)
{
	for (unsigned i = 0; i < targets->len; i++)
		if (is_target(targets, i, type))
			return true;
	return false;
}

/* --- Stacks --- */

struct stack {
	const char *path; /* of the device on top */
	int control;	  /* the control node, or -errno */
	GError **error;
};

static bool cannot_ask(const struct stack *stack, int errnum)
{
	return bsp_error_set(
		stack->error, BSP_ERROR_FAILED,
		"%s may lie on a thin pool that does not zero new blocks, and the device mapper cannot be asked: %s (until then it can only be read)",
		stack->path, g_strerror(errnum));
}

/* Gets the targets of the device of a folder. Returns NULL, and an error, on
 * failure. */
static GArray *targets_at(const struct stack *stack, int folder)
{
	dev_t rdev = bsp_sysfs_rdev(folder);
	GArray *targets = NULL;

	errno = ENODEV;
	if (stack->control < 0)
		errno = -stack->control;
	else if (rdev)
		targets = bsp_dm_targets(stack->control, rdev, NULL);
	if (!targets)
		cannot_ask(stack, errno);
	return targets;
}

/* Checks that the pool of a thin volume zeroes new blocks. */
static bool check_pool(const struct stack *stack, int folder)
{
	g_autoptr(GArray) targets = targets_at(stack, folder);
	char name[DM_NAME_LEN + 1];

	for (unsigned i = 0; targets && i < targets->len; i++) {
		if (!bsp_dm_skips_zeroing(
			    &g_array_index(targets, struct bsp_dm_target, i)))
			continue;
		(void)bsp_sysfs_read_line(folder, "dm/name", name,
					  sizeof(name));
		return bsp_error_set(
			stack->error, BSP_ERROR_FAILED,
			"%s lies on the thin pool %s, which does not zero new blocks (skip_block_zeroing), so that old bytes of the pool would appear around the written data; make the pool zero them first, as with lvchange --zero y (until then it can only be read)",
			stack->path, name);
	}
	return targets != NULL;
}

static bool check_rdev(const struct stack *stack, dev_t rdev);

/*
 * Checks a slave of disk, and all devices below it. Only root may ask the
 * device mapper, so it is asked only if both devices belong to it, as a thin
 * volume and its pool do. *targets keeps the targets of disk from one slave to
 * the next.
 */
static bool check_slave(const struct stack *stack, int disk, int slave,
			GArray **targets)
{
	if (bsp_sysfs_has(disk, "dm") && bsp_sysfs_has(slave, "dm")) {
		if (!*targets)
			*targets = targets_at(stack, disk);
		if (!*targets)
			return false;
		if (any_is(*targets, "thin") && !check_pool(stack, slave))
			return false;
	}
	return check_rdev(stack, bsp_sysfs_rdev(slave));
}

static bool check_slaves(const struct stack *stack, int disk)
{
	DIR *dir = bsp_sysfs_list(disk, "slaves");
	g_autoptr(GArray) targets = NULL;
	const char *name;
	bool ok = true;

	while (ok && (name = bsp_sysfs_next(dir))) {
		int slave = bsp_sysfs_open_below(dirfd(dir), name);

		if (slave < 0)
			continue;
		ok = check_slave(stack, disk, slave, &targets);
		close(slave);
	}
	if (dir)
		(void)closedir(dir);
	return ok;
}

/* Checks the device below a loop device, if that has a device instead of a
 * file.
 */
static bool check_backing(const struct stack *stack, dev_t rdev)
{
	struct bsp_loop_backing backing;

	if (bsp_loop_backing_of(rdev, &backing) < 0 || !backing.rdev)
		return true;
	return check_rdev(stack, backing.rdev);
}

/* Checks a device and all devices below it. */
static bool check_rdev(const struct stack *stack, dev_t rdev)
{
	bool partition;
	int disk = bsp_sysfs_open_disk(rdev, &partition);
	bool ok;

	if (disk < 0)
		return true;
	ok = check_slaves(stack, disk) && check_backing(stack, rdev);
	close(disk);
	return ok;
}

bool bsp_dm_check_stack(const char *path, dev_t rdev, GError **error)
{
	struct stack stack = {
		.path = path,
		.control = open_control(),
		.error = error,
	};
	bool ok = check_rdev(&stack, rdev);

	if (stack.control >= 0)
		close(stack.control);
	return ok;
}
