/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A worker of a read-only mount: it changes its part of the device by the
 * device's own name, or the last one exchanges the file below it, and looks at
 * the mount.
 *
 * A search, a direct read and a read by a new opener must show the change at
 * once. A reader that has the file open may get pages of before that the kernel
 * has cached, until the mount has noticed.
 */
#include "work.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/loop.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { PATIENCE = 3000, SECTOR = SOAK_PAGE };

/* The loop device of soak_file.exchanges has one of two files. */
enum { MEDIA = 2 };

struct node {
	int fd, direct;
};

static uint64_t down(uint64_t at)
{
	return at / SECTOR * SECTOR;
}

static void written(struct worker *w, uint64_t off, uint64_t len)
{
	shadow_is(w->file, w->stripe, off, len, (const unsigned char *)w->buf);
}

static void write_node(struct worker *w, const struct node *node, uint64_t off,
		       uint64_t len)
{
	bool direct = chance(w, 40) && node->direct >= 0;

	if (direct) {
		uint64_t from = down(off);

		len = soak_min(down(off + len - from) + SECTOR,
			       w->stripe->to - from);
		len = down(len);
		off = from;
		if (!len)
			return;
	}
	fill(w, w->buf, len, off);
	note(w, off, off + len, "%swrite to the node", direct ? "direct " : "");
	if (pwrite(direct ? node->direct : node->fd, w->buf, len, (off_t)off) !=
	    (ssize_t)len)
		soak_die(w->file->device);
	written(w, off, len);
}

static void zero_node(struct worker *w, const struct node *node, uint64_t off,
		      uint64_t len)
{
	int modes[] = { FALLOC_FL_ZERO_RANGE, FALLOC_FL_PUNCH_HOLE };
	int punch = chance(w, 50), r;

	off = down(off);
	len = soak_min(down(len) + SECTOR, down(w->stripe->to - off));
	if (!len)
		return;
	memset(w->buf, 0, len);
	note(w, off, off + len, "%s of the node", punch ? "punch" : "zero");
	r = fallocate(node->fd, FALLOC_FL_KEEP_SIZE | modes[punch], (off_t)off,
		      (off_t)len);
	/* tmpfs punches only. */
	if (r < 0 && errno == EOPNOTSUPP)
		r = fallocate(node->fd, FALLOC_FL_KEEP_SIZE | modes[!punch],
			      (off_t)off, (off_t)len);
	if (r < 0)
		soak_die("fallocate of the node");
	written(w, off, len);
}

/* Whether a range that fd shows is right now. */
static bool shows(struct worker *w, int fd, uint64_t off, uint64_t len)
{
	ssize_t n = pread(fd, w->seen, len, (off_t)off);

	if (n < 0)
		may_fail(w, off, "read");
	return n == (ssize_t)len &&
	       memcmp(w->seen, w->file->now + off, len) == 0;
}

/* Until the kernel has dropped its pages. */
static void look_by_old_reader(struct worker *w, uint64_t off, uint64_t len)
{
	for (unsigned i = 0; !shows(w, w->fd, off, len) && !w->over; i++) {
		if (i == PATIENCE)
			read_range(w, w->fd, off, len, "read that stays old");
		(void)usleep(20000);
	}
}

static void look_by_new_reader(struct worker *w, uint64_t off, uint64_t len)
{
	int fd = open(w->file->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		may_fail(w, off, "open");
		return;
	}
	read_range(w, fd, off, len, "read by a new opener");
	(void)close(fd);
}

static void look(struct worker *w)
{
	uint64_t granule = w->soak->granule, end = limit(w);
	uint64_t from = w->stripe->from;
	uint64_t off = soak_max(from, w->last - soak_min(w->last, granule));
	uint64_t len = soak_min(SOAK_LONGEST,
				soak_min(end, w->last + w->last_len) - off);

	switch (below(w, 5)) {
	case 0:
	case 1:
		check_seeks(w, w->fd, off, end, 4);
		break;
	case 2:
		read_range(w, w->direct, off, len, "direct read");
		break;
	case 3:
		look_by_new_reader(w, off, len);
		break;
	default:
		if (chance(w, 10))
			look_by_old_reader(w, off, len);
	}
}

static void one_change(struct worker *w, const struct node *node)
{
	uint64_t off, len;

	op_begin(w, "change of the node");
	if (pick(w, limit(w), &off, &len)) {
		if (chance(w, 60))
			write_node(w, node, off, len);
		else
			zero_node(w, node, off, len);
		for (uint64_t i = below(w, 4); i && !w->over; i--)
			look(w);
	}
	op_end(w);
}

/* --- Another file below the node --- */

/* Bytes that are partly those of now. */
static void make_medium(struct worker *w, unsigned char *bytes)
{
	uint64_t size = w->file->capacity;

	memcpy(bytes, w->file->now, size);
	if (chance(w, 20))
		memset(bytes, 0, size);
	for (uint64_t i = below(w, 30); i; i--) {
		uint64_t off = below(w, size);
		uint64_t len = soak_min(1 + below(w, 65536), size - off);

		fill(w, w->buf, len, off);
		memcpy(bytes + off, w->buf, len);
	}
}

/* Returns a new file of these bytes, with holes or without. */
static int medium_new(struct worker *w, const unsigned char *bytes)
{
	static const unsigned char zeros[SOAK_PAGE];
	uint64_t size = w->file->capacity;
	bool has_holes = chance(w, 50);
	char path[300];
	int fd;

	(void)snprintf(path, sizeof(path), "%s.%" PRIu64, w->file->image,
		       w->op % MEDIA);
	(void)unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		soak_die(path);
	for (uint64_t at = 0; at < size; at += SOAK_PAGE) {
		uint64_t len = soak_min(SOAK_PAGE, size - at);

		if (has_holes && memcmp(bytes + at, zeros, len) == 0)
			continue;
		if (pwrite(fd, bytes + at, len, (off_t)at) != (ssize_t)len)
			soak_die(path);
	}
	if (fsync(fd) < 0)
		soak_die(path);
	return fd;
}

static void exchange(struct worker *w)
{
	struct soak_file *file = w->file;
	unsigned char *bytes = malloc(file->capacity);
	int device = open(file->device, O_RDONLY | O_CLOEXEC), medium;

	if (!bytes || device < 0)
		soak_die(file->device);
	make_medium(w, bytes);
	medium = medium_new(w, bytes);
	note(w, 0, file->capacity, "another file");
	if (ioctl(device, LOOP_CHANGE_FD, medium) < 0)
		soak_die("LOOP_CHANGE_FD");
	for (unsigned i = 0; i < file->stripes; i++) {
		struct stripe *stripe = &file->stripe[i];

		shadow_is(file, stripe, stripe->from, stripe->to - stripe->from,
			  bytes + stripe->from);
	}
	(void)close(medium);
	(void)close(device);
	free(bytes);
}

/* The last worker exchanges the file; all look. */
static void one_exchange(struct worker *w)
{
	if (w->owns_end && below(w, 20) == 0) {
		pthread_rwlock_wrlock(&w->file->whole);
		op_begin(w, "exchange of the file");
		exchange(w);
	} else {
		pthread_rwlock_rdlock(&w->file->whole);
		op_begin(w, "look");
	}
	if (pick(w, limit(w), &w->last, &w->last_len))
		for (uint64_t i = 1 + below(w, 3); i && !w->over; i--)
			look(w);
	op_end(w);
	pthread_rwlock_unlock(&w->file->whole);
}

/* An image on tmpfs takes no O_DIRECT before Linux 6.6: node->direct is -1. */
static void open_node(struct worker *w, struct node *node)
{
	*node = (struct node){ -1, -1 };
	if (w->file->exchanges)
		return;
	node->fd = open(w->file->device, O_RDWR | O_CLOEXEC);
	node->direct = open(w->file->device, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (node->fd < 0 || (node->direct < 0 &&
			     (errno != EINVAL || w->file->kind != SOAK_IMAGE)))
		soak_die(w->file->device);
}

void work_on_node(struct worker *w)
{
	uint64_t ops_left = w->soak->ops ? w->soak->ops : UINT64_MAX;
	struct node node;

	open_node(w, &node);
	w->fd = open(w->file->path, O_RDONLY | O_CLOEXEC);
	w->direct = open(w->file->path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (w->fd < 0 || w->direct < 0)
		may_fail(w, 0, "open");
	for (; ops_left-- && !finishes(w); w->op++) {
		wait_while_paused(w);
		if (w->file->exchanges)
			one_exchange(w);
		else
			one_change(w, &node);
	}
	pthread_rwlock_rdlock(&w->file->whole);
	if (!w->over) {
		op_begin(w, "last look");
		look_by_new_reader(
			w, w->stripe->from,
			soak_min(SOAK_LONGEST, limit(w) - w->stripe->from));
		check_seeks(w, w->fd, w->stripe->from, limit(w), 1000000);
		op_end(w);
	}
	pthread_rwlock_unlock(&w->file->whole);
	(void)close(w->fd);
	(void)close(w->direct);
	if (node.fd >= 0)
		(void)close(node.fd);
	if (node.direct >= 0)
		(void)close(node.direct);
}
