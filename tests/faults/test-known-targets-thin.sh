#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# In a virtual machine: a new thin volume is known to be zero. An image that is
# written to it maps the blocks of its data, and nothing is discarded.
#
# TIMEOUT: 600 seconds
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/../lib/targets.sh"
. "$(dirname "$0")/lib.sh"
in_vm 580 python3

modprobe -a loop dm-mod dm-thin-pool fuse

truncate -s 16M "$TEST_TMP/metadata"
truncate -s 128M "$TEST_TMP/pool"
loop_new "$TEST_TMP/metadata"
metadata=$LOOP
loop_new "$TEST_TMP/pool"
new_volume pool "0 $((128 << 11)) thin-pool $metadata $LOOP 128 0"
volume=0

new_target() {
	((++volume))
	# The pool is asked to commit once a second at most.
	sleep 1.1
	dmsetup message pool 0 "create_thin $volume"
	new_volume target \
		"0 $((TARGET_SIZE >> 9)) thin /dev/mapper/pool $volume"
	TARGET=/dev/mapper/target
}

drop_target() {
	wait_until 20 dmsetup remove target
	dmsetup message pool 0 "delete $volume"
}

end_target() {
	local mapped discards number
	read -r _ _ _ mapped _ < <(dmsetup status target)
	number=$(dmsetup info -c --noheadings --separator : -o major,minor target)
	read -r _ _ _ _ _ _ _ _ _ _ _ discards _ \
		<"/sys/dev/block/$number/stat"
	echo "$1: mapped $((mapped * 512)), discarded $discards times"
	assert_le $((mapped * 512)) $((TARGET_DATA * 101 / 100)) \
		"$1: bytes mapped"
	# A slow machine may have mapped a block before the zeros beside its data
	# are asked for; but there are 350 holes of whole blocks.
	assert_le "$discards" 100 "$1: discards"
	drop_target
}

targets_make_image 96M $((64 << 10))
targets_all

say "old bytes in some blocks"
new_target
for at in 0 40 80; do
	head -c 300000 /dev/urandom |
		dd of="$TARGET" bs=64K seek=$((at << 20)) oflag=seek_bytes \
			conv=notrunc,fsync status=none
done
target_recv native
target_is_right "recv over old bytes"
target_cp never
target_is_right "cp over old bytes"
drop_target
