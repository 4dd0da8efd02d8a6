/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asks the layers below a device while the kernel and a thin pool answer what
 * the input says, and checks the promises of known.h: making, building and
 * asking end after a bounded number of calls, answers are in their bounds, and
 * no descriptor is left.
 *
 * This file stands in for the kernel: it has the functions open(), openat(),
 * faccessat(), ioctl(), fstat() and pread() of the code under test, which is
 * linked with --wrap. There are DEVICES devices, 253:0 and so on. A folder of
 * sysfs is a descriptor whose device is known here; a text of sysfs, a table
 * and a block of metadata come from the input when they are asked for. Where
 * the input has ended, all reads give zeros.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <linux/loop.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/le.h"
#include "device/device.h"
#include "device/dm.h"
#include "device/known.h"
#include "device/loop.h"
#include "device/thin-tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
	MAJOR = 253,
	DEVICES = 4,
	FDS = 4096,
	CALLS_MAX = 200000, /* to the kernel, for one input */
	QUESTIONS = 16,
	SIZE = 1 << 30,
};

/* The kinds of descriptors. */
enum { NOTHING, FOLDER, CONTROL, NODE };

static struct {
	const uint8_t *data;
	size_t len, at;
	unsigned calls;
	unsigned char kind[FDS], device[FDS];
	bool sums; /* all blocks of metadata have right sums */
} in;

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* --- The input --- */

static uint64_t take(unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes; i++) {
		uint64_t byte = in.at < in.len ? in.data[in.at++] : 0;

		value |= byte << (8 * i);
	}
	return value;
}

/* Takes a number that is small, or of any size. */
static uint64_t take_number(void)
{
	uint64_t first = take(1);

	return first < 0xf0 ? first : take(8) >> (4 * (first & 0xf));
}

/* Takes a text, whose first byte is its length. */
static size_t take_text(char *text, size_t size)
{
	size_t len = (size_t)take(1) % size;

	for (size_t i = 0; i < len; i++)
		text[i] = (char)take(1);
	text[len] = '\0';
	return len;
}

static void count_call(void)
{
	must(++in.calls < CALLS_MAX);
}

/* --- Descriptors --- */

int __real_open(const char *path, int flags, ...);
int __real_openat(int folder, const char *name, int flags, ...);
int __real_fstat(int fd, struct stat *ret);
int __real_ioctl(int fd, unsigned long request, ...);
ssize_t __real_pread(int fd, void *buf, size_t len, off_t off);
int __wrap_open(const char *path, int flags, ...);
int __wrap_openat(int folder, const char *name, int flags, ...);
int __wrap_faccessat(int folder, const char *name, int mode, int flags);
int __wrap_fstat(int fd, struct stat *ret);
int __wrap_ioctl(int fd, unsigned long request, ...);
ssize_t __wrap_pread(int fd, void *buf, size_t len, off_t off);
const char *__wrap_g_intern_string(const char *string);

static int new_fd(unsigned char kind, unsigned device)
{
	int fd = __real_open("/dev/null", O_RDWR | O_CLOEXEC);

	must(fd >= 0 && fd < FDS);
	in.kind[fd] = kind;
	in.device[fd] = (unsigned char)device;
	return fd;
}

static unsigned char kind_of(int fd)
{
	return fd >= 0 && fd < FDS ? in.kind[fd] : NOTHING;
}

int __wrap_open(const char *path, int flags, ...)
{
	unsigned major_number, minor_number;

	count_call();
	if (sscanf(path, "/sys/dev/block/%u:%u", &major_number,
		   &minor_number) == 2) {
		errno = ENOENT;
		return major_number == MAJOR && minor_number < DEVICES
			       ? new_fd(FOLDER, minor_number)
			       : -1;
	}
	if (strcmp(path, "/dev/mapper/control") == 0)
		return new_fd(CONTROL, 0);
	/* Any other path is that of a node. */
	return new_fd(NODE, (unsigned)take(1) % DEVICES);
}

/* --- sysfs --- */

/* Gives what the kernel would, or a text of the input. */
static void make_text(const char *name, unsigned device, char *text,
		      size_t size)
{
	unsigned how = (unsigned)take(1);

	if (how % 4 == 3)
		(void)take_text(text, size);
	else if (strcmp(name, "dev") == 0)
		(void)snprintf(text, size, "%d:%u\n", MAJOR, device);
	else if (strcmp(name, "uevent") == 0)
		(void)snprintf(text, size, "MAJOR=%d\nDEVNAME=dm-%u\n", MAJOR,
			       device);
	else
		(void)snprintf(text, size, "%llu\n",
			       (unsigned long long)take_number());
}

int __wrap_openat(int folder, const char *name, int flags, ...)
{
	char text[300];
	int fd;

	count_call();
	must(kind_of(folder) == FOLDER);
	if (flags & O_DIRECTORY)
		return new_fd(FOLDER, (unsigned)take(1) % DEVICES);
	make_text(name, in.device[folder], text, sizeof(text));
	fd = memfd_create("sysfs", MFD_CLOEXEC);
	must(fd >= 0 && fd < FDS);
	in.kind[fd] = NOTHING;
	must(write(fd, text, strlen(text)) >= 0);
	must(lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

/* A device is one of the device mapper's unless the input says otherwise. */
int __wrap_faccessat(int folder, const char *name, int mode, int flags)
{
	uint64_t byte = take(1);
	bool has = strcmp(name, "dm") == 0 ? byte != 0xff : byte % 8 == 7;

	count_call();
	must(kind_of(folder) == FOLDER);
	return has ? 0 : -1;
}

int __wrap_fstat(int fd, struct stat *ret)
{
	if (kind_of(fd) == NOTHING)
		return __real_fstat(fd, ret);
	count_call();
	memset(ret, 0, sizeof(*ret));
	ret->st_mode = S_IFBLK;
	ret->st_rdev = makedev(MAJOR, in.device[fd]);
	return 0;
}

/* --- The device mapper --- */

static void make_params(const char *type, char *params, size_t size)
{
	unsigned device = (unsigned)take(1);

	if (device >= 0xf0)
		(void)take_text(params, size);
	else if (strcmp(type, "thin-pool") == 0)
		/* Good for the table and for the status. */
		(void)snprintf(params, size, "%d:%u %d:%u rw %llu %s", MAJOR,
			       device % DEVICES, MAJOR, device % DEVICES,
			       (unsigned long long)take_number(),
			       device & 0x80 ? "skip_block_zeroing" : "rw");
	else
		(void)snprintf(params, size, "%d:%u %llu", MAJOR,
			       device % DEVICES,
			       (unsigned long long)take_number());
}

/* Appends a target to an answer. Returns false if there is no room. */
static bool add_target(char *answer, size_t size, size_t *at)
{
	static const char *const types[] = { "linear", "thin", "thin-pool",
					     "crypt" };
	struct dm_target_spec spec = { 0 };
	char params[256];

	(void)g_strlcpy(spec.target_type, types[take(1) % 4],
			sizeof(spec.target_type));
	spec.sector_start = take_number();
	spec.length = take_number();
	make_params(spec.target_type, params, sizeof(params));
	if (*at + sizeof(spec) + sizeof(params) + 8 > size)
		return false;
	memcpy(answer + *at + sizeof(spec), params, strlen(params) + 1);
	spec.next =
		(uint32_t)((*at + sizeof(spec) + strlen(params) + 8) / 8 * 8 -
			   sizeof(struct dm_ioctl));
	if (take(1) == 0xff)
		spec.next = (uint32_t)take(4);
	memcpy(answer + *at, &spec, sizeof(spec));
	*at = sizeof(struct dm_ioctl) + spec.next;
	return *at < size;
}

static int answer_table(struct dm_ioctl *answer)
{
	size_t size = answer->data_size, at = sizeof(*answer);
	uint32_t n = (uint32_t)take(1) % 8 + 1;

	if (take(1) == 0xff) {
		errno = ENXIO;
		return -1;
	}
	answer->target_count = n;
	while (n > 0 && add_target((char *)answer, size, &at))
		n--;
	answer->data_size = (uint32_t)(at < size ? at : size);
	if (take(1) == 0xff) {
		answer->target_count = (uint32_t)take(4) % 1000;
		answer->data_start = (uint32_t)take(4);
		answer->data_size = (uint32_t)take(4);
		answer->flags = (uint32_t)take(4);
	}
	return 0;
}

static int answer_loop(struct loop_info64 *info)
{
	info->lo_device = take(8);
	info->lo_inode = take_number();
	info->lo_rdevice = take(4);
	info->lo_offset = take_number();
	info->lo_sizelimit = take_number();
	return 0;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	count_call();
	errno = ENOTTY;
	if (request == DM_TABLE_STATUS)
		return answer_table(arg);
	if (request == DM_DEV_STATUS)
		return take(1) == 0xff ? -1 : 0;
	if (request == LOOP_GET_STATUS64)
		return answer_loop(arg);
	return -1;
}

/* --- The metadata of a thin pool --- */

static uint32_t crc32c(const unsigned char *bytes, size_t len)
{
	static uint32_t table[256];
	uint32_t crc = UINT32_MAX;

	for (uint32_t i = 0; !table[1] && i < 256; i++) {
		uint32_t value = 255 - i;

		for (int bit = 0; bit < 8; bit++)
			value = value >> 1 ^ (value & 1 ? 0x82f63b78 : 0);
		table[255 - i] = value;
	}
	for (size_t i = 0; i < len; i++)
		crc = crc >> 8 ^ table[(crc ^ bytes[i]) & 255];
	return crc;
}

static void make_superblock(unsigned char *bytes)
{
	bsp_put_le64(bytes + 32, 27022010);
	bsp_put_le64(bytes + 320, take_number());
	bsp_put_le32(bytes + 336, (uint32_t)take_number());
	bsp_put_le32(bytes + 340, 8);
}

static void make_node(unsigned char *bytes, uint64_t block)
{
	uint32_t n = (uint32_t)take(1) % 16, max = 252;
	uint64_t key = 0;

	bsp_put_le32(bytes + 4, (uint32_t)take(1) % 2 + 1);
	bsp_put_le64(bytes + 8, block);
	bsp_put_le32(bytes + 16, n);
	bsp_put_le32(bytes + 20, max);
	bsp_put_le32(bytes + 24, 8);
	for (uint32_t i = 0; i < n; i++) {
		key += take_number();
		bsp_put_le64(bytes + 32 + i * 8, key);
		bsp_put_le64(bytes + 32 + (max + i) * 8, take_number());
	}
	if (take(1) == 0xff)
		bsp_put_le32(bytes + 4 * (size_t)(take(1) % 8),
			     (uint32_t)take(4));
}

ssize_t __wrap_pread(int fd, void *buf, size_t len, off_t off)
{
	uint64_t block = (uint64_t)off / BSP_THIN_BLOCK;
	unsigned char *bytes = buf;

	if (kind_of(fd) != NODE)
		return __real_pread(fd, buf, len, off);
	count_call();
	must(len == BSP_THIN_BLOCK && off % BSP_THIN_BLOCK == 0);
	memset(bytes, 0, len);
	if (block == 0)
		make_superblock(bytes);
	else
		make_node(bytes, block);
	if (in.sums)
		bsp_put_le32(bytes, crc32c(bytes + 4, len - 4) ^
					    (block ? 121107 : 160774));
	return (ssize_t)len;
}

/* --- In place of other layers --- */

struct bsp_layer *bsp_layer_loop_new(dev_t rdev, enum bsp_known_trust trust)
{
	return NULL;
}

struct bsp_layer *bsp_layer_lseek_new(dev_t rdev)
{
	return NULL;
}

const char *bsp_known_file_system(int fd, enum bsp_known_trust trust)
{
	return NULL;
}

char *bsp_layer_loop_reason(GString *path, dev_t rdev)
{
	struct bsp_loop_backing backing;
	int r = bsp_loop_backing_of(rdev, &backing);

	must(r <= 0);
	return g_strdup("a loop device");
}

/* --- The questions --- */

static void list(void *data, const char *path, const char *reason)
{
	must(path);
}

static void ask_some(struct bsp_known *known)
{
	uint64_t generation = 0;

	for (unsigned i = 0; i < QUESTIONS; i++) {
		uint64_t off = take_number() % SIZE;
		uint64_t end = off + 1 + take_number() % (SIZE - off);
		struct bsp_known_answer answer;
		bool young;

		if (i % 8 == 0) {
			generation++;
			(void)bsp_known_medium(known, BSP_DEPTH_ALL);
			(void)bsp_known_content(known, &young);
		}
		answer = bsp_known_ask(known, generation, true, off, end);
		must(answer.end >= off && answer.end <= end);
		must(answer.end > off || !answer.zeros);
	}
}

/* In place of GLib's, which grows with each input, and lets go of its former
 * tables without freeing them. */
static GHashTable *interned;

const char *__wrap_g_intern_string(const char *string)
{
	if (!interned)
		interned = g_hash_table_new_full(g_str_hash, g_str_equal,
						 g_free, NULL);
	if (!g_hash_table_contains(interned, string))
		g_hash_table_add(interned, g_strdup(string));
	return g_hash_table_lookup(interned, string);
}

static int first_free(void)
{
	int fd = __real_open("/dev/null", O_RDONLY | O_CLOEXEC);

	close(fd);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct bsp_layer_use use = { .trust = BSP_KNOWN_ALL };
	struct bsp_known *known;
	int free_fd = first_free();

	in.data = data;
	in.len = len;
	in.at = 0;
	in.calls = 0;
	memset(in.kind, NOTHING, sizeof(in.kind));
	use.writable = take(1) % 2;
	in.sums = take(1) != 0xff;
	known = bsp_known_new(makedev(MAJOR, 0), &use);
	must(known);
	ask_some(known);
	bsp_known_list(known, list, NULL);
	bsp_known_free(known);
	(void)bsp_dm_is_thin(makedev(MAJOR, 0));
	must(first_free() == free_fd);
	if (interned)
		g_hash_table_remove_all(interned);
	return 0;
}
