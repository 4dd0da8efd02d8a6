#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Names of the files of a mount, and type and source of the mount in findmnt.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
requires findmnt

make_device first 1M one
one=$LOOP
make_device last 2M two
two=$LOOP

say "by the last component of the path, or by NAME="
mount_fs "$one" "other name=$two" "$TEST_TMP/two"
assert_eq "$(ls -A "$MNT")" "$(printf '%s\n' "${one##*/}" "other name" two | sort)" \
	"names"
assert_same_bytes "$MNT/${one##*/}" "$one"
assert_same_bytes "$MNT/other name" "$two"
assert_same_bytes "$MNT/two" "$two"
assert_eq "$(stat -c %s "$MNT/other name")" $((2 << 20)) "size"
run_status cat "$MNT/nothing"
assert_eq "$STATUS" 1 "status of cat for a missing name"
assert_contains "$ERR" "No such file" "message"
umount_fs

say "a relative path, and a symbolic link"
ln -s "$one" "$TEST_TMP/link"
cd "$TEST_TMP"
mount_fs two link "deep=./one"
assert_eq "$(ls -A "$MNT")" "$(printf '%s\n' deep link two)" "names"
assert_same_bytes "$MNT/link" "$one"
assert_same_bytes "$MNT/deep" "$one"
umount_fs

say "findmnt"
mount_fs "x=$one"
assert_eq "$(findmnt -n -o FSTYPE "$MNT")" fuse.blksparsefs "type"
assert_eq "$(findmnt -n -o SOURCE "$MNT")" "$one" "source"
assert_contains ",$(findmnt -n -o OPTIONS "$MNT")," ",ro," "options"
umount_fs

say "findmnt of many devices with long names"
mkdir "$TEST_TMP/by-id"
long=()
for i in {1..60}; do
	long+=("$TEST_TMP/by-id/scsi-SATA_VENDOR MODEL-LONG-NAME-2TB_SERIAL0123456789ABCDEF-part$i")
	ln -s "$one" "${long[-1]}"
done
mount_fs "${long[@]}"
assert_eq "$(find "$MNT" -type f | wc -l)" 60 "files"
source=$(findmnt -n -o SOURCE "$MNT")
shown=${source//[^,]/}
shown=${#shown}
assert_eq "$source" "$(printf '%s,' "${long[@]:0:shown}")and-$((60 - shown))-more" "source"
# getmntent(3) reads lines of at most 4 KiB.
assert_le "$(grep -F " $MNT " /proc/self/mounts | wc -c)" 4095 "bytes of the line"
umount_fs

say "a device whose path has commas is found in the list"
mkdir -p "$TEST_TMP/a,b/c,"
ln -s "$two" "$TEST_TMP/a,b/c,/d"
mount_fs -o rw "$TEST_TMP/a,b/c,/d" "$one"
for device in "$one" "$two"; do
	run_status "$FS" -f -o rw "$device" "$TEST_TMP/by-id"
	assert_eq "$STATUS" 1 "status for $device, which is in use"
	assert_contains "$ERR" "$device is mounted on $MNT by blksparsefs" "message"
done
umount_fs

say "one device onto a regular file"
MNT=$TEST_TMP/file
: >"$MNT"
mount_fs "$one"
assert_eq "$(stat -c %F "$MNT")" "regular file" "type"
assert_eq "$(findmnt -n -o SOURCE "$MNT")" "$one" "source"
check fresh,walk,known,seeks,reads,bytes "$MNT" "$one" "$TEST_TMP/one"
umount_fs
assert_eq "$(stat -c %s "$MNT")" 0 "size of the file after unmounting"

say "two devices onto a regular file are refused"
run_status "$FS" "$one" "$two" "$MNT"
assert_ne "$STATUS" 0 "status of two devices onto a file"
assert_contains "$ERR" "$MNT" "the message"
not_mounted "$MNT" || fail "$MNT is mounted"
