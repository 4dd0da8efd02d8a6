#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Requests by io_uring, where the kernel offers that: what holds for a mount
# holds then, too. Where it does not, nobody notices.
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

# how OPTION: what the program says of how its requests come.
how() {
	mount_fs -d "$@" "x=$device"
	assert_same_bytes "$MNT/x" "$image"
	umount_fs
	assert_lacks "$(<"$FS_LOG")" "the kernel refuses" "what it says"
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
assert_eq "$(how)" nothing "what it says"
no_custom_io=(env LD_PRELOAD="$BUILD/tests/mount/libno-custom-io.so")
FS_WRAP=("${no_custom_io[@]}")
mount_fs "x=$device"
umount_fs
assert_eq "$(<"$FS_LOG")" "" "what it says by a libfuse without custom I/O"
FS_WRAP=()
if [[ ! -e $parameter ]]; then
	echo "this kernel has no more to test"
	exit 0
fi

say "one that does"
echo Y >"$parameter"
FS_WRAP=("${no_custom_io[@]}")
mount_fs "x=$device"
assert_same_bytes "$MNT/x" "$image"
umount_fs
assert_contains "$(<"$FS_LOG")" "io_uring needs a libfuse with custom I/O" \
	"what it says by a libfuse without"
FS_WRAP=()
said=$(how)
[[ $(<"$FS_LOG") != *"custom I/O"* ]] || skip "this libfuse has no custom I/O"
assert_eq "$said" "$offered" "what it says"
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
		"requests come through /dev/fuse" "what it says"
	allow
fi

say "too few descriptors for all threads that may come"
# Only root may raise the hard limit, which is tried.
FS_WRAP=(setpriv --bounding-set=-sys_resource bash -c 'ulimit -SH -n 90; exec "$@"' -)
assert_eq "$(how)" "requests come through /dev/fuse" "what it says"
FS_WRAP=()

is_stopped() {
	! grep -L '^State:.*stopped' "/proc/$below"/task/*/status | grep -q .
}
stop_below() {
	kill -STOP "$below"
	wait_until 20 is_stopped || fail "the lower one goes on"
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

# The device of a mount whose program is stopped hangs.
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
wait_until 20 mounted "$TEST_TMP/below" || fail "the lower one does not mount"
loop_new "$TEST_TMP/below/h" -r
hanging=$LOOP

say "no ring can be had for another thread: requests fail, and none waits for others"
mount_fs -d "x=$device" "h=$hanging"
assert_contains "$(<"$FS_LOG")" "$offered" "what it says"
cleanup kill_quietly -CONT "$below"
# Requests of one processor come to the same threads.
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
assert_ne "$status" 137 "status of who reads another file"
# The file is closed all the same.
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

say "threads come with the requests that wait, and the others go on"
mount_fs -d "x=$device" "h=$hanging"
assert_contains "$(<"$FS_LOG")" "$offered" "what it says"
# Before the mount on it is taken away.
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

say "a device that hangs does not keep the program"
stop_below
# Far from what the kernel has read ahead.
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
assert_contains "$(<"$FS_LOG")" "a device does not answer" "what it says"
status=0
wait "$reader" || status=$?
assert_eq "$status" 1 "status of who read it"
losetup -d "$hanging"
resume

# as_well SCRIPT [ARG...]: another test.
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
as_well faults/test-kill.sh 10

say "all that was by io_uring"
assert_eq "$(how)" "$offered" "what it says"
