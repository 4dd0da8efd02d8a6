#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The programs of examples/ build against the installed library, by a compiler
# and pkg-config and by meson, and work on an image and on a block device.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requires_loop
requires jq pkg-config
# shellcheck source=installed.sh
. "$(dirname "$0")/installed.sh"
export LD_LIBRARY_PATH=$libdir

say "a compiler and pkg-config"
cp -r "$SRC/examples" "$TEST_TMP/examples"
cd "$TEST_TMP/examples"
read -ra flags < <(pkg-config --cflags --libs libblksparse)
for source in *.c; do
	for compiler in gcc clang; do
		command -v "$compiler" >/dev/null || continue
		"$compiler" -Wall -Wextra -Werror -o "${source%.c}" "$source" \
			"${flags[@]}"
	done
done

say "the example of README"
sed -n '/^    #include <blksparse.h>/,/^    }/s/^    //p' "$SRC/README.md" >readme.c
gcc -Wall -Wextra -Werror -o readme readme.c "${flags[@]}"
run_status ./readme
assert_eq "$STATUS" 2 "status without an argument"
run_status ./readme "$TEST_TMP/nonexistent"
assert_eq "$STATUS" 1 "status without the device"
assert_contains "$ERR" "nonexistent" "message"
{ head -c 1M /dev/zero; head -c 4096 /dev/urandom; } >of-readme
assert_eq "$(./readme of-readme)" "data in [1048576, 1052672)" "output"
rm readme readme.c of-readme

say "meson"
meson setup build --fatal-meson-warnings >"$TEST_TMP/setup.log"
ninja -C build >"$TEST_TMP/build.log"
for source in *.c; do
	[[ -x build/${source%.c} ]] || fail "meson.build leaves out $source"
done

# 8 MiB: data in the second MiB and in the last 4096 bytes.
size=$((8 << 20))
x_bytes() {
	head -c "$1" /dev/zero | tr '\0' x
}
truncate -s "$size" "$TEST_TMP/image"
x_bytes $((1 << 20)) |
	dd of="$TEST_TMP/image" bs=1M seek=1 conv=notrunc status=none
x_bytes 4096 |
	dd of="$TEST_TMP/image" bs=4096 seek=2047 conv=notrunc status=none
loop_new "$TEST_TMP/image" --read-only

for device in "$TEST_TMP/image" "$LOOP"; do
	say "extents of $device"
	assert_eq "$(./extents "$device")" "0 1048576 hole
1048576 1048576 data
2097152 6287360 hole
8384512 4096 data" "extents"

	say "a copy of $device"
	rm -f copied
	out=$(./copy "$device" copied 2>progress)
	assert_eq "$out" "$size bytes: 1052672 of data, 7335936 zero" "totals"
	assert_contains "$(<progress)" "copied 100 %" "progress"
	assert_contains "$(<progress)" "verified 100 %" "progress"
	assert_same_bytes "$device" copied
	assert_le "$(($(stat -c %b copied) * 512))" $((2 << 20)) "allocated size"

	say "a picture of $device"
	./picture "$device" >map.pgm
	assert_eq "$(head -c 15 map.pgm)" $'P5\n256 256\n255' "the header"
	# A row of 256 pixels is 32768 bytes of the device.
	assert_eq "$(tail -c +16 map.pgm | head -c 8192 | tr -d '\377' | wc -c)" \
		0 "dark pixels of the first MiB"
	assert_eq "$(tail -c +8208 map.pgm | head -c 8192 | tr -d '\0' | wc -c)" \
		0 "light pixels of the second MiB"
	assert_eq "$(tail -c 65536 map.pgm | tr -d '\377' | wc -c)" \
		$((8192 + 32)) "dark pixels in all"

	say "a stream of $device"
	./send "$device" 2>sent | "$TOOL" recv --quiet received
	assert_contains "$(<sent)" "$size bytes: 1052672 of data" "totals"
	assert_same_bytes "$device" received
	rm received
done

say "a copy to a block device"
truncate -s "$size" "$TEST_TMP/target"
loop_new "$TEST_TMP/target"
./copy "$TEST_TMP/image" "$LOOP" >out 2>progress
assert_same_bytes "$TEST_TMP/image" "$LOOP"

say "errors"
for program in extents picture send; do
	! "./$program" /nonexistent >out 2>err || fail "$program succeeds"
	assert_contains "$(<err)" "/nonexistent" "message of $program"
done
! ./copy "$LOOP" "$LOOP" >out 2>err || fail "copy succeeds"
assert_contains "$(<err)" "$LOOP" "message of copy"
