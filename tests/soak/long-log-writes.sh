#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The power fails at each flush of a recorded run, and between flushes, in a
# virtual machine: the device, replayed up to there, holds what each fsync promised.
#
# TIMEOUT: 1200 seconds
#
#   long-log-writes.sh [ROUNDS]
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/../faults/lib.sh"
in_vm 1100 python3

modprobe -a loop fuse dm-mod dm-log-writes
requires_fuse
rounds=${1:-5}
script=$(dirname "$0")/log_writes.py
size=$((4 * MIB))
options=('' ',zero=write' ',granule=64K' ',zero=keep' ',same=skip')

truncate -s $size "$TEST_TMP/image"
loop_new "$TEST_TMP/image"
data=$LOOP
truncate -s $((256 * MIB)) "$TEST_TMP/log"
loop_new "$TEST_TMP/log"
log=$LOOP

fresh=$(($(date +%s) % 100000 * 10))
for ((round = 0; round < rounds; round++)); do
	seed=$((fresh + round))
	option=${options[round % ${#options[@]}]}
	say "seed $seed: rw$option"
	make_stale "$data"
	dd if=/dev/zero of="$log" bs=4096 count=1 conv=fsync status=none
	dmsetup create logged --table "0 $((size / 512)) log-writes $data $log"
	dmsetup mknodes logged
	mount_fs -o "rw$option" x=/dev/mapper/logged
	python3 "$script" load "$seed" 120 "$TEST_TMP/state" "$MNT/x" logged
	umount_fs
	wait_until 20 dmsetup remove logged || fail "the volume is in use"
	forget_pages "$log"
	python3 "$script" check "$seed" "$TEST_TMP/state" "$log" ||
		fail "seed $seed: rw$option: data of a successful fsync is missing"
done
