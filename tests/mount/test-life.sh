#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# From the command to the end of a mount: the mount can be used when the command
# returns, and each way to end it leaves no mount and no process.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
requires pgrep

make_device first 1M image
device=$LOOP
mkdir "$MNT"

no_program() {
	[[ -z $(pgrep -f "^$FS .*$MNT\$") ]]
}

say "in the background: 50 times"
cleanup force_umount "$MNT"
for i in {1..50}; do
	"$FS" "x=$device" "$MNT"
	mounted "$MNT" || fail "not mounted when the command returned ($i)"
	assert_eq "$(ls "$MNT")" x "ls in round $i"
	assert_eq "$(head -c 4096 "$MNT/x" | cksum)" \
		"$(head -c 4096 "$device" | cksum)" "bytes in round $i"
	unmount "$MNT"
	wait_until 20 no_program || fail "blksparsefs still runs (round $i)"
done

say "in the background it keeps no descriptor or directory of its caller"
mkdir "$TEST_TMP/cwd"
# The shell waits until no process has the pipe open.
out=$(cd "$TEST_TMP/cwd" && timeout 20 "$FS" "x=$device" "$MNT" 2>&1)
assert_eq "$out" "" "output"
rmdir "$TEST_TMP/cwd"
pid=$(pgrep -f "^$FS .*$MNT\$")
assert_eq "$(readlink "/proc/$pid/cwd")" / "working directory"
kill -TERM "$pid"
wait_until 20 not_mounted "$MNT" || fail "SIGTERM did not unmount"
wait_until 20 no_program || fail "SIGTERM did not end it"

for signal in TERM INT HUP; do
	say "in the foreground: SIG$signal"
	mount_fs "x=$device"
	cat "$MNT/x" >"$TEST_TMP/copy"
	# A background job of a script ignores SIGINT by default.
	kill -"$signal" "$FS_PID"
	status=0
	end_fs || status=$?
	assert_eq "$status" 0 "exit status"
	not_mounted "$MNT" || fail "still mounted"
done

say "in the foreground: fusermount3 -u, and umount"
mount_fs "x=$device"
umount_fs
mount_fs "x=$device"
umount "$MNT"
end_fs || fail "status $? after umount"

say "with a file open it stays mounted until the file is closed"
mount_fs "x=$device"
exec 7<"$MNT/x"
run_status fusermount3 -u "$MNT"
assert_ne "$STATUS" 0 "status of fusermount3 while a file is open"
assert_eq "$(head -c 16 <&7 | cksum)" "$(head -c 16 "$device" | cksum)" "bytes"
exec 7<&-
umount_fs

say "memory for the buffers of some threads is short"
FS_WRAP=(env LD_PRELOAD="$BUILD/tests/mount/libno-buffer.so")
mount_fs "x=$device"
readers=()
for i in {1..16}; do
	timeout -s KILL 30 cmp "$MNT/x" "$device" &
	readers+=($!)
done
for pid in "${readers[@]}"; do
	wait "$pid" || fail "a reader failed"
done
umount_fs
assert_contains "$(<"$FS_LOG")" "no memory for another thread" "messages"
FS_WRAP=()

say "the device is free"
losetup -d "$device"
wait_until 10 loop_left "$device" "$(realpath "$TEST_TMP/image")" ||
	fail "a process has $device open"
