#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A server that does not answer stops the file of its export only. Signals end the
# waits of programs that use it, and the mount ends as for any device that hangs.
#
#	test-nbd-hangs.sh [OPTION]	with another mount option
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=../lib/nbd.sh
. "$LIB/nbd.sh"
requires_fuse
requires nbdkit

option=${1:-uring=off}
readers=100 # more than have a thread
python3 "$LIB/devices.py" make mixed 16M "$TEST_TMP/hung"
python3 "$LIB/devices.py" make mixed 16M "$TEST_TMP/other"
fallocate --dig-holes "$TEST_TMP/other"
cp "$TEST_TMP/hung" "$TEST_TMP/first"
extents=$(ask extents "$TEST_TMP/other")

nbd_start h unix nbdkit file "$TEST_TMP/hung"
nbd_start o unix nbdkit file "$TEST_TMP/other"

# job COMMAND...: runs it in the background; sets $PID. Background jobs of a script
# ignore SIGINT by default.
job() {
	env --default-signal=INT "$@" >"$TEST_TMP/job.out" 2>"$TEST_TMP/job.err" &
	PID=$!
	cleanup end_quietly "$PID"
}

end_quietly() {
	kill -KILL "$1" 2>/dev/null || true
}

# waits PID: the process waits for a reply of the mount.
waits() {
	grep -qsE 'request_wait_answer|folio_wait|fuse_' "/proc/$1/stack"
}

# killed_in SIGNAL COMMAND...: the command waits for the server until the signal
# kills it.
killed_in() {
	local status=0
	job "${@:2}"
	wait_until 20 waits "$PID" || fail "${*:2} does not wait"
	kill "-$1" "$PID"
	wait_until 20 gone_or_zombie "$PID" || fail "${*:2} waits after SIG$1"
	wait "$PID" || status=$?
	assert_eq "$status" $((128 + $(kill -l "$1"))) "status of ${*:2}"
}

# alarm_in CALL: runs that call of Python, with an alarm after a second whose
# handler ends it. It prints the error.
alarm_in() {
	python3 - "$MNT/h" "$1" <<-'END'
		import os, signal, sys
		class Alarm(Exception):
		    pass
		def alarm(number, frame):
		    raise Alarm
		def call():
		    exec(sys.argv[2])
		path = sys.argv[1]
		signal.signal(signal.SIGALRM, alarm)
		signal.setitimer(signal.ITIMER_REAL, 1, 0.2)
		try:
		    call()
		    print("done")
		except Alarm:
		    print("alarm")
	END
}

other_is_served() {
	cmp "$MNT/o" "$TEST_TMP/other" &&
		[[ $(ask extents "$MNT/o") == "$extents" ]] &&
		[[ $(stat -c %s "$MNT/h") == $((16 << 20)) ]] &&
		[[ $(ls "$MNT") == $'h\no' ]]
}

# serves_other: it does not wait for the server that hangs.
serves_other() {
	local pid
	for _ in {1..3}; do
		other_is_served &
		pid=$!
		wait_until 30 gone_or_zombie "$pid" || fail "the other file waits"
		wait "$pid" || fail "the other file is not served"
	done
}

start() {
	mount_fs -o "$option,$1" "h=${NBD_URI[h]}" "o=${NBD_URI[o]}"
}

say "a read-only mount: signals that kill"
start ro,unshared
nbd_stop h
killed_in TERM dd if="$MNT/h" of=/dev/null bs=4096 count=1 iflag=direct status=none
killed_in INT cat "$MNT/h"
killed_in KILL cat "$MNT/h"
killed_in HUP python3 -c 'import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
print(mmap.mmap(fd, 0, prot=mmap.PROT_READ)[5 << 20])' "$MNT/h"
killed_in INT python3 "$LIB/ask.py" extents "$MNT/h"
serves_other

say "signals that a program handles"
assert_eq "$(alarm_in 'os.pread(os.open(path, os.O_RDONLY | os.O_DIRECT), 1, 0)')" \
	"alarm" "direct read"
assert_eq "$(alarm_in 'os.lseek(os.open(path, os.O_RDONLY), 9 << 20, os.SEEK_HOLE)')" \
	"alarm" "seek"
assert_eq "$(alarm_in 'os.stat(path)')" "done" "stat"
serves_other

say "$readers readers"
pids=()
for ((i = 0; i < readers; i++)); do
	dd if="$MNT/h" of="$TEST_TMP/read.$i" bs=64K count=1 skip=$((i * 2)) \
		iflag=direct status=none 2>/dev/null &
	pids+=($!)
	cleanup end_quietly $!
done
all_wait() {
	local pid
	for pid in "${pids[@]}"; do
		waits "$pid" || return 1
	done
}
wait_until 60 all_wait || fail "they do not wait"
serves_other
# The second half: some of them are in the queue.
for pid in "${pids[@]:readers / 2}"; do
	kill -TERM "$pid"
done
for pid in "${pids[@]:readers / 2}"; do
	wait_until 20 gone_or_zombie "$pid" || fail "a killed reader waits"
done
serves_other
nbd_cont h
for ((i = 0; i < readers / 2; i++)); do
	wait "${pids[i]}" || fail "a reader failed"
	cmp "$TEST_TMP/read.$i" <(dd if="$TEST_TMP/hung" bs=64K count=1 \
		skip=$((i * 2)) status=none) || fail "wrong bytes"
done
assert_same_bytes "$MNT/h" "$TEST_TMP/hung"

say "the mount ends: by umount"
# Of an export that others may write, the kernel's pages are dropped every second,
# even those that were read ahead for a reader that is gone.
umount_fs
for options in ro,unshared ro; do
	start "$options"
	nbd_stop h
	job cat "$MNT/h"
	wait_until 20 waits "$PID" || fail "cat does not wait"
	kill "$PID"
	wait_until 20 gone_or_zombie "$PID" || fail "cat waits"
	sleep 1.5 # a drop may wait for the pages by now
	timeout 20 umount "$MNT" || fail "umount waits ($options)"
	end_fs || fail "status $? ($options)"
	nbd_cont h
done

say "by SIGTERM, with readers"
start ro,unshared
nbd_stop h
job cat "$MNT/h"
wait_until 20 waits "$PID" || fail "cat does not wait"
kill -TERM "$FS_PID"
end_fs || fail "status $?"
not_mounted "$MNT" || fail "it stays mounted"
! wait "$PID" || fail "its reader succeeds"
assert_eq "$(<"$FS_LOG")" "" "the log"
nbd_cont h

say "a writable mount"
start rw,unshared,zero=write
nbd_stop h
killed_in KILL dd if=/dev/urandom of="$MNT/h" bs=1M count=1 conv=notrunc status=none
killed_in TERM fallocate -p -o 100 -l 100 "$MNT/h"
assert_eq "$(alarm_in 'os.pwrite(os.open(path, os.O_WRONLY), b"1" * 4096, 1 << 20)')" \
	"alarm" "write"
serves_other

say "fsync and close: only a signal that kills ends them"
cat >"$TEST_TMP/sync.py" <<-'END'
	import os, signal, sys
	signal.signal(signal.SIGUSR1, lambda number, frame: print("signal", flush=True))
	signal.siginterrupt(signal.SIGUSR1, True)
	fd = os.open(sys.argv[1], os.O_WRONLY)
	if sys.argv[2] == "close":
	    os.pwrite(fd, bytes(4096), 8 << 20)
	    os.close(fd)
	else:
	    os.fsync(fd)
	print("done", flush=True)
END
job python3 "$TEST_TMP/sync.py" "$MNT/h" fsync
wait_until 20 waits "$PID" || fail "fsync does not wait"
signals() {
	(($(grep -c signal "$TEST_TMP/job.out") >= $1))
}
# A program that Python runs sees the signal only after the call.
for signal in USR1 USR1 USR1; do
	kill -$signal "$PID"
	! wait_until 1 gone_or_zombie "$PID" || fail "a signal ends fsync"
done
killed_now() {
	kill -TERM "$PID"
	wait_until 20 gone_or_zombie "$PID" || fail "a killed program waits"
}
killed_now
serves_other
job python3 "$TEST_TMP/sync.py" "$MNT/h" close
wait_until 20 waits "$PID" || fail "close does not wait"
kill -USR1 "$PID"
! wait_until 3 gone_or_zombie "$PID" || fail "a signal ends close"
killed_now
job python3 "$TEST_TMP/sync.py" "$MNT/h" fsync
wait_until 20 waits "$PID" || fail "fsync does not wait"
nbd_cont h
wait "$PID" || fail "fsync failed after another program was killed in it"

say "the newest write wins, whatever becomes of one that was interrupted"
# read_exactly FILE OFFSET LENGTH: without reading ahead: a killed writer waits for
# pages that the kernel is reading.
read_exactly() {
	python3 -c 'import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
sys.stdout.buffer.write(os.pread(fd, int(sys.argv[3]), int(sys.argv[2])))' "$@"
}

for ((i = 1; i <= 10; i++)); do
	at=$((i * 1234567 % (15 << 20)))
	nbd_stop h
	job python3 -c 'import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY)
os.pwrite(fd, b"\xee" * 50000, int(sys.argv[2]))' "$MNT/h" "$at"
	wait_until 20 waits "$PID" || fail "a write does not wait"
	killed_now
	python3 -c 'import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY)
os.pwrite(fd, bytes([int(sys.argv[3])]) * 50000, int(sys.argv[2]))
os.fsync(fd)' "$MNT/h" "$at" "$i" &
	newer=$!
	wait_until 20 waits "$newer" || fail "the newer write does not wait"
	nbd_cont h
	wait "$newer" || fail "the newer write failed"
	for file in "$MNT/h" "$TEST_TMP/hung"; do
		cmp <(read_exactly "$file" "$at" 50000) \
			<(head -c 50000 /dev/zero | tr '\0' "\\$(printf %03o "$i")") ||
			fail "an older write won"
	done
done

say "a writable mount waits for its server at the end"
job python3 -c 'import os, sys, time
fd = os.open(sys.argv[1], os.O_WRONLY)
os.pwrite(fd, bytes(1 << 20), 3 << 20)
print("zeros", flush=True)
while not os.path.exists(sys.argv[2]):
    time.sleep(0.05)
os.pwrite(fd, b"end" * 1000, 5 << 20)' "$MNT/h" "$TEST_TMP/is-hung"
wait_until 20 grep -q zeros "$TEST_TMP/job.out" || fail "no zeros were written"
nbd_stop h
touch "$TEST_TMP/is-hung"
wait_until 20 waits "$PID" || fail "the write does not wait"
kill -TERM "$FS_PID"
! wait_until 8 gone_or_zombie "$FS_PID" || fail "it does not wait"
kill -TERM "$FS_PID"
! wait_until 3 gone_or_zombie "$FS_PID" || fail "it does not wait"
mounted "$MNT" || fail "it is not mounted any more"
nbd_cont h
wait "$PID" || fail "the writer failed"
end_fs || fail "status $?"
cmp -i $((3 << 20)):0 -n $((1 << 20)) "$TEST_TMP/hung" /dev/zero || fail "zeros are lost"
assert_eq "$(dd if="$TEST_TMP/hung" bs=1M skip=5 count=1 status=none | head -c 9)" \
	endendend "the last write"
