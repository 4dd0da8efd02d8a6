#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Failures of a device are in the log: a line a minute for each operation, however
# many requests fail, with the device, the operation, the place, the reason and the
# advice. A device that works has none.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
requires python3
requires_fuse
requires_loop

losing_disk $((8 * MIB))
bad=$LOOP
make_device data 4M other
other=$LOOP

# lines OPERATION: prints the number of lines that tell of it.
lines() {
	grep -c "^blksparsefs: $bad: $1 failed" "$FS_LOG" || true
}
logged() {
	(($(lines "$1") == 1))
}

say "reading"
disk errors 1000
mount_fs -o log=error "x=$bad" "other=$other"
exec 7<"$MNT/x"
run_status dd if="$MNT/x" of=/dev/null bs=4K skip=256 count=1 iflag=direct
assert_eq "$STATUS" 1 "status of a read"
wait_until 20 logged reading || fail "no line tells of the failure"
assert_contains "$(<"$FS_LOG")" \
	"$bad: reading failed at byte 1048576: Input/output error; look for the cause in the kernel's log (dmesg); programs" \
	"the line"
run_status dd if="$MNT/x" of=/dev/null bs=4K count=500 iflag=direct conv=noerror
cmp "$MNT/other" "$TEST_TMP/other"
exec 7<&-
umount_fs
assert_eq "$(lines reading)" 1 "lines about a minute's failures"
assert_lacks "$(<"$FS_LOG")" "$other" "the log"

say "writing, zeroing and flushing"
disk errors 0
mount_fs -o rw,log=error "x=$bad" "other=$other"
disk errors 1000
for _ in {1..3}; do
	act write=1M+64K punch=2M+64K fsync
	assert_contains "$FAILURES" "fsync EIO" "failures"
done
act write=3M+64K
for operation in zeroing flushing; do
	wait_until 20 logged "$operation" || fail "no line tells of $operation"
done
assert_contains "$(<"$FS_LOG")" "$bad: flushing failed" "the log"
assert_contains "$(grep 'flushing failed' "$FS_LOG")" \
	"Input/output error; look for the cause in the kernel's log (dmesg); write all data since the last successful sync again" \
	"the line about flushing"
assert_contains "$(grep 'zeroing failed' "$FS_LOG")" " at byte 2097152: " \
	"the line about zeroing"
disk errors 0
act write=1M+64K fsync fsync
act write=1M+64K fsync
is_well
umount_fs
for operation in zeroing flushing; do
	assert_eq "$(lines "$operation")" 1 "lines about $operation"
done
assert_lacks "$(<"$FS_LOG")" "$other" "the log"

say "a server that cannot read"
run_status "$TOOL" map nbd://0.0.0.0:1
if command -v nbdkit >/dev/null && [[ $ERR != *"without libnbd"* ]]; then
	nbdkit -U "$TEST_TMP/nbd.socket" -P "$TEST_TMP/nbd.pid" --filter=error \
		memory 4M error-pread=ENOSPC error-pread-rate=100%
	wait_until 20 test -s "$TEST_TMP/nbd.pid" || fail "nbdkit does not start"
	cleanup kill "$(<"$TEST_TMP/nbd.pid")"
	bad="nbd+unix:///?socket=$TEST_TMP/nbd.socket"
	mount_fs -o log=error,known=off "x=$bad"
	run_status cat "$MNT/x"
	assert_eq "$STATUS" 1 "status of cat"
	umount_fs
	assert_contains "$(<"$FS_LOG")" "$bad: reading failed" "the log"
	assert_contains "$(<"$FS_LOG")" "look for the cause in the log of its server" "the log"
fi
