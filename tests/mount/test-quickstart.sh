#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The quickstart runs its demonstration and removes everything that it made, also
# when it is interrupted. It also mounts a given device.
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
	"the results of lseek"
# A file in many extents has a block more, for the list of extents.
[[ $OUT =~ "instead of "26214[48]"." ]] || fail "the last line: $OUT"
nothing_left || fail "a file, mount or loop device is left"

mounted_it() {
	grep -q "$TEST_TMP/blksparse" /proc/self/mountinfo || gone_or_zombie "$pid"
}

say "interrupted"
for signal in INT TERM; do
	env --default-signal=INT setsid "$quickstart" >"$TEST_TMP/log" 2>&1 &
	pid=$!
	wait_until 60 mounted_it || fail "it mounts nothing"
	# To the whole group, as a terminal does.
	kill -"$signal" -- -"$pid"
	wait_until 30 gone_or_zombie "$pid" || fail "SIG$signal does not end it"
	status=0
	wait "$pid" || status=$?
	assert_eq "$status" $((128 + $(kill -l "$signal"))) "status after SIG$signal"
	# A loop device stays until the last program has closed it.
	wait_until 10 nothing_left || fail "a file, mount or loop device is left"
done

say "a device"
make_device mixed 8M image
mkdir "$MNT"
cleanup force_umount "$MNT"
run_status "$quickstart" "$LOOP" "$MNT"
assert_eq "$STATUS" 0 "status"
assert_contains "$OUT" "umount $MNT" "the command to unmount"
check walk,known,bytes "$MNT/${LOOP##*/}" "$LOOP" "$TEST_TMP/image"
umount "$MNT"
loop_free "$LOOP"

say "arguments"
run_status "$quickstart" one
assert_eq "$STATUS" 2 "status for one argument"
