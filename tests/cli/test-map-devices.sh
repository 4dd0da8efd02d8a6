#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Loop devices with known content: the map is right in each format, and the tools
# that read a map copy the right bytes.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requires_loop
requires python3 bmaptool ddrescue ddrescuelog

# check_device KIND SIZE [LOSETUP-OPTION...]: the image has no holes, so that only
# reading can find the zeros.
check_device() {
	make_device "$1" "$2" device "${@:3}"
	check_map "$@"
	loop_free "$LOOP"
}

# check_known KIND SIZE [LOSETUP-OPTION...]: the file system knows the zeros.
check_known() {
	make_device "$1" "$2" device "${@:3}"
	fallocate --dig-holes "$TEST_TMP/device"
	check_map "$@" known
	loop_free "$LOOP"
}

check_map() {
	local image=$TEST_TMP/device
	say "$*"
	assert_eq "$(blockdev --getsize64 "$LOOP")" "$(stat -c %s "$image")" \
		"size of $LOOP"
	python3 "$CLI/extents.py" check "$TOOL" "$LOOP" "$image" || fail "map of $*"
}

# check_copies KIND SIZE [LOSETUP-OPTION...]: checks the copies of the tools.
check_copies() {
	say "copies of $*"
	make_device "$1" "$2" device "${@:3}"
	assert_bmap "$LOOP" "$(blockdev --getsize64 "$LOOP")"
	assert_ddrescue "$LOOP" "$(blockdev --getsize64 "$LOOP")"
	loop_free "$LOOP"
}

for kind in zero data first last alternating edges mixed; do
	check_device "$kind" 3M
	check_device "$kind" $(((1 << 20) + 512))
done
check_device data 512
check_device zero 512
check_device mixed 8M --sector-size 4096
check_device tenth 64M
for kind in zero first last alternating edges mixed; do
	check_known "$kind" $(((3 << 20) + 512))
done
check_known mixed 8M --sector-size 4096
check_known tenth 64M

check_copies zero 3M
check_copies data $(((1 << 20) + 512))
check_copies edges 3M
check_copies mixed $(((1 << 20) + 512))
check_copies data 512
check_copies tenth 64M --sector-size 4096

say "a symbolic link"
make_device mixed 1M device
ln -s "$LOOP" "$TEST_TMP/link"
assert_eq "$(map_extents json "$TEST_TMP/link" 1048576)" \
	"$(map_extents json "$LOOP" 1048576)" "extents by a link"

say "a device that is written to meanwhile"
truncate -s 8G "$TEST_TMP/large"
loop_new "$TEST_TMP/large"
before=$(device_reads "$LOOP")
map --known=off --summary "$LOOP" >"$TEST_TMP/out" 2>"$TEST_TMP/err" &
pid=$!
scanning() {
	(($(device_reads "$LOOP") > before + 100))
}
wait_until 30 scanning || fail "map does not begin to read"
kill -STOP "$pid"
! gone_or_zombie "$pid" || fail "map ended before the write"
dd if=/dev/urandom of="$LOOP" bs=4096 count=1 conv=notrunc,fsync status=none
kill -CONT "$pid"
wait "$pid"
assert_contains "$(<"$TEST_TMP/err")" "$LOOP was written to meanwhile" "warning"
assert_contains "$(<"$TEST_TMP/out")" "total" "report"
