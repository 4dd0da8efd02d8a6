/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A driver that root starts could do anything. What it does with its devices
 * open, and the capability that the kernel asks for (capabilities(7); where the
 * page is silent, the kernel's source):
 *
 *	mount(2), umount2(2), MNT_FORCE		CAP_SYS_ADMIN
 *	the device mapper's table ioctls	CAP_SYS_ADMIN
 *		(drivers/md/dm-ioctl.c, at each call)
 *	more background requests than		CAP_SYS_ADMIN
 *		fuse.max_user_bgreq (fs/fuse/inode.c)
 *	io_uring where it is for		CAP_SYS_ADMIN
 *		administrators (kernel.io_uring_disabled=1)
 *	finding its mount by path, below	CAP_DAC_READ_SEARCH
 *		folders that are closed to root
 *	reading, writing, fsync(2),		none: the descriptor decides
 *		fallocate(2), BLKDISCARD, sizes,
 *		LOOP_GET_STATUS64, locks
 *	read_ahead_kb and counters in sysfs	none: the files are root's
 *	signals pending for a caller, in /proc	none
 *	its own threads' processors		none
 *
 * Not kept: CAP_DAC_OVERRIDE, CAP_FOWNER and CAP_CHOWN, as images of others are
 * opened, and opened a second time for zeroing, before; CAP_SYS_RESOURCE, so
 * quotas hold, and the limits were raised before; CAP_SYS_PTRACE, which would
 * tell by which signal a caller of another user ended; CAP_SYS_RAWIO,
 * CAP_SYS_NICE and the rest, which nothing here uses.
 *
 * Programs that root runs get what is in the bounding set; the only ones are
 * umount(8), where /etc/mtab is a file, and fusermount3(1), as for
 * auto_unmount. For other users fusermount3(1) unmounts, by being setuid, so
 * no_new_privs (prctl(2)) and the bounding set are only for root.
 */
#include "powers.h"

#include <cap-ng.h>
#include <errno.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "blksparse.h"

static const unsigned kept[] = { CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH };

/* Keeps those of the capabilities that the process has. Returns libcap-ng's
 * code, 0 if all went well. */
static int drop_capabilities(bool is_root)
{
	int where = CAPNG_EFFECTIVE | CAPNG_PERMITTED;
	capng_select_t what = CAPNG_SELECT_CAPS;
	bool had[G_N_ELEMENTS(kept)];

	if (capng_get_caps_process() < 0)
		return -1;
	/* A container may have taken that away already. */
	if (is_root && capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP)) {
		where |= CAPNG_BOUNDING_SET;
		what = CAPNG_SELECT_BOTH;
	}
	for (size_t i = 0; i < G_N_ELEMENTS(kept); i++)
		had[i] = capng_have_capability(CAPNG_PERMITTED, kept[i]);
	/* The inheritable and ambient sets as well. */
	capng_clear(what);
	for (size_t i = 0; i < G_N_ELEMENTS(kept); i++) {
		if (had[i])
			(void)capng_update(CAPNG_ADD, (capng_type_t)where,
					   kept[i]);
	}
	return capng_apply(what);
}

bool powers_drop(GError **error)
{
	bool is_root = geteuid() == 0;
	int r = drop_capabilities(is_root);

	if (r) {
		g_set_error(error, BSP_ERROR, BSP_ERROR_FAILED,
			    "cannot give up capabilities (libcap-ng: %d)", r);
		return false;
	}
	if (is_root && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
		g_set_error(error, BSP_ERROR, BSP_ERROR_FAILED,
			    "cannot set no_new_privs: %s", g_strerror(errno));
		return false;
	}
	return true;
}
