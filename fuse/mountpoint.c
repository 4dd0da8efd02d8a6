/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Before mounting: the kernel would mount over any directory, so a user who
 * repeats a command would get two mounts. A mount point that is a FUSE mount
 * already is refused. /proc/self/mountinfo (proc(5)) lists the mounts; without
 * it no mount point is refused.
 *
 * After mounting: our mount may be moved, and so may the directories above it.
 * There may be copies of it (mount --bind), and other mounts on top of it. So
 * the unmount finds our mount by its device number, which no other mount has
 * while ours exists. After the kernel has ended the connection, our mount may
 * be gone, and the kernel may give the number to the next mount; ours is then
 * one that does not answer.
 */
#include "mountpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blksparse.h"
#include "blksparse-mountinfo.h"

/* The topmost mount at path: the last one in the list. */
static const struct bsp_mount *find_at(const GPtrArray *mounts,
				       const char *path)
{
	for (guint i = mounts ? mounts->len : 0; i > 0; i--) {
		const struct bsp_mount *entry =
			g_ptr_array_index(mounts, i - 1);

		if (strcmp(entry->where, path) == 0)
			return entry;
	}
	return NULL;
}

/* Returns an absolute path without symbolic links. If the last part is a mount
 * whose program has died, it is not resolved itself. */
static char *resolve(const char *path)
{
	char *real = realpath(path, NULL);
	g_autofree char *folder = NULL, *name = NULL, *copy = NULL;
	char *above;

	if (real || errno != ENOTCONN) {
		copy = g_strdup(real ? real : path);
		free(real);
		return g_steal_pointer(&copy);
	}
	folder = g_path_get_dirname(path);
	name = g_path_get_basename(path);
	above = realpath(folder, NULL);
	copy = g_build_filename(above ? above : folder, name, NULL);
	free(above);
	return g_steal_pointer(&copy);
}

static bool refuse_mounted(const char *path, GError **error)
{
	g_autoptr(GPtrArray) mounts = bsp_mountinfo_read(BSP_MOUNTINFO_SELF);
	const struct bsp_mount *entry = find_at(mounts, path);

	if (!entry || !g_str_has_prefix(entry->type, "fuse") ||
	    strcmp(entry->type, "fusectl") == 0)
		return false;
	g_set_error(
		error, BSP_ERROR, BSP_ERROR_FAILED,
		"mount point %s is in use: %s (%s) is mounted there; unmount it first: %s %s",
		path, entry->source, entry->type,
		geteuid() == 0 ? "umount" : "fusermount3 -u", path);
	return true;
}

bool mountpoint_check(const char *path, struct mountpoint *ret, GError **error)
{
	g_autofree char *real = resolve(path);
	struct stat st;

	if (refuse_mounted(real, error))
		return false;
	if (stat(path, &st) < 0) {
		g_set_error(error, BSP_ERROR, BSP_ERROR_FAILED,
			    "mount point %s: %s%s", path, g_strerror(errno),
			    errno == ENOENT ? "; create it first, with mkdir"
					    : "");
		return false;
	}
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) {
		g_set_error(
			error, BSP_ERROR, BSP_ERROR_FAILED,
			"mount point %s is neither a directory nor a regular file (the mount point comes last)",
			path);
		return false;
	}
	ret->path = g_steal_pointer(&real);
	ret->is_file = S_ISREG(st.st_mode);
	ret->device = NULL;
	ret->source = NULL;
	return true;
}

/* The device number of the mount at path; NULL if not known. The flags keep the
 * kernel from asking the mount, which may not answer (statx(2)). */
static char *device_at(const char *path)
{
	struct statx st;

	if (statx(AT_FDCWD, path,
		  AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, 0,
		  &st) < 0)
		return NULL;
	return g_strdup_printf("%u:%u", st.stx_dev_major, st.stx_dev_minor);
}

void mountpoint_mounted(struct mountpoint *mp)
{
	g_autoptr(GPtrArray) mounts = bsp_mountinfo_read(BSP_MOUNTINFO_SELF);
	const struct bsp_mount *entry = find_at(mounts, mp->path);

	mp->device = device_at(mp->path);
	if (entry && mp->device && strcmp(entry->device, mp->device) == 0)
		mp->source = g_strdup(entry->source);
}

/* See Documentation/ABI/testing/sysfs-class-bdi in the kernel's source. */
void mountpoint_read_ahead(const struct mountpoint *mp, unsigned kib)
{
	g_autofree char *path = NULL;
	unsigned now;
	FILE *knob;

	if (!mp->device)
		return;
	path = g_strdup_printf("/sys/class/bdi/%s/read_ahead_kb", mp->device);
	knob = fopen(path, "r+e");
	if (!knob)
		return;
	if (fscanf(knob, "%u", &now) == 1 && now < kib &&
	    fseek(knob, 0, SEEK_SET) == 0)
		(void)fprintf(knob, "%u", kib);
	(void)fclose(knob);
}

/* --- Unmounting ---------------------------------------------------------- */

/* The mount to be unmounted. */
struct target {
	const struct mountpoint *mp;
	bool dead; /* the kernel has ended the connection */
};

static bool is_at(const char *path, const char *device)
{
	g_autofree char *there = device_at(path);

	return there && strcmp(there, device) == 0;
}

/* Whether the program that serves the mount at path is gone. The flags keep the
 * kernel from answering from its cache (statx(2)). */
static bool is_dead(const char *path)
{
	struct statx st;

	return statx(AT_FDCWD, path, AT_NO_AUTOMOUNT | AT_STATX_FORCE_SYNC,
		     STATX_BASIC_STATS, &st) < 0 &&
	       errno == ENOTCONN;
}

/* Detaches our mount at path. Fails if another mount is on top of ours: the
 * kernel would detach that one. */
static bool detach_at(const char *path, const struct target *target)
{
	const char *argv[] = {
		"fusermount3", "-u", "-q", "-z", "--", path, NULL
	};
	int status = -1;

	if (!is_at(path, target->mp->device) ||
	    (target->dead && !is_dead(path)))
		return false;
	/*
	 * MNT_FORCE ends the requests. A user who is not root cannot give it.
	 */
	if (umount2(path, MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW) == 0 ||
	    umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		return true;
	return g_spawn_sync(NULL, (char **)argv, NULL,
			    G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL |
				    G_SPAWN_STDERR_TO_DEV_NULL,
			    NULL, NULL, NULL, NULL, &status, NULL) &&
	       g_spawn_check_wait_status(status, NULL);
}

/* After another root was mounted over ours, as by switch_root(8), mountinfo has
 * paths below the new root. ".." leads there. */
static char *below_new_root(const char *where)
{
	return g_strconcat("/..", where, NULL);
}

static bool detach(const char *where, const struct target *target)
{
	g_autofree char *other = below_new_root(where);

	return detach_at(where, target) || detach_at(other, target);
}

/* The mount on top of entry; NULL if there is none. */
static const struct bsp_mount *find_on(const GPtrArray *mounts,
				       const struct bsp_mount *entry)
{
	for (guint i = 0; i < mounts->len; i++) {
		const struct bsp_mount *other = g_ptr_array_index(mounts, i);

		if (other != entry && strcmp(other->parent, entry->id) == 0)
			return other;
	}
	return NULL;
}

/* After the end of the connection: whether entry is our mount, or another one
 * with the same device number. root leads to the root directory of the process
 * that sees entry. A mount with another on top cannot be asked; it counts as
 * ours. */
static bool is_ours_still(const struct mountpoint *mp,
			  const struct bsp_mount *entry,
			  const struct bsp_mount *on, const char *root)
{
	g_autofree char *path = g_strconcat(root, entry->where, NULL);
	g_autofree char *other = below_new_root(entry->where);

	return g_str_has_prefix(entry->type, "fuse") &&
	       g_strcmp0(entry->source, mp->source) == 0 &&
	       (on || is_dead(path) || is_dead(other));
}

/* Returns the number of our mounts. *ret is one that can be detached next, or
 * else any of them; *ret_on is the mount on top of *ret, or NULL. For root see
 * is_ours_still(). */
static guint find_ours(const GPtrArray *mounts, const struct target *target,
		       const char *root, const struct bsp_mount **ret,
		       const struct bsp_mount **ret_on)
{
	guint n = 0;

	for (guint i = 0; mounts && i < mounts->len; i++) {
		const struct bsp_mount *entry = g_ptr_array_index(mounts, i);
		const struct bsp_mount *on;

		if (strcmp(entry->device, target->mp->device) != 0)
			continue;
		on = find_on(mounts, entry);
		if (target->dead && !is_ours_still(target->mp, entry, on, root))
			continue;
		if (n++ == 0 || !on) {
			*ret = entry;
			*ret_on = on;
		}
	}
	return n;
}

static bool still_mounted(GError **error, const char *where, const char *why)
{
	g_set_error(
		error, BSP_ERROR, BSP_ERROR_FAILED,
		"%s stays mounted, and does not answer any more: %s; unmount it: %s %s",
		where, why, geteuid() == 0 ? "umount" : "fusermount3 -u",
		where);
	return false;
}

/* Copies in the mount namespaces of other processes cannot be unmounted from
 * here. */
static bool check_namespaces(const struct target *target, GError **error)
{
	g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
	const char *pid;

	while (proc && (pid = g_dir_read_name(proc))) {
		g_autofree char *list =
			g_build_filename("/proc", pid, "mountinfo", NULL);
		g_autofree char *root =
			g_build_filename("/proc", pid, "root", NULL);
		const struct bsp_mount *ours, *on;
		g_autoptr(GPtrArray) mounts = NULL;

		if (!g_ascii_isdigit(pid[0]))
			continue;
		mounts = bsp_mountinfo_read(list);
		if (find_ours(mounts, target, root, &ours, &on) == 0)
			continue;
		g_set_error(
			error, BSP_ERROR, BSP_ERROR_FAILED,
			"%s stays mounted in the mount namespace of process %s, and does not answer any more; unmount it there: nsenter -m -t %s umount PATH, with the path that findmnt -N %s shows",
			target->mp->path, pid, pid, pid);
		return false;
	}
	return true;
}

bool mountpoint_is_dead(int connection)
{
	struct pollfd fd = { .fd = connection };

	return poll(&fd, 1, 0) == 1 && (fd.revents & POLLERR);
}

bool mountpoint_unmount(const struct mountpoint *mp, bool dead, int connection,
			GError **error)
{
	const struct target before = { .mp = mp, .dead = dead };
	struct target target = before;

	if (!mp->device)
		return still_mounted(error, mp->path,
				     "its device number is not known");
	for (guint left = G_MAXUINT;;) {
		g_autoptr(GPtrArray) mounts =
			bsp_mountinfo_read(BSP_MOUNTINFO_SELF);
		const struct bsp_mount *ours = NULL, *on = NULL;
		guint n;

		if (!mounts)
			return detach_at(mp->path, &target) ||
			       still_mounted(error, mp->path,
					     "there is no /proc");
		n = find_ours(mounts, &target, "", &ours, &on);
		if (n == 0)
			return check_namespaces(&before, error);
		if (on)
			return still_mounted(
				error, ours->where,
				"another file system is mounted on it and must be unmounted first");
		if (n >= left || !detach(ours->where, &target))
			return still_mounted(error, ours->where,
					     "it cannot be unmounted");
		left = n;
		/* The mount just detached may have been the last one. */
		target.dead = dead || mountpoint_is_dead(connection);
	}
}

void mountpoint_done(struct mountpoint *mp)
{
	g_clear_pointer(&mp->path, g_free);
	g_clear_pointer(&mp->device, g_free);
	g_clear_pointer(&mp->source, g_free);
}
