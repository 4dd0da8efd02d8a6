#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# blksparse stat answers while a device hangs; goes on without a mount whose
# driver is stopped, has died, or may not be asked by the user; and leaves no
# process that holds its output.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/mount/stat.sh"
requires_fuse
requires_root
requires jq setpriv

head -c 4M /dev/zero | tr '\0' x >"$TEST_TMP/image"
head -c 2M /dev/zero | tr '\0' y >"$TEST_TMP/other"
mkdir "$TEST_TMP/below"
: >"$TEST_TMP/point"

# Another mount, which always answers.
mkdir "$TEST_TMP/good"
"$FS" -f "good=$TEST_TMP/other" "$TEST_TMP/good" &
good=$!
cleanup force_umount "$TEST_TMP/good"
wait_until 20 mounted "$TEST_TMP/good" || fail "no second mount"

below_starts() {
	"$BUILD/tests/faults/slow-file" "$TEST_TMP/image" 0 "$TEST_TMP/below" &
	below=$!
	wait_until 20 test -e "$TEST_TMP/below/file" || fail "no file below"
}

end_below() {
	kill -CONT "$below"
	force_umount "$TEST_TMP/below"
	wait "$below"
}

# stop PID: stops all threads of a process, and returns when they have stopped.
stop() {
	kill -STOP "$1"
	wait_until 20 has_stopped "$1" || fail "$1 still runs"
}

has_stopped() {
	! grep -L '^State:.*stopped' "/proc/$1"/task/*/status | grep -q .
}

go_on() {
	gone "$1" || kill -CONT "$1"
}

# has_request OP PATH: the slowest request is that one.
has_request() {
	[[ $(figure slowest.op "$2") == "\"$1\"" ]]
}

no_request() {
	[[ $(figure requests "$1") == 0 ]]
}

# hangs PATH: the device of the file at PATH hangs, and its figures come.
hangs() {
	local path=$1 reader
	say "a read hangs"
	exec 5<"$path"
	stop "$below"
	dd iflag=direct bs=4096 skip=7 count=1 <&5 >"$TEST_TMP/piece" 2>/dev/null &
	reader=$!
	wait_until 20 has_request read "$path" || fail "the read is not shown"
	figures "$path" requests=1 slowest.off=28672 slowest.len=4096
	say "it is older at each look"
	first=$(figure slowest.us "$path")
	wait_until 20 is_older "$path" "$first" || fail "the read grows no older"
	run_status "$TOOL" stat "$path"
	assert_eq "$STATUS" 0 "status"
	assert_contains "$OUT" "1 request, read for " "the list"
	say "an opening hangs, too"
	head -c 1 "$path" >"$TEST_TMP/byte" &
	wait_until 20 has_requests 2 "$path" || fail "the opening is not shown"
	has_request read "$path" || fail "the read is older"
	say "the device answers"
	kill -CONT "$below"
	wait "$reader" "$!"
	exec 5<&-
	assert_eq "$(tr -d x <"$TEST_TMP/piece" | wc -c)" 0 "other bytes"
	assert_eq "$(stat -c %s "$TEST_TMP/piece")" 4096 "bytes read"
	wait_until 20 no_request "$path" || fail "a request stays"
}

is_older() {
	(($(figure slowest.us "$1") > $2))
}

has_requests() {
	(($(figure requests "$2") >= $1))
}

say "a folder"
below_starts
cleanup end_below
mount_fs "x=$TEST_TMP/below/file" "y=$TEST_TMP/other"
hangs "$MNT/x"
figures "$MNT/y" requests=0
umount_fs

say "a mount point that is a file"
was=$MNT
MNT=$TEST_TMP/point
mount_fs "$TEST_TMP/below/file"
hangs "$MNT"
umount_fs
MNT=$was

say "more requests than may run at once"
mount_fs -o uring=off "x=$TEST_TMP/below/file"
python3 - "$MNT/x" "$below" <<-'END' &
	import glob, mmap, os, signal, sys, threading
	fds = [os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT) for _ in range(80)]
	os.kill(int(sys.argv[2]), signal.SIGSTOP)
	while not all("(stopped)" in open(path).read() for path in
	              glob.glob(f"/proc/{sys.argv[2]}/task/*/status")):
	    pass
	def read(fd):
	    assert os.preadv(fd, [mmap.mmap(-1, 4096)], 0) == 4096
	threads = [threading.Thread(target=read, args=[fd]) for fd in fds]
	for thread in threads:
	    thread.start()
	for thread in threads:
	    thread.join()
END
readers=$!
wait_until 60 has_requests 80 "$MNT/x" || fail "not all requests are shown"
figures "$MNT/x" requests=80
kill -CONT "$below"
wait "$readers"
wait_until 20 no_request "$MNT/x" || fail "requests stay"
umount_fs

say "a driver that is stopped"
mount_fs "x=$TEST_TMP/image"
cleanup go_on "$FS_PID"
stop "$FS_PID"
for arguments in "" "--json" "--format=prometheus" "$MNT $TEST_TMP/good"; do
	# shellcheck disable=SC2086 # none or two words
	run_status timeout 60 "$TOOL" stat $arguments
	assert_eq "$STATUS" 1 "status of stat $arguments"
	assert_contains "$OUT" "$TEST_TMP/good/good" "the other mount"
done
# The reader of a pipe does not wait for a process that is left.
# shellcheck disable=SC2016 # for the other shell
run_status timeout 60 bash -c '"$1" stat | cat' bash "$TOOL"
assert_ne "$STATUS" 124 "status of the pipe"
assert_contains "$OUT" "does not answer" "the table"
run_status timeout 60 "$TOOL" stat --json "$MNT"
assert_eq "$(jq -c '.mounts[0] | [.mount, .error, .files]' <<<"$OUT")" \
	"[\"$MNT\",\"does not answer\",[]]" "JSON"
assert_contains "$ERR" "$MNT: does not answer" "message"
run_status timeout 60 "$TOOL" stat --format=prometheus
assert_contains "$OUT" "blksparsefs_up{mount=\"$MNT\"} 0" "Prometheus"
assert_contains "$OUT" "blksparsefs_up{mount=\"$TEST_TMP/good\"} 1" "Prometheus"
run_status timeout 60 "$TOOL" stat "$MNT/unknown"
assert_eq "$STATUS" 1 "status for a name"
assert_contains "$ERR" "$MNT/unknown: does not answer" "message for a name"
run_status timeout 60 "$TOOL" stat "$TEST_TMP/image"
assert_eq "$STATUS" 1 "status for its image"
assert_contains "$ERR" "image: no mount that answers shows it" "message for its image"
kill -CONT "$FS_PID"
figures "$MNT/x" size=$((4 << 20))
# The processes that were left let go of the mount when their requests end.
wait_until 20 fusermount3 -u "$MNT" || fail "it is still in use"
end_fs || fail "blksparsefs ended with status $?"

say "a user without rights"
copy_program
mount_fs "x=$TEST_TMP/image"
run_status as_nobody "$TOOL" stat
assert_eq "$STATUS" 1 "status"
assert_contains "$OUT" "only the user who mounted it may ask" "the table"
run_status as_nobody "$TOOL" stat "$MNT"
assert_eq "$STATUS" 1 "status for the mount"
assert_contains "$ERR" "$MNT: only the user" "message"
umount_fs
chmod 600 "$TEST_TMP/image"
mount_fs -o allow_other "x=$TEST_TMP/image"
figure=$(as_nobody "$TOOL" stat --json "$MNT" | jq '.mounts[0].files[0].size')
assert_eq "$figure" $((4 << 20)) "the size, for a user who may open the folder"
umount_fs

say "a driver that was killed"
mount_fs "x=$TEST_TMP/image"
kill -KILL "$FS_PID"
wait "$FS_PID" 2>/dev/null || true
FS_PID=
run_status "$TOOL" stat
assert_eq "$STATUS" 1 "status"
assert_contains "$OUT" "its driver has ended" "the table"
assert_contains "$OUT" "$TEST_TMP/good/good" "the other mount"
force_umount "$MNT"
run_status "$TOOL" stat
assert_lacks "$OUT$ERR" "$MNT" "a mount that is gone"

unmount "$TEST_TMP/good"
wait "$good"
