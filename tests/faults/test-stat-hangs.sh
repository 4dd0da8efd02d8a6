#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# stat of a file whose device does not answer while written data is still in
# memory: stat returns and shows that the device may have changed, and the mount
# serves other files.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
requires nbdkit nbdfuse

mkdir "$TEST_TMP/below"
truncate -s 16M "$TEST_TMP/image"
nbdfuse "$TEST_TMP/below/device" --command nbdkit -s --exit-with-parent \
	file "$TEST_TMP/image" &
below=$!
end_below() {
	kill -CONT "$below"
	umount "$TEST_TMP/below" || kill "$below"
	wait "$below"
}
cleanup end_below
wait_until 20 test -e "$TEST_TMP/below/device" ||
	fail "the device below does not appear"
loop_new "$TEST_TMP/below/device"
hanging=$LOOP
make_device mixed 4M other

mtime() {
	stat -c %y "$MNT/x"
}

mtime_moved() {
	[[ $(mtime) != "$before" ]]
}

mount_fs "x=$hanging" "other=$LOOP"
cat "$MNT/x" >"$TEST_TMP/copy"
before=$(mtime)
printf new | dd of="$hanging" bs=4096 seek=100 conv=notrunc status=none
# The device must answer again before anything can be unmounted.
cleanup kill -CONT "$below"
kill -STOP "$below"
printf newer | dd of="$hanging" bs=4096 seek=200 conv=notrunc status=none
wait_until 20 mtime_moved || fail "mtime stays"
say "many stats"
for _ in {1..200}; do
	[[ $(stat -c %s "$MNT/x") == $((16 << 20)) ]] || fail "size"
done
assert_same_bytes "$MNT/other" "$TEST_TMP/other"

say "the device answers again"
kill -CONT "$below"
printf newer >"$TEST_TMP/newer"
dd if="$MNT/x" bs=4096 skip=200 count=1 status=none |
	cmp -n 5 - "$TEST_TMP/newer" || fail "the written bytes are missing"
umount_fs
