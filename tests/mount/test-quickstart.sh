#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The quickstart shows what it promises and leaves nothing behind, also when it
# is interrupted; and it mounts a device.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
quickstart=$SRC/tools/quickstart
export TMPDIR=$TEST_TMP

nothing_left() {
	[[ -z $(compgen -G "$TEST_TMP/blksparse.*") ]] &&
		! grep -q "$TEST_TMP/blksparse" /proc/self/mountinfo &&
		[[ $(losetup -n -l -O BACK-FILE) != *"$TEST_TMP/blksparse."* ]]
}

say "the demonstration"
run_status "$quickstart"
echo "$OUT"
assert_eq "$STATUS" 0 "status"
assert_contains "$OUT" "the first data is at 16777216, the hole after it at 25165824" \
	"what lseek says of the mounted file"
assert_contains "$OUT" "instead of 262144." "the end"
nothing_left || fail "it left something behind"

mounted_it() {
	grep -q "$TEST_TMP/blksparse" /proc/self/mountinfo || gone_or_zombie "$pid"
}

say "interrupted"
for signal in INT TERM; do
	env --default-signal=INT setsid "$quickstart" >"$TEST_TMP/log" 2>&1 &
	pid=$!
	wait_until 60 mounted_it || fail "it mounts nothing"
	# As a terminal does: to all of them.
	kill -"$signal" -- -"$pid"
	wait_until 30 gone_or_zombie "$pid" || fail "SIG$signal does not end it"
	status=0
	wait "$pid" || status=$?
	assert_eq "$status" $((128 + $(kill -l "$signal"))) "status after SIG$signal"
	# A loop device is detached when its last user closes it.
	wait_until 10 nothing_left || fail "it left something behind"
done

say "a device"
make_device mixed 8M image
mkdir "$MNT"
cleanup force_umount "$MNT"
run_status "$quickstart" "$LOOP" "$MNT"
assert_eq "$STATUS" 0 "status"
assert_contains "$OUT" "umount $MNT" "how to end it"
check walk,known,bytes "$MNT/${LOOP##*/}" "$LOOP" "$TEST_TMP/image"
umount "$MNT"
loop_free "$LOOP"

say "arguments"
run_status "$quickstart" one
assert_eq "$STATUS" 2 "status for one argument"
