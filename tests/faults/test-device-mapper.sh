#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A volume of the device mapper, as LVM's and dm-crypt's are, in a virtual
# machine: what was learned of it is remembered, and forgotten when another
# program writes to it. On Linux 6.1 its queue/iostats is 0, and yet it counts.
# TIMEOUT: 600
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
if [[ -z ${IN_VM:-} ]]; then
	requires dmsetup qemu-system-x86_64 busybox cpio modprobe
	"$LIB/vm" -t 560 "$(realpath "$0")"
	exit
fi

modprobe -a loop fuse dm-mod
requires_fuse
make_device mixed 8M image
lower=$LOOP
dmsetup create volume --table "0 16384 linear $lower 0"
cleanup dmsetup remove volume
device=/dev/mapper/volume
[[ -b $device ]] || dmsetup mknodes
real=$(realpath "$device")

mount_fs "x=$device"
check fresh,walk,known,seeks,reads,bytes "$MNT/x" "$real" "$TEST_TMP/image"
assert_eq "$(<"$FS_LOG")" "" "the log"

say "another program writes to it"
page=$(ask extents "$MNT/x" | awk '$3 == "hole" && $2 > 8192 { print $1 / 4096 + 1; exit }')
python3 "$LIB/devices.py" make data 4096 "$TEST_TMP/pattern"
for flag in direct dsync nonblock; do
	assert_eq "$(ask hole $((page * 4096)) "$MNT/x")" $((page * 4096)) "a hole"
	dd if="$TEST_TMP/pattern" of="$device" bs=4096 seek="$page" count=1 \
		conv=notrunc oflag="$flag" status=none
	assert_eq "$(ask data $((page * 4096)) "$MNT/x")" $((page * 4096)) \
		"SEEK_DATA there, $flag"
	dd if="$MNT/x" bs=4096 skip="$page" count=1 iflag=direct status=none |
		cmp - "$TEST_TMP/pattern" || fail "stale bytes, $flag"
	dd if=/dev/zero of="$device" bs=4096 seek="$page" count=1 \
		conv=notrunc oflag="$flag" status=none
done
umount_fs
