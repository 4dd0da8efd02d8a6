/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "new-file.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "message.h"

/* A record of a digest file, and more. */
enum { RESERVE_MAX = 192 << 10 };

/* Checks a file that is there: it is replaced, or written to. */
static int check_file(const char *path, const struct stat *st,
		      const char *source)
{
	if (S_ISREG(st->st_mode) &&
	    !bsp_check_not_same_device(source, path, NULL))
		return usage_error("%s has the content of %s, and would be "
				   "lost; give the digest another name",
				   path, source);
	if (S_ISBLK(st->st_mode))
		return usage_error("%s is a block device; the digest goes to a "
				   "file",
				   path);
	return STATUS_OK;
}

static bool is_stdout(const struct stat *st)
{
	struct stat out;

	return fstat(STDOUT_FILENO, &out) == 0 && out.st_dev == st->st_dev &&
	       out.st_ino == st->st_ino;
}

/* Where the new file belongs; NULL with errno set for a symbolic link that
 * leads nowhere. */
static char *final_name(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISLNK(st.st_mode)
		       ? realpath(path, NULL)
		       : g_strdup(path);
}

/* The file gets the mode of any new one: mkostemp() gives it less. */
static int open_temporary(char *name)
{
	mode_t mask = umask(0);
	int fd = mkostemp(name, O_CLOEXEC);

	umask(mask);
	if (fd >= 0)
		(void)fchmod(fd, 0666 & ~mask);
	return fd;
}

/* Returns a descriptor, or -1 with errno set. */
static int open_new(struct new_file *file)
{
	file->final = final_name(file->path);
	if (!file->final)
		return -1;
	file->temporary = g_strdup_printf("%s.XXXXXX", file->final);
	return open_temporary(file->temporary);
}

static void free_names(struct new_file *file)
{
	g_free(file->temporary);
	g_free(file->final);
}

int new_file_open(struct new_file *file, const char *path, const char *source)
{
	struct stat st;
	bool is_there = stat(path, &st) == 0;
	int status = is_there ? check_file(path, &st, source) : STATUS_OK;

	*file = (struct new_file){ .path = path };
	if (!*path) /* a temporary file could be made, and never renamed */
		return usage_error("the digest needs a file name");
	if (status != STATUS_OK)
		return status;
	if (is_there && is_stdout(&st))
		file->out.fd = dup(STDOUT_FILENO);
	else if (is_there && !S_ISREG(st.st_mode))
		file->out.fd = open(path, O_WRONLY | O_CLOEXEC);
	else
		file->out.fd = open_new(file);
	if (file->out.fd >= 0)
		return STATUS_OK;
	status = failure("%s: %s", path, g_strerror(errno));
	free_names(file);
	return status;
}

int new_file_reserve(struct new_file *file, uint64_t bytes)
{
	off_t len = (off_t)MIN(bytes, RESERVE_MAX);
	int status;

	if (!file->temporary || !len ||
	    fallocate(file->out.fd, FALLOC_FL_KEEP_SIZE, 0, len) == 0 ||
	    (errno != ENOSPC && errno != EDQUOT))
		return STATUS_OK;
	status = failure("%s: %s", file->path, g_strerror(errno));
	new_file_discard(file);
	return status;
}

/* Gives back the room that the file did not need. Ignores an error: the file is
 * complete. */
static void end_reservation(const struct new_file *file)
{
	struct stat st;

	if (file->temporary && fstat(file->out.fd, &st) == 0)
		(void)!ftruncate(file->out.fd, st.st_size);
}

/* Makes the new name durable. */
static int sync_directory(const char *path)
{
	g_autofree char *directory = g_path_get_dirname(path);
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = 0;

	if (fd < 0)
		return 0; /* a directory without read permission */
	if (fsync(fd) < 0 && errno != EINVAL)
		r = -errno;
	close(fd);
	return r;
}

static int finish(struct new_file *file)
{
	int r = output_flush(&file->out);

	if (!r)
		end_reservation(file);
	if (!r && file->temporary && fsync(file->out.fd) < 0)
		r = -errno;
	if (!r)
		r = output_finish(&file->out);
	if (!r && file->temporary && rename(file->temporary, file->final) < 0)
		r = -errno;
	return r;
}

int new_file_finish(struct new_file *file)
{
	int r = finish(file);

	if (r) {
		failure("%s: %s", file->path, g_strerror(-r));
		new_file_discard(file);
		return STATUS_FAILED;
	}
	if (file->temporary)
		r = sync_directory(file->final);
	free_names(file);
	return r ? failure("%s: %s", file->path, g_strerror(-r)) : STATUS_OK;
}

void new_file_discard(struct new_file *file)
{
	if (file->temporary)
		(void)unlink(file->temporary);
	free_names(file);
	/* It is closed at exit; its error no longer matters. */
}
