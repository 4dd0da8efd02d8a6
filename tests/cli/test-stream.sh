#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Streams between devices and files of all shapes, in all formats: the bytes are
# right, zeros become holes, each block is read once, and memory stays small.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requires_loop
requires python3 jq

# old_device SIZE [LOSETUP-OPTION...]: makes a loop device $OLD, filled with
# 0xAA.
old_device() {
	head -c "$1" /dev/zero | tr '\0' '\252' >"$TEST_TMP/old"
	loop_new "$TEST_TMP/old" "${@:2}"
	OLD=$LOOP
}

send() {
	"$TOOL" send --quiet "$@"
}

recv() {
	"$TOOL" recv --quiet "$@"
}

# assert_tail FILE BYTES: checks that its last BYTES bytes are 0xAA.
assert_tail() {
	tail -c "$2" "$1" | cmp - <(head -c "$2" /dev/zero | tr '\0' '\252') ||
		fail_at "the end of $1 was not kept"
}

# check_stream KIND SIZE [LOSETUP-OPTION...]: sends such a device to a larger one
# with old bytes and to a file, and the file to a device of the same size; raw
# and rbd-diff in both directions.
check_stream() {
	local source size data granule copy=$TEST_TMP/copy
	say "$*"
	make_device "$1" "$2" device "${@:3}"
	source=$LOOP
	size=$(blockdev --getsize64 "$source")

	count_reads "$source" send "$source" >"$TEST_TMP/stream"
	# The opening reads one block, as a trial.
	assert_ge "$READ" "$size" "bytes read"
	assert_le "$READ" $((size + 4096)) "bytes read"

	python3 "$CLI/native_stream.py" "$source" <"$TEST_TMP/stream" ||
		fail "the stream does not follow its specification"

	recv "$copy" <"$TEST_TMP/stream"
	assert_same_bytes "$source" "$copy"
	data=$(python3 "$LIB/devices.py" data "$TEST_TMP/device")
	assert_le "$(allocated "$copy")" $((data + 65536)) "allocated"

	old_device $((size + 1048576))
	recv "$OLD" <"$TEST_TMP/stream"
	cmp -n "$size" "$source" "$OLD" || fail "the device differs from its source"
	assert_tail "$OLD" 1048576
	loop_free "$OLD"

	for granule in 64K 1M; do
		old_device "$size" "${@:3}"
		send --granule="$granule" "$copy" | recv "$OLD"
		assert_same_bytes "$source" "$OLD"
		loop_free "$OLD"
	done

	send --format=raw "$source" | cmp - "$source" || fail "raw"
	old_device "$size" "${@:3}"
	recv --format=raw "$OLD" <"$source"
	assert_same_bytes "$source" "$OLD"
	rm "$copy"
	send --format=raw "$OLD" | recv --format=raw "$copy"
	assert_same_bytes "$source" "$copy"
	assert_le "$(allocated "$copy")" $((data + 65536)) "allocated by raw"
	loop_free "$OLD"

	head -c $((size / 2)) /dev/zero | tr '\0' '\252' >"$copy"
	send --format=rbd-diff "$source" |
		python3 "$CLI/rbd_diff.py" import "$copy"
	assert_same_bytes "$source" "$copy"
	old_device "$size" "${@:3}"
	python3 "$CLI/rbd_diff.py" export "$copy" now |
		recv --format=rbd-diff "$OLD"
	assert_same_bytes "$source" "$OLD"
	loop_free "$OLD"
	loop_free "$source"
	rm "$copy"
}

for kind in zero data first last alternating edges mixed; do
	check_stream "$kind" 3M
	check_stream "$kind" $(((1 << 20) + 512))
done
check_stream data 512
check_stream zero 512
check_stream mixed 24M
check_stream mixed 8M --sector-size 4096

say "files of any size"
for size in 1 511 4095 4097 1048577 3000001; do
	python3 "$LIB/devices.py" make --sparse mixed "$size" "$TEST_TMP/file"
	head -c 5000000 /dev/zero | tr '\0' '\252' >"$TEST_TMP/copy"
	send "$TEST_TMP/file" | recv "$TEST_TMP/copy"
	assert_same_bytes "$TEST_TMP/file" "$TEST_TMP/copy"
	send --format=raw "$TEST_TMP/file" |
		recv --format=raw "$TEST_TMP/copy"
	assert_same_bytes "$TEST_TMP/file" "$TEST_TMP/copy"
done
recv --format=raw "$TEST_TMP/copy" </dev/null
assert_eq "$(stat -c %s "$TEST_TMP/copy")" 0 "size of nothing"

say "the summary"
make_device mixed 24M device
data=$(python3 "$LIB/devices.py" data "$TEST_TMP/device")
"$TOOL" send --json "$LOOP" 2>"$TEST_TMP/sent" |
	"$TOOL" recv --json "$TEST_TMP/copy" >"$TEST_TMP/received"
for end in sent received; do
	jq -e --argjson data "$data" '.format == "blksparse-transfer" and
		.version == 1 and .complete and .error == null and
		.size == 25165824 and .start == 0 and .done == .size and
		.data == $data and .hole == .size - $data and
		.moved > $data and .seconds > 0' "$TEST_TMP/$end" >/dev/null ||
		fail "$end: $(<"$TEST_TMP/$end")"
	grep -Eq ',"seconds":[0-9]+\.[0-9]{3}}$' "$TEST_TMP/$end" ||
		fail "$end: the seconds of $(<"$TEST_TMP/$end")"
done
assert_eq "$(jq .moved "$TEST_TMP/sent")" "$(jq .moved "$TEST_TMP/received")" \
	"bytes sent, and received"
"$TOOL" send "$LOOP" 2>"$TEST_TMP/err" >/dev/null
ERR=$(<"$TEST_TMP/err")
assert_contains "$ERR" "24.0 MiB, " "summary of send"
loop_free "$LOOP"

say "a file in a mount"
if [[ -c /dev/fuse && -x $FS ]]; then
	make_device mixed 8M mounted
	mount_fs "disk=$LOOP"
	send "$MNT/disk" | recv "$TEST_TMP/copy"
	assert_same_bytes "$TEST_TMP/mounted" "$TEST_TMP/copy"
	umount_fs
	loop_free "$LOOP"
fi

say "--target-is-zero"
make_device mixed 8M device
source=$LOOP
truncate -s 8M "$TEST_TMP/zero"
loop_new "$TEST_TMP/zero"
send "$source" | recv --target-is-zero "$LOOP"
assert_same_bytes "$source" "$LOOP"
loop_free "$LOOP"
# The option is trusted: old bytes stay in the holes of the source.
old_device 8M
send "$source" | recv --target-is-zero "$OLD"
python3 - "$source" "$OLD" <<'PY'
import sys
source, old = (open(name, "rb").read() for name in sys.argv[1:])
for at in range(0, len(source), 4096):
    want = source[at:at + 4096]
    if not any(want):
        want = b"\xaa" * 4096
    assert old[at:at + 4096] == want, at
PY
loop_free "$OLD"
loop_free "$source"

say "memory"
# The same limit for 64 MiB and for 8 TiB.
python3 "$LIB/devices.py" make alternating 64M "$TEST_TMP/file"
truncate -s 8T "$TEST_TMP/large"
for file in file large; do
	# Address space, in KiB: buffers, libraries, the stacks of ten threads.
	(
		ulimit -v 300000
		send "$TEST_TMP/$file" | recv "$TEST_TMP/copy"
	)
done
rm "$TEST_TMP/copy"
cat >"$TEST_TMP/rss.py" <<'PY'
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
PY
python3 "$TEST_TMP/rss.py" "$TOOL" send --quiet "$TEST_TMP/file" \
	2>"$TEST_TMP/rss-send" |
	python3 "$TEST_TMP/rss.py" "$TOOL" recv --quiet "$TEST_TMP/copy" \
		2>"$TEST_TMP/rss-recv"
assert_le "$(<"$TEST_TMP/rss-send")" 20000 "KiB that send takes"
assert_le "$(<"$TEST_TMP/rss-recv")" 25000 "KiB that recv takes"
echo "send $(<"$TEST_TMP/rss-send") KiB, recv $(<"$TEST_TMP/rss-recv") KiB"
