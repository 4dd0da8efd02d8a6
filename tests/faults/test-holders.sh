#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Opening a device for writing while something else holds it, in a virtual
# machine: the message names the holder, and the device stays untouched.
#
# TIMEOUT: 600 seconds
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
in_vm 580 sfdisk mkfs.ext4 mkswap

modprobe -a loop fuse sd_mod dm-mod ext4
requires_fuse
mkdir "$TEST_TMP/nowhere"

# refused DEVICE PART-OF-THE-MESSAGE
refused() {
	run_status "$FS" -f -o rw "x=$1" "$TEST_TMP/nowhere"
	assert_eq "$STATUS" 1 "status for $1"
	assert_contains "$ERR" "blksparsefs: $1 $2" "message"
	assert_eq "$(wc -l <<<"$ERR")" 1 "lines of the message"
	! mounted "$TEST_TMP/nowhere" || fail "the device was mounted"
}

may_be_read() {
	mount_fs "x=$1"
	assert_eq "$(stat -c %s "$MNT/x")" "$(blockdev --getsize64 "$1")" "size"
	umount_fs
}

new_disks 2 dev_size_mb=8
disk=${DISKS[0]} spare=${DISKS[1]}

say "part of a volume"
new_volume some-volume "0 8192 linear $disk 0"
name=$(basename "$(realpath /dev/mapper/some-volume)")
[[ $name == dm-* ]] || name=dm-$(dmsetup info -c --noheadings -o minor some-volume)
refused "$disk" "is part of /dev/$name (some-volume); remove it from there first"
may_be_read "$disk"
drop_volume some-volume

say "a volume that is mounted"
new_volume some-volume "0 8192 linear $disk 0"
mkfs.ext4 -q /dev/mapper/some-volume
mkdir "$TEST_TMP/a dir"
mount /dev/mapper/some-volume "$TEST_TMP/a dir"
cleanup force_umount "$TEST_TMP/a dir"
refused /dev/mapper/some-volume "is mounted on $TEST_TMP/a dir; unmount it first"
refused "$disk" "is part of /dev/$name (some-volume)"
umount "$TEST_TMP/a dir"
drop_volume some-volume

say "a partition"
sfdisk -q "$disk" <<-END
	label: dos
	start=2048, size=4096
	start=6144, size=8192
END
part_there() {
	[[ -b ${disk}1 && -b ${disk}2 ]]
}
wait_until 20 part_there || fail "no partitions"
mkfs.ext4 -q "${disk}2"
mount "${disk}2" "$TEST_TMP/a dir"
refused "${disk}2" "is mounted on $TEST_TMP/a dir; unmount it first"
refused "$disk" \
	"is in use: its partition ${disk}2 is mounted on $TEST_TMP/a dir"
# The other partition is free.
mount_fs -o rw "x=${disk}1"
refused "$disk" "is in use"
refused "${disk}1" "is mounted on $MNT by blksparsefs; unmount it first"
umount_fs
umount "$TEST_TMP/a dir"

say "a volume of a partition"
new_volume some-volume "0 2048 linear ${disk}1 0"
refused "${disk}1" "is part of /dev/$name (some-volume)"
refused "$disk" \
	"is in use: its partition ${disk}1 is part of /dev/$name (some-volume)"
drop_volume some-volume

say "swap"
mkswap "$spare" >/dev/null
swapon "$spare"
cleanup swapoff "$spare"
refused "$spare" "is used as swap; swapoff $spare first"
swapoff "$spare"
cleanups=("${cleanups[@]/swapoff*/true}")

say "a disk that is read-only"
blockdev --setro "$spare"
refused "$spare" "is read-only; make it writable first (blockdev --setrw"
may_be_read "$spare"
blockdev --setrw "$spare"

say "a device without a holder"
mount_fs -o rw "x=$spare"
# Now blksparsefs holds it.
run_status mkfs.ext4 -q "$spare"
assert_ne "$STATUS" 0 "status of mkfs"
run_status mkswap "$spare"
assert_ne "$STATUS" 0 "status of mkswap"
run_status dmsetup create other --table "0 2048 linear $spare 0"
assert_ne "$STATUS" 0 "status of dmsetup"
refused "$spare" "is mounted on $MNT by blksparsefs; unmount it first"
umount_fs
