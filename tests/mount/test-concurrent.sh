#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Many processes read and seek in the same files while these are scanned: with the
# plain build, and with those that detect data races and bad memory accesses.
# TIMEOUT: 600
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop

python3 "$LIB/devices.py" make mixed 24M "$TEST_TMP/mixed"
python3 "$LIB/devices.py" make alternating 8M "$TEST_TMP/alternating"
loop_new "$TEST_TMP/mixed"
mixed=$LOOP
loop_new "$TEST_TMP/alternating"
alternating=$LOOP

check_at_once() {
	local granule=$1 pids=() i steps pid
	mount_fs -o granule="$granule" "m=$mixed" "a=$alternating"
	for i in 1 2 3 4 5 6 7 8; do
		case $((i % 4)) in
		0) steps=walk,bytes,seeks ;;
		1) steps=seeks,reads,walk ;;
		2) steps=reads,seeks,bytes ;;
		3) steps=bytes,walk,reads ;;
		esac
		# The look-ahead of another process may have ended anywhere.
		check --granule "$granule" --seed "$i" --boundaries 4 \
			"$steps" "$MNT/m" "$mixed" "$TEST_TMP/mixed" \
			"$MNT/a" "$alternating" "$TEST_TMP/alternating" &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do
		wait "$pid" || fail "a checker found a fault"
	done
	umount_fs
	if grep -E 'Sanitizer|runtime error' "$FS_LOG"; then
		cat "$FS_LOG"
		fail "a sanitizer found a fault"
	fi
}

# libfuse does not free the mount point's name unless it unmounts itself.
echo "leak:fuse_session_mount" >"$TEST_TMP/leaks"
export LSAN_OPTIONS=suppressions=$TEST_TMP/leaks:print_suppressions=0
# liburing unmaps a ring without the C library, so ThreadSanitizer takes a new
# ring at the same address for the old one.
printf '%s\n' race_top:io_uring_prep_ race_top:io_uring_sqe_ race_top:init_ring \
	>"$TEST_TMP/races"
export TSAN_OPTIONS=suppressions=$TEST_TMP/races

say "plain"
check_at_once 4K
check_at_once 64K
for variant in "${BUILD_ASAN:-$SRC/build-asan}" "${BUILD_TSAN:-$SRC/build-tsan}"; do
	FS=$variant/fuse/blksparsefs
	[[ -x $FS ]] || skip "$FS is not built"
	say "$FS"
	# ThreadSanitizer may fail with much randomness of addresses.
	# shellcheck disable=SC2034 # for mount_fs()
	FS_WRAP=(setarch -R)
	check_at_once 4K
done
