#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# In a virtual machine: blksparse copy|send --since-device reads only the blocks
# in which two snapshots of a thin pool differ, and these are those of thin_delta.
# Volumes that can be written, that do not fit, or that change meanwhile, end in an
# error.
#
# TIMEOUT: 600 seconds
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
in_vm 580 python3 jq thin_delta

modprobe -a loop dm-mod dm-thin-pool

block=$((64 << 10))
size=$((128 * MIB))
sectors=$((size >> 9))

truncate -s 8M "$TEST_TMP/metadata"
truncate -s 256M "$TEST_TMP/pool"
loop_new "$TEST_TMP/metadata"
metadata=$LOOP
loop_new "$TEST_TMP/pool"
new_volume pool "0 $((256 << 11)) thin-pool $metadata $LOOP $((block >> 9)) 0"

# put DEVICE SEED COUNT: writes to blocks here and there, the same for a seed.
put() {
	python3 -c 'import os, random, sys
dev, seed, count, size, block = sys.argv[1], *map(int, sys.argv[2:])
random.seed(seed)
fd = os.open(dev, os.O_RDWR)
for i in range(count):
    off = random.randrange(size // block) * block + random.randrange(16) * 4096
    os.pwrite(fd, random.randbytes(4096), off)
os.fsync(fd)' "$1" "$2" "$3" "$size" "$block"
}

# snapshot NUMBER: of the volume.
snapshot() {
	dmsetup suspend volume
	dmsetup message pool 0 "create_snap $1 1"
	dmsetup resume volume
}

# read_only NAME NUMBER [SECTORS]: makes /dev/mapper/NAME of a snapshot.
read_only() {
	new_volume "$1" "0 ${3:-$sectors} thin /dev/mapper/pool $2" --readonly
}

# delta NUMBER NUMBER: the blocks that differ, after thin_delta.
delta() {
	dmsetup message pool 0 reserve_metadata_snap
	thin_delta -m --snap1 "$1" --snap2 "$2" "$metadata" |
		python3 -c 'import sys, xml.etree.ElementTree as tree
diff = tree.parse(sys.stdin).getroot().find("diff")
print(sum(int(e.get("length")) for e in diff if e.tag != "same"))'
	dmsetup message pool 0 release_metadata_snap
}

# stat_name DEVICE: its name in /sys/block.
stat_name() {
	dmsetup info -c --noheadings -o blkdevname "$1"
}

dmsetup message pool 0 "create_thin 1"
new_volume volume "0 $sectors thin /dev/mapper/pool 1"
put /dev/mapper/volume 1 700
snapshot 2
put /dev/mapper/volume 2 60
# Blocks that are given back, and written again.
blkdiscard -o 0 -l $((32 * MIB)) /dev/mapper/volume
put /dev/mapper/volume 3 5
snapshot 3
put /dev/mapper/volume 4 40
read_only old 2
read_only new 3
sync

base=$TEST_TMP/base dst=$TEST_TMP/dst
old=/dev/mapper/old new=/dev/mapper/new
"$TOOL" copy --quiet "$old" "$base"

for pair in "2 3 old new" "3 2 new old"; do
	read -r a b from to <<<"$pair"
	say "from $from to $to"
	changed=$(($(delta "$a" "$b") * block))
	assert_ge "$changed" $((60 * block)) "bytes that differ"
	"$TOOL" copy --quiet "/dev/mapper/$from" "$dst"
	forget_pages "/dev/mapper/$to"
	count_reads "/dev/$(stat_name "$to")" "$TOOL" copy --since-device="/dev/mapper/$from" \
		--json "/dev/mapper/$to" "$dst" >"$TEST_TMP/json"
	cat "$TEST_TMP/json"
	assert_same_bytes "/dev/mapper/$to" "$dst"
	assert_eq "$(jq .unchanged "$TEST_TMP/json")" $((size - changed)) "unchanged"
	assert_le "$READ" $((changed + changed / 100)) "bytes read"
done

say "the same volume twice, by two numbers"
dmsetup suspend new
dmsetup message pool 0 "create_snap 4 3"
dmsetup resume new
read_only twin 4
cp "$dst" "$TEST_TMP/before"
"$TOOL" copy --quiet "$new" "$dst"
"$TOOL" copy --since-device="$new" --json /dev/mapper/twin "$dst" >"$TEST_TMP/json"
assert_eq "$(jq .unchanged "$TEST_TMP/json")" "$size" "unchanged"
assert_same_bytes "$new" "$dst"

say "send with a digest"
"$TOOL" digest --quiet --output="$TEST_TMP/digest" "$old"
"$TOOL" send --quiet --since-device="$old" --since="$TEST_TMP/digest" \
	--digest="$TEST_TMP/next" "$new" >"$TEST_TMP/stream"
"$TOOL" digest --quiet "$new" | cmp - "$TEST_TMP/next" || fail "the digest"
cp "$base" "$dst"
"$TOOL" recv --quiet --check-base "$dst" <"$TEST_TMP/stream"
assert_same_bytes "$new" "$dst"

say "what is refused"
cp "$base" "$dst"
# refused MESSAGE OPTION...
refused() {
	run_status "$TOOL" copy "${@:2}" "$dst"
	assert_eq "$STATUS" 1 "status"
	assert_contains "$ERR" "$1" "message"
	assert_same_bytes "$base" "$dst"
}
refused "can be written" --since-device="$old" /dev/mapper/volume
refused "can be written" --since-device=/dev/mapper/volume "$new"
refused "not a thin volume" --since-device="$metadata" "$new"
refused "not a thin volume" --since-device="$base" "$new"
refused "not a thin volume" --since-device="$old" "$base"
refused "none" --since-device="$TEST_TMP/none" "$new"
dmsetup message pool 0 "create_snap 5 2"
read_only short 5 $((sectors - 128))
refused "another size" --since-device=/dev/mapper/short "$new"
truncate -s 8M "$TEST_TMP/metadata2"
truncate -s 64M "$TEST_TMP/pool2"
loop_new "$TEST_TMP/metadata2"
metadata2=$LOOP
loop_new "$TEST_TMP/pool2"
new_volume pool2 "0 $((64 << 11)) thin-pool $metadata2 $LOOP $((block >> 9)) 0"
dmsetup message pool2 0 "create_thin 2"
new_volume other "0 $sectors thin /dev/mapper/pool2 2" --readonly
refused "another pool" --since-device=/dev/mapper/other "$new"
run_status "$TOOL" copy --since-device=/dev/mapper/other --fall-back "$new" "$dst"
assert_eq "$STATUS" 0 "status, falling back"
assert_same_bytes "$new" "$dst"

say "a pool that commits all the time"
cp "$base" "$dst"
put /dev/mapper/volume 5 2000 &
writer=$!
"$TOOL" copy --quiet --since-device="$old" "$new" "$dst"
wait "$writer"
assert_same_bytes "$new" "$dst"

for which in old new; do
	say "$which is written meanwhile"
	mkfifo "$TEST_TMP/pipe"
	"$TOOL" send --quiet --since-device="$old" --since="$TEST_TMP/digest" "$new" \
		>"$TEST_TMP/pipe" 2>"$TEST_TMP/err" &
	sender=$!
	exec 3<"$TEST_TMP/pipe"
	head -c 4096 <&3 >/dev/null
	number=2
	[[ $which == old ]] || number=3
	dmsetup suspend "$which"
	dmsetup load "$which" --table "0 $sectors thin /dev/mapper/pool $number"
	dmsetup resume "$which"
	put "/dev/mapper/$which" 6 3
	cat <&3 >/dev/null
	exec 3<&-
	status=0
	wait "$sender" || status=$?
	cat "$TEST_TMP/err"
	assert_eq "$status" 1 "status"
	rm "$TEST_TMP/pipe"
	dmsetup suspend "$which"
	dmsetup load --readonly "$which" --table "0 $sectors thin /dev/mapper/pool $number"
	dmsetup resume "$which"
	"$TOOL" digest --quiet --output="$TEST_TMP/digest" "$old"
done
