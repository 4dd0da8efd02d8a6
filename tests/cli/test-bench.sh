#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The bench itself: it writes its figures as JSON, finds wrong copies of a peer
# and of the build under test, and leaves nothing behind, even if interrupted.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"

requires_fuse
requires_loop
requires python3 jq

# bench OPTION...: runs it with a temporary directory that must be empty after
bench() {
	"$SRC/tests/bench/run" --quick --dir "$TEST_TMP/place" --json \
		"$TEST_TMP/figures" "$@"
}

figure() {
	jq -r ".works[0].contenders[] | $1" "$TEST_TMP/figures"
}

assert_nothing_left() {
	assert_eq "$(ls -A "$TEST_TMP/place")" "" "left files"
	assert_eq "$(losetup -n -O BACK-FILE | grep -F "$TEST_TMP")" "" "devices"
}

mkdir "$TEST_TMP/place" "$TEST_TMP/bin"
# A peer that loses the content.
cat >"$TEST_TMP/bin/qemu-img" <<'END'
#!/bin/bash
[[ $1 != convert ]] || truncate -s "$(blockdev --getsize64 "${@: -2:1}")" "${@: -1}"
END
chmod +x "$TEST_TMP/bin/qemu-img"

say "figures"
PATH=$TEST_TMP/bin:$PATH bench --rounds 2 copy-s | tee "$TEST_TMP/table"
assert_eq "$(figure 'select(.role == "ours") | .right')" true "ours"
assert_eq "$(figure 'select(.role == "ours") | .values | length')" 2 "rounds"
assert_eq "$(figure 'select(.role == "ours") | .facts.kept * 1000 | floor')" \
	102 "allocated"
assert_eq "$(figure 'select(.name | contains("qemu")) | .right')" false \
	"a wrong copy"
assert_eq "$(figure 'select(.name | startswith("cp ")) | .right')" true "cp"
assert_contains "$(<"$TEST_TMP/table")" "WRONG BYTES" "table"
assert_nothing_left

say "a wrong copy of the build under test"
mkdir -p "$TEST_TMP/build/tools"
ln -s "$BUILD/fuse" "$BUILD/tests" "$TEST_TMP/build/"
cat >"$TEST_TMP/build/tools/blksparse" <<'END'
#!/bin/bash
truncate -s 1M "${@: -1}"
END
chmod +x "$TEST_TMP/build/tools/blksparse"
status=0
BUILD=$TEST_TMP/build bench --rounds 1 --against cp copy-s || status=$?
assert_eq "$status" 1 "status"
assert_eq "$(figure 'select(.role == "ours") | .right')" false "ours"
assert_nothing_left

say "interrupted"
env --default-signal=INT "$SRC/tests/bench/run" --quick --dir "$TEST_TMP/place" \
	--rounds 1000 --against cp copy-s >"$TEST_TMP/out" 2>"$TEST_TMP/err" &
pid=$!
working() {
	grep -q "2/1000" "$TEST_TMP/err"
}
wait_until 60 working || fail "the bench does not begin to work"
kill -INT "$pid"
status=0
wait "$pid" || status=$?
assert_eq "$status" 130 "status"
assert_nothing_left

say "mistakes"
run_status "$SRC/tests/bench/run" no-such-work
assert_eq "$STATUS" 1 "status"
assert_contains "$ERR" "no work is called no-such-work" "message"
run_status "$SRC/tests/bench/run" --dir "$TEST_TMP/none" copy-s
assert_eq "$STATUS" 1 "status"
assert_contains "$ERR" "$TEST_TMP/none is not a directory" "message"
