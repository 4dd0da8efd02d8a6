#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Devices that grow, shrink and go away while they are mounted. The other files of
# the mount stay right.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
requires jq

make_device mixed 8M other
other=$LOOP
make_device mixed 8M image
device=$LOOP
image=$TEST_TMP/image

other_is_fine() {
	check walk,known,reads,bytes "$MNT/other" "$other" "$TEST_TMP/other"
}

size_is() {
	[[ $(stat -c %s "$MNT/x") == "$1" ]]
}

# resized SIZE TARGET: has the device take the new size of its file, waits for the
# mount, and checks all files.
resized() {
	[[ $2 != "$device" ]] || losetup -c "$device"
	wait_until 10 size_is "$1" || fail "the size stays $(stat -c %s "$MNT/x")"
	[[ $2 == "$device" ]] || wait_settled "$2"
	check walk,known,seeks,reads,bytes "$MNT/x" "$2" "$image"
	assert_eq "$(wc -c <"$MNT/x")" "$1" "bytes read"
	other_is_fine
}

grow() {
	# Only append: a write to the image would change the mounted device unseen.
	python3 "$LIB/devices.py" make mixed 4M "$TEST_TMP/more"
	cat "$TEST_TMP/more" >>"$image"
	jq -c --slurpfile more "$TEST_TMP/more.truth" '.size as $at |
		.size += $more[0].size |
		.data += [$more[0].data[] | map(. + $at)]' \
		"$image.truth" >"$TEST_TMP/truth"
	mv "$TEST_TMP/truth" "$image.truth"
	resized $((12 << 20)) "$1"
}

shrink() {
	truncate -s 4M "$image"
	jq -c '.size = 4194304' "$image.truth" >"$TEST_TMP/truth"
	mv "$TEST_TMP/truth" "$image.truth"
	resized $((4 << 20)) "$1"
}

say "a loop device grows, and shrinks"
mount_fs "x=$device" "other=$other"
check walk "$MNT/x" "$device" "$image"
grow "$device"
shrink "$device"
umount_fs

say "an image grows, and shrinks"
python3 "$LIB/devices.py" make mixed 8M "$image"
mount_fs "x=$image" "other=$other"
check walk "$MNT/x" "$image" "$image"
grow "$image"
shrink "$image"
umount_fs

say "an image that grows can be mapped up to its new end at once"
head -c 1000000 /dev/urandom >"$TEST_TMP/growing"
mount_fs "x=$TEST_TMP/growing" "other=$other"
timeout 60 python3 "$(dirname "$0")/grows.py" opened "$TEST_TMP/growing" "$MNT/x"
umount_fs

say "a page changes while its device grows beyond it"
head -c $((4096 * 3 + 512)) /dev/urandom >"$TEST_TMP/odd"
loop_new "$TEST_TMP/odd"
odd=$LOOP
mount_fs -o rw "x=$odd"
timeout 60 python3 "$(dirname "$0")/grows.py" stored "$TEST_TMP/odd" "$odd" "$MNT/x"
umount_fs

say "a device detached while mounted can be read until the mount ends"
python3 "$LIB/devices.py" make mixed 8M "$image"
losetup -c "$device"
mount_fs "x=$device" "other=$other"
check walk "$MNT/x" "$image" "$image"
losetup -d "$device"
check walk,reads,bytes "$MNT/x" "$image" "$image"
other_is_fine
umount_fs
wait_until 10 loop_left "$device" "$(realpath "$image")" ||
	fail "a process has $device open"

say "a device whose file is gone: reads fail, other files are right"
make_device data 8M fading
mount_fs "x=$LOOP" "other=$other"
cat "$MNT/x" >/dev/null
truncate -s 0 "$TEST_TMP/fading"
forget_pages "$LOOP"
run_status timeout 60 dd if="$MNT/x" of=/dev/null bs=1M iflag=direct
assert_eq "$STATUS" 1 "status of a read of a missing block"
assert_contains "$ERR" "Input/output error" "message"
assert_eq "$(timeout 60 python3 "$LIB/ask.py" data 0 "$MNT/x")" 0 \
	"SEEK_DATA: a block that cannot be read is data"
other_is_fine
umount_fs
