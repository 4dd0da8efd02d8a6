#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Digest files of devices and files of all shapes: their bytes are those of a
# second implementation, each block is read once, and memory stays small.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requires_loop
requires python3 jq

digest() {
	"$TOOL" digest --quiet "$@"
}

want_digest() {
	python3 "$CLI/digest_file.py" "$@" >"$TEST_TMP/want"
}

# check_digest KIND SIZE [LOSETUP-OPTION...]
check_digest() {
	local size
	say "$*"
	make_device "$1" "$2" device "${@:3}"
	size=$(blockdev --getsize64 "$LOOP")
	want_digest "$TEST_TMP/device" 65536
	count_reads "$LOOP" digest "$LOOP" >"$TEST_TMP/digest"
	# The opening reads one block, as a trial.
	assert_le "$READ" $((size + 4096)) "bytes read"
	cmp "$TEST_TMP/want" "$TEST_TMP/digest" || fail "the digest"

	count_reads "$LOOP" "$TOOL" send --quiet --digest="$TEST_TMP/sent" \
		"$LOOP" >"$TEST_TMP/stream"
	assert_le "$READ" $((size + 4096)) "bytes read to send"
	cmp "$TEST_TMP/want" "$TEST_TMP/sent" || fail "the digest of send"
	python3 "$CLI/native_stream.py" "$LOOP" <"$TEST_TMP/stream" ||
		fail "the stream with a digest"
	loop_free "$LOOP"
}

for kind in zero data first last alternating edges mixed; do
	check_digest "$kind" 3M
	check_digest "$kind" $(((1 << 20) + 512))
done
check_digest data 512
check_digest mixed 24M
check_digest mixed 8M --sector-size 4096

say "files of any size, chunks of any size"
for size in 1 511 4097 65536 1048577 3000001; do
	python3 "$LIB/devices.py" make --sparse mixed "$size" "$TEST_TMP/file"
	for chunk in 4096 65536 1048576; do
		want_digest "$TEST_TMP/file" "$chunk"
		for jobs in 1 2 5; do
			digest --chunk="$chunk" --jobs="$jobs" "$TEST_TMP/file" |
				cmp "$TEST_TMP/want" - ||
				fail "the digest of $size bytes"
		done
		for format in native raw rbd-diff; do
			"$TOOL" send --quiet --format="$format" \
				--chunk="$chunk" --digest="$TEST_TMP/digest" \
				"$TEST_TMP/file" >/dev/null
			cmp "$TEST_TMP/want" "$TEST_TMP/digest" ||
				fail "the digest of $format"
		done
	done
done

say "more digests than a record holds"
python3 "$LIB/devices.py" make data 20M "$TEST_TMP/file"
want_digest "$TEST_TMP/file" 4096
digest --chunk=4K "$TEST_TMP/file" | cmp "$TEST_TMP/want" -

say "16 TiB of zeros"
# ext4 has no larger files.
truncate -s $(((16 << 40) - 4096)) "$TEST_TMP/large"
digest "$TEST_TMP/large" >"$TEST_TMP/digest"
assert_eq "$(stat -c %s "$TEST_TMP/digest")" 176 "size of the digest"
rm "$TEST_TMP/large"

say "memory"
python3 "$LIB/devices.py" make data 64M "$TEST_TMP/file"
# Address space, in KiB: buffers, libraries, the stacks of 9 threads.
(
	ulimit -v 260000
	digest --jobs=8 "$TEST_TMP/file" >"$TEST_TMP/digest"
)
cat >"$TEST_TMP/rss.py" <<'PY'
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
PY
python3 "$TEST_TMP/rss.py" "$TOOL" digest --quiet "$TEST_TMP/file" \
	2>"$TEST_TMP/rss" >/dev/null
assert_le "$(<"$TEST_TMP/rss")" 20000 "KiB that digest takes"

say "--output appears when it is complete"
python3 "$LIB/devices.py" make mixed 8M "$TEST_TMP/file"
want_digest "$TEST_TMP/file" 65536
mkdir "$TEST_TMP/out"
(
	umask 027
	digest --output="$TEST_TMP/out/new" "$TEST_TMP/file"
)
cmp "$TEST_TMP/want" "$TEST_TMP/out/new"
assert_eq "$(stat -c %a "$TEST_TMP/out/new")" 640 "mode of the file"
echo old >"$TEST_TMP/out/new"
run_status "$TOOL" digest --output="$TEST_TMP/out/new" "$TEST_TMP/none"
assert_eq "$STATUS" 1 "status without a source"
assert_eq "$(<"$TEST_TMP/out/new")" old "the older file"
# The reader of the stream goes away: no digest.
STATUS=0
"$TOOL" send --quiet --digest="$TEST_TMP/out/new" "$TEST_TMP/file" \
	2>"$TEST_TMP/err" > >(head -c 1000 >/dev/null) || STATUS=$?
assert_eq "$STATUS" 1 "status after a broken pipe"
assert_eq "$(<"$TEST_TMP/out/new")" old "the older file after a broken pipe"
digest --output="$TEST_TMP/out/new" "$TEST_TMP/file"
cmp "$TEST_TMP/want" "$TEST_TMP/out/new"
digest --output=/dev/stdout "$TEST_TMP/file" | cmp "$TEST_TMP/want" -
run_status "$TOOL" digest --quiet --output=/dev/full "$TEST_TMP/file"
assert_eq "$STATUS" 1 "status with a full disk"
assert_contains "$ERR" "No space left" "message of a full disk"
run_status "$TOOL" digest --output="$TEST_TMP/none/x" "$TEST_TMP/file"
assert_eq "$STATUS" 1 "status without a directory"
assert_contains "$ERR" "none/x: No such file" "message without a directory"
assert_eq "$(ls "$TEST_TMP/out")" new "files left"
ln -s new "$TEST_TMP/out/link"
echo old >"$TEST_TMP/out/new"
digest --output="$TEST_TMP/out/link" "$TEST_TMP/file"
cmp "$TEST_TMP/want" "$TEST_TMP/out/new"
assert_eq "$(readlink "$TEST_TMP/out/link")" new "the link"
ln -sf none "$TEST_TMP/out/link"
run_status "$TOOL" digest --output="$TEST_TMP/out/link" "$TEST_TMP/file"
assert_eq "$STATUS" 1 "status of a link that leads nowhere"
assert_contains "$ERR" "out/link: No such file" "message about the link"

say "standard output by its name"
# A symbolic link as /dev/stdout is: it must stay.
ln -s /proc/self/fd/1 "$TEST_TMP/stdout"
{
	echo before
	digest --output="$TEST_TMP/stdout" "$TEST_TMP/file"
} >"$TEST_TMP/out/both"
(echo before && cat "$TEST_TMP/want") | cmp - "$TEST_TMP/out/both"
assert_eq "$(readlink "$TEST_TMP/stdout")" /proc/self/fd/1 "the link"
send_among() {
	STATUS=0
	"$TOOL" send --digest="$TEST_TMP/stdout" "$TEST_TMP/file" \
		2>"$TEST_TMP/err" || STATUS=$?
	assert_eq "$STATUS" 2 "status of a digest among the stream"
	assert_contains "$(<"$TEST_TMP/err")" "takes the stream" "message"
}
send_among >"$TEST_TMP/out/stream"
send_among | cat >"$TEST_TMP/out/stream"

say "the source is not replaced by its digest, nor by its stream"
cp "$TEST_TMP/file" "$TEST_TMP/source"
ln -s source "$TEST_TMP/other"
ln "$TEST_TMP/source" "$TEST_TMP/hard"
for name in source other hard; do
	for command in digest send; do
		option=--output
		[[ $command == digest ]] || option=--digest
		run_status "$TOOL" "$command" "$option=$TEST_TMP/$name" \
			"$TEST_TMP/source"
		assert_eq "$STATUS" 2 "status of $command with $name"
		assert_contains "$ERR" "would be lost" "message"
		STATUS=0
		"$TOOL" "$command" "$TEST_TMP/source" 1<>"$TEST_TMP/$name" \
			2>"$TEST_TMP/err" || STATUS=$?
		assert_eq "$STATUS" 2 "status of $command onto $name"
		assert_contains "$(<"$TEST_TMP/err")" "would destroy" "message"
	done
done
cmp "$TEST_TMP/file" "$TEST_TMP/source"
loop_new "$TEST_TMP/source"
for name in "$LOOP" "$TEST_TMP/source"; do
	run_status "$TOOL" digest --output="$name" "$LOOP"
	assert_eq "$STATUS" 2 "status with a loop device's $name"
done
run_status "$TOOL" digest --output="$LOOP" "$TEST_TMP/file"
assert_eq "$STATUS" 2 "status with a block device"
assert_contains "$ERR" "is a block device" "message with a block device"
cmp "$TEST_TMP/file" "$LOOP"
"$TOOL" send --quiet "$TEST_TMP/file" >"$TEST_TMP/stream"
cp "$TEST_TMP/stream" "$TEST_TMP/kept"
ln "$TEST_TMP/stream" "$TEST_TMP/target"
STATUS=0
"$TOOL" recv "$TEST_TMP/target" <"$TEST_TMP/stream" 2>"$TEST_TMP/err" || STATUS=$?
assert_eq "$STATUS" 2 "status of recv onto its stream"
assert_contains "$(<"$TEST_TMP/err")" "would destroy" "message of recv onto its stream"
cmp "$TEST_TMP/stream" "$TEST_TMP/kept"

# Nothing is sent, and the receiver must not succeed while the digest is lost.
say "a file system that is full, or fills up"
mkdir "$TEST_TMP/small"
mount -t tmpfs -o size=1M none "$TEST_TMP/small"
cleanup umount "$TEST_TMP/small"
head -c 16M /dev/urandom >"$TEST_TMP/random"
fill() { # fill LEFT: leaves so many bytes free
	rm -f "$TEST_TMP/small/filler"
	head -c $(((1 << 20) - $1)) /dev/zero >"$TEST_TMP/small/filler"
}
fill 0
run_status "$TOOL" digest --quiet --output="$TEST_TMP/small/digest" "$TEST_TMP/random"
assert_eq "$STATUS" 1 "status of digest"
assert_contains "$ERR" "small/digest: No space left" "message of digest"
for left in 0 262144; do # 4096 digests of 4 KiB are 128 KiB
	fill "$left"
	STATUS=0
	"$TOOL" send --quiet --chunk=4K --digest="$TEST_TMP/small/digest" \
		"$TEST_TMP/random" >"$TEST_TMP/stream" 2>"$TEST_TMP/err" || STATUS=$?
	if ((left)); then
		assert_eq "$STATUS" 0 "status of send"
		[[ $(allocated "$TEST_TMP/small/digest") -le 139264 ]] ||
			fail "the digest kept room that it did not need"
	else
		assert_eq "$STATUS" 1 "status of send"
		assert_contains "$(<"$TEST_TMP/err")" "small/digest: No space left" "message"
		assert_eq "$(stat -c %s "$TEST_TMP/stream")" 0 "bytes that were sent"
	fi
	rm -f "$TEST_TMP/small/digest"
done
cat "$TEST_TMP/random" "$TEST_TMP/random" "$TEST_TMP/random" >"$TEST_TMP/more"
fill 262144
STATUS=0
"$TOOL" send --quiet --chunk=4K --digest="$TEST_TMP/small/digest" "$TEST_TMP/more" \
	>"$TEST_TMP/stream" 2>"$TEST_TMP/err" || STATUS=$?
assert_eq "$STATUS" 1 "status of send to a file system that fills up"
! "$TOOL" recv --quiet "$TEST_TMP/target" <"$TEST_TMP/stream" 2>/dev/null ||
	fail "the stream without a digest is complete"
assert_eq "$(ls "$TEST_TMP/small")" filler "files that are left"
rm "$TEST_TMP/random" "$TEST_TMP/more"

say "the summary"
digest_json=$("$TOOL" digest --json "$TEST_TMP/file" 2>&1 >/dev/null)
jq -e '.command == "digest" and .complete and .size == 8388608 and
	.done == .size and .moved > 0' <<<"$digest_json" >/dev/null ||
	fail "$digest_json"

say "wrong options"
for options in "--chunk=5000" "--chunk=2M" "--jobs=65" "--jobs=0" "--jobs=-1"; do
	run_status "$TOOL" digest "$options" "$TEST_TMP/file"
	assert_eq "$STATUS" 2 "status of $options"
done
run_status "$TOOL" send --chunk=64K "$TEST_TMP/file"
assert_eq "$STATUS" 2 "status of --chunk alone"
run_status "$TOOL" digest --output= "$TEST_TMP/file"
assert_eq "$STATUS" 2 "status of an empty name"
run_status "$TOOL" send --digest= "$TEST_TMP/file"
assert_eq "$STATUS" 2 "status of send with an empty name"
assert_eq "$(stat -c %s "$TEST_TMP/.out")" 0 "bytes of the stream"
run_status "$TOOL" send --digest="$TEST_TMP/x" --from=4096 "$TEST_TMP/file"
assert_eq "$STATUS" 2 "status of --digest with --from"
