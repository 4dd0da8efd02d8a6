#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Image files stand in for devices: written whole, and with holes of their own.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse

files=() images=()
add() {
	files+=("$MNT/${1##*/}" "$1" "$1")
	images+=("$1")
}
for kind in zero data edges mixed tenth; do
	image=$TEST_TMP/$kind
	python3 "$LIB/devices.py" make "$kind" 6M "$image"
	add "$image"
	python3 "$LIB/devices.py" make --sparse "$kind" 6M "$image.sparse"
	add "$image.sparse"
done
# Images need not end at a sector.
python3 "$LIB/devices.py" make last 1048577 "$TEST_TMP/odd"
add "$TEST_TMP/odd"
python3 "$LIB/devices.py" make data 1 "$TEST_TMP/byte"
add "$TEST_TMP/byte"

# Answers about young images are right, and are not kept.
mount_fs "${images[@]}"
python3 "$LIB/check.py" walk,seeks,reads,bytes "${files[@]}"
umount_fs

wait_settled "${images[@]}"
for granule in 4K 1M; do
	mount_fs -o granule="$granule" "${images[@]}"
	python3 "$LIB/check.py" --granule "$granule" \
		fresh,walk,known,seeks,reads,bytes "${files[@]}"
	umount_fs
	mount_fs -o granule="$granule" "${images[@]}"
	python3 "$LIB/check.py" --granule "$granule" --seed 2 \
		reads,seeks,bytes,known "${files[@]}"
	umount_fs
done
