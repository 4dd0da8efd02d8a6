#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Ctrl-C ends a program that waits for a long scan. The mount works as before after
# readers and seeking programs were killed.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop

# Reading all of it would take about an hour. The mount must read it: its file
# system is not asked for holes.
truncate -s 4T "$TEST_TMP/huge"
loop_new "$TEST_TMP/huge"
huge=$LOOP
make_device mixed 4M small
small=$LOOP
mount_fs -o known=off "huge=$huge" "small=$small"

small_is_fine() {
	timeout 60 python3 "$LIB/check.py" walk,known,reads,bytes \
		"$MNT/small" "$small" "$TEST_TMP/small"
}

scanning() {
	(($(device_reads "$huge") > $1))
}

# in_scan COMMAND...: runs it in the background, sets $PID, and returns once the
# device is read for it.
in_scan() {
	local reads
	reads=$(device_reads "$huge")
	# A background job of a script ignores SIGINT by default.
	env --default-signal=INT "$@" >"$TEST_TMP/job.log" 2>&1 &
	PID=$!
	wait_until 30 scanning "$reads" || fail "$* starts no scan"
	! gone_or_zombie "$PID" || fail "$* ended: $(<"$TEST_TMP/job.log")"
}

for signal in INT TERM KILL; do
	say "SIG$signal for a cp that waits for the scan"
	in_scan cp "$MNT/huge" "$TEST_TMP/copy"
	kill -"$signal" "$PID"
	wait_until 10 gone_or_zombie "$PID" || fail "cp does not end"
	rm -f "$TEST_TMP/copy"
	small_is_fine
done

say "the other file can be read during a scan"
in_scan cp "$MNT/huge" "$TEST_TMP/copy"
small_is_fine
kill -INT "$PID"
wait_until 10 gone_or_zombie "$PID" || fail "cp does not end"

say "killed at any moment, 40 times"
for i in {1..40}; do
	case $((i % 4)) in
	0) job=(cp "$MNT/huge" "$TEST_TMP/copy") ;;
	1) job=(dd if="$MNT/huge" of=/dev/null bs=1M skip=$((i * 1000))) ;;
	2) job=(python3 "$LIB/ask.py" extents "$MNT/huge") ;;
	3) job=(dd if="$MNT/huge" of=/dev/null bs=1M iflag=direct) ;;
	esac
	"${job[@]}" >/dev/null 2>&1 &
	pid=$!
	# After a different time in each round.
	sleep "0.$(printf '%02d' $((i * 7 % 30)))"
	kill -KILL "$pid"
	wait_until 10 gone_or_zombie "$pid" || fail "${job[*]} does not end"
done
small_is_fine
rm -f "$TEST_TMP/copy"

say "the program ends during a scan"
in_scan cp "$MNT/huge" "$TEST_TMP/copy"
kill -TERM "$FS_PID"
# cp may hold the mount: interrupt it if it does not end by itself.
wait_until 20 gone_or_zombie "$PID" || kill -INT "$PID"
wait_until 20 gone_or_zombie "$PID" || fail "cp does not end"
rm -f "$TEST_TMP/copy"
end_fs || fail "status $?"
not_mounted "$MNT" || fail "still mounted"
