/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The extents of a regular file, as lseek() tells them.
 *
 * SEEK_DATA and SEEK_HOLE promise little: a file system may call a hole data,
 * may have no holes at all (EINVAL), and may cut one run of data in pieces:
 * SEEK_HOLE answers an offset from which SEEK_DATA answers that same offset.
 * blksparsefs does that when looking further would take too long. Such pieces
 * are put together here, until a second has passed: then what there is so far
 * is given, so that the caller comes to look at the clock, or at Ctrl-C, while
 * a file system reads a whole disk to find its first hole.
 *
 * A file may change while it is walked. Answers are then of different times,
 * and where two of them contradict each other the bytes are called data, which
 * is right whatever they are.
 */
#include "blksparse.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MERGE_US = G_USEC_PER_SEC };

/* lseek(), but 0 or -errno. */
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

/* All from off on, when SEEK_DATA said -ENXIO or cannot tell. */
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
	/* Asked once more, for before the size was known the file may have
	 * grown, by data. */
	ret_extent->type = seek(fd, off, SEEK_DATA, &data) == -ENXIO
				   ? BSP_EXTENT_HOLE
				   : BSP_EXTENT_DATA;
	return 1;
}

/* Where the data that starts at off ends, boundaries left out; off itself if
 * the file changed, or its system does not answer sensibly. */
static int end_of_data(int fd, uint64_t off, uint64_t *ret_end)
{
	int64_t deadline = g_get_monotonic_time() + MERGE_US;
	uint64_t end = off, next = off;
	int r;

	do {
		r = seek(fd, end, SEEK_HOLE, &next);
		if (r == -ENXIO)
			break; /* the end, or truncated since */
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

int bsp_file_extent(void *fd, uint64_t off, struct bsp_extent *ret_extent)
{
	int file = *(const int *)fd;
	enum bsp_extent_type type = BSP_EXTENT_HOLE;
	uint64_t next = off;
	int r = seek(file, off, SEEK_DATA, &next);

	if (r == -ENXIO || r == -EINVAL || r == -EOPNOTSUPP)
		return rest(file, off, ret_extent);
	if (r < 0)
		return r;
	if (next == off) {
		type = BSP_EXTENT_DATA;
		r = end_of_data(file, off, &next);
		if (r < 0)
			return r;
	}
	if (next <= off)
		return rest(file, off, ret_extent);
	*ret_extent = (struct bsp_extent){ .off = off,
					   .len = next - off,
					   .type = type };
	return 1;
}
