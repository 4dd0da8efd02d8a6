#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# blksparse send|copy --changes: reads what a list of changes has and no more, and
# the result is the source. A list that does not fit ends in an error, and leaves
# the target as it is. The counts are those of the kernel.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requires_loop
requires python3 jq

size=$((64 << 20))
base=$TEST_TMP/base new=$TEST_TMP/new
dst=$TEST_TMP/dst dst2=$TEST_TMP/dst2

# fill FILE OFFSET LENGTH BYTE
fill() {
	head -c "$3" /dev/zero | tr '\0' "$4" |
		dd of="$1" bs=4096 seek="$2" oflag=seek_bytes conv=notrunc status=none
}

# The source has a change of data, one to zeros, and one at the end. The base has
# no holes, so that all reads count.
fill "$base" 0 "$size" a
cp "$base" "$new"
fill "$new" $((1 << 20)) 65536 b
fill "$new" $((8 << 20)) 1048576 '\0'
fill "$new" $((30 << 20)) 4096 c
fill "$new" $((size - 65536)) 65536 d
changed=$((65536 + 1048576 + 4096 + 65536))
loop_new "$new"
NEW=$LOOP

rbd() {
	jq -cn '[[1048576,65536,"true"],[8388608,1048576,"false"],
		[31457280,4096,"true"],[67043328,65536,"true"]] |
		map({offset:.[0], length:.[1], exists:.[2]})'
}
rbd >"$TEST_TMP/rbd.json"
jq -c "[[.[:2],.[2:]][] | {block_metadata_type: 2, volume_capacity_bytes: $size,
	block_metadata: map({byte_offset: .offset, size_bytes: .length})}]" \
	"$TEST_TMP/rbd.json" >"$TEST_TMP/kubernetes.json"
status=0
"$TOOL" diff --format=json "$base" "$NEW" >"$TEST_TMP/diff.json" || status=$?
assert_eq "$status" 1 "status of diff"

# measured COMMAND...: runs it, and checks that it read the changes, and at most
# 1 % more of them.
measured() {
	forget_pages "$NEW"
	count_reads "$NEW" run_status "$@"
	assert_eq "$STATUS" 0 "status"
	assert_ge "$READ" "$changed" "bytes read"
	assert_le "$READ" $((MOST + MOST / 100 + 16384)) "bytes read"
}

for list in rbd kubernetes diff; do
	say "copy, $list"
	cp "$base" "$dst"
	MOST=$changed
	measured "$TOOL" copy --changes="$TEST_TMP/$list.json" --json "$NEW" "$dst"
	assert_same_bytes "$new" "$dst"
	assert_eq "$(jq -c '[.data, .hole, .unchanged]' <<<"$OUT")" \
		"[$((changed - 1048576)),1048576,$((size - changed))]" "the summary"
	assert_le "$(allocated "$dst")" $((size - 1048576)) "bytes allocated"

	say "copy onto a device, and verify, $list"
	cp "$base" "$dst2"
	loop_new "$dst2"
	"$TOOL" copy --changes="$TEST_TMP/$list.json" --verify --quiet "$NEW" "$LOOP"
	assert_same_bytes "$new" "$LOOP"
	loop_free "$LOOP"
done

say "standard input"
cp "$base" "$dst"
"$TOOL" copy --changes=- --quiet "$NEW" "$dst" <"$TEST_TMP/rbd.json"
assert_same_bytes "$new" "$dst"

say "with --changed as well"
cp "$new" "$dst"
run_status "$TOOL" copy --changes="$TEST_TMP/rbd.json" --changed --json "$NEW" "$dst"
assert_eq "$(jq -c '[.compared, .written, .zeroed]' <<<"$OUT")" \
	"[$changed,0,0]" "the summary"

say "send with the digest of the base"
"$TOOL" digest --quiet --output="$TEST_TMP/base.digest" "$base"
"$TOOL" digest --quiet --output="$TEST_TMP/new.digest" "$new"
MOST=$((changed + 65536 - 4096)) # a chunk
send() {
	"$TOOL" send --quiet "$@" "$NEW" >"$TEST_TMP/stream"
}
for list in rbd kubernetes diff; do
	measured send --changes="$TEST_TMP/$list.json" --since="$TEST_TMP/base.digest" \
		--digest="$TEST_TMP/next.digest"
	# The same stream and the same digests as when all is read.
	"$TOOL" send --quiet --since="$TEST_TMP/base.digest" "$NEW" |
		cmp - "$TEST_TMP/stream" || fail "the stream"
	cmp "$TEST_TMP/new.digest" "$TEST_TMP/next.digest" || fail "the digest"
	cp "$base" "$dst"
	"$TOOL" recv --quiet --check-base "$dst" <"$TEST_TMP/stream"
	assert_same_bytes "$new" "$dst"
done
cp "$base" "$dst"
fill "$dst" 0 4096 x
cp "$dst" "$dst2"
status=0
"$TOOL" recv --quiet --check-base "$dst" <"$TEST_TMP/stream" || status=$?
assert_eq "$status" 1 "status, another base"
assert_same_bytes "$dst2" "$dst"

say "another size of the source"
fill "$TEST_TMP/larger" 0 $((size + 4096 + 512)) a
cp "$TEST_TMP/larger" "$dst2"
echo '[{"offset":67108864,"length":4608,"exists":"true"}]' >"$TEST_TMP/grown.json"
for chunk in 4K 1M; do
	"$TOOL" digest --quiet --chunk="$chunk" --output="$TEST_TMP/chunks" "$base"
	"$TOOL" send --quiet --changes="$TEST_TMP/grown.json" --since="$TEST_TMP/chunks" \
		--digest="$TEST_TMP/next.digest" "$TEST_TMP/larger" >"$TEST_TMP/stream"
	"$TOOL" send --quiet --since="$TEST_TMP/chunks" "$TEST_TMP/larger" |
		cmp - "$TEST_TMP/stream" || fail "the stream of a source that grew"
	echo '[]' >"$TEST_TMP/none.json"
	# All past the end of the base is read, whatever the list says.
	"$TOOL" send --quiet --changes="$TEST_TMP/none.json" --since="$TEST_TMP/chunks" \
		"$TEST_TMP/larger" | cmp - "$TEST_TMP/stream" || fail "what grew is missing"
	"$TOOL" digest --quiet --chunk="$chunk" --output="$TEST_TMP/chunks" "$dst2"
	"$TOOL" send --quiet --changes="$TEST_TMP/none.json" --since="$TEST_TMP/chunks" \
		"$base" >"$TEST_TMP/stream"
	"$TOOL" send --quiet --since="$TEST_TMP/chunks" "$base" |
		cmp - "$TEST_TMP/stream" || fail "the stream of a source that shrank"
done

say "an rbd diff"
MOST=$changed
measured send --changes="$TEST_TMP/rbd.json" --format=rbd-diff --from-snap=base
cp "$base" "$dst"
python3 "$CLI/rbd_diff.py" import "$dst" base <"$TEST_TMP/stream"
assert_same_bytes "$new" "$dst"

say "what is refused"
cp "$base" "$dst"
# refused STATUS MESSAGE OPTION...
refused() {
	run_status "$TOOL" "${@:3}"
	assert_eq "$STATUS" "$1" "status"
	assert_contains "$ERR" "$2" "message"
	assert_eq "$OUT" "" "standard output"
	assert_same_bytes "$base" "$dst"
}
echo '[{"offset":67108864,"length":1,"exists":"true"}]' >"$TEST_TMP/beyond.json"
echo '[{"offset":4096,"length":1,"exists":"true"},{"offset":0,"length":1,"exists":"true"}]' \
	>"$TEST_TMP/unsorted.json"
echo '[{"offset":-4096,"length":1,"exists":"true"}]' >"$TEST_TMP/negative.json"
jq -c "map(.volume_capacity_bytes += 512)" "$TEST_TMP/kubernetes.json" >"$TEST_TMP/size.json"
head -c 50 "$TEST_TMP/rbd.json" >"$TEST_TMP/cut.json"
python3 -c 'print("[" * 1000000)' >"$TEST_TMP/deep.json"
head -c 100000 /dev/urandom >"$TEST_TMP/random.json"
: >"$TEST_TMP/empty.json"
for list in beyond unsorted negative size cut deep random empty missing; do
	refused 1 "$list.json" copy --changes="$TEST_TMP/$list.json" "$NEW" "$dst"
	refused 1 "$list.json" send --changes="$TEST_TMP/$list.json" \
		--since="$TEST_TMP/base.digest" "$NEW"
done
list=$TEST_TMP/rbd.json
refused 2 "needs the digest of the base" send --changes="$list" "$NEW"
refused 2 "raw stream" send --changes="$list" --format=raw "$NEW"
refused 2 "name of the snapshot" send --changes="$list" --format=rbd-diff "$NEW"
refused 2 "digest of the base" send --changes="$list" --format=rbd-diff \
	--from-snap=base --digest="$TEST_TMP/no" "$NEW"
[[ ! -e $TEST_TMP/no ]] || fail "a digest of nothing"
refused 2 "--target-is-zero" copy --changes="$list" --target-is-zero "$NEW" "$dst"
refused 2 "--fall-back goes with" copy --fall-back "$NEW" "$dst"
refused 2 "needs --since" send --fall-back --changes="$list" --format=rbd-diff \
	--from-snap=base "$NEW"
refused 1 "is not there" copy --changes="$list" "$NEW" "$TEST_TMP/no"
[[ ! -e $TEST_TMP/no ]] || fail "a target of changes was made"
head -c $((size - 4096)) "$base" >"$dst2"
cp "$dst2" "$TEST_TMP/dst3"
refused 1 "not the base" copy --changes="$list" "$NEW" "$dst2"
assert_same_bytes "$TEST_TMP/dst3" "$dst2"
loop_new "$TEST_TMP/larger"
refused 1 "not the base" copy --changes="$list" "$NEW" "$LOOP"
loop_free "$LOOP"

say "falling back"
cp "$base" "$dst"
run_status "$TOOL" copy --changes="$TEST_TMP/beyond.json" --fall-back --json "$NEW" "$dst"
assert_eq "$STATUS" 0 "status"
assert_contains "$ERR" "all is read and compared" "message"
assert_same_bytes "$new" "$dst"
assert_eq "$(jq .written <<<"$OUT")" "$((changed - 1048576))" "bytes written"
"$TOOL" send --quiet --changes="$TEST_TMP/beyond.json" --fall-back \
	--since="$TEST_TMP/base.digest" "$NEW" >"$TEST_TMP/stream"
cp "$base" "$dst"
"$TOOL" recv --quiet --check-base "$dst" <"$TEST_TMP/stream"
assert_same_bytes "$new" "$dst"
