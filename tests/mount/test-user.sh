#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A user other than root mounts devices that they may read.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
requires setpriv pgrep

# udev gives all users access to /dev/fuse; without udev the test has to.
if [[ $(stat -c %a /dev/fuse) != *6 ]]; then
	cleanup chmod "$(stat -c %a /dev/fuse)" /dev/fuse
	chmod 666 /dev/fuse
fi
copy_program
FS_WRAP=(as_nobody)
make_device mixed 2M image
device=$LOOP
owner=$(stat -c %u:%g "$device")
cleanup chown "$owner" "$device"
chown 65534:65534 "$device"
chmod 644 "$TEST_TMP/image" "$TEST_TMP/image.truth"
cp -a "$TEST_TMP/image" "$TEST_TMP/secret"
chmod 600 "$TEST_TMP/secret"
mkdir "$MNT"
chown 65534:65534 "$MNT"

as_nobody_check() {
	as_nobody python3 "$LIB/check.py" "$@"
}
# The checker may be in a folder that only root may enter.
mkdir "$TEST_TMP/lib"
cp "$LIB"/*.py "$TEST_TMP/lib/"
chmod -R go+rX "$TEST_TMP/lib"
LIB=$TEST_TMP/lib

wait_settled "$TEST_TMP/image"
for source in "$TEST_TMP/image" "$device"; do
	say "$source"
	mount_fs "x=$source"
	as_nobody_check fresh,walk,known,seeks,reads,bytes \
		"$MNT/x" "$source" "$TEST_TMP/image"
	run_status cat "$MNT/x"
	assert_ne "$STATUS" 0 "status of root's cat: only the mount's owner may read"
	as_nobody fusermount3 -u "$MNT"
	end_fs || fail "blksparsefs ended with status $?"
done

say "the folder above is renamed"
was=$MNT
mkdir -p "$TEST_TMP/folder/mount"
chown 65534:65534 "$TEST_TMP/folder/mount"
MNT=$TEST_TMP/folder/mount
mount_fs "x=$TEST_TMP/image"
cleanup force_umount "$TEST_TMP/renamed/mount"
mv "$TEST_TMP/folder" "$TEST_TMP/renamed"
# $FS_PID is a subshell that waits for the program.
kill -TERM "$(pgrep -P "$FS_PID")"
end_fs || fail "blksparsefs ended with status $?"
not_mounted "$TEST_TMP/renamed/mount" || fail "still mounted"
MNT=$was

say "in the background"
cleanup force_umount "$MNT"
as_nobody "$FS" "x=$device" "$MNT"
assert_eq "$(as_nobody ls "$MNT")" x "ls"
as_nobody fusermount3 -u "$MNT"
wait_until 10 not_mounted "$MNT" || fail "still mounted"

say "an image that the user may not read is refused"
run_status as_nobody "$FS" "$TEST_TMP/secret" "$MNT"
assert_eq "$STATUS" 1 "status"
assert_contains "$ERR" "$TEST_TMP/secret" "message"
assert_contains "$ERR" "ermission" "message"
not_mounted "$MNT" || fail "it is mounted"
