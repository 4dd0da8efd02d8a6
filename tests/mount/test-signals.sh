#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# close and fsync under signals. A signal that the caller survives neither makes
# them fail nor ends them early. A killed caller ends soon, and its zeros are flushed
# later. The image is on a file system on which each write is slow.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_root
requires unshare setpriv

FLUSHER=$BUILD/tests/mount/flusher
IMAGE=$TEST_TMP/image
[[ -x $FLUSHER ]] || fail "$FLUSHER is not built"

# slow_image MS: makes an image of 8 MiB without a zero byte, $TEST_TMP/slow/file,
# on which each write takes MS milliseconds.
slow_image() {
	head -c 8M /dev/zero | tr '\0' '\252' >"$IMAGE"
	mkdir -p "$TEST_TMP/slow"
	"$BUILD/tests/faults/slow-file" "$IMAGE" "$1" "$TEST_TMP/slow" &
	SLOW=$!
	cleanup force_umount "$TEST_TMP/slow"
	wait_until 20 test -e "$TEST_TMP/slow/file" || fail "no slow file"
}

drop_image() {
	umount_fs
	umount "$TEST_TMP/slow"
	wait "$SLOW"
}

# flushed COUNT: the image itself has the first COUNT holes of the flusher.
flushed() {
	python3 - "$IMAGE" "$1" <<-'END'
		import sys
		image = open(sys.argv[1], "rb").read()
		wanted = 2 * int(sys.argv[2]) * 4096
		for at in range(0, len(image), 4096):
		    zero = at < wanted and at % 8192 == 0
		    if image[at:at + 4096] != (b"\0" if zero else b"\xaa") * 4096:
		        print("not flushed, or a wrong byte:", at)
		        sys.exit(1)
	END
}

# begun: the first hole is flushed.
begun() {
	cmp -s -n 4096 "$IMAGE" /dev/zero
}

# flusher COUNT ACTION [SIGNALS]: runs the program in the background, through
# AS=(COMMAND...), sets $PID, and returns when it is about to flush.
AS=()
flusher() {
	# That of the last one is ready, too.
	rm -f "$TEST_TMP/flusher.log"
	"${AS[@]}" env --default-signal=QUIT,INT "$FLUSHER" "$MNT/x" "$@" \
		>"$TEST_TMP/flusher.log" &
	PID=$!
	wait_until 20 grep -qs ready "$TEST_TMP/flusher.log" || fail "not ready"
}

# survives ACTION [SIGNALS]: ACTION succeeds and everything is flushed after it,
# 40 granules more than the last time.
COUNT=0
survives() {
	say "$1 under ${2:-no signals}"
	((COUNT += 40))
	flusher "$COUNT" "$@"
	wait "$PID" || fail "$1 under ${2:-no signals}: status $?"
	! grep -v -e ready -e OK "$TEST_TMP/flusher.log" || fail "$1 under $2 failed"
	flushed "$COUNT" || fail "$1 did not wait for the device"
}

# dies SIGNAL ACTION: the killed caller ends before the slow device has all zeros.
dies() {
	local status=0
	say "SIG$1 in $2"
	flusher 300 "$2"
	[[ $2 == wait ]] || wait_until 20 begun || fail "nothing is flushed"
	kill "-$1" "$PID"
	wait_until 20 gone_or_zombie "$PID" || fail "$2 still waits after SIG$1"
	wait "$PID" || status=$?
	assert_eq "$status" $((128 + $(kill -l "$1"))) "status"
	! flushed 300 >/dev/null || fail "the device was too fast"
}

# unseen: the flush of a killed caller that /proc does not show is done in full.
unseen() {
	slow_image 20
	mount_fs -o rw,zero=write "x=$TEST_TMP/slow/file"
	say "a killed caller that /proc does not show"
	COUNT=100
	flusher "$COUNT" fsync
	wait_until 20 begun || fail "nothing is flushed"
	kill -KILL "$PID"
	wait_until 60 gone_or_zombie "$PID" || fail "it does not end"
	flushed "$COUNT" || fail "the flush ended early"
	survives fsync restart
	survives close interrupt
	drop_image
}

if [[ ${1:-} == hidden ]]; then
	FS_WRAP=(setpriv --bounding-set=-sys_ptrace)
	unseen
	exit
fi

say "signals that the caller survives"
slow_image 5
mount_fs -o rw,zero=write "x=$TEST_TMP/slow/file"
for signals in restart interrupt uring; do
	survives fsync "$signals"
	survives close "$signals"
	survives exit "$signals"
done
survives exit-beside
survives exit blocked
drop_image

say "signals that kill"
ulimit -c 0
for try in "KILL fsync" "TERM close" "KILL wait" "QUIT fsync"; do
	slow_image 200
	mount_fs -o rw,zero=write "x=$TEST_TMP/slow/file"
	# shellcheck disable=SC2086 # two words
	dies $try
	kill -USR1 "$SLOW"
	wait_until 60 flushed 300 >"$TEST_TMP/why" ||
		fail "zeros are lost: $(<"$TEST_TMP/why")"
	drop_image
done

say "callers that /proc does not show"
# The program is in a pid namespace of its own, which /proc does not show.
FS_WRAP=(unshare --pid --fork)
unseen
# Its /proc hides the processes of other users.
# shellcheck disable=SC2016 # for the other shell
unshare --mount --propagation private bash -c '
	mount -t proc -o hidepid=2,gid=65534 proc /proc
	exec bash "$0" hidden' "$0"
