#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Write errors of thin volumes, in a virtual machine. After a failed flush the
# mount zeroes again only the ranges that may have been lost. When the pool is
# full, the writer gets an error, and the zeros reach the device once there is
# space, by discards or because the pool was extended.
#
# TIMEOUT: 600 seconds
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
in_vm 580 python3

modprobe -a loop fuse dm-mod dm-thin-pool dm-flakey
requires_fuse

synced() {
	dmsetup status pool
	act fsync
	[[ -z $FAILURES ]]
}

make_device data 4M other
other=$LOOP
volume=/dev/mapper/volume
truncate -s 4M "$TEST_TMP/metadata"
truncate -s 4M "$TEST_TMP/pool"
loop_new "$TEST_TMP/metadata"
metadata=$LOOP
loop_new "$TEST_TMP/pool"
data=$LOOP
new_volume pool "0 $((4 * MIB / 512)) thin-pool $metadata $data 128 0 1 error_if_no_space"
dmsetup message pool 0 "create_thin 0"
new_volume volume "0 $((16 * MIB / 512)) thin /dev/mapper/pool 0"

pool_blocks() {
	dmsetup status pool | awk '{ print $6 }'
}

# Prints the number of sectors written to /dev/mapper/top.
sectors_written() {
	local number
	number=$(dmsetup info -c --noheadings --separator : -o major,minor top)
	awk '{ print $7 }' "/sys/dev/block/$number/stat"
}

say "a flush fails, and only two granules are not durable"
sectors=$((16 * MIB / 512))
linear="0 $sectors linear $volume 0"
new_volume top "$linear"
for at in 0 $((16 * MIB - 4096)); do
	stale 4096 | dd of=/dev/mapper/top oflag=direct,seek_bytes seek=$at \
		bs=4096 conv=fsync status=none
done
mount_fs -o rw x=/dev/mapper/top
dd if="$MNT/x" of=/dev/null bs=1M status=none # this learns the holes
act punch=0+4K "punch=$((16 * MIB - 4096))+4K"
is_well
reload top "0 $sectors flakey $volume 0 0 1000 1 error_writes"
act fsync
assert_eq "$FAILURES" "$(fails fsync close)" "failures"
reload top "$linear"
blocks=$(pool_blocks)
written=$(sectors_written)
# The kernel still has to report that close could not write its zeros.
act fsync
act fsync
is_well
written=$(($(sectors_written) - written))
((written <= 2 * 2 * 8)) || fail_at "two fsyncs wrote $written sectors"
assert_eq "$(pool_blocks)" "$blocks" "blocks of the pool"
assert_zeros /dev/mapper/top 0 $((16 * MIB)) "the volume"
ends 0
dmsetup remove top
blkdiscard "$volume"

say "a thin pool is full"
mount_fs -o rw "x=$volume" "other=$other"
act truncate=0 truncate=16M write=1M+1M fsync
is_well
act write=2M+8M fsync
# The kernel's page cache reports each failure as EIO; a flush that the pool
# refuses gives ENOSPC.
assert_contains "$FAILURES" "fsync E" "failures"
holds "$volume" $MIB $MIB
reads_zeros $((12 * MIB)) $((4 * MIB)) ENXIO
other_goes_on "$other"
# Discards make space. A full pool notices that when its status is read; until
# then it refuses even a flush.
act truncate=2M truncate=16M
is_well
wait_until 60 synced || fail "fsync keeps failing"
holds "$volume" $MIB $MIB
assert_zeros "$volume" $((2 * MIB)) $((14 * MIB)) "the truncated part"
act write=10M+2M fsync
is_well
holds "$volume" $((10 * MIB)) $((2 * MIB))
ends 0

say "a thin pool is full, without an fsync"
mount_fs -o rw "x=$volume" "other=$other"
act write=0+16M
unmount "$MNT"
status=0
end_fs || status=$?
cat "$FS_LOG"
assert_eq "$status" 1 "status of the program"
assert_contains "$(<"$FS_LOG")" \
	"$volume: some written data is not on the device: " \
	"the log"

say "a full thin pool is extended"
mount_fs -o rw "x=$volume" "other=$other"
act write=12M+2M fsync
assert_contains "$FAILURES" "fsync E" "failures"
other_goes_on "$other"
truncate -s 32M "$TEST_TMP/pool"
losetup -c "$data"
reload pool "0 $((32 * MIB / 512)) thin-pool $metadata $data 128 0 1 error_if_no_space"
act write=12M+2M punch=0+1M fsync
is_well
holds "$volume" $((12 * MIB)) $((2 * MIB))
assert_zeros "$volume" 0 $MIB "the punched part"
assert_contains "$(<"$FS_LOG")" "$volume: flushing failed" "the log"
ends 0
