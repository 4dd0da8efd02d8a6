#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The caller may have closed any of the standard descriptors. No device or image
# gets their numbers, so no message or report is written into one. A stream
# without standard input or output is an error.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requires_loop
requires python3

make_device mixed 2M source
source=$LOOP
size=$(blockdev --getsize64 "$source")
truth=$TEST_TMP/truth
cp "$source" "$truth"
head -c $((size + 65536)) /dev/zero | tr '\0' '\252' >"$TEST_TMP/old"
cp "$TEST_TMP/old" "$TEST_TMP/target"
loop_new "$TEST_TMP/target"
target=$LOOP
{ cat "$truth" && tail -c 65536 "$TEST_TMP/old"; } >"$TEST_TMP/want"
"$TOOL" send --quiet "$source" >"$TEST_TMP/stream"
"$TOOL" map "$source" >"$TEST_TMP/map"

# closed SET COMMAND...: runs it with the descriptors in SET (of 0, 1, 2) closed.
# The others are $IN (/dev/null), $TEST_TMP/out and $TEST_TMP/err. Sets $STATUS.
closed() {
	local set=$1 redirections
	# shellcheck disable=SC2016 # for eval
	redirections='<"${IN:-/dev/null}" >"$TEST_TMP/out" 2>"$TEST_TMP/err"'
	shift
	[[ $set != *0* ]] || redirections+=' <&-'
	[[ $set != *1* ]] || redirections+=' >&-'
	[[ $set != *2* ]] || redirections+=' 2>&-'
	STATUS=0
	rm -f "$TEST_TMP/out" "$TEST_TMP/err"
	eval '"$@"' "$redirections" || STATUS=$?
	echo "+ $* (without ${set:-none}) => $STATUS"
	assert_same_bytes "$source" "$truth"
}

# fails_if NUMBER SET: checks that $STATUS is 1 if NUMBER is in SET, else 0.
fails_if() {
	if [[ $2 == *$1* ]]; then
		assert_eq "$STATUS" 1 "status without $2"
		[[ $2 == *2* ]] ||
			assert_contains "$(<"$TEST_TMP/err")" "Bad file descriptor" \
				"message"
	else
		assert_eq "$STATUS" 0 "status without ${2:-none}"
	fi
}

old_target() {
	dd if="$TEST_TMP/old" of="$target" bs=64K conv=fsync status=none
}

for set in '' 0 1 2 01 02 12 012; do
	say "copy"
	for report in --progress --json; do
		for from in "$source" "$truth"; do
			old_target
			closed "$set" "$TOOL" copy "$report" "$from" "$target"
			[[ $report == --json ]] || fails_if none "$set"
			[[ $report != --json ]] || fails_if 1 "$set"
			assert_same_bytes "$target" "$TEST_TMP/want"

			rm -f "$TEST_TMP/copy"
			closed "$set" "$TOOL" copy "$report" "$from" \
				"$TEST_TMP/copy"
			assert_same_bytes "$TEST_TMP/copy" "$truth"
		done
	done

	say "send"
	closed "$set" "$TOOL" send --progress "$source"
	fails_if 1 "$set"
	[[ $set == *1* ]] || assert_same_bytes "$TEST_TMP/out" "$TEST_TMP/stream"

	say "recv"
	old_target
	IN=$TEST_TMP/stream closed "$set" "$TOOL" recv --progress "$target"
	fails_if 0 "$set"
	if [[ $set == *0* ]]; then
		assert_same_bytes "$target" "$TEST_TMP/old"
	else
		assert_same_bytes "$target" "$TEST_TMP/want"
	fi
	cp "$TEST_TMP/old" "$TEST_TMP/image"
	IN=$TEST_TMP/stream closed "$set" "$TOOL" recv --progress "$TEST_TMP/image"
	if [[ $set == *0* ]]; then
		assert_same_bytes "$TEST_TMP/image" "$TEST_TMP/old"
	else
		assert_same_bytes "$TEST_TMP/image" "$truth"
	fi

	say "map"
	closed "$set" "$TOOL" map "$source"
	fails_if 1 "$set"
	[[ $set == *1* ]] || assert_same_bytes "$TEST_TMP/out" "$TEST_TMP/map"
	closed "$set" "$TOOL" --version
	fails_if 1 "$set"
done

say "a file's limit"
# SIGXFSZ would end the program before its message.
small() {
	ulimit -f 1024
	exec "$TOOL" copy "$source" "$TEST_TMP/small"
}
STATUS=0
(small) 2>"$TEST_TMP/err" || STATUS=$?
assert_eq "$STATUS" 1 "status"
assert_contains "$(<"$TEST_TMP/err")" "File too large" "message"
