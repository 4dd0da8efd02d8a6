#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# BLKSPARSE_TRACE=1: the trace names exactly the operations that a command does;
# without it, standard error stays empty.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requires python3

trace=$TEST_TMP/trace

# ranges OPERATION...: lines "OFFSET LENGTH" of these operations in the trace.
ranges() {
	python3 - "$trace" "$@" <<'END'
import re, sys
for line in open(sys.argv[1]):
    m = re.fullmatch(r"trace: (\S+) off=(\d+) len=(\d+) result=(-?\d+) us=\d+"
                     r" path=/.*\n", line)
    assert m, line
    if m[1] in sys.argv[2:]:
        print(m[2], m[3])
END
}

# covered OPERATION...: the trace's ranges of these operations, neighbours put
# together; fails if two of them overlap.
covered() {
	ranges "$@" | sort -n | python3 -c '
import sys
merged = []
for line in sys.stdin:
    off, length = map(int, line.split())
    if merged and merged[-1][1] == off:
        merged[-1][1] = off + length
        continue
    assert not merged or merged[-1][1] < off, ("overlap", line)
    merged.append([off, off + length])
print(*("%d-%d" % tuple(m) for m in merged))'
}

# assert_reads_data: the data was read, and one block of the first hole, to check
# what the file system said of it.
assert_reads_data() {
	assert_eq "$(ranges device.read | grep -cx '5242880 4096')" 1 "reads of data"
	assert_eq "$(ranges device.read | awk '{ sum += $2 } END { print sum }')" \
		8192 "bytes read"
}

# 8 MiB: a hole, 4096 bytes of data at 5M, a hole.
image=$TEST_TMP/image
truncate -s 8M "$image"
printf x | dd of="$image" bs=1 seek=5M conv=notrunc status=none

say "without it, nothing is printed"
for value in "" 0 no; do
	BLKSPARSE_TRACE=$value "$TOOL" send --quiet "$image" 2>"$trace" \
		>"$TEST_TMP/stream"
	assert_eq "$(wc -c <"$trace")" 0 "bytes on standard error, '$value'"
done

say "send reads the data alone, where the file system knows the holes"
BLKSPARSE_TRACE=1 "$TOOL" send --quiet "$image" 2>"$trace" \
	>"$TEST_TMP/stream.traced"
assert_same_bytes "$TEST_TMP/stream" "$TEST_TMP/stream.traced"
assert_reads_data
assert_eq "$(ranges device.write device.flush)" "" "writes"

say "copy reads the data, writes it, and makes it durable"
BLKSPARSE_TRACE=1 "$TOOL" copy --quiet "$image" "$TEST_TMP/copy" 2>"$trace"
assert_same_bytes "$image" "$TEST_TMP/copy"
assert_reads_data
assert_eq "$(covered device.write)" "5242880-5246976" "writes"
assert_eq "$(grep -c '^trace: sparse.flush .* result=0 ' "$trace")" 1 flushes

say "map reads all of a device, each byte once, and writes nothing"
requires_loop
# No holes in the image: nothing can be known without reading.
cp --sparse=never "$image" "$TEST_TMP/full"
loop_new "$TEST_TMP/full"
BLKSPARSE_TRACE=1 "$TOOL" map "$LOOP" 2>"$trace" >"$TEST_TMP/map"
assert_eq "$(covered device.read)" "0-8388608" "reads"
grep '^trace: sparse.scan off=0 .* result=0 ' "$trace" >/dev/null ||
	fail "the scan is not in the trace"
assert_eq "$(ranges device.write device.punch device.zero-out device.unmap \
	device.discard device.flush)" "" "changes"

say "recv zeroes the holes and writes the data"
BLKSPARSE_TRACE=1 "$TOOL" recv --quiet "$LOOP" 2>"$trace" <"$TEST_TMP/stream"
assert_eq "$(covered device.punch device.write)" "0-8388608" \
	"zeroed or written ranges"
assert_eq "$(covered device.write)" "5242880-5246976" "writes"
