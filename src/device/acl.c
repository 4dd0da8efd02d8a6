/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The permissions of a device or image with a POSIX ACL, as mode bits. With an
 * ACL, the group bits of the mode are the mask: the upper limit for all users
 * and groups that the ACL names, and for the owning group (acl(5)). A file
 * system without ACLs that showed these bits would grant them to the owning
 * group, even if its entry in the ACL denies them.
 *
 * The layout of the attribute: linux/posix_acl_xattr.h.
 */
#include "device/acl.h"

#include <endian.h>
#include <errno.h>
#include <glib.h>
#include <stdbool.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/le.h"

enum {
	ACL_VERSION = 2,
	HEADER_BYTES = 4,
	ENTRY_BYTES = 8,
	ACL_BYTES_MAX = 65536, /* XATTR_SIZE_MAX */
	ALL_BITS = 07,
	OWNER_BITS = 07700, /* and the set-id and sticky bits */
	GROUP_SHIFT = 3,
};

enum tag {
	TAG_OWNER = 0x01,
	TAG_USER = 0x02, /* named */
	TAG_OWNING_GROUP = 0x04,
	TAG_GROUP = 0x08, /* named */
	TAG_MASK = 0x10,
	TAG_OTHER = 0x20,
};

/* Permissions, each rwx. users and groups: those that all named users and all
 * named groups have. */
struct acl {
	unsigned owning_group, users, groups, mask, other;
	bool named; /* the ACL names a user or a group */
};

static unsigned get_le16(const uint8_t *from)
{
	uint16_t value;

	memcpy(&value, from, sizeof(value));
	return le16toh(value);
}

static bool parse_entry(const uint8_t *entry, struct acl *acl)
{
	unsigned tag = get_le16(entry);
	unsigned bits = get_le16(entry + 2) & ALL_BITS;

	switch (tag) {
	case TAG_OWNER:
		return true;
	case TAG_USER:
		acl->users &= bits;
		acl->named = true;
		return true;
	case TAG_OWNING_GROUP:
		acl->owning_group = bits;
		return true;
	case TAG_GROUP:
		acl->groups &= bits;
		acl->named = true;
		return true;
	case TAG_MASK:
		acl->mask = bits;
		return true;
	case TAG_OTHER:
		acl->other = bits;
		return true;
	default:
		return false;
	}
}

static bool parse_acl(const uint8_t *bytes, size_t len, struct acl *ret)
{
	*ret = (struct acl){ .users = ALL_BITS,
			     .groups = ALL_BITS,
			     .mask = ALL_BITS };
	if (len < HEADER_BYTES || (len - HEADER_BYTES) % ENTRY_BYTES ||
	    bsp_get_le32(bytes) != ACL_VERSION)
		return false;
	for (size_t at = HEADER_BYTES; at < len; at += ENTRY_BYTES) {
		if (!parse_entry(bytes + at, ret))
			return false;
	}
	return true;
}

mode_t bsp_acl_limit_mode(mode_t mode, const void *bytes, size_t len)
{
	mode_t owner = mode & OWNER_BITS;
	struct acl acl;

	if (!parse_acl(bytes, len, &acl))
		return owner;
	/* A named user may be in the owning group, or be one of the others, and
	 * must not get more than its entry grants. */
	acl.owning_group &= acl.users & acl.mask;
	if (acl.named)
		acl.other &= acl.users & acl.groups & acl.mask;
	return owner | acl.owning_group << GROUP_SHIFT | acl.other;
}

mode_t bsp_acl_mode_of_file(int fd, mode_t mode)
{
	g_autofree uint8_t *acl = NULL;
	ssize_t n = fgetxattr(fd, "system.posix_acl_access", NULL, 0);

	if (n < 0 && (errno == ENODATA || errno == EOPNOTSUPP))
		return mode;
	acl = g_malloc(ACL_BYTES_MAX);
	n = fgetxattr(fd, "system.posix_acl_access", acl, ACL_BYTES_MAX);
	if (n < 0 && errno == ENODATA)
		return mode;
	return bsp_acl_limit_mode(mode, acl, n < 0 ? 0 : (size_t)n);
}
