#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A file of a mount: its map equals the map of the device, however much the mount
# has learned. Ctrl-C ends map while the mount scans for it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requires_fuse
requires_loop
requires python3 qemu-img bmaptool ddrescue ddrescuelog

make_device mixed 16M mixed
mixed=$LOOP
make_device data $(((64 << 20) + 512)) data
data=$LOOP
truncate -s 4T "$TEST_TMP/large"
loop_new "$TEST_TMP/large"
large=$LOOP

# A short look-ahead makes many boundaries; the map must show none of them.
mount_fs -o lookahead=64K "mixed=$mixed" "data=$data" "large=$large"
for state in unknown known; do
	say "$state"
	python3 "$LIB/devices.py" list "$TEST_TMP/mixed" >"$TEST_TMP/expected"
	for format in table json qemu bmap ddrescue; do
		map_extents "$format" "$MNT/mixed" $((16 << 20)) \
			>"$TEST_TMP/got"
		diff -u "$TEST_TMP/expected" "$TEST_TMP/got" ||
			fail "$format of a file of a mount"
	done
	assert_eq "$(map_extents json "$MNT/data" $(((64 << 20) + 512)))" \
		"0 $(((64 << 20) + 512)) data" "a file without holes"
done
assert_eq "$(map --format=qemu "$MNT/mixed")" \
	"$(qemu_map "$MNT/mixed")" "qemu"
assert_bmap "$MNT/mixed" $((16 << 20))
assert_ddrescue "$MNT/mixed" $((16 << 20))

say "a device that is one hole to the file system below it"
assert_eq "$(map_extents json "$MNT/large" $((4 << 40)))" "0 $((4 << 40)) hole" \
	"extents"
umount_fs

say "Ctrl-C"
# The mount must read the device, which takes about an hour.
mount_fs -o known=off "large=$large"
before=$(device_reads "$large")
env --default-signal=INT "$TOOL" map "$MNT/large" >"$TEST_TMP/out" \
	2>"$TEST_TMP/err" &
pid=$!
scanning() {
	(($(device_reads "$large") > before + 100))
}
wait_until 30 scanning || fail "the mount does not begin to scan"
kill -INT "$pid"
wait_until 20 gone_or_zombie "$pid" || fail "map does not end after Ctrl-C"
status=0
wait "$pid" || status=$?
assert_eq "$status" 1 "status after Ctrl-C"
assert_contains "$(<"$TEST_TMP/err")" "$MNT/large: interrupted" "message"
umount_fs
