#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Devices that grow, shrink and go away while they are mounted; the others in
# the mount do not notice.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop

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

grow() {
	local target=$1
	python3 "$LIB/devices.py" make mixed 12M "$TEST_TMP/bigger"
	cat "$TEST_TMP/bigger" >"$image"
	cp "$TEST_TMP/bigger.truth" "$image.truth"
	[[ $target != "$device" ]] || losetup -c "$device"
	wait_until 10 size_is $((12 << 20)) || fail "the size stays $(stat -c %s "$MNT/x")"
	check walk,known,seeks,reads,bytes "$MNT/x" "$target" "$image"
	other_is_fine
}

shrink() {
	local target=$1
	truncate -s 4M "$image"
	[[ $target != "$device" ]] || losetup -c "$device"
	wait_until 10 size_is $((4 << 20)) || fail "the size stays $(stat -c %s "$MNT/x")"
	python3 - "$image.truth" <<-'PYTHON'
		import json, sys
		with open(sys.argv[1]) as f: truth = json.load(f)
		truth["size"] = 4 << 20
		with open(sys.argv[1], "w") as f: json.dump(truth, f)
	PYTHON
	check walk,known,seeks,reads,bytes "$MNT/x" "$target" "$image"
	assert_eq "$(wc -c <"$MNT/x")" $((4 << 20)) "bytes read"
	other_is_fine
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

say "detached while mounted: goes on until the mount ends"
python3 "$LIB/devices.py" make mixed 8M "$image"
losetup -c "$device"
mount_fs "x=$device" "other=$other"
check walk "$MNT/x" "$image" "$image"
losetup -d "$device"
check walk,reads,bytes "$MNT/x" "$image" "$image"
other_is_fine
umount_fs
wait_until 10 loop_detached "$device" || fail "$device is held"

say "gone for good: errors, and the others are fine"
make_device data 8M fading
mount_fs "x=$LOOP" "other=$other"
cat "$MNT/x" >/dev/null
truncate -s 0 "$TEST_TMP/fading"
forget_pages "$LOOP"
run_status timeout 60 dd if="$MNT/x" of=/dev/null bs=1M iflag=direct
assert_eq "$STATUS" 1 "status of a read of what is gone"
assert_contains "$ERR" "Input/output error" "message"
assert_eq "$(timeout 60 python3 "$LIB/ask.py" data 0 "$MNT/x")" 0 \
	"SEEK_DATA: what cannot be read is data"
other_is_fine
umount_fs
