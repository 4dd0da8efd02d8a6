#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Requests by io_uring, if the kernel offers that: a mount behaves as through
# /dev/fuse. If the kernel does not offer it, the mount works without a message.
#
# TIMEOUT: 600 seconds
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
requires prlimit setpriv taskset

parameter=/sys/module/fuse/parameters/enable_uring
offered='requests come by io_uring'
make_device mixed 16M image
device=$LOOP
image=$TEST_TMP/image

# how OPTION...: mounts, reads, and prints the program's line about how its requests
# come, or "nothing".
how() {
	mount_fs -d "$@" "x=$device"
	assert_same_bytes "$MNT/x" "$image"
	umount_fs
	assert_lacks "$(<"$FS_LOG")" "the kernel refuses" "messages"
	grep -o 'requests come [^,]*' "$FS_LOG" || echo nothing
}

say "a kernel that does not offer it"
[[ ! -e $parameter ]] || {
	before=$(<"$parameter")
	restore() {
		echo "$before" >"$parameter"
	}
	cleanup restore
	echo N >"$parameter"
}
assert_eq "$(how)" nothing "message"
no_custom_io=(env LD_PRELOAD="$BUILD/tests/mount/libno-custom-io.so")
FS_WRAP=("${no_custom_io[@]}")
mount_fs "x=$device"
umount_fs
assert_eq "$(<"$FS_LOG")" "" "messages with a libfuse without custom I/O"
FS_WRAP=()
if [[ ! -e $parameter ]]; then
	echo "this kernel cannot offer io_uring"
	exit 0
fi

say "a kernel that offers it"
echo Y >"$parameter"
FS_WRAP=("${no_custom_io[@]}")
mount_fs "x=$device"
assert_same_bytes "$MNT/x" "$image"
umount_fs
assert_contains "$(<"$FS_LOG")" "io_uring needs a libfuse with custom I/O" \
	"message with such a libfuse"
FS_WRAP=(env FUSE_URING_ENABLE=1)
how >/dev/null
assert_lacks "$(<"$FS_LOG")" "start io-uring" "messages about libfuse's own io_uring"
assert_lacks "$(<"$FS_LOG")" "starting io-uring" "the same"
FS_WRAP=()
line=$(how)
[[ $(<"$FS_LOG") != *"custom I/O"* ]] || skip "this libfuse has no custom I/O"
assert_eq "$line" "$offered" "message"
assert_eq "$(how -o uring=off)" nothing "with uring=off"

say "io_uring is refused"
refuse=/proc/sys/kernel/io_uring_disabled
if [[ -e $refuse ]]; then
	refused_before=$(<"$refuse")
	allow() {
		echo "$refused_before" >"$refuse"
	}
	cleanup allow
	echo 2 >"$refuse"
	assert_eq "$(how)" \
		"requests come through /dev/fuse" "message"
	allow
fi

say "too few descriptors for all possible threads"
# The program raises the hard limit if it may.
FS_WRAP=(setpriv --bounding-set=-sys_resource bash -c 'ulimit -SH -n 90; exec "$@"' -)
assert_eq "$(how)" "requests come through /dev/fuse" "message"
FS_WRAP=()

is_stopped() {
	! grep -L '^State:.*stopped' "/proc/$below"/task/*/status | grep -q .
}
stop_below() {
	kill -STOP "$below"
	wait_until 20 is_stopped || fail "the lower mount still runs"
}
kill_quietly() {
	kill "$@" 2>/dev/null || true
}

say "the kernel has no memory for a command"
FS_WRAP=(env LD_PRELOAD="$BUILD/tests/mount/libno-memory.so")
mount_fs "x=$device"
readers=()
for i in {1..8}; do
	timeout -s KILL 20 cmp "$MNT/x" "$image" &
	readers+=($!)
done
for pid in "${readers[@]}"; do
	wait "$pid" || fail "a reader failed"
done
umount_fs
assert_ge "$(sed -n 's/^no-memory: \([0-9]*\) .*/\1/p' "$FS_LOG")" 8 "refusals"
FS_WRAP=()

# A loop device on a file of a lower mount hangs while that mount's program is stopped.
mkdir "$TEST_TMP/below"
truncate -s 256M "$TEST_TMP/hanging"
"$FS" -f "h=$TEST_TMP/hanging" "$TEST_TMP/below" &
below=$!
resume() {
	kill -CONT "$below" 2>/dev/null || return 0
	umount -l "$TEST_TMP/below" || true
	wait "$below" || true
}
cleanup resume
wait_until 20 mounted "$TEST_TMP/below" || fail "the lower mount fails"
loop_new "$TEST_TMP/below/h" -r
hanging=$LOOP

say "no descriptor for another ring: requests fail, and none waits for another"
mount_fs -d "x=$device" "h=$hanging"
assert_contains "$(<"$FS_LOG")" "$offered" "message"
cleanup kill_quietly -CONT "$below"
# Requests from one CPU go to the same threads.
taskset -cp 0 $$
exec 7<"$MNT/x"
stop_below
prlimit --pid "$FS_PID" --nofile=3:
readers=()
for i in {1..8}; do
	dd if="$MNT/h" of=/dev/null bs=4096 count=1 skip="$((i * 64))" \
		iflag=direct status=none 2>"$TEST_TMP/read.$i" 7<&- &
	readers+=($!)
done
wait_until 20 grep -q "requests fail, because no thread" "$FS_LOG" ||
	fail "no request failed"
status=0
timeout -s KILL 20 dd of=/dev/null bs=4096 count=1 iflag=direct \
	status=none <&7 || status=$?
assert_ne "$status" 137 "status of a reader of another file"
# The file is closed nevertheless.
closings() {
	grep -c "opcode: RELEASE" "$FS_LOG" || true
}
before_closing=$(closings)
closed() {
	(($(closings) > before_closing))
}
exec 7<&-
wait_until 20 closed || fail "it is not closed"
prlimit --pid "$FS_PID" --nofile=1024:
kill -CONT "$below"
taskset -cp "0-$(($(nproc --all) - 1))" $$
failed=0
for pid in "${readers[@]}"; do
	wait "$pid" || ((++failed))
done
assert_ge "$failed" 1 "failed readers"
assert_eq "$(cat "$TEST_TMP"/read.* | grep -c "Cannot allocate memory")" \
	"$failed" "messages of failed readers"
assert_same_bytes "$MNT/x" "$image"
umount_fs

say "each waiting request has a thread, and the other file can be read"
mount_fs -d "x=$device" "h=$hanging"
assert_contains "$(<"$FS_LOG")" "$offered" "message"
# Runs before the cleanup that unmounts.
cleanup kill_quietly -CONT "$below"
stop_below
readers=()
for i in {1..40}; do
	dd if="$MNT/h" of="$TEST_TMP/read.$i" bs=4096 count=1 skip="$((i * 64))" \
		iflag=direct status=none &
	readers+=($!)
done
threads() {
	(($(find "/proc/$FS_PID/task" -mindepth 1 -maxdepth 1 | wc -l) > 40))
}
wait_until 20 threads || fail "there are too few threads"
assert_same_bytes "$MNT/x" "$image"
kill -CONT "$below"
for pid in "${readers[@]}"; do
	wait "$pid" || fail "a reader failed"
done
head -c 4096 /dev/zero >"$TEST_TMP/zeros"
for i in {1..40}; do
	assert_same_bytes "$TEST_TMP/read.$i" "$TEST_TMP/zeros"
done

say "the program ends although a device hangs"
stop_below
# Far from the pages that the kernel has read ahead.
dd if="$MNT/h" of="$TEST_TMP/hung" bs=4096 count=1 skip=32000 \
	iflag=direct status=none &
reader=$!
waits_for_device() {
	grep -qs blkdev_ "/proc/$FS_PID"/task/*/stack
}
wait_until 20 waits_for_device || fail "it does not read"
kill -TERM "$FS_PID"
unmounted() {
	not_mounted "$MNT"
}
wait_until 30 unmounted || fail "it stays mounted"
kill -CONT "$below"
status=0
end_fs || status=$?
assert_eq "$status" 1 "exit status"
assert_contains "$(<"$FS_LOG")" "a device does not answer" "messages"
status=0
wait "$reader" || status=$?
assert_eq "$status" 1 "status of its reader"
losetup -d "$hanging"
resume

# as_well SCRIPT [ARG...]: runs another test.
as_well() {
	local script=$1 tmp status=0
	shift
	say "$script $*"
	tmp=$(mktemp -d "$TEST_TMP/other.XXXX")
	chmod 755 "$tmp"
	TEST_TMP=$tmp bash "$SRC/tests/$script" "$@" || status=$?
	((status != 77)) || skip "$script cannot run here"
	assert_eq "$status" 0 "status of $script"
}

as_well mount/test-concurrent.sh
as_well mount/test-write-semantics.sh
as_well mount/test-random-ops.sh
as_well mount/test-scan-ahead.sh
as_well mount/test-writeback.sh
as_well mount/test-caches.sh
as_well mount/test-interrupt.sh
as_well mount/test-life.sh
as_well mount/test-powers.sh
as_well mount/test-nbd-hangs.sh
as_well mount/test-nbd-lost.sh
as_well faults/test-kill.sh 10
as_well soak/test-soak.sh 24 4

say "the kernel still offers io_uring"
assert_eq "$(how)" "$offered" "message"
