#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# With allow_other, users that may read the device may read its file, and no other
# users. No user may write to a read-only mount.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
requires setpriv

make_device mixed 1M open
open=$LOOP
make_device mixed 2M closed
closed=$LOOP
keep_mode() {
	local mode owner
	mode=$(stat -c %a "$1")
	owner=$(stat -c %u:%g "$1")
	cleanup chmod "$mode" "$1"
	cleanup chown "$owner" "$1"
}
keep_mode "$open"
keep_mode "$closed"
chown 65534:0 "$open"
chmod 660 "$open"
chown 0:0 "$closed"
chmod 660 "$closed"

say "owner and mode are the node's"
mount_fs -o allow_other "open=$open" "closed=$closed"
assert_eq "$(stat -c '%u:%g %a' "$MNT/open")" "65534:0 660" "open"
assert_eq "$(stat -c '%u:%g %a' "$MNT/closed")" "0:0 660" "closed"

say "another user reads what the mode allows"
as_nobody cat "$MNT/open" >"$TEST_TMP/copy"
assert_same_bytes "$TEST_TMP/copy" "$open"
run_status as_nobody cat "$MNT/closed"
assert_eq "$STATUS" 1 "status of a reader without permission"
assert_contains "$ERR" "Permission denied" "message"

say "the owner of a copy can write it"
(umask 022 && cp "$MNT/open" "$TEST_TMP/own")
assert_eq "$(stat -c %a "$TEST_TMP/own")" 640 "mode of a copy"

say "no user can write, not even root"
# refused COMMAND...: with EROFS, or EACCES before it.
refused() {
	run_status "$@"
	assert_ne "$STATUS" 0 "status of $*"
	assert_contains "$ERR" "Read-only file system" "message of $*"
}
before=$(sha256sum <"$open")
refused dd if=/dev/urandom of="$MNT/open" bs=512 count=1 conv=notrunc
refused truncate -s 0 "$MNT/open"
refused fallocate -p -l 4096 "$MNT/open"
refused touch "$MNT/new"
refused rm "$MNT/open"
refused mv "$MNT/open" "$MNT/moved"
refused mkdir "$MNT/directory"
refused ln -s x "$MNT/link"
refused chmod 777 "$MNT/open"
refused chown 1:1 "$MNT/open"
# says_access COMMAND...: prints the result of access(2) with W_OK.
says_access() {
	"$@" python3 -c 'import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
print(libc.access(sys.argv[1].encode(), 2), ctypes.get_errno())' "$MNT/open"
}
assert_eq "$(says_access env)" "-1 30" "access, EROFS"
assert_eq "$(says_access as_nobody)" "-1 30" "access for its owner, EROFS"
run_status as_nobody dd if=/dev/zero of="$MNT/open" bs=512 count=1 conv=notrunc
assert_ne "$STATUS" 0 "status of another user's write"
assert_eq "$(sha256sum <"$open")" "$before" "the device"
say "no user can write after a remount with rw"
# Without the other options: FUSE refuses to change them by fsconfig(2).
mount -i --options-mode=ignore -o remount,rw "$MNT"
refused dd if=/dev/urandom of="$MNT/open" bs=512 count=1 conv=notrunc
refused truncate -s 0 "$MNT/open"
refused touch -d 2001-01-01 "$MNT/open"
refused chmod 777 "$MNT/open"
assert_eq "$(sha256sum <"$open")" "$before" "the device"
umount_fs

say "without allow_other only the mount's owner can read"
mount_fs "open=$open"
run_status as_nobody cat "$MNT/open"
assert_eq "$STATUS" 1 "status"
assert_contains "$ERR" "Permission denied" "message"
umount_fs

say "an ACL's mask gives the owning group no permission"
# set_acl FILE: user 54321 may read it; its group may not.
set_acl() {
	python3 - "$1" <<-'END'
		import os, struct, sys
		none = 0xffffffff
		entries = [(0x01, 6, none), (0x02, 4, 54321), (0x04, 0, none),
		           (0x10, 4, none), (0x20, 0, none)]
		os.setxattr(sys.argv[1], "system.posix_acl_access",
		            struct.pack("<I", 2) +
		            b"".join(struct.pack("<HHI", *entry) for entry in entries))
	END
}
head -c 64K /dev/urandom >"$TEST_TMP/secret"
chown 0:12345 "$TEST_TMP/secret"
chmod 600 "$TEST_TMP/secret"
set_acl "$TEST_TMP/secret"
assert_eq "$(stat -c %a "$TEST_TMP/secret")" 640 "mode of the image, with its mask"
as_member() {
	setpriv --reuid=7777 --regid=12345 --clear-groups --inh-caps=-all "$@"
}
run_status as_member cat "$TEST_TMP/secret"
assert_eq "$STATUS" 1 "status of a member of the group, for the image"
mount_fs -o allow_other "secret=$TEST_TMP/secret"
assert_eq "$(stat -c '%u:%g %a' "$MNT/secret")" "0:12345 600" "secret"
run_status as_member cat "$MNT/secret"
assert_eq "$STATUS" 1 "status of a member of the group"
assert_contains "$ERR" "Permission denied" "message"
umount_fs
