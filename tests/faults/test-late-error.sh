#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A failure to write data is reported by fsync, and by nothing later: once the disk
# works again, and a program has written its data again, all calls succeed.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
requires python3
requires_fuse
requires_loop

losing_disk $((8 * MIB))

for option in '' ,zero=keep ,zero=write; do
	say "rw$option"
	mount_fs -o "rw$option" "x=$LOOP"
	# The file stays open: a handle reports each failure once.
	python3 "$(dirname "$0")/do.py" "$MNT/x" "wait=$TEST_TMP/fails" \
		write=1M+64K fsync "wait=$TEST_TMP/works" write=1M+64K fsync \
		punch=2M+64K write=2098K+10 punch=4M+1M truncate=6000001 \
		truncate=7000001 fsync >"$TEST_TMP/failures" &
	pid=$!
	disk errors 1000
	touch "$TEST_TMP/fails"
	failed() {
		[[ -s $TEST_TMP/failures ]]
	}
	wait_until 60 failed || fail "fsync does not fail"
	disk errors 0
	touch "$TEST_TMP/works"
	wait_until 60 gone "$pid" || fail "the program did not end"
	assert_eq "$(<"$TEST_TMP/failures")" "fsync EIO" "failures"
	umount_fs
	holds "$LOOP" $MIB 65536
	assert_zeros "$LOOP" $((4 * MIB)) $MIB "the hole"
	rm "$TEST_TMP/fails" "$TEST_TMP/works" "$TEST_TMP/failures"
done
