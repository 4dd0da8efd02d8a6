/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The conditions come in the order in which a mount meets them: the node, the
 * mount(2) of root, and then fusermount3(1), which mounts for other users, and
 * for a root that may not mount.
 */
#include "mount-reason.h"

#include <glib.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_setuid_root(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_mode & S_ISUID && st.st_uid == 0;
}

static const char *reason_of_helper(void)
{
	g_autofree char *helper = g_find_program_in_path("fusermount3");

	if (!helper)
		return ": fusermount3 is missing, which is needed without root; install the package fuse3";
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		return ": no_new_privs is set, under which fusermount3 cannot mount; start blksparsefs without it (such as a service without NoNewPrivileges=), or as root";
	if (!is_setuid_root(helper))
		return ": fusermount3 is not setuid root, which is needed without root; install the package fuse3 again";
	return "";
}

/* Whether this is another user namespace than the machine's own, which maps all
 * users to themselves (user_namespaces(7)). */
static bool in_user_namespace(void)
{
	FILE *map = fopen("/proc/self/uid_map", "re");
	unsigned inside = 0, outside = 0, len = UINT_MAX;

	if (map) {
		(void)fscanf(map, "%u %u %u", &inside, &outside, &len);
		(void)fclose(map);
	}
	return inside || outside || len != UINT_MAX;
}

static const char *reason_of_root(void)
{
	if (prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0) == 0)
		return ": root has no CAP_SYS_ADMIN here, which is needed to mount; start the container or the service with that capability";
	if (in_user_namespace())
		return ": root of a user namespace mounts only in a mount namespace of its own; unshare both (unshare -Urm)";
	return "";
}

const char *mount_reason(void)
{
	bool is_root = geteuid() == 0;

	if (access("/dev/fuse", F_OK) < 0)
		return ": there is no /dev/fuse; load the module with modprobe fuse, or start the container with the device /dev/fuse";
	if (access("/dev/fuse", R_OK | W_OK) < 0)
		return is_root ? ": /dev/fuse cannot be used; start the container or the service with access to the device /dev/fuse"
			       : ": this user may not use /dev/fuse; have root run chmod 666 /dev/fuse, as udev does, or start blksparsefs as root";
	return is_root ? reason_of_root() : reason_of_helper();
}
