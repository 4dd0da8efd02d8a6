#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# An unrelated device hangs: images can still be mounted, copied and received,
# and messages still name the holder of a device. A device that may be backed by
# the hanging one is refused.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop

copy_program # its own path identifies its processes
mkdir "$TEST_TMP/below" "$TEST_TMP/view" "$TEST_TMP/nowhere" "$TEST_TMP/other" \
	"$TEST_TMP/holder" "$MNT"

# The file system hangs in two ways: stat of its file does not return and cannot
# be interrupted, or its program is stopped.
truncate -s 4M "$TEST_TMP/hanging"
"$BUILD/tests/faults/slow-file" "$TEST_TMP/hanging" 0 "$TEST_TMP/below" &
below=$!
end_below() {
	kill -CONT "$below"
	kill -USR1 "$below"
	umount -l "$TEST_TMP/view" "$TEST_TMP/below"
	wait "$below"
}
cleanup end_below
wait_until 20 test -e "$TEST_TMP/below/file" || fail "the slow file does not appear"
mount --bind "$TEST_TMP/below" "$TEST_TMP/view"

stat_hangs() {
	! timeout -s KILL 0.5 stat "$TEST_TMP/view/file" >"$TEST_TMP/stat" 2>&1
}
stat_ends() {
	! stat_hangs
}
# hang stat|stopped
hang() {
	if [[ $1 == stat ]]; then
		kill -USR2 "$below"
	else
		kill -STOP "$below"
	fi
	wait_until 20 stat_hangs || fail "stat does not hang"
}
go_on() {
	kill -CONT "$below"
	kill -USR1 "$below"
	wait_until 20 stat_ends || fail "stat does not return"
}

# bounded COMMAND...: runs it with a time limit; sets $OUT and $STATUS.
bounded() {
	local pid
	"$@" >"$TEST_TMP/out" 2>&1 &
	pid=$!
	if ! wait_until 30 gone_or_zombie "$pid"; then
		go_on
		kill -KILL "$pid" || true
		fail "hangs: $*"
	fi
	STATUS=0
	wait "$pid" || STATUS=$?
	OUT=$(<"$TEST_TMP/out")
}
# refused DEVICE MESSAGE
refused() {
	bounded "$FS" -f -o rw "x=$1" "$TEST_TMP/nowhere"
	assert_eq "$STATUS" 1 "status for $1"
	assert_eq "$OUT" "blksparsefs: $1 $2 (until then it can only be read)" \
		"message"
}
is_free() {
	! grep -q ":$(stat -c %i "$1") " /proc/locks
}
# may_be_written IMAGE
may_be_written() {
	bounded "$FS" -o rw "x=$1" "$MNT"
	assert_eq "$OUT" "" "message for $1"
	assert_eq "$STATUS" 0 "status for $1"
	printf %s "$1" | dd of="$MNT/x" conv=notrunc status=none
	umount "$MNT"
	wait_until 20 is_free "$1" || fail "$1 is still locked"
	assert_eq "$(head -c ${#1} "$1")" "$1" "the written bytes"
}
# Prints the number of processes of the program, serving ones and left-overs.
processes() {
	find /proc/[0-9]*/exe -lname "$TEST_TMP/copy/*" 2>/dev/null | wc -l
}
processes_are() {
	(($(processes) == $1))
}

# Images held by a loop device before the hanging one in the list, and by one
# after it; in mountinfo, too, the hanging one comes first.
truncate -s 4M "$TEST_TMP/image" "$TEST_TMP/first" "$TEST_TMP/last" "$TEST_TMP/held"
ln "$TEST_TMP/first" "$TEST_TMP/first.link"
ln "$TEST_TMP/last" "$TEST_TMP/last.link"
loop_new "$TEST_TMP/first.link"
first=$LOOP
loop_new "$TEST_TMP/view/file"
hanging=$LOOP
loop_new "$TEST_TMP/last.link"
last=$LOOP
loop_new "$TEST_TMP/held"
held=$LOOP
cleanup force_umount "$MNT"
cleanup force_umount "$TEST_TMP/other"
cleanup force_umount "$TEST_TMP/holder"
"$FS" "x=$TEST_TMP/view/file" "$TEST_TMP/other"
"$FS" -o rw "x=$held" "$TEST_TMP/holder"

say "a stat that no signal interrupts"
hang stat
may_be_written "$TEST_TMP/image"
refused "$TEST_TMP/first" "is attached to $first; losetup -d $first first"
refused "$TEST_TMP/last" "is attached to $last; losetup -d $last first"
refused "$held" "is mounted on $TEST_TMP/holder by blksparsefs; unmount it first"
go_on
wait_until 20 processes_are 2 || fail "there are $(processes) processes"

say "a stopped program"
"$TOOL" send "$TEST_TMP/image" >"$TEST_TMP/stream"
copy_and_receive() {
	"$TOOL" recv "$TEST_TMP/received" <"$TEST_TMP/stream" &
	"$TOOL" copy "$TEST_TMP/image" "$TEST_TMP/copied" && wait $!
}
hang stopped
may_be_written "$TEST_TMP/image"
bounded copy_and_receive
assert_eq "$STATUS" 0 "status of copy and recv"
wait_until 20 processes_are 2 || fail "there are $(processes) processes"
go_on
assert_same_bytes "$TEST_TMP/copied" "$TEST_TMP/image"
assert_same_bytes "$TEST_TMP/received" "$TEST_TMP/image"

say "an image whose path is that of the hanging file"
mount -t tmpfs none "$TEST_TMP/view"
cleanup umount -l "$TEST_TMP/view"
truncate -s 4M "$TEST_TMP/view/image"
kill -STOP "$below"
refused "$TEST_TMP/view/image" \
	"may be attached to $hanging, which does not answer; losetup -d $hanging first, or try again when it answers"
kill -CONT "$below"
may_be_written "$TEST_TMP/view/image"

# The loop device answers only after the first question was given up: a machine
# may be that busy. The image is not refused.
say "an answer that comes late"
kill -STOP "$below"
"$TOOL" copy --quiet "$TEST_TMP/image" "$TEST_TMP/view/image" \
	>"$TEST_TMP/out" 2>&1 &
copy=$!
# child_of PID: sets CHILD to its child.
child_of() {
	CHILD=$(pgrep -P "$1" | head -n 1)
	[[ $CHILD ]]
}
wait_until 20 child_of "$copy" || fail "the copy asks nothing"
first=$CHILD
asks_again() {
	child_of "$copy" && ((CHILD != first))
}
wait_until 20 asks_again || fail "the copy does not ask again: $(<"$TEST_TMP/out")"
kill -CONT "$below"
wait "$copy" || fail "the copy was refused: $(<"$TEST_TMP/out")"
assert_same_bytes "$TEST_TMP/view/image" "$TEST_TMP/image"
