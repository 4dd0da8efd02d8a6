#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# blksparse diff: finds exactly the blocks in which cmp finds a difference, in
# every format, and exits as diff and cmp do.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requires_loop
requires python3 jq

# poke FILE OFFSET: changes a byte.
poke() {
	printf 'X' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# blocks A B: prints the blocks of 4096 bytes that differ, after the program cmp.
blocks() {
	{ cmp -l "$1" "$2" 2>/dev/null || true; } |
		awk '{ print int(($1 - 1) / 4096) }' | uniq
}

# reported JSON: prints the same from a report.
reported() {
	jq -r '.extents[] | "\(.start) \(.length) \(.type)"' "$1" |
		while read -r start length type; do
			[[ $type == differs ]] || fail "type $type"
			seq $((start / 4096)) $(((start + length - 1) / 4096))
		done
}

# assert_diff STATUS A B [OPTION...]
assert_diff() {
	run_status "$TOOL" diff --format=json "${@:4}" "$2" "$3"
	assert_eq "$STATUS" "$1" "status"
	cp "$TEST_TMP/.out" "$TEST_TMP/json"
	blocks "$2" "$3" >"$TEST_TMP/expected"
	reported "$TEST_TMP/json" | diff "$TEST_TMP/expected" - ||
		fail "the blocks that differ"
}

size=$(((20 << 20) + 512))
for kind in zero data mixed alternating; do
	say "$kind"
	make_device "$kind" "$size" "a-$kind"
	A=$LOOP
	cp "$TEST_TMP/a-$kind" "$TEST_TMP/b-$kind"
	loop_new "$TEST_TMP/b-$kind"
	B=$LOOP
	assert_diff 0 "$A" "$B"
	assert_eq "$ERR" "" "stderr, equal"
	assert_diff 0 "$A" "$A"
	for off in 0 4095 4096 1048575 $((9 << 20)) $((size - 1)); do
		poke "$B" "$off"
	done
	forget_pages "$B"
	for known in auto off; do
		assert_diff 1 "$A" "$B" --known="$known"
		assert_diff 1 "$B" "$A" --known="$known" --jobs=1
		assert_diff 1 "$TEST_TMP/a-$kind" "$B" --known="$known"
	done
	loop_free "$A"
	loop_free "$B"
done

say "formats"
a=$TEST_TMP/a-mixed b=$TEST_TMP/b-mixed
jq -e ".format == \"blksparse-diff\" and .version == 1 and .size == $size and
	.granule == 4096 and (.totals | keys) == [\"differs\", \"same\"] and
	.totals.differs.bytes + .totals.same.bytes == .size" \
	"$TEST_TMP/json" >/dev/null || fail "the keys of json"
run_status "$TOOL" diff "$a" "$b"
assert_eq "$STATUS" 1 "status of the table"
assert_eq "$(grep -c ' differs$' <<<"$OUT")" \
	"$(jq '.extents | length' "$TEST_TMP/json")" "rows of the table"
assert_contains "$OUT" "same " "the totals of the table"
run_status "$TOOL" diff --summary "$a" "$b"
assert_eq "$(wc -l <<<"$OUT")" 3 "lines of a summary"
run_status "$TOOL" diff --summary --format=json "$a" "$b"
jq -e 'has("extents") | not' "$TEST_TMP/.out" >/dev/null || fail "a summary in json"
run_status "$TOOL" diff --quiet "$a" "$b"
assert_eq "$STATUS $OUT$ERR" "1 " "--quiet"
# differences FORMAT: prints them; there are some.
differences() {
	local status=0
	"$TOOL" diff --format="$1" "$a" "$b" || status=$?
	assert_eq "$status" 1 "status of diff --format=$1" >&2
}

differences qemu >"$TEST_TMP/qemu"
assert_eq "$(jq '[.[] | select(.data) | .length] | add' "$TEST_TMP/qemu")" \
	"$(jq .totals.differs.bytes "$TEST_TMP/json")" "bytes in the format qemu"
differences ddrescue >"$TEST_TMP/domain"
assert_eq "$(grep -c '+$' "$TEST_TMP/domain")" \
	"$(jq '.extents | length' "$TEST_TMP/json")" "blocks of a mapfile"
if command -v bmaptool >/dev/null; then
	differences bmap >"$TEST_TMP/bmap"
	cp "$a" "$TEST_TMP/copy"
	loop_new "$TEST_TMP/copy"
	bmaptool -q copy --bmap "$TEST_TMP/bmap" "$b" "$LOOP"
	assert_same_bytes "$b" "$LOOP"
	loop_free "$LOOP"
fi

say "what is known is not read"
truncate -s 64M "$TEST_TMP/sparse-a" "$TEST_TMP/sparse-b"
poke "$TEST_TMP/sparse-a" $((5 << 20))
poke "$TEST_TMP/sparse-b" $((40 << 20))
wait_settled "$TEST_TMP/sparse-a" "$TEST_TMP/sparse-b"
loop_new "$TEST_TMP/sparse-a"
A=$LOOP
loop_new "$TEST_TMP/sparse-b"
B=$LOOP
assert_diff 1 "$A" "$B" --known=all
run_diff() {
	"$TOOL" diff --quiet --known=all "$A" "$B" || [[ $? == 1 ]]
}
count_reads "$A" run_diff
# Each side reads its own block, what the other knows to be data, and blocks for
# checks of its holes.
assert_le "$READ" $((1 << 20)) "bytes read of the first"
loop_free "$A"
loop_free "$B"

say "two sizes"
head -c $((5 << 20)) "$a" >"$TEST_TMP/short"
for pair in "$TEST_TMP/short $a" "$a $TEST_TMP/short"; do
	read -r first second <<<"$pair"
	run_status "$TOOL" diff --format=json "$first" "$second"
	assert_eq "$STATUS" 1 "status"
	assert_contains "$ERR" "the rest of the larger one differs" "stderr"
	assert_eq "$(jq -c '[.size, .extents]' "$TEST_TMP/.out")" \
		"[$size,[{\"start\":5242880,\"length\":$((size - 5242880)),\"type\":\"differs\"}]]" \
		"the extents"
done

say "trouble"
run_status "$TOOL" diff "$a" "$TEST_TMP/none"
assert_eq "$STATUS" 2 "status, a missing file"
assert_contains "$ERR" "$TEST_TMP/none" "message"
run_status "$TOOL" diff "$a"
assert_eq "$STATUS" 2 "status, one path"
run_status "$TOOL" diff --format=none "$a" "$b"
assert_eq "$STATUS" 2 "status, a wrong format"
run_status "$TOOL" diff --jobs=0 "$a" "$b"
assert_eq "$STATUS" 2 "status, no jobs"
run_status "$TOOL" diff "$a" "$b" "$b"
assert_eq "$STATUS" 2 "status, three paths"
run_status "$TOOL" diff "$a" "$TEST_TMP"
assert_eq "$STATUS" 2 "status, a folder"
status=0
"$TOOL" diff "$a" "$b" >/dev/full 2>"$TEST_TMP/err" || status=$?
assert_eq "$status" 2 "status, a full disk"

if command -v qemu-nbd >/dev/null; then
	say "an export"
	socket=$TEST_TMP/socket
	qemu-nbd -r -f raw -k "$socket" -t --fork --pid-file="$TEST_TMP/pid" "$b"
	cleanup kill "$(<"$TEST_TMP/pid")"
	run_status "$TOOL" diff --format=json "$a" "nbd+unix:///?socket=$socket"
	assert_eq "$STATUS" 1 "status"
	blocks "$a" "$b" >"$TEST_TMP/expected"
	reported "$TEST_TMP/.out" | diff "$TEST_TMP/expected" - ||
		fail "the blocks that differ"
fi
