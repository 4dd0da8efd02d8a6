/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations on a whole file: its last worker has it for itself, so that all of
 * it is known. Other callers, which change nothing, still use it.
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
#include <sys/stat.h>
#include <unistd.h>

enum { PATIENCE = 3000 }; /* waits of 20 ms */

static void nap(void)
{
	(void)usleep(20000);
}

static uint64_t file_size(struct worker *w, int fd)
{
	struct stat st;

	if (fstat(fd, &st) == 0)
		return (uint64_t)st.st_size;
	may_fail(w, 0, "fstat");
	return 0;
}

static void wait_for_size(struct worker *w, uint64_t size)
{
	for (unsigned i = 0; file_size(w, w->fd) != size && !w->over; i++) {
		if (i == PATIENCE)
			wrong(w, size, "st_size stays %" PRIu64,
			      file_size(w, w->fd));
		nap();
	}
	/* If the kernel is told of a change meanwhile, fstat(2) shows the size,
	 * but page faults do not know it before the next one. */
	(void)file_size(w, w->fd);
}

static bool is_sure(const struct worker *w)
{
	for (unsigned i = 0; i < w->file->stripes; i++)
		if (shadow_is_unsure(w->file, &w->file->stripe[i]) ||
		    !shadow_has_room(&w->file->stripe[i], 0))
			return false;
	return true;
}

/* --- Looking --- */

static void look_at_all(struct worker *w, int fd, const char *how)
{
	uint64_t end = atomic_load(&w->file->len);

	for (uint64_t at = 0; at < end && !w->over; at += SOAK_LONGEST) {
		uint64_t len = soak_min(SOAK_LONGEST, end - at);
		ssize_t n = pread(fd, w->seen, len, (off_t)at);

		if (n < 0)
			may_fail(w, at, how);
		else if ((uint64_t)n != len && is_sure(w) &&
			 !atomic_load(&w->soak->ending))
			wrong(w, at, "%s: %zd bytes", how, n);
		else
			compare(w, w->seen, (uint64_t)n, at, how);
	}
	if (!w->over)
		check_seeks(w, fd, 0, end, 1000000);
}

static void look_at_blocks(struct worker *w)
{
	uint64_t len = atomic_load(&w->file->len);
	struct stat st;

	if (fstat(w->fd, &st) == 0 &&
	    (uint64_t)st.st_blocks > (len + 511) / 512)
		wrong(w, 0, "st_blocks is %jd", (intmax_t)st.st_blocks);
	if (lseek(w->fd, (off_t)len, SEEK_HOLE) >= 0)
		wrong(w, len, "SEEK_HOLE at the end");
}

static void op_look(struct worker *w)
{
	/* A search does not see a store through another worker's mapping. */
	if (w->file->mapped && !sync_file(w, w->fd))
		return;
	look_at_all(w, chance(w, 50) ? w->direct : w->fd, "read of all");
	if (!w->over)
		look_at_blocks(w);
}

/* The read-only mount must show what is synced, to a program that opens now. */
static void op_look_at_reader(struct worker *w)
{
	int flags = O_RDONLY | O_CLOEXEC | (chance(w, 50) ? O_DIRECT : 0), fd;

	if (!w->file->reader_path[0] || !sync_map(w) || !sync_file(w, w->fd))
		return;
	fd = open(w->file->reader_path, flags);
	if (fd < 0) {
		may_fail(w, 0, "open of the read-only mount");
		return;
	}
	if (file_size(w, fd) != w->file->capacity)
		wrong(w, 0, "the read-only file has %" PRIu64 " bytes",
		      file_size(w, fd));
	look_at_all(w, fd, "read of the read-only mount");
	(void)close(fd);
}

/* --- Changing all --- */

/* All stripes hold zeros. */
static void shadow_zero_all(struct worker *w, uint64_t end)
{
	struct soak_file *file = w->file;

	for (unsigned i = 0; i < file->stripes; i++) {
		struct stripe *stripe = &file->stripe[i];
		uint64_t to = soak_min(stripe->to, end);

		if (stripe->from < to)
			shadow_zero(file, stripe, stripe->from,
				    to - stripe->from);
	}
}

static void all_done(struct worker *w)
{
	for (unsigned i = 0; i < w->file->stripes; i++)
		shadow_done(&w->file->stripe[i], false);
}

/* The file is cut to nothing. Its worker needs a file that reaches into its
 * stripe, so that it grows again at once. */
static void op_open_truncated(struct worker *w)
{
	uint64_t old = atomic_load(&w->file->len);
	uint64_t len =
		chance(w, 50)
			? w->stripe->to
			: w->stripe->from +
				  below(w, w->stripe->to - w->stripe->from + 1);
	int fd;

	note(w, 0, w->stripe->to, "O_TRUNC, then %" PRIu64, len);
	shadow_zero_all(w, old);
	if (len < old)
		shadow_cut(w->file, w->stripe, len, old - len);
	else
		shadow_zero(w->file, w->stripe, old, len - old);
	atomic_store(&w->file->len, len);
	while ((fd = open(w->file->path, O_WRONLY | O_TRUNC | O_CLOEXEC)) < 0 &&
	       !w->over) {
		may_fail(w, 0, "O_TRUNC");
		nap();
	}
	while (!w->over && ftruncate(fd, (off_t)len) < 0) {
		may_fail(w, len, "truncate after O_TRUNC");
		nap();
	}
	all_done(w);
	if (fd >= 0 && close(fd) < 0)
		may_fail(w, 0, "close after O_TRUNC");
}

static void op_punch_all(struct worker *w)
{
	uint64_t end = atomic_load(&w->file->len);

	if (!end)
		return;
	note(w, 0, end, "punch all");
	shadow_zero_all(w, end);
	while (!w->over &&
	       fallocate(w->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			 (off_t)end) < 0) {
		may_fail(w, 0, "punch of all");
		nap();
	}
	all_done(w);
	check_hole(w, 0, end);
}

/* --- The size of the device --- */

/* Makes the image that long, with new bytes at its end, or none. */
static void resize_image(struct worker *w, uint64_t old, uint64_t size)
{
	int image = open(w->file->image, O_RDWR | O_CLOEXEC);
	int device = open(w->file->device, O_RDONLY | O_CLOEXEC);

	if (image < 0 || device < 0 || ftruncate(image, (off_t)size) < 0)
		soak_die(w->file->image);
	for (uint64_t at = old; at < size; at += SOAK_LONGEST) {
		uint64_t len = soak_min(SOAK_LONGEST, size - at);

		fill(w, w->buf, len, at);
		if (pwrite(image, w->buf, len, (off_t)at) != (ssize_t)len)
			soak_die(w->file->image);
		shadow_is(w->file, w->stripe, at, len,
			  (const unsigned char *)w->buf);
	}
	if (ioctl(device, LOOP_SET_CAPACITY, 0) < 0)
		soak_die("LOOP_SET_CAPACITY");
	(void)close(image);
	(void)close(device);
}

/* The mount sees the new size at the latest a second later. */
static void grow(struct worker *w, uint64_t size)
{
	uint64_t old = w->file->capacity, len = atomic_load(&w->file->len);

	note(w, len, size, "the device grows to %" PRIu64, size);
	resize_image(w, old, size);
	w->file->capacity = w->stripe->to = size;
	if (len == old) {
		atomic_store(&w->file->len, size);
		wait_for_size(w, size);
		return;
	}
	file_ends(w, size);
	for (unsigned i = 0; ftruncate(w->fd, (off_t)size) < 0 && !w->over;
	     i++) {
		if (errno != EFBIG || i == PATIENCE)
			may_fail(w, size, "truncate after growing");
		nap();
	}
	all_done(w);
}

static void shrink(struct worker *w, uint64_t size)
{
	struct soak_file *file = w->file;
	uint64_t old = file->capacity;

	if (!sync_file(w, w->fd))
		return;
	note(w, size, old, "the device shrinks to %" PRIu64, size);
	resize_image(w, old, size);
	file->capacity = w->stripe->to = size;
	atomic_store(&file->len, size);
	memset(file->now + size, 0, file->max - size);
	memset(file->loose + size, true, file->max - size);
	wait_for_size(w, size);
}

static void op_resize(struct worker *w)
{
	uint64_t unit = chance(w, 50) ? 512 : 65536;
	uint64_t room = w->file->max - w->file->capacity;
	uint64_t len = atomic_load(&w->file->len);
	uint64_t least = w->stripe->from + 2 * w->soak->granule;
	bool grows = chance(w, 60);

	if (!w->file->resizes || !sync_map(w))
		return;
	unmap_file(w);
	if (grows && room >= unit)
		grow(w,
		     w->file->capacity +
			     unit * (1 + below(w, soak_min(room / unit, 64))));
	else if (!grows && len > least + unit)
		shrink(w, (least + below(w, len - least)) / 512 * 512);
	if (!w->over)
		map_file(w);
}

/* --- All of them --- */

void op_whole(struct worker *w)
{
	static const struct {
		const char *name;
		void (*call)(struct worker *w);
	} ops[] = {
		{ "look at all", op_look },
		{ "look at the read-only mount", op_look_at_reader },
		{ "O_TRUNC", op_open_truncated },
		{ "punch all", op_punch_all },
		{ "resize", op_resize },
		{ "resize", op_resize },
	};
	uint64_t i = below(w, sizeof(ops) / sizeof(ops[0]));

	pthread_rwlock_wrlock(&w->file->whole);
	op_begin(w, ops[i].name);
	if (is_sure(w) && sync_map(w))
		ops[i].call(w);
	op_end(w);
	pthread_rwlock_unlock(&w->file->whole);
}
