/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A mount is asked by its folder, because an opening of a file might wait for
 * its device. A mount point that is a regular file is opened with O_ASYNC (see
 * blksparse-ioctl.h).
 *
 * The path of a mount point may lead somewhere else by now, or another file
 * system may be mounted upon it. So the child opens it with O_PATH first, which
 * asks no driver, and compares the device number.
 */
#include "ask.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "blksparse-mountinfo.h"
#include "bounded.h"

#define FS_TYPE "fuse.blksparsefs"

/* The path of a mount point leads to another file system. */
enum { COVERED = ESTALE };

/* --- The mounts ---------------------------------------------------------- */

static void mount_free(void *data)
{
	struct ask_mount *mount = data;

	g_free(mount->device);
	g_ptr_array_unref(mount->where);
	g_free(mount);
}

static struct ask_mount *find_mount(const GPtrArray *mounts, const char *device)
{
	for (guint i = 0; i < mounts->len; i++) {
		struct ask_mount *mount = g_ptr_array_index(mounts, i);

		if (strcmp(mount->device, device) == 0)
			return mount;
	}
	return NULL;
}

static struct ask_mount *add_mount(GPtrArray *mounts, const char *device)
{
	struct ask_mount *mount = g_new0(struct ask_mount, 1);
	unsigned major = 0, minor = 0;

	(void)sscanf(device, "%u:%u", &major, &minor);
	mount->device = g_strdup(device);
	mount->number = makedev(major, minor);
	mount->where = g_ptr_array_new_with_free_func(g_free);
	g_ptr_array_add(mounts, mount);
	return mount;
}

GPtrArray *ask_mounts(void)
{
	GPtrArray *list = bsp_mountinfo_read(BSP_MOUNTINFO_SELF);
	GPtrArray *mounts;

	if (!list)
		return NULL;
	mounts = g_ptr_array_new_with_free_func(mount_free);
	for (guint i = 0; i < list->len; i++) {
		const struct bsp_mount *one = g_ptr_array_index(list, i);
		struct ask_mount *mount;

		if (strcmp(one->type, FS_TYPE) != 0)
			continue;
		mount = find_mount(mounts, one->device);
		if (!mount)
			mount = add_mount(mounts, one->device);
		g_ptr_array_add(mount->where, g_strdup(one->where));
	}
	g_ptr_array_unref(list);
	return mounts;
}

/* --- In a child ---------------------------------------------------------- */

/* A child sends struct bsp_ioctl_stat of each file, and this at last. */
struct tail {
	int32_t error;	/* errno; 0: all files came */
	uint32_t where; /* the index of the place that was asked */
	uint32_t is_file;
};

static void put(int fd, const void *buf, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			_exit(1); /* the program has ended */
		buf = (const char *)buf + n;
		len -= (size_t)n;
	}
}

/*
 * As stat(2) of a descriptor, but asks the driver for attributes only if the
 * kernel has none. That can be so for a file that was just looked up, if
 * another inode was dropped at the same time (fuse_iget() in fs/fuse/inode.c).
 */
static int look(int fd, struct ask_object *ret)
{
	int flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
	struct statx stx;

	if (statx(fd, "", flags, STATX_BASIC_STATS, &stx) < 0)
		return errno;
	if ((stx.stx_ino == 0 || !(stx.stx_mode & S_IFMT)) &&
	    statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &stx) < 0)
		return errno;
	ret->mode = stx.stx_mode;
	ret->file_system = makedev(stx.stx_dev_major, stx.stx_dev_minor);
	ret->device = makedev(stx.stx_rdev_major, stx.stx_rdev_minor);
	ret->inode = stx.stx_ino;
	return 0;
}

/* Opens a place of a mount. Returns a descriptor; -1, with errno. */
static int open_place(const struct ask_mount *mount, const char *where,
		      bool *ret_folder)
{
	char path[sizeof("/proc/self/fd/2147483647")];
	struct ask_object object;
	int place = open(where, O_PATH | O_CLOEXEC), error, fd;

	if (place < 0)
		return -1;
	error = look(place, &object);
	if (!error && object.file_system != mount->number)
		error = COVERED;
	if (error) {
		(void)close(place);
		errno = error;
		return -1;
	}
	*ret_folder = S_ISDIR(object.mode);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", place);
	fd = *ret_folder ? openat(place, ".", O_RDONLY | O_DIRECTORY)
			 : open(path, O_RDONLY | O_ASYNC | O_NONBLOCK);
	error = errno;
	(void)close(place);
	errno = error;
	return fd;
}

/* Opens the folder of a mount, or else a file. Returns as open_place(). */
static int open_mount(const struct ask_mount *mount, struct tail *tail)
{
	int first_error = 0, file = -1;

	for (uint32_t i = 0; i < mount->where->len; i++) {
		bool folder;
		int fd = open_place(mount, g_ptr_array_index(mount->where, i),
				    &folder);

		if (fd < 0 && !first_error)
			first_error = errno;
		if (fd < 0 || (!folder && file >= 0))
			continue;
		tail->where = i;
		tail->is_file = !folder;
		if (folder && file >= 0)
			(void)close(file);
		if (folder)
			return fd;
		file = fd;
	}
	errno = first_error;
	return file;
}

/* Passes the answers for all files on. Returns 0 or errno. */
static int ask_files(int fd, int to)
{
	struct bsp_ioctl_stat st = { 0 };
	uint32_t index = 0;

	do {
		st.index = index;
		if (ioctl(fd, BSP_IOCTL_STAT, &st) < 0)
			return errno == ENOENT ? 0 : errno;
		put(to, &st, sizeof(st));
	} while (++index < st.files);
	return 0;
}

static void ask_mount(const void *data, int to)
{
	struct tail tail = { 0 };
	int fd = open_mount(data, &tail);

	tail.error = fd < 0 ? errno : ask_files(fd, to);
	/* Once the program has all bytes, its user may unmount. */
	if (fd >= 0)
		(void)close(fd);
	put(to, &tail, sizeof(tail));
}

static void look_at_path(const void *data, int to)
{
	struct ask_object object = { 0 };
	int fd = open(data, O_PATH | O_CLOEXEC);

	object.error = fd < 0 ? errno : look(fd, &object);
	if (fd >= 0)
		(void)close(fd);
	put(to, &object, sizeof(object));
}

/* --- Answers ------------------------------------------------------------- */

/* A mount that has not answered yet. */
struct pending {
	char *device;
	struct bounded *call;
};

struct asker {
	GPtrArray *pending; /* of struct pending * */
};

static void pending_free(void *data)
{
	struct pending *pending = data;

	g_free(pending->device);
	bounded_free(pending->call);
	g_free(pending);
}

struct asker *asker_new(void)
{
	struct asker *asker = g_new0(struct asker, 1);

	asker->pending = g_ptr_array_new_with_free_func(pending_free);
	return asker;
}

void asker_free(struct asker *asker)
{
	g_ptr_array_unref(asker->pending);
	g_free(asker);
}

const char *ask_explain(int error)
{
	switch (error) {
	case ENOTCONN:
	case ECONNABORTED:
		return "its driver has ended; unmount it";
	case EACCES:
		return "only the user who mounted it may ask";
	case ENOTTY:
		return "its driver is of another version";
	case ETIMEDOUT:
		return "does not answer";
	default:
		return g_strerror(error);
	}
}

static void answer_free(void *data)
{
	struct ask_answer *answer = data;

	g_free(answer->where);
	g_free(answer->error);
	g_array_unref(answer->files);
	g_free(answer);
}

/* Texts from another program need not end. */
static void end_texts(struct bsp_ioctl_stat *st)
{
	st->name[sizeof(st->name) - 1] = '\0';
	st->device[sizeof(st->device) - 1] = '\0';
	st->slowest[sizeof(st->slowest) - 1] = '\0';
	st->layers = MIN(st->layers, BSP_IOCTL_LAYERS);
	for (unsigned i = 0; i < st->layers; i++)
		st->layer[i].name[sizeof(st->layer[i].name) - 1] = '\0';
}

static GArray *files_of(const GByteArray *bytes)
{
	const struct bsp_ioctl_stat *all = (const void *)bytes->data;
	guint n = bytes->len / (guint)sizeof(*all);
	GArray *files = g_array_new(false, false, sizeof(*all));

	g_array_append_vals(files, all, n);
	for (guint i = 0; i < n; i++)
		end_texts(&g_array_index(files, struct bsp_ioctl_stat, i));
	return files;
}

/* The answer of a call, which may be NULL or under way still. Returns NULL if
 * the mount is covered. */
static struct ask_answer *answer_of(const struct ask_mount *mount,
				    const struct bounded *call)
{
	struct ask_answer *answer = g_new0(struct ask_answer, 1);
	struct tail tail = { .error = ETIMEDOUT };
	size_t len = call ? call->bytes->len : 0;

	answer->files =
		call ? files_of(call->bytes) : g_array_new(false, false, 1);
	if (!call || bounded_has_ended(call))
		tail.error = EAGAIN; /* no memory for a process */
	if (call && bounded_has_ended(call) &&
	    len % sizeof(struct bsp_ioctl_stat) == sizeof(tail))
		memcpy(&tail, call->bytes->data + len - sizeof(tail),
		       sizeof(tail));
	tail.where = MIN(tail.where, mount->where->len - 1);
	answer->where = g_strdup(g_ptr_array_index(mount->where, tail.where));
	answer->is_file = tail.is_file;
	answer->number = mount->number;
	if (tail.error == COVERED) {
		answer_free(answer);
		return NULL;
	}
	if (tail.error)
		answer->error = g_strdup(ask_explain(tail.error));
	return answer;
}

/* Takes the call of a mount that has not answered yet; NULL if there is none.
 */
static struct bounded *take_pending(struct asker *asker, const char *device)
{
	for (guint i = 0; i < asker->pending->len; i++) {
		struct pending *pending = g_ptr_array_index(asker->pending, i);

		if (strcmp(pending->device, device) == 0) {
			struct bounded *call = g_steal_pointer(&pending->call);

			g_ptr_array_remove_index(asker->pending, i);
			return call;
		}
	}
	return NULL;
}

static void add_pending(struct asker *asker, const char *device,
			struct bounded *call)
{
	struct pending *pending = g_new0(struct pending, 1);

	pending->device = g_strdup(device);
	pending->call = call;
	g_ptr_array_add(asker->pending, pending);
}

/* Starts the calls, or finds those that are under way, and waits for them. */
static GPtrArray *call_all(struct asker *asker, GPtrArray *mounts)
{
	GPtrArray *calls = g_ptr_array_new();
	GPtrArray *started = g_ptr_array_new();
	gint64 now = g_get_monotonic_time();

	for (guint i = 0; i < mounts->len; i++) {
		const struct ask_mount *mount = g_ptr_array_index(mounts, i);
		struct bounded *call = take_pending(asker, mount->device);

		if (!call) {
			call = bounded_start(ask_mount, mount);
			g_ptr_array_add(started, call);
		}
		g_ptr_array_add(calls, call);
	}
	bounded_wait(started, now + ASK_US);
	bounded_wait(calls, now);
	g_ptr_array_unref(started);
	return calls;
}

GPtrArray *asker_ask(struct asker *asker, GPtrArray *mounts)
{
	g_autoptr(GPtrArray) calls = call_all(asker, mounts);
	GPtrArray *answers = g_ptr_array_new_with_free_func(answer_free);

	/* Mounts that are gone. */
	g_ptr_array_set_size(asker->pending, 0);
	for (guint i = 0; i < mounts->len; i++) {
		const struct ask_mount *mount = g_ptr_array_index(mounts, i);
		struct bounded *call = g_ptr_array_index(calls, i);
		struct ask_answer *answer = answer_of(mount, call);

		if (answer)
			g_ptr_array_add(answers, answer);
		if (call && !bounded_has_ended(call))
			add_pending(asker, mount->device, call);
		else
			bounded_free(call);
	}
	return answers;
}

struct ask_object ask_object(const char *path)
{
	struct ask_object object = { .error = ETIMEDOUT };
	struct bounded *call = bounded_start(look_at_path, path);
	g_autoptr(GPtrArray) calls = g_ptr_array_new();

	if (!call) {
		object.error = errno;
		return object;
	}
	g_ptr_array_add(calls, call);
	bounded_wait(calls, g_get_monotonic_time() + ASK_US);
	if (call->bytes->len == sizeof(object))
		memcpy(&object, call->bytes->data, sizeof(object));
	bounded_free(call);
	return object;
}
