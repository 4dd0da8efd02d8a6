#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# blksparsefs refuses a device, a name, a mount point or an option that it cannot
# use. Its message names it, the status is right, and no mount is left.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse

python3 "$LIB/devices.py" make first 1M "$TEST_TMP/image"
mkdir "$MNT" "$TEST_TMP/other"
cp "$TEST_TMP/image" "$TEST_TMP/other/image"
image=$TEST_TMP/image

# refuses STATUS PART... -- ARG...: blksparsefs ARG... ends with STATUS, and
# its message has each PART.
refuses() {
	local status=$1 parts=() part
	shift
	while [[ $1 != -- ]]; do
		parts+=("$1")
		shift
	done
	shift
	run_status timeout 30 "$FS" "$@"
	assert_eq "$STATUS" "$status" "status of blksparsefs $*"
	for part in "${parts[@]}"; do
		assert_contains "$ERR" "$part" "message of blksparsefs $*"
	done
	assert_eq "$OUT" "" "output of blksparsefs $*"
	assert_le "$(wc -l <<<"$ERR")" 3 "lines of the message"
	not_mounted "$MNT" || fail "blksparsefs $* left it mounted"
}

say "devices"
refuses 1 "$TEST_TMP/nothing" "No such file" -- "$TEST_TMP/nothing" "$MNT"
refuses 1 "$TEST_TMP/nothing" "No such file" -- -f "$TEST_TMP/nothing" "$MNT"
refuses 1 "$TEST_TMP/nothing" -- "$image" "x=$TEST_TMP/nothing" "$MNT"
refuses 1 "$TEST_TMP/other" -- "$TEST_TMP/other" "$MNT"
refuses 1 /dev/null -- /dev/null "$MNT"
: >"$TEST_TMP/empty"
refuses 1 "$TEST_TMP/empty" "empty" -- "$TEST_TMP/empty" "$MNT"
mkfifo "$TEST_TMP/fifo"
refuses 1 "$TEST_TMP/fifo" -- "$TEST_TMP/fifo" "$MNT"

say "names"
refuses 2 "/dev/disk/by-uuid/12-34" -- UUID=12-34 "$MNT"
refuses 2 "/dev/disk/by-partlabel/root" -- PARTLABEL=root "$MNT"
refuses 2 "'a/b' cannot be the name" -- -o name=a/b "$image" "$MNT"
refuses 2 "one device" "NAME=DEVICE" -- -o name=x "$image" "y=$image" "$MNT"
refuses 2 "name=x" "'y=$image' has a name" -- -o name=x "y=$image" "$MNT"
refuses 2 "fsname= needs a value" -- -o fsname= "$image" "$MNT"
refuses 2 "image" -- "$image" "$TEST_TMP/other/image" "$MNT"
refuses 2 "x" -- "x=$image" "x=$TEST_TMP/other/image" "$MNT"
refuses 2 "a/b" -- "a/b=$image" "$MNT"
refuses 2 ".." -- "..=$image" "$MNT"
refuses 2 "=$image" -- "=$image" "$MNT"
refuses 2 "'x=': the name of the device is empty" -- x= "$MNT"

say "the mount point"
refuses 1 "$TEST_TMP/nowhere" -- "$image" "$TEST_TMP/nowhere"
refuses 1 "mount point $TEST_TMP/nowhere: No such file" "mkdir" -- \
	"$image" "y=$image" "$TEST_TMP/nowhere"
refuses 1 "/dev/null" -- "$image" /dev/null

refuses 2 "is the image itself" -- "$image" "$image"
refuses 2 "--all needs a directory" -- --all "$image"
refuses 2 "the mount point is missing" -- --all
refuses 2 "takes the mount point alone, not 'sda'" -- --all sda sdb "$MNT"
refuses 2 "--all names all by itself" -- -o ro,name=x --all "$MNT"
refuses 2 "match=sd* is for --all" -- -o match=sd\* "$image" "$MNT"

say "options"
refuses 2 "-o remount" "unmount it, then mount it" -- -o remount,ro "$image" "$MNT"
refuses 2 "max_read=0: it must be more than 0" -- -o max_read=0 "$image" "$MNT"
refuses 2 "max_read=4G: it must be less than 2G" -- -o max_read=4G "$image" "$MNT"
refuses 2 "known=frog: 'frog' is not auto" -- -o known=frog "$image" "$MNT"
refuses 2 "tail=frog: 'frog' is not keep" -- -o rw,tail=frog "$image" "$MNT"
refuses 2 "granule" "5000" -- -o granule=5000 "$image" "$MNT"
refuses 2 "granule" "2M" -- -o granule=2M "$image" "$MNT"
refuses 2 "granule" "512" -- -o granule=512 "$image" "$MNT"
refuses 2 "granule" "frog" -- -o granule=frog "$image" "$MNT"
refuses 2 "granule" -- -o granule= "$image" "$MNT"
refuses 2 "granule" "-4096" -- -o granule=-4096 "$image" "$MNT"
refuses 2 "lookahead" "99999999999999999999" -- \
	-o lookahead=99999999999999999999 "$image" "$MNT"
refuses 2 "lookahead" "1X" -- -o lookahead=1X "$image" "$MNT"
refuses 2 "frobnicate" -- -o frobnicate "$image" "$MNT"
refuses 2 "frobnicate" -- --frobnicate "$image" "$MNT"
refuses 2 -- "$image"
refuses 2 --

refuses 2 "-o granule needs a value, as in -o granule=..." -- -o granule "$image" "$MNT"
refuses 2 "--match needs a value" -- --all --match "$MNT"
refuses 2 "-o allow_other takes no value" -- -o allow_other=yes "$image" "$MNT"
refuses 2 "did you mean -o rw?" -- -rw "$image" "$MNT"
refuses 2 "did you mean -o ro?" -- --ro "$image" "$MNT"
refuses 2 "'--f'; blksparsefs --help lists" -- --f "$image" "$MNT"
for option in tail=zero zero=keep same=skip; do
	refuses 2 "-o ${option%=*}= is for a writable mount" "-o rw" -- \
		-o "$option" "$image" "$MNT"
done

say "other forms of options, and a name"
mount_fs --foreground -o rw --read-only -o name=disk "$image"
assert_eq "$(ls "$MNT")" disk "files of the mount"
assert_contains ",$(findmnt -n -o OPTIONS "$MNT")," ",ro," "options of the mount"
assert_same_bytes "$MNT/disk" "$image"
umount_fs

say "options that libfuse and the kernel get"
mount_fs -o log=debug,max_read=16K,subtype=frog "x=$image"
assert_eq "$(findmnt -n -o FSTYPE "$MNT")" fuse.frog "type of the mount"
assert_same_bytes "$MNT/x" "$image"
umount_fs
assert_eq "$(sed -n 's/.* read off=[0-9]* len=\([0-9]*\) .*/\1/p' "$FS_LOG" |
	sort -n | tail -n 1)" 16384 "the longest read"

say "help and version are no errors"
run_status "$FS" --help
assert_eq "$STATUS" 0 "status of --help"
assert_contains "$OUT" "granule" "help"
assert_eq "$ERR" "" "stderr of --help"
run_status "$FS" --version
assert_eq "$STATUS" 0 "status of --version"
assert_contains "$OUT" "blksparse" "version"
assert_contains "$OUT" "libfuse 3." "the version of libfuse"
assert_contains "$OUT" "uring" "the parts that are built in"
for option in --help --version; do
	# shellcheck disable=SC2016 # the inner shell expands it
	run_status bash -c '"$0" "$1" >/dev/full' "$FS" "$option"
	assert_eq "$STATUS" 1 "status of $option on a full disk"
	assert_contains "$ERR" "standard output: No space left" "message"
done

say "a name with control characters does nothing to a terminal"
refuses 1 "no?[2J?file" -- $'no\033[2J\nfile' "$MNT"
refuses 2 "no?[2J?option" -- -o $'no\033[2J\noption' "$image" "$MNT"

say "a mount point in use"
mount_fs "x=$image"
run_status timeout 30 "$FS" "y=$image" "$MNT"
assert_eq "$STATUS" 1 "status"
assert_contains "$ERR" "$MNT" "message"
assert_eq "$(ls "$MNT")" x "files of the mount"
umount_fs
not_mounted "$MNT" || fail "the second one was mounted on top"

say "a mount point whose program has died"
mount_fs "x=$image"
kill -KILL "$FS_PID"
end_fs || assert_eq "$?" 137 "status of the killed program"
ln -s "$TEST_TMP" "$TEST_TMP/link"
for where in "$MNT" "$TEST_TMP/link/${MNT##*/}"; do
	run_status timeout 30 "$FS" "$image" "$where"
	assert_eq "$STATUS" 1 "status"
	assert_contains "$ERR" "$MNT is in use: $image (fuse.blksparsefs)" "message"
done
force_umount "$MNT"

say "the helper of umount(8) without a mount point"
run_status "${FS%/*}/umount.fuse.blksparsefs"
assert_eq "$STATUS" 1 "status"
assert_contains "$ERR" "use umount MOUNTPOINT" "message"

say "a device without permission, and an empty one"
requires_loop
requires setpriv
copy_program
chmod 600 "$image"
chmod 777 "$MNT"
run_status as_nobody "$FS" "$image" "$MNT"
assert_eq "$STATUS" 1 "status"
assert_contains "$ERR" "$image" "message"
assert_contains "$ERR" "ermission denied" "message"
not_mounted "$MNT" || fail "it is mounted"
loop=$(losetup -f)
[[ -b $loop ]] || skip "no free loop device"
refuses 1 "$loop" -- "$loop" "$MNT"
loop_new "$image" --sector-size 4096
refuses 2 "granule" -- -o granule=2048 "$LOOP" "$MNT"
