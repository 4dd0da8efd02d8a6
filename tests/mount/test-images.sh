#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Mounts of image files, with every block allocated and with holes.
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
# Images whose size is not a multiple of a sector.
python3 "$LIB/devices.py" make last 1048577 "$TEST_TMP/odd"
add "$TEST_TMP/odd"
python3 "$LIB/devices.py" make data 1 "$TEST_TMP/byte"
add "$TEST_TMP/byte"

# Extents of images that just changed are right, but the map does not keep them.
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
