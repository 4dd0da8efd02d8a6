#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Devices with many layouts of data, all in one mount: extents, bytes and stat are
# right, whether the map is learned by seeks, by reads or by both, or the file
# system below knows the holes.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop

files=() devices=() images=()
python3 "$LIB/devices.py" make-all "$TEST_TMP" >"$TEST_TMP/list"
while read -r name sector; do
	if ((sector == 512)); then
		loop_new "$TEST_TMP/$name"
	else
		loop_new "$TEST_TMP/$name" --sector-size "$sector"
		assert_eq "$(blockdev --getss "$LOOP")" "$sector" "sector of $LOOP"
	fi
	devices+=("$name=$LOOP")
	files+=("$MNT/$name" "$LOOP" "$TEST_TMP/$name")
	images+=("$TEST_TMP/$name")
done <"$TEST_TMP/list"
assert_ge "${#devices[@]}" 20 "number of devices"
# A mount takes the end of the time of a change as a change, and forgets all.
wait_settled "${images[@]}"

# check_all GRANULE SEED STEPS
check_all() {
	say "granule $1: $3"
	python3 "$LIB/check.py" --granule "$1" --seed "$2" "$3" "${files[@]}"
}

for granule in 4K 64K 1M; do
	mount_fs -o granule="$granule" "${devices[@]}"
	check_all "$granule" 1 fresh,walk,known,seeks,reads,bytes,known
	umount_fs
	mount_fs -o granule="$granule" "${devices[@]}"
	check_all "$granule" 2 fresh,seeks,reads,walk,known,bytes
	umount_fs
	mount_fs -o granule="$granule" "${devices[@]}"
	check_all "$granule" 3 reads,seeks,bytes,known,walk
	umount_fs
done

say "a look-ahead of one granule: the extents are the same"
mount_fs -o lookahead=4K "${devices[@]}"
check_all 4K 4 fresh,seeks,walk,known,bytes
umount_fs

say "the file system knows the holes"
dig_holes "${images[@]}"
for granule in 4K 1M; do
	mount_fs -o granule="$granule" "${devices[@]}"
	check_all "$granule" 5 fresh,walk,known,seeks,reads,bytes,known
	umount_fs
	mount_fs -o granule="$granule" "${devices[@]}"
	check_all "$granule" 6 reads,seeks,bytes,known,walk
	umount_fs
done
