/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading sysfs by descriptors. A descriptor of a device's folder stays with
 * that device: if the device goes and another one gets its number, reads by the
 * descriptor fail instead of telling about the other one.
 */
#include "device/sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

int bsp_sysfs_open(dev_t rdev)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(rdev),
		       minor(rdev));
	return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

int bsp_sysfs_open_disk(dev_t rdev, bool *ret_partition)
{
	int fd = bsp_sysfs_open(rdev);
	int disk;

	*ret_partition = bsp_sysfs_has(fd, "partition");
	if (!*ret_partition)
		return fd;
	disk = bsp_sysfs_open_below(fd, "..");
	close(fd);
	return disk;
}

int bsp_sysfs_open_named(const char *name)
{
	char path[512];

	if (strchr(name, '/') || name[0] == '.' ||
	    (size_t)snprintf(path, sizeof(path), "/sys/class/block/%s", name) >=
		    sizeof(path))
		return -1;
	return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

bool bsp_sysfs_name(dev_t rdev, char *name, size_t size)
{
	char path[64], target[PATH_MAX];
	const char *last;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(rdev),
		       minor(rdev));
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	last = strrchr(target, '/');
	last = last ? last + 1 : target;
	if (strlen(last) >= size)
		return false;
	memcpy(name, last, strlen(last) + 1);
	return true;
}

int bsp_sysfs_open_below(int folder, const char *name)
{
	return openat(folder, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

bool bsp_sysfs_has(int folder, const char *name)
{
	return folder >= 0 && faccessat(folder, name, F_OK, 0) == 0;
}

static DIR *list(int folder, const char *name)
{
	int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir && fd >= 0)
		close(fd);
	return dir;
}

DIR *bsp_sysfs_list(int folder, const char *name)
{
	return folder < 0 ? NULL : list(folder, name);
}

DIR *bsp_sysfs_list_disks(void)
{
	return list(AT_FDCWD, "/sys/block");
}

DIR *bsp_sysfs_list_devices(void)
{
	return list(AT_FDCWD, "/sys/class/block");
}

const char *bsp_sysfs_next(DIR *dir)
{
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") != 0 &&
		    strcmp(entry->d_name, "..") != 0)
			return entry->d_name;
	}
	return NULL;
}

/* Reads the start of a file as a string. */
static bool read_text(int folder, const char *name, char *text, size_t size)
{
	int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

bool bsp_sysfs_read_text(int folder, const char *name, char *text, size_t size)
{
	bool had = read_text(folder, name, text, size);
	size_t len = strlen(text);

	if (len && text[len - 1] == '\n')
		text[len - 1] = '\0';
	return had;
}

bool bsp_sysfs_read_line(int folder, const char *name, char *line, size_t size)
{
	bool had = read_text(folder, name, line, size);

	line[strcspn(line, "\n")] = '\0';
	return had;
}

uint64_t bsp_sysfs_read_number(int folder, const char *name)
{
	char text[32];

	return read_text(folder, name, text, sizeof(text))
		       ? strtoull(text, NULL, 10)
		       : 0;
}

dev_t bsp_sysfs_rdev(int folder)
{
	unsigned maj, min;
	char text[32];

	if (!read_text(folder, "dev", text, sizeof(text)) ||
	    sscanf(text, "%u:%u", &maj, &min) != 2)
		return 0;
	return makedev(maj, min);
}

bool bsp_sysfs_node(int folder, char path[BSP_NODE_SIZE])
{
	char text[1024], name[256];
	const char *line;

	path[0] = '\0';
	if (!read_text(folder, "uevent", text, sizeof(text)) ||
	    !(line = strstr(text, "DEVNAME=")) ||
	    sscanf(line, "DEVNAME=%255s", name) != 1)
		return false;
	(void)snprintf(path, BSP_NODE_SIZE, "/dev/%s", name);
	return true;
}

int bsp_sysfs_open_path(const char *node, dev_t rdev)
{
	int fd = open(node, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0 && S_ISBLK(st.st_mode) && st.st_rdev == rdev)
		return fd;
	close(fd);
	errno = ENODEV;
	return -1;
}

int bsp_sysfs_open_node(int folder)
{
	char path[BSP_NODE_SIZE];

	if (bsp_sysfs_node(folder, path))
		return bsp_sysfs_open_path(path, bsp_sysfs_rdev(folder));
	errno = ENOENT;
	return -1;
}
