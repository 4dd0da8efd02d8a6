/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A filesystem driver that runs as root could do anything. This table lists the
 * operations after the devices are open, and the capability that the kernel
 * checks for each (capabilities(7); where that is silent, the kernel's source):
 *
 *	mount(2), umount2(2), MNT_FORCE		CAP_SYS_ADMIN
 *	the device mapper's table and status	CAP_SYS_ADMIN
 *		ioctls (drivers/md/dm-ioctl.c, at
 *		each call)
 *	more background requests than		CAP_SYS_ADMIN
 *		fuse.max_user_bgreq (fs/fuse/inode.c)
 *	io_uring if it is reserved for		CAP_SYS_ADMIN
 *		administrators (kernel.io_uring_disabled=1)
 *	finding its mount by path, below	CAP_DAC_READ_SEARCH
 *		folders that are closed to root;
 *		opening the file below a loop
 *		device, or a pool's metadata, to
 *		ask for holes
 *	connecting to a unix socket of		CAP_DAC_OVERRIDE
 *		another user (unix(7)), if a
 *		device is an export there
 *	reading, writing, fsync(2),		none: the descriptor decides
 *		fallocate(2), BLKDISCARD, sizes,
 *		LOOP_GET_STATUS64, locks
 *	read_ahead_kb and counters in sysfs	none: the files are root's
 *	signals pending for a caller, in /proc	none
 *	CPUs of its own threads			none
 *
 * Dropped: CAP_DAC_OVERRIDE in all other cases, CAP_FOWNER and CAP_CHOWN,
 * because images of other users were opened before, also the second time for
 * zeroing. CAP_SYS_RESOURCE, so that quotas hold; the limits were raised
 * before. CAP_SYS_PTRACE, which would tell which signal ended a caller of
 * another user. CAP_SYS_RAWIO, CAP_SYS_NICE and the rest, which this program
 * does not use.
 *
 * Programs that root runs get the capabilities in the bounding set. This
 * program only runs umount(8), if /etc/mtab is a file, and fusermount3(1), as
 * for auto_unmount. For other users fusermount3(1) unmounts, and needs to be
 * setuid for that; so only root drops the bounding set and sets no_new_privs
 * (prctl(2)).
 */
#include "powers.h"

#include <cap-ng.h>
#include <errno.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "blksparse.h"

/* The last one only for sockets. */
static const unsigned kept[] = { CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH,
				 CAP_DAC_OVERRIDE };

/* Keeps those capabilities of the list that the process has. Returns 0 or an
 * error code of libcap-ng. */
static int drop_capabilities(bool is_root, bool sockets)
{
	const size_t n = G_N_ELEMENTS(kept) - !sockets;
	int types = CAPNG_EFFECTIVE | CAPNG_PERMITTED;
	capng_select_t set = CAPNG_SELECT_CAPS;
	bool had[G_N_ELEMENTS(kept)];

	if (capng_get_caps_process() < 0)
		return -1;
	/* A container may have removed CAP_SETPCAP. */
	if (is_root && capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP)) {
		types |= CAPNG_BOUNDING_SET;
		set = CAPNG_SELECT_BOTH;
	}
	for (size_t i = 0; i < n; i++)
		had[i] = capng_have_capability(CAPNG_PERMITTED, kept[i]);
	/* Clears the inheritable and ambient sets as well. */
	capng_clear(set);
	for (size_t i = 0; i < n; i++) {
		if (had[i])
			(void)capng_update(CAPNG_ADD, (capng_type_t)types,
					   kept[i]);
	}
	return capng_apply(set);
}

bool powers_drop(bool sockets, GError **error)
{
	bool is_root = geteuid() == 0;
	int r = drop_capabilities(is_root, sockets);

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
