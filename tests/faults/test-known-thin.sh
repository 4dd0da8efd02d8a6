#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# In a virtual machine: a thin volume knows its unmapped blocks, by the metadata
# of its pool; so do a snapshot, a linear volume upon one, and a volume with an
# external origin. Blocks and granules are of all sizes.
#
# TIMEOUT: 300 seconds
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
in_vm 580 python3

modprobe -a loop dm-mod dm-thin-pool

layers=$BUILD/tests/faults/known-layers
block=$((64 << 10))
gib=$((1 << 30))

truncate -s 8M "$TEST_TMP/metadata"
truncate -s 256M "$TEST_TMP/pool"
loop_new "$TEST_TMP/metadata"
metadata=$LOOP
loop_new "$TEST_TMP/pool"
new_volume pool "0 $((256 << 11)) thin-pool $metadata $LOOP $((block >> 9)) 0"

# mapped NAME: its bytes that are mapped.
mapped() {
	local sectors
	read -r _ _ _ sectors _ < <(dmsetup status "$1")
	echo $((sectors * 512))
}

# answers DEVICE: its answers; fails if a claim is not true.
answers() {
	"$layers" "$1" || fail_at "a claim of $1 is wrong"
}

# sum KIND: the bytes of such answers on standard input.
sum() {
	awk -v kind="$1" '$1 == kind { sum += $3 } END { printf "%d\n", sum }'
}

# assert_unknown DEVICE BYTES: nothing is known of so many bytes of it.
assert_unknown() {
	assert_eq "$(answers "$1" | sum unknown)" "$2" "unknown bytes of $1"
}

# put DEVICE OFFSET...: writes 4 KiB there.
put() {
	python3 -c 'import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
for off in sys.argv[2:]:
    os.pwrite(fd, b"\xaa" * 4096, int(off))
os.fsync(fd)' "$@"
}

say "a volume without mappings"
dmsetup message pool 0 "create_thin 1"
new_volume volume "0 $((gib >> 9)) thin /dev/mapper/pool 1"
assert_eq "$(answers /dev/mapper/volume)" "zeros 0 $gib" "answers"

say "blocks here and there"
offsets=()
for ((i = 0; i < 200; i++)); do
	offsets+=($((RANDOM * 32768 / block * block)))
done
put /dev/mapper/volume "${offsets[@]}" $((gib - block)) 0
assert_unknown /dev/mapper/volume "$(mapped volume)"

say "a snapshot, and a write to each"
dmsetup suspend volume
dmsetup message pool 0 "create_snap 2 1"
dmsetup resume volume
new_volume snapshot "0 $((gib >> 9)) thin /dev/mapper/pool 2"
put /dev/mapper/snapshot $((gib / 2)) $((gib / 2 + block))
assert_unknown /dev/mapper/volume "$(mapped volume)"
assert_unknown /dev/mapper/snapshot "$(mapped snapshot)"

say "blocks that were given back"
blkdiscard -o 0 -l $((gib / 4)) /dev/mapper/volume
assert_unknown /dev/mapper/volume "$(mapped volume)"

say "a linear volume upon it, from its second block on"
new_volume linear "0 $((gib / 2 >> 9)) linear /dev/mapper/volume $((block >> 9))"
answers /dev/mapper/linear >"$TEST_TMP/linear"
answers /dev/mapper/volume >"$TEST_TMP/volume"
python3 - "$TEST_TMP/volume" "$TEST_TMP/linear" $block $((gib / 2)) <<'PYTHON'
import sys

def zeros(path, start, size):
    found = set()
    for line in open(path):
        kind, off, length = line.split()
        if kind == 'zeros':
            for at in range(int(off), int(off) + int(length), 65536):
                if start <= at < start + size:
                    found.add(at - start)
    return found

start, size = int(sys.argv[3]), int(sys.argv[4])
wanted = zeros(sys.argv[1], start, size)
assert wanted and wanted == zeros(sys.argv[2], 0, size)
PYTHON
dmsetup remove linear

say "an external origin of which nothing is known"
truncate -s 64M "$TEST_TMP/origin"
stale "$MIB" | dd of="$TEST_TMP/origin" bs=1M seek=3 conv=notrunc status=none
loop_new "$TEST_TMP/origin" --read-only
dmsetup message pool 0 "create_thin 3"
new_volume clone "0 $((256 << 11)) thin /dev/mapper/pool 3 $LOOP"
put /dev/mapper/clone $((10 * MIB)) $((100 * MIB))
# The program looks for the image without asking file systems that may have a
# server, as that of the virtual machine. Past its end there are zeros.
assert_unknown /dev/mapper/clone $((64 * MIB + block))
dmsetup remove clone

say "an external origin that is a thin volume itself"
dmsetup message pool 0 "create_thin 4"
new_volume clone "0 $((gib >> 9)) thin /dev/mapper/pool 4 /dev/mapper/volume"
assert_unknown /dev/mapper/clone "$(mapped volume)"
put /dev/mapper/clone $((gib / 8)) # where the origin was discarded
assert_unknown /dev/mapper/clone $(($(mapped volume) + block))
dmsetup remove clone

say "granules larger than blocks"
dmsetup message pool 0 "create_thin 6"
new_volume fresh "0 $((gib >> 9)) thin /dev/mapper/pool 6"
put /dev/mapper/fresh 0 $((5 * MIB + block)) $((gib - 4096))
count_reads "$(dmsetup info -c --noheadings -o blkdevname fresh)" \
	"$TOOL" map --granule=1M --format=json --summary /dev/mapper/fresh \
	>"$TEST_TMP/map" 2>/dev/null
assert_contains "$(<"$TEST_TMP/map")" "\"data\": { \"bytes\": $((3 * MIB))," \
	"the map"
assert_le "$READ" $((16 * MIB)) "bytes that were read for the map"

for block in $((192 << 10)) $((1 << 20)); do
	say "blocks of $block bytes, and a volume that ends inside of one"
	size=$((gib + 4096))
	truncate -s 8M "$TEST_TMP/metadata.$block"
	truncate -s 64M "$TEST_TMP/pool.$block"
	loop_new "$TEST_TMP/metadata.$block"
	metadata=$LOOP
	loop_new "$TEST_TMP/pool.$block"
	new_volume "pool$block" \
		"0 $((64 << 11)) thin-pool $metadata $LOOP $((block >> 9)) 0"
	dmsetup message "pool$block" 0 "create_thin 1"
	new_volume "volume$block" \
		"0 $((size >> 9)) thin /dev/mapper/pool$block 1"
	put "/dev/mapper/volume$block" 0 $((block - 4096)) $((3 * block)) \
		$((4 * block + 8192)) $((gib / 2))
	assert_unknown "/dev/mapper/volume$block" $((4 * block))
	# The last block's rest is mapped, but not the volume's.
	put "/dev/mapper/volume$block" $gib
	assert_unknown "/dev/mapper/volume$block" $((4 * block + size % block))
done
