#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Extended attributes and ACLs: a program that copies a file with them ends on a
# mount as on a file system without them (ramfs), and the copied bytes are right.
# Free space: a writable mount has as much as its device holds no data; a read-only
# mount has none.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
requires setfacl getfacl setfattr getfattr rsync tar

make_device zero 8M device
device=$LOOP
head -c 4M /dev/urandom >"$TEST_TMP/x"
mkdir "$TEST_TMP/plain" "$TEST_TMP/ramfs"
mount -t ramfs none "$TEST_TMP/ramfs"
cleanup force_umount "$TEST_TMP/ramfs"

# outcome DIRECTORY COMMAND...: empties x in DIRECTORY and runs COMMAND there.
# Prints the status and the messages, without the directory's name.
outcome() {
	local dir=$1 status=0 messages
	: >"$dir/x"
	messages=$(cd "$dir" && "${@:2}" 2>&1) || status=$?
	echo "status $status: ${messages//"$dir"/DIR}"
}

# like_ramfs COMMAND...: has the same outcome on the mount and on ramfs.
like_ramfs() {
	local there here
	there=$(outcome "$TEST_TMP/ramfs" "$@")
	here=$(outcome "$MNT" "$@")
	echo "$*: $there"
	assert_eq "$here" "$there" "$*"
}

# copies FILE: with each program that copies attributes.
copies() {
	local command
	for command in "cp -p" "cp -a" "cp --preserve=xattr" \
		"rsync -a --inplace" "rsync -aAX --inplace"; do
		# shellcheck disable=SC2086 # several words
		like_ramfs $command "$1" x
		assert_same_bytes "$MNT/x" "$TEST_TMP/x"
	done
}

mount_fs -o rw "x=$device"
for kind in none acl attribute; do
	say "a file with $kind"
	cp "$TEST_TMP/x" "$TEST_TMP/$kind"
	case $kind in
	acl) setfacl -m u:nobody:r "$TEST_TMP/$kind" ;;
	attribute) setfattr -n trusted.test -v value "$TEST_TMP/$kind" ;;
	esac
	copies "$TEST_TMP/$kind"
done

say "copies that must succeed"
: >"$MNT/x"
cp -p "$TEST_TMP/none" "$MNT/x"
rsync -aAX --inplace "$TEST_TMP/none" "$MNT/x"
cp -a "$TEST_TMP/attribute" "$MNT/x"

say "setting, reading and removing attributes"
like_ramfs setfattr -n user.test -v value x
like_ramfs setfattr -x user.test x
like_ramfs getfattr -n user.test x
like_ramfs getfattr -d -m - x
like_ramfs setfacl -m u:nobody:r x
like_ramfs setfacl -b x
like_ramfs getfacl -c x

say "extracting files with attributes from an archive"
for kind in acl attribute; do
	tar -C "$TEST_TMP" --acls --xattrs --transform "s/.*/x/" -cf \
		"$TEST_TMP/$kind.tar" "$kind"
	like_ramfs tar --overwrite -xf "$TEST_TMP/$kind.tar"
	assert_same_bytes "$MNT/x" "$TEST_TMP/x"
done
umount_fs

say "copies from a mount"
mount_fs "x=$device"
for command in "cp -a" "cp --preserve=all" "rsync -aAX"; do
	rm -f "$TEST_TMP/copy"
	$command "$MNT/x" "$TEST_TMP/copy"
	assert_same_bytes "$TEST_TMP/copy" "$MNT/x"
done
umount_fs

# room [FIELD]: free space, or another field of df, of the mount in bytes.
room() {
	df -B 1 --output="${1:-avail}" "$MNT" | tail -n 1 | tr -d ' '
}

say "free space of a writable mount"
size=$((8 << 20))
blkdiscard -z "$device"
mount_fs -o rw "x=$device"
assert_eq "$(room size)" "$size" "size"
assert_eq "$(room)" "$size" "free space before any search"
cp --sparse=never "$TEST_TMP/x" "$MNT/x"
assert_eq "$(stat -c %s "$MNT/x")" $((4 << 20)) "size of the file"
assert_eq "$(room size)" "$size" "size with a shorter file"
assert_eq "$(room)" $((4 << 20)) "free space beside the data, past the file's end"
truncate -s 0 "$MNT/x"
assert_eq "$(room)" "$size" "free space after a truncation"
umount_fs

say "free space of two devices, and of a read-only mount"
make_device data 2M other
mount_fs -o rw "x=$device" "other=$LOOP"
cat "$MNT/other" >"$TEST_TMP/copy"
assert_eq "$(room)" "$size" "free space beside a full device"
umount_fs
mount_fs "x=$device"
assert_eq "$(room)" 0 "free space of a read-only mount"
assert_eq "$(room size)" "$size" "its size"
umount_fs
