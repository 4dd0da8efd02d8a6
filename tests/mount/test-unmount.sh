#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# SIGTERM unmounts the program's mount wherever it is by then, and no other mount.
# If a part of it has to stay, a message names it, and the status is 1.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_root
requires mount unshare nsenter

# A mount can be moved only in a private mount namespace.
if [[ -z ${IN_NAMESPACE:-} ]]; then
	IN_NAMESPACE=1 unshare -m --propagation private bash "$0"
	exit
fi
head -c 1M /dev/urandom >"$TEST_TMP/image"
base=$TEST_TMP/base
mkdir -p "$base" "$TEST_TMP/else where" "$TEST_TMP/copy" "$TEST_TMP/ctl"
MNT=$base/mount

# begin: mounts, and sets $DEVICE to the device number of the mount.
begin() {
	MNT=$base/mount
	mount_fs "x=$TEST_TMP/image"
	DEVICE=$(mountpoint -d "$MNT")
}
# mounts_left: prints the number of mounts with that device number.
mounts_left() {
	awk -v device="$DEVICE" '$3 == device' /proc/self/mountinfo | wc -l
}
# ends STATUS [PART-OF-MESSAGE]: SIGTERM ends it with these.
ends() {
	local status=0
	kill -TERM "$FS_PID"
	end_fs || status=$?
	cat "$FS_LOG"
	assert_eq "$status" "$1" "exit status"
	assert_contains "$(<"$FS_LOG")" "${2:-}" "message"
	[[ $1 != 0 ]] || assert_eq "$(mounts_left)" 0 "mounts that are left"
}

say "the folder above was renamed"
begin
mv "$base" "$TEST_TMP/renamed"
ends 0
mv "$TEST_TMP/renamed" "$base"

say "the mount was moved"
begin
mount --move "$MNT" "$TEST_TMP/else where"
assert_same_bytes "$TEST_TMP/else where/x" "$TEST_TMP/image"
ends 0

say "there are copies"
begin
mount --bind "$MNT" "$TEST_TMP/copy"
: >"$TEST_TMP/one"
mount --bind "$MNT/x" "$TEST_TMP/one"
mount --bind "$MNT" "$MNT"
assert_eq "$(mounts_left)" 4 "mounts"
ends 0

say "a file is open"
begin
exec 7<"$MNT/x"
ends 0
! head -c 1 <&7 >"$TEST_TMP/read" || fail "the file can be read"
exec 7<&-

say "it is gone, and another mount is at its place"
begin
exec 7<"$MNT/x"
umount -l "$MNT"
mount -t tmpfs other "$MNT"
ends 0
exec 7<&-
assert_eq "$(findmnt -n -o SOURCE "$MNT")" other "source of the mount there"
umount "$MNT"

# number_is_taken COMMAND [ARG...]: has COMMAND mount at "else where"; true if that
# mount got the device number. The kernel uses the lowest free number; if that is
# another one, a mount at a filler directory takes it.
number_is_taken() {
	local filler
	"$@" "$TEST_TMP/else where"
	[[ $(mountpoint -d "$TEST_TMP/else where") != "$DEVICE" ]] || return 0
	umount "$TEST_TMP/else where"
	filler=$(mktemp -d "$TEST_TMP/filler.XXXX")
	mount -t tmpfs filler "$filler"
	[[ $(mountpoint -d "$filler") != "$DEVICE" ]] || umount "$filler"
	return 1
}
# gone_and_taken COMMAND [ARG...]: our mount goes, and the mount of COMMAND gets its
# number before the program notices.
gone_and_taken() {
	begin
	kill -STOP "$FS_PID"
	umount -cl "$MNT" # without a request to the stopped program
	wait_until 20 number_is_taken "$@" || fail "$DEVICE is not reused"
	kill -CONT "$FS_PID"
	end_fs || fail "status $?"
	assert_eq "$(mounts_left)" 1 "mounts with that number"
}

say "it is gone, and another mount got its device number"
gone_and_taken mount -t tmpfs other
umount "$TEST_TMP/else where"

say "it is gone, and a new mount of the same image got its device number"
gone_and_taken "$FS" "x=$TEST_TMP/image"
assert_same_bytes "$TEST_TMP/else where/x" "$TEST_TMP/image"
umount "$TEST_TMP/else where"

say "another file system is mounted on it"
begin
mount -t tmpfs other "$MNT"
ends 1 "$MNT stays mounted, and does not answer any more: another file system is mounted on it and must be unmounted first; unmount it: umount $MNT"
assert_eq "$(findmnt -n -o SOURCE "$MNT" | tail -n 1)" other "source of the mount there"
umount "$MNT"
umount "$MNT"
assert_eq "$(mounts_left)" 0 "mounts that are left"

say "another file is mounted on one of its files"
begin
mount --bind "$TEST_TMP/image" "$MNT/x"
ends 1 "another file system is mounted on it"
umount "$MNT/x"
umount "$MNT"

say "the connection was aborted"
begin
mount -t fusectl none "$TEST_TMP/ctl"
echo 1 >"$TEST_TMP/ctl/${DEVICE#*:}/abort"
umount "$TEST_TMP/ctl"
wait_until 20 gone_or_zombie "$FS_PID" || fail "blksparsefs still runs"
end_fs || fail "status $?"
assert_eq "$(mounts_left)" 0 "mounts that are left"

say "a process has a copy in a mount namespace of its own"
begin
unshare -m --propagation private sleep 300 &
other=$!
cleanup kill "$other"
has_namespace() {
	! cmp -s <(readlink "/proc/$other/ns/mnt") <(readlink /proc/self/ns/mnt)
}
wait_until 20 has_namespace || fail "it has no namespace of its own"
ends 1 "nsenter -m -t $other umount"
assert_eq "$(mounts_left)" 0 "mounts that are left here"
nsenter -m -t "$other" umount "$MNT"

say "another root was mounted over the program's root"
mkdir -p "$TEST_TMP/root/place"
mount --bind "$TEST_TMP/root" "$TEST_TMP/root"
begin
root_moved() {
	mount --move "$MNT" "$TEST_TMP/root/place" &&
		cd "$TEST_TMP/root" && mount --move . / && kill -TERM "$1"
}
# The mount namespace is the test's own: / is replaced for the rest of it.
status=0
(root_moved "$FS_PID") || fail "no root was moved"
end_fs || status=$?
assert_eq "$status" 0 "exit status"
assert_eq "$(mounts_left)" 0 "mounts that are left"
