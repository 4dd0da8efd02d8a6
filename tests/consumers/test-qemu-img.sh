#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# qemu-img: map agrees with the truth, and convert makes sparse images.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
requires qemu-img jq
consumer_devices zero=zero:24M data=data:24M last=last:24M mixed=mixed:48M \
	tenth=tenth:96M odd=mixed:1049088

map_and_convert() {
	local got
	qemu-img map -f raw --output=json "$MNT/$1" >"$TEST_TMP/map"
	got=$(jq -r '.[] | "\(.start) \(.length) \(if .data then "data" else "hole" end)"' \
		"$TEST_TMP/map" | merged)
	assert_extents "$got" "$1" "qemu-img map"
	assert_eq "$(jq 'map(select(.data == .zero)) | length' "$TEST_TMP/map")" 0 \
		"extents that are data and zero, or neither"

	rm -f "$TEST_TMP/copy"
	qemu-img convert -f raw -O raw "$MNT/$1" "$TEST_TMP/copy"
	assert_sparse_copy "$TEST_TMP/copy" "$1"
	qemu-img compare -q -f raw -F raw "$MNT/$1" "$TEST_TMP/copy"

	# A qcow2 image must not be larger either.
	rm -f "$TEST_TMP/copy"
	qemu-img convert -f raw -O qcow2 -o cluster_size=4k "$MNT/$1" "$TEST_TMP/copy"
	qemu-img compare -q -f raw -F qcow2 "$MNT/$1" "$TEST_TMP/copy"
	assert_le "$(allocated "$TEST_TMP/copy")" \
		$(($(data_bytes "$1") * 102 / 100 + (1 << 20))) "size of the qcow2"
}
# First, before anything is known: run map alone.
each_state map_and_convert

# Its completion signals must not end the flush of a close early (EINTR).
make_device mixed 96M source
truth=$TEST_TMP/source
make_device data 96M target
for zero in write keep; do
	mount_fs -o "rw,zero=$zero" "x=$LOOP"
	for round in {1..6}; do
		say "convert onto a writable mount, zero=$zero, $round"
		qemu-img convert -n -f raw -O raw "$truth" "$MNT/x"
	done
	umount_fs
	assert_same_bytes "$truth" "$LOOP"
done
