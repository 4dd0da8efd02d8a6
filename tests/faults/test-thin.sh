#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Thin volumes, in a virtual machine: after a sparse image is written to one,
# only the blocks of its data are mapped and the bytes are right, whether the
# volume was empty, full, or shared with a snapshot.
#
# TIMEOUT: 600 seconds
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
in_vm 580 python3

modprobe -a loop fuse dm-mod dm-thin-pool
requires_fuse

size=8 # MiB, of a volume
block=$((64 << 10))
truncate -s 4M "$TEST_TMP/metadata"
truncate -s 32M "$TEST_TMP/pool"
loop_new "$TEST_TMP/metadata"
metadata=$LOOP
loop_new "$TEST_TMP/pool"
pool=$LOOP
# The old content of a newly mapped block must not show.
make_stale "$pool"
new_volume pool "0 $((32 << 11)) thin-pool $metadata $pool $((block >> 9)) 0"

# thin ID NAME: makes a volume.
thin() {
	dmsetup message pool 0 "create_thin $1"
	new_volume "$2" "0 $((size << 11)) thin /dev/mapper/pool $1"
}

# mapped NAME: prints its mapped bytes, including pending changes.
mapped() {
	local sectors
	read -r _ _ _ sectors _ < <(dmsetup status "$1")
	echo $((sectors * 512))
}

is_mapped() {
	[[ $(mapped "$1") == "$2" ]]
}

# The data: single granules, whole blocks, and data across blocks, as "OFFSET
# LENGTH" in KiB.
make_image() {
	local from length
	truncate -s "${size}M" "$TEST_TMP/image"
	while read -r from length; do
		python3 "$LIB/devices.py" make data "${length}K" "$TEST_TMP/piece"
		dd if="$TEST_TMP/piece" of="$TEST_TMP/image" bs=1K seek="$from" \
			conv=notrunc status=none
	done
} <<'PIECES'
4 4
64 64
1020 8
2048 1536
4095 1
5120 1024
8188 4
PIECES
# Blocks 0, 1, 15 and 16, 32 to 55, 63, 80 to 95, 127.
blocks=$((1 + 1 + 2 + 24 + 1 + 16 + 1))
make_image

# restored NAME: copies the image there, and checks bytes and mapped blocks.
restored() {
	mount_fs -o "rw$options" "x=/dev/mapper/$1"
	cp --sparse=always "$TEST_TMP/image" "$MNT/x"
	sync "$MNT/x"
	device_is "/dev/mapper/$1" "$TEST_TMP/image" || fail "wrong bytes in $1"
	assert_same_bytes "$MNT/x" "$TEST_TMP/image"
	umount_fs
	device_is "/dev/mapper/$1" "$TEST_TMP/image" || fail "wrong bytes in $1 at the end"
	# The pool handles discards later.
	wait_until 20 is_mapped "$1" $((blocks * block)) ||
		fail "$1 has $(mapped "$1") mapped, not $((blocks * block))"
}

options=
say "an empty volume"
thin 0 empty
restored empty

say "the same image again"
restored empty

say "a full volume"
thin 1 full
make_stale /dev/mapper/full
assert_eq "$(mapped full)" $((size << 20)) "mapped at first"
restored full

say "zero=keep"
make_stale /dev/mapper/full
options=,zero=keep
mount_fs -o rw,zero=keep x=/dev/mapper/full
cp --sparse=always "$TEST_TMP/image" "$MNT/x"
umount_fs
device_is /dev/mapper/full "$TEST_TMP/image" || fail "wrong bytes"
assert_eq "$(mapped full)" $((size << 20)) "mapped with zero=keep"

say "zero=keep on an empty volume"
thin 2 fresh
restored fresh

say "a volume with a snapshot, which does not change"
options=
make_stale /dev/mapper/full
dmsetup suspend full
dmsetup message pool 0 "create_snap 3 1"
dmsetup resume full
new_volume snapshot "0 $((size << 11)) thin /dev/mapper/pool 3"
restored full
assert_stale /dev/mapper/snapshot 0 $((size << 20)) "the snapshot"

say "granules of several blocks, and a punch of half a block"
options=,granule=256K
make_stale /dev/mapper/full
mount_fs -o rw,granule=256K x=/dev/mapper/full
fallocate -p -o $((MIB - 32768)) -l $((2 * MIB)) "$MNT/x"
sync "$MNT/x"
umount_fs
assert_zeros /dev/mapper/full $((MIB - 32768)) $((2 * MIB)) "the punch"
assert_stale /dev/mapper/full 0 $((MIB - 32768)) "before it"
assert_stale /dev/mapper/full $((3 * MIB - 32768)) $((5 * MIB + 32768)) \
	"behind it"
# Seven whole granules and two halves.
wait_until 20 is_mapped full $((size * MIB - 7 * 256 * 1024)) ||
	fail "full has $(mapped full) mapped"

# If a pool does not zero new blocks, an unmapped hole that was read as zeros
# shows old bytes once something is written beside it.
say "a pool that does not zero new blocks"
make_stale /dev/mapper/full
for volume in empty fresh full snapshot; do
	drop_volume "$volume"
done
pool_table="0 $((32 << 11)) thin-pool $metadata $pool $((block >> 9)) 0"
reload pool "$pool_table 1 skip_block_zeroing"
thin 4 unzeroed
mkdir "$TEST_TMP/nowhere"

# refused COMMAND [ARG...]
refused() {
	run_status "$@"
	assert_eq "$STATUS" 1 "status"
	assert_contains "$ERR" \
		"lies on the thin pool pool, which does not zero new blocks" "message"
	assert_contains "$ERR" "lvchange --zero y" "message"
	assert_eq "$(mapped unzeroed)" 0 "mapped"
}

receive() {
	"$TOOL" recv "$1" <"$TEST_TMP/stream"
}

refused "$FS" -f -o rw x=/dev/mapper/unzeroed "$TEST_TMP/nowhere"
refused "$TOOL" copy "$TEST_TMP/image" /dev/mapper/unzeroed
"$TOOL" send "$TEST_TMP/image" >"$TEST_TMP/stream"
refused receive /dev/mapper/unzeroed

say "devices on such a volume"
new_volume over "0 $((4 << 11)) linear /dev/mapper/unzeroed 0
$((4 << 11)) $((4 << 11)) linear $pool 0"
new_volume stack "0 $((8 << 11)) linear /dev/mapper/over 0"
refused "$FS" -f -o rw x=/dev/mapper/stack "$TEST_TMP/nowhere"
drop_volume stack
drop_volume over
loop_new /dev/mapper/unzeroed
refused "$FS" -f -o rw "x=$LOOP" "$TEST_TMP/nowhere"
loop_free "$LOOP"
mount_fs x=/dev/mapper/unzeroed
assert_zeros "$MNT/x" 0 $((8 * MIB)) "read-only"
umount_fs

say "a pool that zeroes new blocks"
reload pool "$pool_table"
mount_fs -o rw x=/dev/mapper/unzeroed
truncate -s 0 "$MNT/x"
truncate -s 8M "$MNT/x"
head -c 4096 /dev/urandom >"$TEST_TMP/piece"
dd if="$TEST_TMP/piece" of="$MNT/x" bs=4K seek=256 conv=notrunc,fsync status=none
assert_zeros /dev/mapper/unzeroed 0 $MIB "before"
assert_zeros /dev/mapper/unzeroed $((MIB + 4096)) $((7 * MIB - 4096)) "behind"
umount_fs
