/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Makes and ends the devices of a round, and injects their faults. */
#include "parts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE = 6 << 20, ROOM = 2 << 20, MAX_GIVEN = 64 << 20 };

/* --- Loop devices --- */

static int loop_number(void)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), n = -1;

	if (control >= 0) {
		n = ioctl(control, LOOP_CTL_GET_FREE);
		(void)close(control);
	}
	if (n < 0)
		soak_die("/dev/loop-control");
	return n;
}

/* The device is detached once all programs have closed it. */
static void loop_make(struct disk *disk, const char *path, uint32_t block,
		      int flags, uint32_t lo_flags)
{
	struct loop_config config = {
		.fd = (uint32_t)open(path, flags | O_CLOEXEC),
		.block_size = block,
		.info.lo_flags = lo_flags | LO_FLAGS_AUTOCLEAR,
	};
	int size = (int)block;

	if ((int)config.fd < 0)
		soak_die(path);
	/* Another program may take the one that was free. */
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(disk->path, sizeof(disk->path), "/dev/loop%d",
			       loop_number());
		disk->loop = open(disk->path, O_RDWR | O_CLOEXEC);
		if (disk->loop >= 0 &&
		    ioctl(disk->loop, LOOP_CONFIGURE, &config) == 0)
			break;
		if (disk->loop >= 0)
			(void)close(disk->loop);
		disk->loop = -1;
		(void)usleep(10000);
	}
	/* Otherwise the kernel may write the zeros behind the end of the device
	 * that it has in its last page, once the device has grown. */
	if (disk->loop < 0 || ioctl(disk->loop, BLKBSZSET, &size) < 0)
		soak_die("LOOP_CONFIGURE");
	(void)close((int)config.fd);
}

/* --- Servers --- */

static void wait_for_path(const char *path)
{
	struct stat st;

	for (unsigned i = 0; stat(path, &st) < 0; i++) {
		if (i == 3000)
			soak_die(path);
		(void)usleep(10000);
	}
}

static void losing_make(struct disk *disk, const struct settings *settings,
			const char *image, struct dice *dice)
{
	char program[300], seed[24], point[256], image_copy[256], file[300];
	char log[300];
	char *args[] = { program, image_copy, seed, point, NULL };

	(void)snprintf(program, sizeof(program), "%s/losing-disk",
		       settings->tools);
	(void)snprintf(seed, sizeof(seed), "%" PRIu64, dice_throw(dice));
	(void)snprintf(disk->point, sizeof(disk->point), "%s.mnt", image);
	(void)snprintf(point, sizeof(point), "%s", disk->point);
	(void)snprintf(image_copy, sizeof(image_copy), "%s", image);
	(void)snprintf(log, sizeof(log), "%s.log", image);
	(void)mkdir(disk->point, 0755);
	disk->server = start_program(settings, args, log, false);
	(void)snprintf(file, sizeof(file), "%s/disk", disk->point);
	wait_for_path(file);
	/*
	 * Without direct I/O, Linux 6.1 goes on after an error within a merged
	 * request: lo_write_simple() in drivers/block/loop.c leaves the loop
	 * over one bio by "break", and writes the next bio at the place of the
	 * one that failed.
	 */
	loop_make(disk, file, 512, O_RDWR, LO_FLAGS_DIRECT_IO);
}

static void nbd_make(struct disk *disk, const struct settings *settings,
		     const char *image, struct dice *dice)
{
	bool slow = dice_chance(dice, 300);
	char socket[230], rate[300], trigger[300], path[256], log[300];
	char *args[] = { (char[]){ "nbdkit" },
			 (char[]){ "-f" },
			 (char[]){ "-U" },
			 socket,
			 (char[]){ "--filter=error" },
			 (char[]){ "--filter=delay" },
			 (char[]){ "file" },
			 path,
			 rate,
			 trigger,
			 slow ? (char[]){ "rdelay=2ms" } : NULL,
			 (char[]){ "wdelay=5ms" },
			 NULL };

	(void)snprintf(path, sizeof(path), "%s", image);
	(void)snprintf(log, sizeof(log), "%s.log", image);
	(void)snprintf(socket, sizeof(socket), "%s.socket", image);
	(void)snprintf(disk->trigger, sizeof(disk->trigger), "%s.trigger",
		       image);
	(void)unlink(socket);
	(void)unlink(disk->trigger);
	(void)snprintf(rate, sizeof(rate), "error-rate=30%%");
	(void)snprintf(trigger, sizeof(trigger), "error-file=%s",
		       disk->trigger);
	disk->server = start_program(settings, args, log, false);
	wait_for_path(socket);
	(void)snprintf(disk->path, sizeof(disk->path), "nbd+unix:///?socket=%s",
		       socket);
}

/* --- Content --- */

static void fill_image(unsigned char *bytes, uint64_t size, struct dice *dice)
{
	for (uint64_t at = 0; at < size;) {
		uint64_t len = 1 + dice_below(dice, 256 << 10);

		len = soak_min(len, size - at);
		memset(bytes + at, dice_chance(dice, 700) ? 0xaa : 0, len);
		at += len;
	}
}

static void write_all(const char *path, const unsigned char *bytes,
		      uint64_t size, int flags)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0600);
	uint64_t at = 0;

	if (fd < 0)
		soak_die(path);
	while (at < size) {
		ssize_t n = pwrite(fd, bytes + at, size - at, (off_t)at);

		if (n <= 0)
			soak_die(path);
		at += (uint64_t)n;
	}
	if (fsync(fd) < 0 || close(fd) < 0)
		soak_die(path);
}

/*
 * Pages of a driver that was killed while the disk failed were lost, and
 * nothing has seen the error yet. The kernel reports it to the next fsync by a
 * program that opens the device (errseq_sample() in lib/errseq.c).
 */
static void take_old_error(const char *path)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		soak_die(path);
	if (fsync(fd) < 0 && errno != EIO && errno != ENOSPC)
		soak_die(path);
	(void)close(fd);
}

static void read_all(const char *path, unsigned char *bytes, uint64_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t at = 0;

	if (fd < 0)
		soak_die(path);
	/* The kernel writes its pages of a device back, and drops them. An
	 * image is what its pages are. */
	(void)ioctl(fd, BLKFLSBUF, 0);
	while (at < size) {
		ssize_t n = pread(fd, bytes + at, size - at, (off_t)at);

		if (n <= 0)
			soak_die(path);
		at += (uint64_t)n;
	}
	(void)close(fd);
}

static uint64_t given_size(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t size;

	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size) < 0 || size > MAX_GIVEN)
		soak_die(path);
	(void)close(fd);
	return size;
}

/* --- All of it --- */

static void make_shadow(struct soak_file *file, uint64_t size,
			const unsigned char *bytes)
{
	file->max = size + (file->resizes ? ROOM : 0);
	file->now = soak_shared(file->max);
	file->base = soak_shared(file->max);
	file->loose = soak_shared(file->max);
	shadow_begin(file, size, bytes);
}

static void attach(struct disk *disk, struct soak_file *file,
		   const struct settings *settings, struct dice *dice)
{
	switch (file->kind) {
	case SOAK_LOOP:
		/* The kernel exchanges the file of a read-only one alone. */
		loop_make(disk, file->image, file->block,
			  file->exchanges ? O_RDONLY : O_RDWR, 0);
		break;
	case SOAK_IMAGE:
		(void)snprintf(disk->path, sizeof(disk->path), "%s",
			       file->image);
		break;
	case SOAK_NBD:
		nbd_make(disk, settings, file->image, dice);
		break;
	case SOAK_LOSING:
		losing_make(disk, settings, file->image, dice);
		break;
	case SOAK_GIVEN:
		(void)snprintf(disk->path, sizeof(disk->path), "%s",
			       file->device);
	}
	(void)snprintf(file->device, sizeof(file->device), "%s", disk->path);
}

void disk_make(struct disk *disk, struct soak_file *file,
	       const struct settings *settings, unsigned number,
	       struct dice *dice)
{
	uint64_t size = SIZE + file->block * dice_below(dice, 12);
	unsigned char *bytes;

	*disk = (struct disk){ .loop = -1 };
	if (file->kind == SOAK_GIVEN)
		size = given_size(file->device);
	bytes = malloc(size);
	if (!bytes)
		soak_die("memory");
	fill_image(bytes, size, dice);
	(void)snprintf(file->image, sizeof(file->image), "%s/image%u",
		       settings->dir, number);
	if (file->kind == SOAK_GIVEN) {
		take_old_error(file->device);
		write_all(file->device, bytes, size, 0);
	} else {
		write_all(file->image, bytes, size, O_CREAT | O_TRUNC);
	}
	attach(disk, file, settings, dice);
	make_shadow(file, size, bytes);
	free(bytes);
}

static void control(const struct disk *disk, const char *text)
{
	char path[300];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/control", disk->point);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		soak_die(path);
	(void)close(fd);
}

static void run_faults(const struct settings *settings, bool on)
{
	char command[512];

	(void)snprintf(command, sizeof(command), "%s %s", settings->faults,
		       on ? "on" : "off");
	/* The caller of this test gives the command. */
	if (system(command) != 0)
		soak_die(command);
}

void disk_faults(const struct disk *disk, const struct soak_file *file,
		 const struct settings *settings, bool on, struct dice *dice)
{
	char text[32];
	int fd;

	if (file->kind == SOAK_LOSING) {
		(void)snprintf(text, sizeof(text), "errors %u",
			       on ? 50 << dice_below(dice, 5) : 0);
		control(disk, text);
		(void)snprintf(text, sizeof(text), "slow %u",
			       on && dice_chance(dice, 300) ? 30 : 0);
		control(disk, text);
	} else if (file->kind == SOAK_NBD && on) {
		fd = open(disk->trigger, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		(void)close(fd);
	} else if (file->kind == SOAK_NBD) {
		(void)unlink(disk->trigger);
	} else if (file->kind == SOAK_GIVEN && settings->faults &&
		   strcmp(file->device, settings->given[0]) == 0) {
		run_faults(settings, on); /* of all of them */
	}
}

void disk_cut(const struct disk *disk)
{
	control(disk, "cut");
}

void disk_read(const struct disk *disk, const struct soak_file *file,
	       unsigned char *bytes)
{
	bool below = file->kind == SOAK_LOSING || file->kind == SOAK_NBD;

	read_all(below ? file->image : disk->path, bytes, file->capacity);
}

bool disk_is_well(const struct disk *disk, const struct soak_file *file,
		  bool ending)
{
	int status;

	/* nbdkit before 1.34 aborts if its client is killed while several
	 * replies are under way. The image has all that it was told to write.
	 */
	if (file->kind == SOAK_NBD && ending)
		return true;
	if (!disk->server || waitpid(disk->server, &status, WNOHANG) == 0)
		return true;
	fprintf(stderr, "soak: a server of a disk ended: %#x\n",
		(unsigned)status);
	return false;
}

void disk_end(struct disk *disk)
{
	int status;

	if (disk->loop >= 0)
		(void)close(disk->loop);
	/* The kernel detaches a loop device a moment after it was closed. */
	for (unsigned i = 0; disk->point[0] && i < 500; i++) {
		if (umount2(disk->point, 0) == 0 || errno != EBUSY)
			break;
		(void)usleep(20000);
	}
	if (!disk->server)
		return;
	(void)kill(disk->server, SIGTERM);
	if (!wait_for(disk->server, 20, &status)) {
		(void)kill(disk->server, SIGKILL);
		(void)wait_for(disk->server, 20, &status);
	}
	if (disk->point[0])
		(void)umount2(disk->point, MNT_DETACH);
}
