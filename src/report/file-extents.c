/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The extents of a regular file, by lseek(SEEK_DATA) and lseek(SEEK_HOLE).
 *
 * The two seeks guarantee little. A file system may call a hole data, may have
 * no holes at all (EINVAL), and may split one run of data: SEEK_HOLE answers an
 * offset for which SEEK_DATA answers the same offset. blksparsefs does this
 * when the search would take too long. This file merges such pieces, for one
 * second at most. Then it returns the extent found so far, so that the caller
 * can show progress and react to Ctrl-C while the file system reads a whole
 * disk to find its first hole.
 *
 * The file may change during the walk. Where two answers contradict each other,
 * the bytes are called data, which is always correct.
 */
#include "blksparse.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MERGE_US = G_USEC_PER_SEC };

/* lseek() that returns 0 or -errno. */
static int seek(int fd, uint64_t off, int whence, uint64_t *ret_off)
{
	off_t answer;

	if (off > INT64_MAX)
		return -ENXIO;
	answer = lseek(fd, (off_t)off, whence);
	if (answer < 0)
		return -errno;
	*ret_off = (uint64_t)answer;
	return 0;
}

/* Gives all from off on as one extent, after SEEK_DATA failed or gave no
 * progress. */
static int rest(int fd, uint64_t off, struct bsp_extent *ret_extent)
{
	struct stat st;
	uint64_t data;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (off >= (uint64_t)st.st_size)
		return 0;
	ret_extent->off = off;
	ret_extent->len = (uint64_t)st.st_size - off;
	/* Seek again: data may have been appended before the size was read. */
	ret_extent->type = seek(fd, off, SEEK_DATA, &data) == -ENXIO
				   ? BSP_EXTENT_HOLE
				   : BSP_EXTENT_DATA;
	return 1;
}

/* Finds the end of the data that starts at off, and merges adjacent data. Sets
 * off itself if the file changed or the answers make no sense. */
static int end_of_data(int fd, uint64_t off, uint64_t *ret_end)
{
	int64_t deadline = g_get_monotonic_time() + MERGE_US;
	uint64_t end = off, next = off;
	int r;

	do {
		r = seek(fd, end, SEEK_HOLE, &next);
		if (r == -ENXIO)
			break; /* the end, or the file was truncated */
		if (r < 0)
			return r;
		if (next <= end)
			break;
		end = next;
		r = seek(fd, end, SEEK_DATA, &next);
	} while (r == 0 && next == end && g_get_monotonic_time() < deadline);
	*ret_end = end;
	return 0;
}

int bsp_file_extent(int fd, uint64_t off, struct bsp_extent *ret_extent)
{
	enum bsp_extent_type type = BSP_EXTENT_HOLE;
	uint64_t next = off;
	int r = seek(fd, off, SEEK_DATA, &next);

	if (r == -ENXIO || r == -EINVAL || r == -EOPNOTSUPP)
		return rest(fd, off, ret_extent);
	if (r < 0)
		return r;
	if (next == off) {
		type = BSP_EXTENT_DATA;
		r = end_of_data(fd, off, &next);
		if (r < 0)
			return r;
	}
	if (next <= off)
		return rest(fd, off, ret_extent);
	*ret_extent = (struct bsp_extent){ .off = off,
					   .len = next - off,
					   .type = type };
	return 1;
}

/* A bsp_extent_fn. */
static int next_extent(void *data, uint64_t off, struct bsp_extent *ret_extent)
{
	return bsp_file_extent(GPOINTER_TO_INT(data), off, ret_extent);
}

struct bsp_extent_source bsp_file_extent_source(int fd)
{
	return (struct bsp_extent_source){ next_extent, GINT_TO_POINTER(fd) };
}
