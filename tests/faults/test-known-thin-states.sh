#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# In a virtual machine: thin volumes of pools in all states. Nothing is known of
# a pool that has failed, is read-only, or does not zero new blocks while the
# volume is written; all is known of a full one.
#
# TIMEOUT: 300 seconds
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
in_vm 580 python3

modprobe -a loop fuse dm-mod dm-thin-pool
requires_fuse

layers=$BUILD/tests/faults/known-layers
block=$((64 << 10))
size=$((32 * MIB))

truncate -s 8M "$TEST_TMP/metadata"
truncate -s 32M "$TEST_TMP/pool"
loop_new "$TEST_TMP/metadata"
linear="0 $((8 << 11)) linear $LOOP 0"
new_volume metadata "$linear"
loop_new "$TEST_TMP/pool"
data=$LOOP
make_stale "$data"

# pool_table MIB [FEATURE...]: prints the table of the pool with so much data.
pool_table() {
	echo "0 $(($1 << 11)) thin-pool /dev/mapper/metadata $data" \
		"$((block >> 9)) 0 $(($# - 1)) ${*:2}"
}

# thin ID: makes an empty volume "thin" and the number.
thin() {
	dmsetup message pool 0 "create_thin $1"
	new_volume "thin$1" "0 $((size >> 9)) thin /dev/mapper/pool $1"
}

# put DEVICE OFFSET...: writes 4 KiB there.
put() {
	python3 -c 'import mmap, os, sys
page = mmap.mmap(-1, 4096)
page[:] = b"\x5d" * 4096
fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
for off in sys.argv[2:]:
    os.pwritev(fd, [page], int(off))' "$@"
}

# mapped NAME: its bytes that are mapped.
mapped() {
	local sectors
	read -r _ _ _ sectors _ < <(dmsetup status "$1")
	echo $((sectors * 512))
}

# assert_unknown NAME BYTES: nothing is known of so many bytes of the volume.
assert_unknown() {
	local unknown
	"$layers" "/dev/mapper/$1" >"$TEST_TMP/answers" ||
		fail_at "a claim of $1 is wrong"
	unknown=$(awk '$1 == "unknown" { sum += $3 } END { print sum + 0 }' \
		"$TEST_TMP/answers")
	assert_eq "$unknown" "$2" "unknown bytes of $1"
}

is_pool() {
	[[ $(dmsetup status pool) == *" $1"* ]]
}

new_volume pool "$(pool_table 32)"

say "a pool that does not zero new blocks: a writable volume"
thin 1
put /dev/mapper/thin1 0
WRITABLE=1 "$layers" /dev/mapper/thin1 >"$TEST_TMP/answers"
assert_eq "$(awk '{ print $1, $3 }' "$TEST_TMP/answers")" \
	"unknown $block"$'\n'"zeros $((size - block))" "answers while it zeroes"
table=$(pool_table 32 skip_block_zeroing)
change="dmsetup suspend pool && dmsetup load pool --table '$table' &&
	dmsetup resume pool"
WRITABLE=1 BETWEEN=$change "$layers" /dev/mapper/thin1 >"$TEST_TMP/answers"
assert_eq "$(<"$TEST_TMP/answers")" "unknown 0 $size" \
	"answers after it got skip_block_zeroing"

say "and one that only reads: the rest of the block is seen to change"
is_pool "rw" || fail "the pool is not writable"
mount_fs x=/dev/mapper/thin1
count_reads "$(dmsetup info -c --noheadings -o blkdevname thin1)" ask data $block "$MNT/x" \
	>"$TEST_TMP/answer"
assert_eq "$(<"$TEST_TMP/answer")" ENXIO "SEEK_DATA past the data"
assert_le "$READ" $((4 * MIB)) "bytes that were read"
put /dev/mapper/thin1 $((8 * block + 4096))
# The pool has left what it held there.
assert_stale /dev/mapper/thin1 $((8 * block)) 4096 "the block's first granule"
assert_eq "$(ask data $block "$MNT/x")" $((8 * block)) "SEEK_DATA of old bytes"
cmp <(on_device /dev/mapper/thin1 $((8 * block)) $block) \
	<(dd if="$MNT/x" bs=$block skip=8 count=1 status=none) ||
	fail "the file differs from the volume"
umount_fs
reload pool "$(pool_table 32)"

say "a read-only pool"
assert_unknown thin1 "$(mapped thin1)"
reload pool "$(pool_table 32 read_only)"
is_pool ro || fail "the pool is not read-only"
assert_unknown thin1 $size
reload pool "$(pool_table 32)"
assert_unknown thin1 "$(mapped thin1)"

say "a full pool that fails writes"
reload pool "$(pool_table 32 error_if_no_space)"
thin 4
blocks=()
for ((i = 0; i < size / block; i += 2)); do
	blocks+=($((i * block)))
done
put /dev/mapper/thin4 "${blocks[@]}"
thin 5
if put /dev/mapper/thin5 "${blocks[@]}" 2>/dev/null; then
	fail "the pool is not full"
fi
is_pool out_of_data_space || fail "the pool does not say that it is full"
assert_unknown thin4 "$(mapped thin4)"
assert_unknown thin5 "$(mapped thin5)"

say "a full pool that holds writes back"
dmsetup remove thin5
dmsetup message pool 0 "delete 5"
reload pool "$(pool_table 32)"
is_pool rw || fail "the pool is not writable"
thin 6
put /dev/mapper/thin6 "${blocks[@]}" &
writer=$!
wait_until 30 is_pool out_of_data_space || fail "the pool is not full"
assert_unknown thin4 "$(mapped thin4)"
assert_unknown thin6 "$(mapped thin6)"
blkdiscard /dev/mapper/thin4
dmsetup suspend --noflush pool
dmsetup resume pool
wait "$writer" || fail "the writer failed"
assert_unknown thin4 0
assert_unknown thin6 "$(mapped thin6)"

say "a pool that has failed"
reload metadata "0 $((8 << 11)) error"
put /dev/mapper/thin4 0 2>/dev/null || true
wait_until 30 is_pool Fail || fail "the pool has not failed"
assert_unknown thin4 $size
assert_contains "$("$TOOL" map --format=json --summary \
	/dev/mapper/thin4 2>/dev/null)" \
	'"hole": { "bytes": 0,' "the map"
reload metadata "$linear"
