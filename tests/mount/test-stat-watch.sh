#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# blksparse stat --watch on a terminal, in a pipe and without mounts, until SIGINT.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires jq script unshare findmnt

head -c 1M /dev/zero >"$TEST_TMP/image"
mount_fs "x=$TEST_TMP/image"
out=$TEST_TMP/out

# reports NUMBER PATTERN: whether the output has that many lines of the pattern.
reports() {
	(($(grep -ac "$2" "$out") >= $1))
}

end_job() {
	gone "$1" || kill "$1"
}

say "in a pipe"
# A background job of a script ignores SIGINT otherwise.
env --default-signal=INT "$TOOL" stat --json --watch "$MNT" >"$out" &
job=$!
wait_until 30 reports 3 size || fail "there are no three reports"
kill -INT "$job"
STATUS=0
wait "$job" || STATUS=$?
assert_eq "$STATUS" 0 "status"
jq -e '.mounts[0].files[0].size == 1048576' "$out" >/dev/null ||
	fail "a line is not the report"
! grep -q $'\033' "$out" || fail "escape sequences in a pipe"

say "on a terminal"
# A report has eleven lines, of which nine fit. The cursor goes up over them.
cat >"$TEST_TMP/run" <<-END
	stty rows 10 cols 40
	echo \$\$ >"$TEST_TMP/pid"
	exec env --default-signal=INT "$TOOL" stat --watch "$MNT"
END
script -qefc "bash '$TEST_TMP/run'" "$out" </dev/null >"$TEST_TMP/script.log" &
job=$!
cleanup end_job "$job"
wait_until 30 reports 3 " scanned " || fail "there are no three reports"
kill -INT "$(<"$TEST_TMP/pid")"
STATUS=0
wait "$job" || STATUS=$?
assert_eq "$STATUS" 0 "status"
reports 2 $'\033\\[9A' || fail "the cursor does not go up nine lines"
python3 - "$out" <<-'END' || fail "a line is wider than the terminal"
	import re, sys
	text = open(sys.argv[1], encoding="utf-8", errors="replace").read()
	text = re.sub(r"\033\[[0-9]*[A-Z]", "", text)
	lines = re.split(r"[\r\n]+", text)
	lines = [line for line in lines if not line.startswith("Script ")]
	assert any(len(line) == 40 for line in lines), lines
	assert all(len(line) <= 40 for line in lines), lines
END
umount_fs

say "without a mount"
# The mounts of other tests are not in this namespace.
# shellcheck disable=SC2016 # the inner shell's
unshare --mount --propagation private bash -euc '
	findmnt -rno TARGET -t fuse.blksparsefs | tac | xargs -rd "\n" umount -l
	exec env --default-signal=INT "$@"
' bash "$TOOL" stat --watch >"$out" &
job=$!
wait_until 30 reports 2 "^no blksparsefs is mounted$" ||
	fail "nothing tells that there are no mounts"
kill -INT "$job"
STATUS=0
wait "$job" || STATUS=$?
assert_eq "$STATUS" 0 "status"
