#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A file system that says that a file is a single hole, although it has data.
# With known=all the program asks it, finds out, says so and reads all. With
# other choices it does not ask.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
requires_fuse
requires_loop

image=$TEST_TMP/image
SIZE=$((48 * MIB))
stale $SIZE >"$image"

mkdir "$TEST_TMP/liar"
"$BUILD/tests/faults/lying-file" "$image" "$TEST_TMP/liar" >"$TEST_TMP/seeks" &
cleanup force_umount "$TEST_TMP/liar"
wait_until 20 test -e "$TEST_TMP/liar/file" || fail "the file system is not there"
file=$TEST_TMP/liar/file
loop_new "$file" -r
name=${LOOP##*/}

# asked, not_asked: the file system was, or was not, asked since the last call.
asked() {
	[[ -s $TEST_TMP/seeks ]] || fail "$*: the file system was not asked"
	: >"$TEST_TMP/seeks"
}
not_asked() {
	[[ ! -s $TEST_TMP/seeks ]] || fail "$*: the file system was asked"
}
# warned DEVICE WHAT: the layer and a byte were named, once.
warned() {
	assert_eq "$(grep -c ' said that byte [0-9]* of ' "$TEST_TMP/err")" 1 \
		"$2: warnings"
	assert_contains "$(<"$TEST_TMP/err")" "of $1 is zero, and it is not" "$2"
}
say "the file system does lie"
assert_eq "$(ask data 0 "$file")" ENXIO "SEEK_DATA"
asked "ask"

say "map"
for known in auto off; do
	"$TOOL" map --known=$known --format=json --summary "$LOOP" >"$TEST_TMP/out"
	assert_contains "$(<"$TEST_TMP/out")" "\"data\": { \"bytes\": $SIZE" "$known"
	not_asked "map --known=$known"
done
"$TOOL" map --known=all --format=json --summary "$LOOP" >"$TEST_TMP/out" \
	2>"$TEST_TMP/err"
assert_contains "$(<"$TEST_TMP/out")" "\"data\": { \"bytes\": $SIZE" "all"
asked "map --known=all"
warned "$LOOP" "map"
assert_contains "$(<"$TEST_TMP/err")" "$name → file" "the layers"

say "copy"
for source in "$LOOP" "$file"; do
	for option in --quiet --verify; do
		"$TOOL" copy --known=all $option "$source" "$TEST_TMP/copy" \
			2>"$TEST_TMP/err"
		cmp "$image" "$TEST_TMP/copy" || fail "copy of $source"
		asked "copy $option $source"
		warned "$source" "copy"
		rm "$TEST_TMP/copy"
	done
done
"$TOOL" copy --known=off "$LOOP" "$TEST_TMP/copy" 2>"$TEST_TMP/err"
cmp "$image" "$TEST_TMP/copy" || fail "copy --known=off"
not_asked "copy --known=off"
rm "$TEST_TMP/copy"

say "send"
status=0
"$TOOL" send --known=all "$LOOP" >"$TEST_TMP/stream" 2>"$TEST_TMP/err" ||
	status=$?
assert_eq "$status" 1 "status of send"
asked "send"
warned "$LOOP" "send"
assert_contains "$(<"$TEST_TMP/err")" "send it again with known=off" "send"
! "$TOOL" recv --quiet "$TEST_TMP/copy" <"$TEST_TMP/stream" 2>/dev/null ||
	fail "the stream is complete"
rm -f "$TEST_TMP/copy"
"$TOOL" send --quiet --known=off "$LOOP" | "$TOOL" recv --quiet "$TEST_TMP/copy"
cmp "$image" "$TEST_TMP/copy" || fail "send --known=off"
not_asked "send --known=off"

say "a mount"
for known in auto off; do
	mount_fs -o "known=$known" "x=$LOOP"
	cmp "$image" "$MNT/x" || fail "known=$known"
	assert_eq "$(ask data 0 "$MNT/x")" 0 "SEEK_DATA, known=$known"
	umount_fs
	not_asked "known=$known"
done
mount_fs -o known=all "x=$LOOP"
assert_eq "$(ask data 0 "$MNT/x")" 0 "SEEK_DATA"
cp --sparse=always "$MNT/x" "$TEST_TMP/copy"
cmp "$image" "$TEST_TMP/copy" || fail "cp"
asked "a mount"
was_logged() {
	cp "$FS_LOG" "$TEST_TMP/err"
	grep -q "said that byte" "$TEST_TMP/err"
}
wait_until 20 was_logged || fail "nothing is logged"
warned "$LOOP" "the mount"
umount_fs
loop_free "$LOOP"

say "a target"
truncate -s $SIZE "$TEST_TMP/new"
echo data | dd of="$TEST_TMP/new" bs=1M seek=5 conv=notrunc status=none
loop_new "$file"
"$TOOL" copy --quiet --known=all "$TEST_TMP/new" "$LOOP" 2>"$TEST_TMP/err"
cmp "$TEST_TMP/new" "$image" || fail "copy to a target that lies"
asked "a copy to $LOOP"
warned "$LOOP" "a copy to $LOOP"

# With known=all the lie is found out, and all is read; otherwise the liar is not
# asked. Either way the base is taken, and one other byte is refused.
say "the base of an increment"
stale $SIZE >"$image"
cp "$image" "$TEST_TMP/new"
echo new | dd of="$TEST_TMP/new" bs=1M seek=9 conv=notrunc status=none
"$TOOL" digest --quiet --output="$TEST_TMP/digest" "$image"
"$TOOL" send --quiet --since="$TEST_TMP/digest" "$TEST_TMP/new" >"$TEST_TMP/stream"
for known in auto off all; do
	for at in none 3000000 40000000; do
		stale $SIZE >"$image"
		[[ $at == none ]] || printf y |
			dd of="$image" bs=1 seek=$at conv=notrunc status=none
		cp "$image" "$TEST_TMP/before"
		loop_free "$LOOP"
		loop_new "$file"
		status=0
		"$TOOL" recv --quiet --known=$known --check-base "$LOOP" \
			<"$TEST_TMP/stream" 2>"$TEST_TMP/err" || status=$?
		if [[ $at == none ]]; then
			assert_eq "$status" 0 "status of the base, known=$known"
			cmp "$TEST_TMP/new" "$image" || fail "known=$known"
		else
			assert_eq "$status" 1 "status, known=$known, byte $at"
			assert_contains "$(<"$TEST_TMP/err")" "nothing was written" \
				"message, known=$known, byte $at"
			cmp "$TEST_TMP/before" "$image" || fail "a refused base was written"
		fi
		case $known in
		all) asked "recv" ;;
		*) not_asked "recv --known=$known" ;;
		esac
	done
done

# A part of it has data that the liar hides: it is never called the base.
say "the base of an increment that is resumed"
stale $SIZE >"$image"
loop_free "$LOOP"
loop_new "$file"
status=0
"$TOOL" recv --quiet --known=all --resume --check-base "$LOOP" \
	<"$TEST_TMP/stream" 2>"$TEST_TMP/err" || status=$?
assert_eq "$status" 1 "status of a resumed increment"
assert_contains "$(<"$TEST_TMP/err")" "use known=off" "message"
asked "recv --resume"
"$TOOL" recv --quiet --known=off --resume --check-base "$LOOP" <"$TEST_TMP/stream"
cmp "$TEST_TMP/new" "$image" || fail "recv --resume --known=off"
not_asked "recv --resume --known=off"

say "a writable mount"
stale $SIZE >"$image"
blockdev --flushbufs "$LOOP"
loop_free "$LOOP"
loop_new "$file"
mount_fs -o rw,known=all "x=$LOOP"
python3 "$(dirname "$0")/do.py" "$MNT/x" truncate=0 "truncate=$SIZE" fsync
cmp <(head -c $SIZE /dev/zero) "$MNT/x" || fail "old bytes are in the file"
asked "a writable mount"
wait_until 20 was_logged || fail "nothing is logged"
umount_fs
cmp <(head -c $SIZE /dev/zero) "$image" || fail "old bytes are on the device"
