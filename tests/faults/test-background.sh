#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Zeros reach the device some seconds after they were written, without any close
# or fsync.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
requires python3
requires_fuse
requires_loop

# The loop devices of the files, by name.
declare -A device=()
for name in punched zeroed cut untouched path; do
	truncate -s 4M "$TEST_TMP/$name.image"
	loop_new "$TEST_TMP/$name.image"
	make_stale "$LOOP"
	device[$name]=$LOOP
done
args=()
for name in "${!device[@]}"; do
	args+=("$name=${device[$name]}")
done
mount_fs -o rw "${args[@]}"
pids=()
act() {
	python3 "$(dirname "$0")/do.py" "$MNT/$1" "${@:2}" "wait=$TEST_TMP/go" &
	pids+=($!)
	cleanup ended $!
}
ended() {
	kill "$1" 2>/dev/null || true
}

say "zeros of a file that stays open"
act punched punch=1M+2M
act zeroed zero=1000+3M
act cut truncate=0 truncate=4M
act untouched
# truncate(2) by path: the file is never open.
python3 -c 'import os, sys
os.truncate(sys.argv[1], 1 << 20)
os.truncate(sys.argv[1], 4 << 20)' "$MNT/path"
wait_until 60 zeros_there "${device[punched]}" $MIB $((2 * MIB)) || fail "not punched"
wait_until 60 zeros_there "${device[zeroed]}" 1000 $((3 * MIB)) || fail "not zeroed"
wait_until 60 zeros_there "${device[cut]}" 0 $((4 * MIB)) || fail "not cut"
wait_until 60 zeros_there "${device[path]}" $MIB $((3 * MIB)) || fail "not cut by its path"
assert_stale "${device[punched]}" 0 $MIB "before the punch"
assert_stale "${device[punched]}" $((3 * MIB)) $MIB "behind the punch"
assert_stale "${device[zeroed]}" 0 512 "before the zeros"
assert_stale "${device[zeroed]}" $((3 * MIB + 1024)) $((MIB - 1024)) "behind the zeros"
assert_stale "${device[path]}" 0 $MIB "the part that was not cut"
assert_stale "${device[untouched]}" 0 $((4 * MIB)) "the untouched device"

say "the zeros stay when the program is killed afterwards"
kill -KILL "$FS_PID"
touch "$TEST_TMP/go"
end_fs || true
force_umount "$MNT"
wait "${pids[@]}" || true
zeros_there "${device[cut]}" 0 $((4 * MIB)) || fail "not cut after the kill"
zeros_there "${device[punched]}" $MIB $((2 * MIB)) || fail "not punched after the kill"
