#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A block device whose driver answers lseek(2). No kernel has such a driver, so
# seek-block.c stands in for one: it answers for a loop device whose file is
# deleted, so that nothing else can be known of it.
set -euo pipefail
# shellcheck source=known-loop-race.sh
. "$(dirname "$0")/known-loop-race.sh"

layers=$BUILD/tests/faults/known-layers
export SEEK_IMAGE=/proc/self/fd/9

# deleted_image SIZE: makes $LOOP, whose file is deleted and open as descriptor 9.
deleted_image() {
	truncate -s "$1" "$TEST_TMP/image"
	loop_new "$TEST_TMP/image"
	exec 9<>"$TEST_TMP/image"
	rm "$TEST_TMP/image"
}

# assert_answers PROGRAM TRUST DEVICE ANSWER...
assert_answers() {
	assert_eq "$(KNOWN=$2 "$1" "$3")" "$(printf '%s\n' "${@:4}")" \
		"answers of $3 with known=$2"
}

deleted_image 8M
stale "$MIB" | dd of="$LOOP" bs=1M seek=1 conv=fsync status=none
nothing="unknown 0 $((8 * MIB))"
holes=("zeros 0 $MIB" "unknown $MIB $MIB" "zeros $((2 * MIB)) $((6 * MIB))")

say "this kernel"
assert_answers "$layers" all "$LOOP" "$nothing"

say "a kernel that answers"
assert_answers "$layers-seek" all "$LOOP" "${holes[@]}"
assert_answers "$layers-seek" auto "$LOOP" "$nothing"

say "a partition, by its disk"
new_partition "$LOOP" 1 $((MIB / 2)) $((2 * MIB))
assert_answers "$layers-seek" all "${LOOP}p1" "zeros 0 $((MIB / 2))" \
	"unknown $((MIB / 2)) $MIB" "zeros $((3 * MIB / 2)) $((MIB / 2))"
partition del "$LOOP" 1

say "a device that is data from its beginning on"
stale "$MIB" | dd of="$LOOP" bs=1M conv=fsync status=none
assert_answers "$layers-seek" all "$LOOP" "unknown 0 $((2 * MIB))" \
	"zeros $((2 * MIB)) $((6 * MIB))"
stale $((8 * MIB)) | dd of="$LOOP" bs=1M iflag=fullblock conv=fsync status=none
assert_answers "$layers-seek" all "$LOOP" "$nothing"
exec 9>&-
loop_free "$LOOP"

say "beside programs that write"
export KNOWN=all
RACE=$BUILD/tests/faults/known-race-seek
deleted_image 24M
race 2 "$LOOP" write "$LOOP"
race 2 "$LOOP" direct "$LOOP"
new_partition "$LOOP" 1 "$MIB" $((16 * MIB))
race 2 "${LOOP}p1" write "$LOOP" "$MIB"
race 2 "${LOOP}p1" direct "${LOOP}p1"
partition del "$LOOP" 1
