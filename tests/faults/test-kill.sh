#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# blksparsefs is killed (SIGKILL) at a random moment, during a load or while it
# writes zeros at the end of a mount. The device must hold all that was written
# before an fsync that returned 0.
#
# TIMEOUT: 600 seconds
#
#   test-kill.sh [ROUNDS [SEED]]
#
# The rounds have the seed SEED and those after it. By default every second one has
# a seed that is always the same, and the others have fresh ones.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
requires python3
requires_fuse
requires_loop

rounds=${1:-40}
first=${2:-}
load=$(dirname "$0")/kill_load.py
size=$((4 * MIB + 4096))
options=('' ',zero=keep' ',zero=write' ',granule=64K'
	',granule=64K,zero=write')

# pick LIMIT: sets $PICKED to a random number below it.
pick() {
	PICKED=$((RANDOM % $1))
}

# Sleeps less than a second.
nap() {
	sleep "$(printf '0.%03d' "$1")"
}

stale "$size" >"$TEST_TMP/stale"
truncate -s "$size" "$TEST_TMP/image"
loop_new "$TEST_TMP/image"
small=$LOOP
truncate -s "$size" "$TEST_TMP/image4096"
loop_new "$TEST_TMP/image4096" --sector-size 4096
big=$LOOP

# one SEED: mounts a stale device, runs the load, kills blksparsefs, and checks.
one() {
	local seed=$1 device=$small markers=0 load_pid option
	RANDOM=$seed
	pick 4
	((PICKED)) || device=$big
	pick ${#options[@]}
	option=${options[PICKED]}
	pick 3
	((PICKED)) || markers=1
	echo "seed $seed: rw$option $device, at the end: $markers"
	dd if="$TEST_TMP/stale" of="$device" bs=1M conv=fsync status=none
	rm -f "$TEST_TMP"/state*
	mount_fs -o "rw$option" "x=$device"
	python3 "$load" load "$seed" "$markers" "$TEST_TMP/state" "$MNT/x" &
	load_pid=$!
	if ((markers)); then
		wait_until 60 test -e "$TEST_TMP/state.ready" ||
			fail "seed $seed: the load did not get far"
		pick 2
		if ((PICKED)); then
			kill -TERM "$FS_PID"
		else
			umount -l "$MNT"
			kill -KILL "$load_pid"
		fi
		pick 30
	else
		wait_until 60 test -e "$TEST_TMP/state.begun" || fail "seed $seed: no fsync"
		pick 400
	fi
	nap "$PICKED"
	kill -KILL "$FS_PID" 2>/dev/null || true
	end_fs || true
	force_umount "$MNT"
	if ((markers)); then
		kill -KILL "$load_pid" 2>/dev/null || true
		wait "$load_pid" || true
	else
		wait "$load_pid" || fail "seed $seed: the load failed"
	fi
	forget_pages "$device"
	python3 "$load" check "$TEST_TMP/state" "$device" ||
		fail "seed $seed: rw$option: data of a successful fsync is missing"
}

fresh=$((SECONDS + $$ + $(date +%s) % 100000))
[[ -n $first ]] || echo "fresh seeds from $fresh"
for ((round = 0; round < rounds; round++)); do
	if [[ -n $first ]]; then
		one $((first + round))
	elif ((round % 2)); then
		one $((fresh + round))
	else
		one "$round"
	fi
done
