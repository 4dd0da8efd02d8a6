#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Messages that nothing reads, on stderr or in syslog, delay neither the watch
# over a device nor the end of the mount, and reach a later reader. -o log=LEVEL
# selects the messages.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_root
requires mount unshare pgrep

# The test has a /dev/log of its own.
if [[ -z ${IN_NAMESPACE:-} ]]; then
	IN_NAMESPACE=1 unshare -m --propagation private bash "$0"
	exit
fi
mkdir "$TEST_TMP/dev" "$MNT"
mount -t tmpfs none "$TEST_TMP/dev"
cp -a /dev/{null,zero,urandom,fuse} "$TEST_TMP/dev/"
ln -s /proc/self/fd "$TEST_TMP/dev/fd"
mount --move "$TEST_TMP/dev" /dev
cleanup force_umount "$MNT"

# full_log fifo|socket PATH: makes a full log there that is not read yet.
full_log() {
	rm -f "$TEST_TMP/ready" "$TEST_TMP/drain" "$TEST_TMP/out"
	python3 "$(dirname "$0")/full_log.py" "$@" "$TEST_TMP/ready" \
		"$TEST_TMP/drain" "$TEST_TMP/out" &
	log=$!
	cleanup end_quietly "$log"
	wait_until 20 test -e "$TEST_TMP/ready" || fail "the log is not full"
}
end_quietly() {
	kill "$1" 2>/dev/null || true
}
# put TEXT: writes it into the image, 16 times.
put() {
	for _ in {1..16}; do echo "$1"; done |
		dd of="$TEST_TMP/image" conv=notrunc,fsync status=none
}
# changes_are_seen NAME: a reader that has the file open sees two writes to the image.
changes_are_seen() {
	local i
	exec 7<"$MNT/x"
	head -c 4096 <&7 >"$TEST_TMP/cached"
	for i in 1 2; do
		put "$1-$i"
		wait_until 20 shows "$1-$i" || fail "a change is not seen ($i)"
	done
	exec 7<&-
}
shows() {
	[[ $(python3 -c 'import os; print(os.pread(7, 64, 0).split()[0].decode())') == "$1" ]]
}
drained() {
	grep -qs "$1" "$TEST_TMP/out"
}
head -c 1M /dev/zero >"$TEST_TMP/image"
put begin

# ends_with_full_log PATH: SIGTERM ends the program, $PID, while the log is full.
ends_with_full_log() {
	kill -TERM "$PID"
	wait_until 20 gone_or_zombie "$PID" || fail "it still runs after SIGTERM"
	not_mounted "$MNT" || fail "still mounted"
	kill "$log"
	rm "$1"
}
foreground() {
	"$FS" -f "x=$TEST_TMP/image" "$MNT" 2>"$TEST_TMP/fifo" &
	PID=$!
	wait_until 20 mounted "$MNT" || fail "it does not mount"
}
background() {
	"$FS" "x=$TEST_TMP/image" "$MNT"
	PID=$(pgrep -f "^$FS x=.*$MNT\$")
}

say "stderr that is never read"
full_log fifo "$TEST_TMP/fifo"
foreground
changes_are_seen stderr
ends_with_full_log "$TEST_TMP/fifo"
wait "$PID" || fail "status $?"

say "a syslog that never reads"
full_log socket /dev/log
background
changes_are_seen syslog
ends_with_full_log /dev/log

say "stderr that is read later"
full_log fifo "$TEST_TMP/fifo"
foreground
changes_are_seen later
touch "$TEST_TMP/drain"
wait_until 20 drained 'image: another program wrote to it' ||
	fail "the message is lost"
ends_with_full_log "$TEST_TMP/fifo"

say "a syslog that reads later"
full_log socket /dev/log
background
changes_are_seen later-syslog
touch "$TEST_TMP/drain"
wait_until 20 drained 'blksparsefs.*image: another program wrote to it' ||
	fail "the message is lost"
ends_with_full_log /dev/log

say "more messages than the queue holds: a line tells how many were lost"
full_log fifo "$TEST_TMP/fifo"
"$FS" -d "x=$TEST_TMP/image" "$MNT" 2>"$TEST_TMP/fifo" &
FS_PID=$!
wait_until 20 mounted "$MNT" || fail "it does not mount"
# Each of these requests makes several lines.
for i in {1..200}; do
	[[ ! -e "$MNT/nothing$i" ]] || fail "there is a file"
done
touch "$TEST_TMP/drain"
wait_until 20 drained 'messages were lost here' || fail "no line tells"
kill -TERM "$FS_PID"
end_fs || fail "status $?"

# mount_level LEVEL: writes its messages to $TEST_TMP/messages.
mount_level() {
	"$FS" -f ${1:+-o "log=$1"} "x=$TEST_TMP/image" "$MNT" \
		2>"$TEST_TMP/messages" &
	FS_PID=$!
	wait_until 20 mounted "$MNT" || fail "it does not mount"
}
# messages LEVEL: sets $MESSAGES to those of a mount with that level that is
# read, looks up a missing name, sees a change of its device and gets SIGTERM.
messages() {
	mount_level "$1"
	[[ ! -e $MNT/missing ]] || fail "there is a file"
	changes_are_seen "level-$1"
	kill -TERM "$FS_PID"
	end_fs || fail "status $?"
	MESSAGES=$(<"$TEST_TMP/messages")
}
# has_line REGEX
has_line() {
	grep -qE "^blksparsefs: $1\$" <<<"$MESSAGES" ||
		fail "no line '$1' in '$MESSAGES'"
}
change='.*/image: another program wrote to it; .*'

say "log=error: neither a change nor the mount is logged"
messages error
assert_eq "$MESSAGES" "" "messages"
run_status "$FS" -o log=error "$TEST_TMP/missing" "$MNT"
assert_contains "$ERR" "$TEST_TMP/missing: No such file" "an error"

say "log=warning, the default: a change is logged, the mount is not"
for level in warning ''; do
	messages "$level"
	has_line "$change"
	assert_lacks "$MESSAGES" mounted "messages"
	assert_lacks "$MESSAGES" ' off=' "messages"
done

say "log=info: the device, the mount and its end are logged, requests are not"
messages info
has_line "$TEST_TMP/image: shown as 'x', 1048576 bytes, read-only"
has_line "mounted at $MNT"
has_line "$change"
has_line "signal 15: unmounting $MNT"
has_line "unmounted $MNT"
assert_lacks "$MESSAGES" ' off=' "messages"

say "log=debug: each request is a line"
messages debug
has_line "mounted at $MNT"
has_line 'x: lookup off=0 len=0 result=0 us=[0-9]+'
has_line 'x: read off=0 len=([0-9]+) result=\1 us=[0-9]+'
has_line 'missing: lookup off=0 len=0 result=-2 us=[0-9]+ \(No such file or directory\)'

say "another level is refused"
run_status "$FS" -o log=loud "$TEST_TMP/image" "$MNT"
assert_eq "$STATUS" 2 "status"
assert_contains "$ERR" 'log=loud: it must be error, warning, info or debug' \
	"message"

say "debug lines that nothing reads leave room for a warning"
full_log fifo "$TEST_TMP/flood"
"$FS" -f -o log=debug "x=$TEST_TMP/image" "$MNT" 2>"$TEST_TMP/flood" &
FS_PID=$!
wait_until 20 mounted "$MNT" || fail "it does not mount"
for i in {1..200}; do
	[[ ! -e "$MNT/nothing$i" ]] || fail "there is a file"
done
changes_are_seen flood
touch "$TEST_TMP/drain"
wait_until 20 drained 'messages were lost here' || fail "none was lost"
wait_until 20 drained 'image: another program wrote to it' ||
	fail "the warning is lost"
kill -TERM "$FS_PID"
end_fs || fail "status $?"
