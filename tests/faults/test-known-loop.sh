#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A loop device knows the holes of the file below it: with an offset and a size
# limit, as partitions, and not where the file is another one than it seems. No
# claim outlives a write to the file, by a program that writes to it directly.
#
# TIMEOUT: 120 seconds
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
requires_loop
requires python3

layers=$BUILD/tests/faults/known-layers
image=$TEST_TMP/image

# answers DEVICE: its answers; fails if a claim is not true.
answers() {
	"$layers" "$1" || fail_at "a claim of $1 is wrong"
}

# assert_answers DEVICE ANSWER...
assert_answers() {
	assert_eq "$(answers "$1")" "$(printf '%s\n' "${@:2}")" "answers of $1"
}

# Data in [1 MiB, 2 MiB) and [5 MiB, 5 MiB + 4 KiB) of 8 MiB.
make_image() {
	rm -f "$image"
	truncate -s 8M "$image"
	stale $MIB | dd of="$image" bs=1M seek=1 conv=notrunc status=none
	stale 4096 | dd of="$image" bs=4096 seek=$((5 << 8)) conv=notrunc \
		status=none
}

if ! python3 -c 'import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 1 << 20)
sys.exit(os.lseek(fd, 0, os.SEEK_HOLE) != 0)' "$TEST_TMP/probe"; then
	skip "the file system of $TEST_TMP reports no holes"
fi

say "the whole file"
make_image
loop_new "$image"
assert_answers "$LOOP" "zeros 0 $MIB" "unknown $MIB $MIB" \
	"zeros $((2 * MIB)) $((3 * MIB))" "unknown $((5 * MIB)) 4096" \
	"zeros $((5 * MIB + 4096)) $((3 * MIB - 4096))"
loop_free "$LOOP"

say "a part of the file"
loop_new "$image" --offset $((MIB / 2)) --sizelimit $((2 * MIB))
assert_answers "$LOOP" "zeros 0 $((MIB / 2))" "unknown $((MIB / 2)) $MIB" \
	"zeros $((3 * MIB / 2)) $((MIB / 2))"
loop_free "$LOOP"

say "a partition"
loop_new "$image"
partition add "$LOOP" 1 $MIB $((2 * MIB))
assert_answers "${LOOP}p1" "unknown 0 $MIB" "zeros $MIB $MIB"
partition del "$LOOP" 1
loop_free "$LOOP"

say "a file that is gone, or replaced by another"
loop_new "$image"
mv "$image" "$image.moved"
assert_answers "$LOOP" "zeros 0 $MIB" "unknown $MIB $MIB" \
	"zeros $((2 * MIB)) $((3 * MIB))" "unknown $((5 * MIB)) 4096" \
	"zeros $((5 * MIB + 4096)) $((3 * MIB - 4096))"
truncate -s 8M "$image"
rm "$image.moved"
assert_answers "$LOOP" "unknown 0 $((8 * MIB))"
loop_free "$LOOP"

say "beside a program that writes to the file"
rm -f "$image"
truncate -s 64M "$image"
loop_new "$image"
python3 - "$image" 8 <<'PYTHON' &
import os, random, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
end = time.time() + float(sys.argv[2])
while time.time() < end:
    for _ in range(8):
        os.pwrite(fd, b'x' * 4096, random.randrange(16384) * 4096)
    # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
    import ctypes
    libc = ctypes.CDLL(None)
    libc.fallocate(fd, 3, ctypes.c_long(random.randrange(16384) * 4096),
                   ctypes.c_long(32768))
    time.sleep(random.random() / 500)
PYTHON
writer=$!
"$layers" "$LOOP" 7 || fail_at "a claim outlived a write"
wait "$writer"
loop_free "$LOOP"
