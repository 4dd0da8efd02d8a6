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
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/range.h"
#include "device/identity.h"
#include "device/loop.h"
#include "device/sysfs.h"

enum {
	TABLE_MIN = 16 << 10,
	TABLE_MAX = 16 << 20,
};

/* --- Tables --- */

/* Returns the targets of a table, each as "TYPE PARAMETERS"; NULL if the table
 * is cut off. */
static char **parse_table(const char *table, size_t size)
{
	g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
	struct dm_ioctl head;
	size_t at;

	memcpy(&head, table, sizeof(head));
	at = head.data_start;
	for (uint32_t i = 0; i < head.target_count; i++) {
		struct dm_target_spec spec;
		g_autofree char *target = NULL;

		if (at > size - sizeof(spec))
			return NULL;
		memcpy(&spec, table + at, sizeof(spec));
		at += sizeof(spec);
		if (!memchr(table + at, '\0', size - at))
			return NULL;
		target = g_strdup_printf("%.*s %s",
					 (int)sizeof(spec.target_type),
					 spec.target_type, table + at);
		g_strv_builder_add(builder, target);
		at = head.data_start + spec.next;
	}
	return g_strv_builder_end(builder);
}

/* Gets the table of a device from the device mapper, to be freed. *ret_size is
 * the part of the buffer that is used. Returns NULL, and errno, on failure. */
static char *fetch_table(int control, dev_t rdev, size_t *ret_size)
{
	for (size_t size = TABLE_MIN; size <= TABLE_MAX; size *= 4) {
		const struct dm_ioctl head = {
			.version = { DM_VERSION_MAJOR, 0, 0 },
			.data_size = (uint32_t)size,
			.data_start = sizeof(head),
			.flags = DM_STATUS_TABLE_FLAG,
			.dev = rdev,
		};
		g_autofree char *table = g_malloc0(size);
		const struct dm_ioctl *answer = (void *)table;

		memcpy(table, &head, sizeof(head));
		if (ioctl(control, DM_TABLE_STATUS, table) < 0)
			return NULL;
		if (answer->flags & DM_BUFFER_FULL_FLAG)
			continue;
		*ret_size = bsp_min(answer->data_size, size);
		return g_steal_pointer(&table);
	}
	errno = E2BIG;
	return NULL;
}

/* Gets the targets of a device. Returns NULL, and errno, on failure. */
static char **targets_of(int control, dev_t rdev)
{
	size_t size;
	g_autofree char *table = fetch_table(control, rdev, &size);
	char **targets = table ? parse_table(table, size) : NULL;

	if (table && !targets)
		errno = EPROTO;
	return targets;
}

uint64_t bsp_dm_table_hash(int control, dev_t rdev)
{
	size_t size;
	g_autofree char *table = fetch_table(control, rdev, &size);
	const struct dm_ioctl *head = (void *)table;

	if (!table || head->data_start > size || !head->target_count)
		return 0;
	return bsp_hash(0, table + head->data_start, size - head->data_start);
}

static int open_control(void)
{
	int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static bool is_target(const char *target, const char *type)
{
	size_t len = strlen(type);

	return strncmp(target, type, len) == 0 && target[len] == ' ';
}

bool bsp_dm_is_thin(dev_t rdev)
{
	int control = open_control();
	g_auto(GStrv) targets = NULL;
	bool thin;

	if (control < 0)
		return false;
	targets = targets_of(control, rdev);
	thin = targets && targets[0];
	for (char **target = targets; thin && *target; target++)
		thin = is_target(*target, "thin");
	close(control);
	return thin;
}

static bool any_is(char **targets, const char *type)
{
	for (char **target = targets; *target; target++)
		if (is_target(*target, type))
			return true;
	return false;
}

static bool skips_zeroing(const char *target)
{
	g_auto(GStrv) words = g_strsplit(target, " ", -1);

	return is_target(target, "thin-pool") &&
	       g_strv_contains((const char *const *)words,
			       "skip_block_zeroing");
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
static char **targets_at(const struct stack *stack, int folder)
{
	dev_t rdev = bsp_sysfs_rdev(folder);
	char **targets = NULL;

	errno = ENODEV;
	if (stack->control < 0)
		errno = -stack->control;
	else if (rdev)
		targets = targets_of(stack->control, rdev);
	if (!targets)
		cannot_ask(stack, errno);
	return targets;
}

/* Checks that the pool of a thin volume zeroes new blocks. */
static bool check_pool(const struct stack *stack, int folder)
{
	g_auto(GStrv) targets = targets_at(stack, folder);
	char name[DM_NAME_LEN + 1];

	for (char **target = targets; target && *target; target++) {
		if (!skips_zeroing(*target))
			continue;
		(void)bsp_sysfs_read_line(folder, "dm/name", name,
					  sizeof(name));
		return bsp_error_set(
			stack->error, BSP_ERROR_FAILED,
			"%s lies on the thin pool %s, which does not zero new blocks (skip_block_zeroing), so that old bytes of the pool would come up beside what is written; have it zero them, as by lvchange --zero y (until then it can only be read)",
			stack->path, name);
	}
	return targets != NULL;
}

static bool check_rdev(const struct stack *stack, dev_t rdev);

/*
 * Checks a slave of disk, and all devices below it. A thin volume and its pool
 * both belong to the device mapper; other pairs need no question to it, which
 * only root may ask. *targets keeps the targets of disk from one slave to the
 * next.
 */
static bool check_slave(const struct stack *stack, int disk, int slave,
			char ***targets)
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
	g_auto(GStrv) targets = NULL;
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
