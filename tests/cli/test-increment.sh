#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Increments: only what differs is sent, they are taken onto their base alone,
# and one that broke can be gone on with from any place.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requires_loop
requires python3 jq strace

send() {
	"$TOOL" send --quiet "$@"
}

recv() {
	"$TOOL" recv --quiet "$@"
}

# change FILE SEED: changes a few places of a file: bytes, zeros, whole chunks.
change() {
	python3 - "$@" <<'PY'
import os, random, sys
path, seed = sys.argv[1:]
size, dice = os.path.getsize(path), random.Random(seed)
with open(path, "r+b") as file:
    for _ in range(6):
        at = dice.randrange(size)
        length = min(dice.choice((1, 5000, 70000, 300000)), size - at)
        file.seek(at)
        file.write(bytes(length) if dice.random() < .4
                   else dice.randbytes(length))
PY
}

# recv_status STREAM OPTION...: as run_status, of recv.
recv_status() {
	STATUS=0
	"$TOOL" recv "${@:2}" <"$1" 2>"$TEST_TMP/err" || STATUS=$?
	ERR=$(<"$TEST_TMP/err")
}

# refused FILE MESSAGE OPTION...: recv of the increment refuses FILE, and leaves
# it as it is.
refused() {
	local before
	before=$(sha256sum <"$1")
	recv_status "$TEST_TMP/increment" "${@:3}" "$1"
	assert_eq "$STATUS" 1 "status of a refused increment"
	assert_contains "$ERR" "$2" "message"
	assert_eq "$(sha256sum <"$1")" "$before" "the refused target"
}

# check_increment SIZE NEW-SIZE CHUNK
check_increment() {
	local base=$TEST_TMP/base new=$TEST_TMP/new copy=$TEST_TMP/copy
	say "$*"
	python3 "$LIB/devices.py" make mixed "$1" "$base"
	cp "$base" "$new"
	change "$new" "$1$3"
	truncate -s "$2" "$new"
	"$TOOL" digest --quiet --chunk="$3" --output="$TEST_TMP/digest" "$base"
	send --since="$TEST_TMP/digest" --digest="$TEST_TMP/next" "$new" \
		>"$TEST_TMP/increment"
	python3 "$CLI/increment_stream.py" "$base" "$new" "$3" \
		<"$TEST_TMP/increment" || fail "the increment"
	"$TOOL" digest --quiet --chunk="$3" "$new" | cmp - "$TEST_TMP/next" ||
		fail "the digest of an increment"

	cp "$base" "$copy"
	send --since="$TEST_TMP/digest" --format=rbd-diff --from-snap=night-1 \
		"$new" >"$TEST_TMP/diff"
	assert_le "$(stat -c %s "$TEST_TMP/diff")" \
		"$(stat -c %s "$TEST_TMP/increment")" "size of the rbd diff"
	python3 "$CLI/rbd_diff.py" import "$copy" night-1 <"$TEST_TMP/diff"
	assert_same_bytes "$new" "$copy"

	cp "$base" "$copy"
	refused "$copy" "use --check-base"
	recv --check-base "$copy" <"$TEST_TMP/increment"
	assert_same_bytes "$new" "$copy"
	cp "$base" "$copy"
	recv --base="$TEST_TMP/digest" "$copy" <"$TEST_TMP/increment"
	assert_same_bytes "$new" "$copy"
	[[ ! -e $TEST_TMP/digest ]] || fail "a digest that is wrong now is there"
	rm "$copy"
}

# The program forgets the digest for good before it changes the target: after a
# loss of power the digest must not be there beside a target that has changed.
say "the order of removing and writing"
python3 "$LIB/devices.py" make mixed 3M "$TEST_TMP/base"
cp "$TEST_TMP/base" "$TEST_TMP/new"
change "$TEST_TMP/new" 1
"$TOOL" digest --quiet --output="$TEST_TMP/digest" "$TEST_TMP/base"
send --since="$TEST_TMP/digest" "$TEST_TMP/new" >"$TEST_TMP/increment"
ASAN_OPTIONS=detect_leaks=0 strace -f -y -o "$TEST_TMP/calls" \
	-e trace=/^unlink,fsync,pwrite64,ftruncate,fallocate \
	"$TOOL" recv --quiet --base="$TEST_TMP/digest" "$TEST_TMP/base" \
	<"$TEST_TMP/increment"
assert_same_bytes "$TEST_TMP/new" "$TEST_TMP/base"
sed -nE "s:.* unlink.*\"$TEST_TMP/digest\".*:removed:p
	s:.* fsync\\([0-9]+<$TEST_TMP>.*:durable:p
	s:.* (pwrite64|ftruncate|fallocate)\\([0-9]+<$TEST_TMP/base>.*:changed:p" \
	"$TEST_TMP/calls" | uniq | paste -s -d ' ' >"$TEST_TMP/order"
assert_eq "$(<"$TEST_TMP/order")" "removed durable changed" "order"

check_increment 3M 3M 4096
check_increment 3M 3M 65536
check_increment 8M 8M 1048576
for size in 3000001 3014656 2900000 8388608 1 65536; do
	check_increment 3000001 "$size" 65536
done

say "a device"
python3 "$LIB/devices.py" make mixed 16M "$TEST_TMP/base"
cp "$TEST_TMP/base" "$TEST_TMP/new"
change "$TEST_TMP/new" 1
loop_new "$TEST_TMP/new"
source=$LOOP
{
	cat "$TEST_TMP/base"
	head -c 1M /dev/zero | tr '\0' '\252'
} >"$TEST_TMP/old"
loop_new "$TEST_TMP/old"
"$TOOL" digest --quiet "$TEST_TMP/base" >"$TEST_TMP/digest"
"$TOOL" send --json --since="$TEST_TMP/digest" "$source" \
	2>"$TEST_TMP/sent" >"$TEST_TMP/increment"
"$TOOL" recv --json --check-base "$LOOP" <"$TEST_TMP/increment" \
	>"$TEST_TMP/received"
cmp -n 16777216 "$source" "$LOOP"
tail -c 1M "$TEST_TMP/old" | cmp - <(head -c 1M /dev/zero | tr '\0' '\252')
for end in sent received; do
	jq -e '.complete and .done == .size and
		.data + .hole + .same == .size and .same > .size / 2' \
		"$TEST_TMP/$end" >/dev/null || fail "$end: $(<"$TEST_TMP/$end")"
done
loop_free "$LOOP"
loop_free "$source"

# 2 GiB with 3 MiB of data: the check reads the data, and places of the holes.
say "holes of the target are known"
case $(stat -f -c %T "$TEST_TMP") in
ext2/ext3 | xfs | btrfs | tmpfs)
	truncate -s 2G "$TEST_TMP/sparse"
	for at in 0 700 2047; do
		head -c 1M /dev/urandom | dd of="$TEST_TMP/sparse" bs=1M seek=$at \
			conv=notrunc status=none
	done
	cp "$TEST_TMP/sparse" "$TEST_TMP/sparse.new"
	printf x | dd of="$TEST_TMP/sparse.new" bs=1M seek=1500 conv=notrunc status=none
	"$TOOL" digest --quiet --output="$TEST_TMP/sparse.digest" "$TEST_TMP/sparse"
	send --since="$TEST_TMP/sparse.digest" "$TEST_TMP/sparse.new" \
		>"$TEST_TMP/sparse.increment"
	cp "$TEST_TMP/sparse" "$TEST_TMP/sparse.torn"
	wait_settled "$TEST_TMP/sparse" "$TEST_TMP/sparse.torn"
	for torn in '' .torn; do
		loop_new "$TEST_TMP/sparse$torn"
		count_reads "$LOOP" recv ${torn:+--resume} --check-base "$LOOP" \
			<"$TEST_TMP/sparse.increment"
		assert_le "$READ" $((8 << 20)) "bytes read of a sparse target$torn"
		cmp "$TEST_TMP/sparse.new" "$LOOP" || fail "the sparse target$torn"
		loop_free "$LOOP"
	done
	# One byte, in data or where the base has a hole.
	for at in 5 1600000000; do
		cp "$TEST_TMP/sparse.torn" "$TEST_TMP/copy"
		cp --sparse=always "$TEST_TMP/sparse" "$TEST_TMP/copy"
		truncate -s 2G "$TEST_TMP/copy"
		printf y | dd of="$TEST_TMP/copy" bs=1 seek="$at" conv=notrunc status=none
		loop_new "$TEST_TMP/copy"
		recv_status "$TEST_TMP/sparse.increment" --check-base "$LOOP"
		assert_eq "$STATUS" 1 "status for a byte at $at"
		assert_contains "$ERR" "nothing was written" "message"
		loop_free "$LOOP"
	done
	rm "$TEST_TMP/sparse"* "$TEST_TMP/copy"
	;;
esac

say "nothing has changed"
"$TOOL" send --since="$TEST_TMP/digest" "$TEST_TMP/base" 2>"$TEST_TMP/err" \
	>"$TEST_TMP/increment"
assert_le "$(stat -c %s "$TEST_TMP/increment")" 400 "size of the increment"
assert_contains "$(<"$TEST_TMP/err")" "16.0 MiB unchanged" "summary"

say "another base"
send --since="$TEST_TMP/digest" "$TEST_TMP/new" >"$TEST_TMP/increment"
cp "$TEST_TMP/base" "$TEST_TMP/copy"
# The increment is complete on it: but it is not the base.
refused "$TEST_TMP/new" "not have the content that" --check-base
assert_contains "$ERR" "if an increment onto it broke, use --resume as well" "message"
# One bit, in a part that stays as it is, or in one that is replaced.
for at in 5 9000000 16777215; do
	cp "$TEST_TMP/base" "$TEST_TMP/copy"
	python3 - "$TEST_TMP/copy" "$at" <<'PY'
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2]))
    byte = file.read(1)[0]
    file.seek(int(sys.argv[2]))
    file.write(bytes([byte ^ 1]))
PY
	refused "$TEST_TMP/copy" "not have the content that" --check-base
done
for size in 15M 17M; do
	cp "$TEST_TMP/base" "$TEST_TMP/copy"
	truncate -s "$size" "$TEST_TMP/copy"
	refused "$TEST_TMP/copy" "not have the content that" --check-base
	refused "$TEST_TMP/copy" "not have the content that" --resume --check-base
	refused "$TEST_TMP/copy" "not have the content that" \
		--base="$TEST_TMP/digest"
done
recv_status "$TEST_TMP/increment" --check-base "$TEST_TMP/none"
assert_eq "$STATUS" 1 "status without a target"
[[ ! -e $TEST_TMP/none ]] || fail "an increment made a target"
cp "$TEST_TMP/base" "$TEST_TMP/copy"
"$TOOL" digest --quiet "$TEST_TMP/new" >"$TEST_TMP/other"
refused "$TEST_TMP/copy" "other is not the digest" --base="$TEST_TMP/other"
[[ -e $TEST_TMP/other ]] || fail "a refused digest was removed"
head -c 100 "$TEST_TMP/digest" >"$TEST_TMP/part"
refused "$TEST_TMP/copy" "part: broken at byte 100" --base="$TEST_TMP/part"

say "an increment that breaks anywhere"
size=$(stat -c %s "$TEST_TMP/increment")
for cut in 0 100 1000 $((size / 3)) $((size / 2)) $((size - 100)) $((size - 1)); do
	cp "$TEST_TMP/base" "$TEST_TMP/copy"
	STATUS=0
	head -c "$cut" "$TEST_TMP/increment" >"$TEST_TMP/cut"
	"$TOOL" recv --json --check-base "$TEST_TMP/copy" <"$TEST_TMP/cut" \
		>"$TEST_TMP/received" 2>"$TEST_TMP/err" || STATUS=$?
	assert_eq "$STATUS" 1 "status of $cut bytes"
	done=$(jq .done "$TEST_TMP/received")
	cmp -n "$done" "$TEST_TMP/new" "$TEST_TMP/copy" ||
		fail "what is called good is not"
	if ((cut >= 1000)); then
		assert_contains "$(<"$TEST_TMP/err")" \
			"--from=$done SRC | blksparse recv --resume --check-base" \
			"how to go on"
	fi
	cp "$TEST_TMP/copy" "$TEST_TMP/torn"
	# From where it is good, and all of it again.
	send --since="$TEST_TMP/digest" --from="$done" "$TEST_TMP/new" |
		recv --resume --check-base "$TEST_TMP/copy"
	assert_same_bytes "$TEST_TMP/new" "$TEST_TMP/copy"
	recv --resume --check-base "$TEST_TMP/torn" <"$TEST_TMP/increment"
	assert_same_bytes "$TEST_TMP/new" "$TEST_TMP/torn"
	# And onto a complete one.
	recv --resume --check-base "$TEST_TMP/torn" <"$TEST_TMP/increment"
	assert_same_bytes "$TEST_TMP/new" "$TEST_TMP/torn"
done

say "a source that changed back meanwhile"
cp "$TEST_TMP/base" "$TEST_TMP/copy"
head -c $((size - 1)) "$TEST_TMP/increment" >"$TEST_TMP/cut"
recv_status "$TEST_TMP/cut" --check-base "$TEST_TMP/copy"
assert_eq "$STATUS" 1 "status of a broken increment"
send --since="$TEST_TMP/digest" "$TEST_TMP/base" >"$TEST_TMP/back"
# The target has new content where the increment says that the base is: never
# a success.
recv_status "$TEST_TMP/back" --resume --check-base "$TEST_TMP/copy"
assert_eq "$STATUS" 1 "status of a torn target"
assert_contains "$ERR" "somewhere between byte 0 and 16777216" "message"
assert_contains "$ERR" "; take the digest of its content: blksparse digest $TEST_TMP/copy" \
	"how to go on"
"$TOOL" digest --quiet "$TEST_TMP/copy" >"$TEST_TMP/torn"
send --since="$TEST_TMP/torn" "$TEST_TMP/base" | recv --check-base "$TEST_TMP/copy"
assert_same_bytes "$TEST_TMP/base" "$TEST_TMP/copy"

say "a whole content does not leave a digest that is wrong"
cp "$TEST_TMP/base" "$TEST_TMP/copy"
cp "$TEST_TMP/digest" "$TEST_TMP/kept"
cp "$TEST_TMP/increment" "$TEST_TMP/increment.kept"
send "$TEST_TMP/new" >"$TEST_TMP/increment"
refused "$TEST_TMP/copy" "kept would no longer be the digest of" \
	--base="$TEST_TMP/kept"
cmp "$TEST_TMP/digest" "$TEST_TMP/kept"
recv --check-base "$TEST_TMP/copy" <"$TEST_TMP/increment"
assert_same_bytes "$TEST_TMP/new" "$TEST_TMP/copy"
mv "$TEST_TMP/increment.kept" "$TEST_TMP/increment"

say "another digest is written over that of the base meanwhile"
head -c 40M /dev/urandom >"$TEST_TMP/old"
head -c 8M /dev/urandom >"$TEST_TMP/changed"
tail -c +$(((8 << 20) + 1)) "$TEST_TMP/old" >>"$TEST_TMP/changed"
printf x | dd of="$TEST_TMP/changed" bs=1M seek=36 conv=notrunc status=none
for file in old changed; do
	"$TOOL" digest --quiet --chunk=4K "$TEST_TMP/$file" >"$TEST_TMP/digest.$file"
done
mkfifo "$TEST_TMP/pipe"
"$TOOL" send --since="$TEST_TMP/digest.old" "$TEST_TMP/changed" \
	>"$TEST_TMP/pipe" 2>"$TEST_TMP/err" &
exec 3<"$TEST_TMP/pipe"
# The file was checked, and more changes follow than a pipe takes.
head -c 1 <&3 >"$TEST_TMP/stream"
dd if="$TEST_TMP/digest.changed" of="$TEST_TMP/digest.old" conv=notrunc status=none
cat <&3 >>"$TEST_TMP/stream"
exec 3<&-
STATUS=0
wait $! || STATUS=$?
assert_eq "$STATUS" 1 "status of send with a digest that was changed"
assert_contains "$(<"$TEST_TMP/err")" "was changed while it was in use" "message"
recv_status "$TEST_TMP/stream" --check-base "$TEST_TMP/old"
assert_eq "$STATUS" 1 "status of recv of that stream"
rm "$TEST_TMP/old" "$TEST_TMP/changed" "$TEST_TMP/stream"

say "a digest that a symbolic link leads to cannot be used again"
cp "$TEST_TMP/base" "$TEST_TMP/copy"
ln -s kept "$TEST_TMP/latest"
recv --base="$TEST_TMP/latest" "$TEST_TMP/copy" <"$TEST_TMP/increment"
assert_same_bytes "$TEST_TMP/new" "$TEST_TMP/copy"
[[ ! -e $TEST_TMP/kept ]] || fail "the digest is still there"

say "wrong options"
for options in --base="$TEST_TMP/digest" --check-base; do
	recv_status /dev/null --format=raw "$options" "$TEST_TMP/copy"
	assert_eq "$STATUS" 2 "status of --format=raw with $options"
done
recv_status "$TEST_TMP/increment" --resume --base="$TEST_TMP/digest" \
	"$TEST_TMP/copy"
assert_eq "$STATUS" 2 "status of --resume with --base"
for options in --format=raw --format=rbd-diff --chunk=4K --granule=1M; do
	STATUS=0
	send --since="$TEST_TMP/digest" "$options" ${options/--chunk*/--digest=$TEST_TMP/x} \
		"$TEST_TMP/new" >/dev/null 2>"$TEST_TMP/err" || STATUS=$?
	assert_eq "$STATUS" 2 "status of --since with $options"
done
"$TOOL" send --quiet --from-snap=x "$TEST_TMP/new" >/dev/null \
	2>"$TEST_TMP/err" || STATUS=$?
assert_eq "$STATUS" 2 "status of --from-snap alone"
for name in '' "$(printf '%097d' 0)"; do
	STATUS=0
	send --since="$TEST_TMP/digest" --format=rbd-diff --from-snap="$name" \
		"$TEST_TMP/new" >/dev/null 2>"$TEST_TMP/err" || STATUS=$?
	assert_eq "$STATUS" 2 "status of the snapshot '$name'"
done
for file in /dev/null "$TEST_TMP" "$TEST_TMP/none" "$TEST_TMP/base"; do
	STATUS=0
	send --since="$file" "$TEST_TMP/new" >"$TEST_TMP/out" \
		2>"$TEST_TMP/err" || STATUS=$?
	((STATUS)) || fail "an increment since $file"
	[[ ! -s $TEST_TMP/out ]] || fail "a stream since $file"
done
