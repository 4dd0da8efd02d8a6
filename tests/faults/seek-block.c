/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stands in for a kernel whose loop devices answer lseek(2): a program that is
 * linked with this file gets the answers from the file $SEEK_IMAGE, of which
 * the loop device must show all.
 */
#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { LOOP_MAJOR = 7 };

static int open_image(void)
{
	const char *path = getenv("SEEK_IMAGE");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (path && fd < 0)
		err(2, "%s", path);
	return fd;
}

off_t lseek(int fd, off_t off, int whence)
{
	static int image = -2;
	struct stat st;

	if (image == -2)
		image = open_image();
	if (image >= 0 && (whence == SEEK_DATA || whence == SEEK_HOLE) &&
	    fstat(fd, &st) == 0 && S_ISBLK(st.st_mode) &&
	    major(st.st_rdev) == LOOP_MAJOR)
		fd = image;
	return (off_t)syscall(SYS_lseek, fd, off, whence);
}
