#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Unreadable sectors, by the device mapper's error target, in a virtual machine:
# lseek calls them data, reads of them give EIO, and all other bytes are right.
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
make_device zero 4M other
other=$LOOP
# Data in the first granule, and in the last one.
python3 "$LIB/devices.py" make zero 8M "$TEST_TMP/image"
python3 "$LIB/devices.py" make data 4096 "$TEST_TMP/pattern"
dd if="$TEST_TMP/pattern" of="$TEST_TMP/image" conv=notrunc status=none
dd if="$TEST_TMP/pattern" of="$TEST_TMP/image" bs=4096 seek=2047 conv=notrunc \
	status=none
loop_new "$TEST_TMP/image"

# Unreadable: granule 512, one sector inside granule 700, the end of granule 901
# and the start of granule 902.
dmsetup create bad <<TABLE
0 4096 linear $LOOP 0
4096 8 error
4104 1499 linear $LOOP 4104
5603 1 error
5604 1610 linear $LOOP 5604
7214 4 error
7218 9166 linear $LOOP 7218
TABLE
cleanup dmsetup remove bad
cleanup dmsetup mknodes
device=/dev/mapper/bad
[[ -b $device ]] || dmsetup mknodes
assert_eq "$(blockdev --getsize64 "$device")" $((8 << 20)) "size of $device"
# test-device-mapper.sh tests devices with 0 there.
number=$(dmsetup info -c --noheadings --separator : -o major,minor bad)
echo 1 >"/sys/dev/block/$number/queue/iostats"
bad_granules=(512 700 901 902)

expected_extents() {
	echo "0 4096 data"
	echo "4096 $((511 * 4096)) hole"
	echo "$((512 * 4096)) 4096 data"
	echo "$((513 * 4096)) $((187 * 4096)) hole"
	echo "$((700 * 4096)) 4096 data"
	echo "$((701 * 4096)) $((200 * 4096)) hole"
	echo "$((901 * 4096)) 8192 data"
	echo "$((903 * 4096)) $((1144 * 4096)) hole"
	echo "$((2047 * 4096)) 4096 data"
}

all_as_expected() {
	local granule flag
	assert_eq "$(ask extents "$MNT/x")" "$(expected_extents)" "extents"
	assert_eq "$(stat -c %b "$MNT/x")" 48 "st_blocks"
	for flag in direct fullblock; do
		for granule in "${bad_granules[@]}"; do
			run_status dd if="$MNT/x" of=/dev/null bs=4096 count=1 \
				skip="$granule" iflag="$flag"
			assert_eq "$STATUS" 1 "status of a read of granule $granule"
			assert_contains "$ERR" "Input/output error" "message"
		done
		for granule in 511 513 699 701 900 903; do
			run_status dd if="$MNT/x" of="$TEST_TMP/granule" bs=4096 \
				count=1 skip="$granule" iflag="$flag"
			assert_eq "$STATUS" 0 "status beside them, at $granule"
			cmp -n 4096 "$TEST_TMP/granule" /dev/zero ||
				fail "granule $granule is wrong"
		done
	done
	run_status cp "$MNT/x" "$TEST_TMP/copy"
	assert_eq "$STATUS" 1 "status of cp"
	assert_contains "$ERR" "Input/output error" "message of cp"
	# dd writes zeros for unreadable blocks, as in the image.
	run_status dd if="$MNT/x" of="$TEST_TMP/copy" bs=64K iflag=direct \
		conv=noerror,sync
	assert_contains "$ERR" "Input/output error" "message of dd"
	assert_same_bytes "$TEST_TMP/copy" "$TEST_TMP/image"
	check walk,known,reads,bytes "$MNT/other" "$other" "$TEST_TMP/other"
}

say "seeks first"
mount_fs "x=$device" "other=$other"
all_as_expected
all_as_expected
umount_fs

say "reads first"
mount_fs "x=$device" "other=$other"
run_status dd if="$MNT/x" of=/dev/null bs=64K conv=noerror
assert_contains "$ERR" "Input/output error" "message of dd"
all_as_expected

say "repaired while mounted"
dmsetup suspend bad
dmsetup load bad --table "0 16384 linear $LOOP 0"
dmsetup resume bad
cp "$MNT/x" "$TEST_TMP/copy"
assert_same_bytes "$TEST_TMP/copy" "$TEST_TMP/image"
umount_fs
