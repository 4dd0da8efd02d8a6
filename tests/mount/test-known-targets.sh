#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A new loop device over a sparse file is known to be zero: an image that is
# written to it takes the space of its data, and nothing is zeroed.
#
# TIMEOUT: 300 seconds
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/../lib/targets.sh"
requires_fuse
requires_loop

file=$TEST_TMP/target

# The bytes of a write of cp(1): 256 KiB since coreutils 9.5.
CP_BYTES=$((128 << 10))
if printf '%s\n' 9.5 "$(cp --version | sed -n '1s/.* //p')" | sort -VC; then
	CP_BYTES=$((256 << 10))
fi

new_target() {
	rm -f "$file"
	truncate -s "$TARGET_SIZE" "$file"
	loop_new "$file"
	TARGET=$LOOP
	read -ra BEFORE <"/sys/block/${TARGET##*/}/stat"
}

end_target() {
	local now allocated first
	sync "$file"
	read -ra now <"/sys/block/${TARGET##*/}/stat"
	allocated=$((512 * $(stat -c %b "$file")))
	echo "$1: allocated $allocated," \
		"wrote $((512 * (now[6] - BEFORE[6])))," \
		"zeroed $((now[11] - BEFORE[11])) times"
	assert_le "$allocated" $((TARGET_DATA * 101 / 100)) "$1: bytes allocated"
	# Zeroing counts as writing. The kernel may split the first write of
	# zeros in the middle of blocks; such blocks are zeroed.
	first=$((128 << 10))
	[[ $1 != "cp never" ]] || first=$CP_BYTES
	assert_le $((512 * (now[6] - BEFORE[6]))) \
		$((TARGET_DATA * 101 / 100 + first)) "$1: bytes written"
	assert_eq "${now[11]}" "${BEFORE[11]}" "$1: discards"
	loop_free "$TARGET"
}

targets_make_image 256M
targets_all

say "old bytes in some blocks"
new_target
for at in 0 $((100 << 20)) $((200 << 20)); do
	head -c 300000 /dev/urandom |
		dd of="$file" bs=64K seek=$at oflag=seek_bytes conv=notrunc status=none
done
target_recv native
target_is_right "recv over old bytes"
loop_free "$TARGET"
new_target
head -c 3000000 /dev/urandom |
	dd of="$file" bs=64K seek=$((100 << 20)) oflag=seek_bytes conv=notrunc \
		status=none
target_cp auto
target_is_right "cp over old bytes"
loop_free "$TARGET"

say "a device whose layers are not asked is zeroed"
new_target
"$BUILD/tools/blksparse" send --quiet "$TARGET_IMAGE" |
	"$BUILD/tools/blksparse" recv --quiet --known=off "$TARGET"
target_is_right "recv --known=off"
read -ra now <"/sys/block/${TARGET##*/}/stat"
assert_ge $((512 * (now[6] - BEFORE[6]))) "$TARGET_SIZE" "bytes that were zeroed"
loop_free "$TARGET"

say "a target of another size, and one that ends inside of a block"
truncate -s $((TARGET_SIZE - 512)) "$TARGET_IMAGE"
TARGET_SIZE=$((TARGET_SIZE + (1 << 20)))
new_target
TARGET_SIZE=$((TARGET_SIZE - (1 << 20) - 512))
target_recv native
target_is_right "recv"
target_copy
target_is_right "copy"
loop_free "$TARGET"
