#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The name of an NBD server's host is not resolved, because the name server does not
# answer. Signals end the commands at once, and a mount stops its readers for a few
# seconds only. A try that waits for the name server gets its late answer.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
# shellcheck source=../lib/nbd.sh
. "$LIB/nbd.sh"
requires_fuse
requires_root
requires_nbd
requires unshare ip mount nbdkit

# The name server and its settings are for this test alone.
if [[ -z ${IN_NAMESPACE:-} ]]; then
	IN_NAMESPACE=1 unshare -mn --propagation private bash "$0"
	exit
fi
cd "$TEST_TMP"
ip link set lo up
# A resolution takes two and a half minutes.
printf 'nameserver 127.0.0.1\noptions timeout:30 attempts:5\n' >resolv.conf
echo 'hosts: files dns' >nsswitch.conf
echo '127.0.0.1 disk.example' >hosts
for file in resolv.conf nsswitch.conf hosts; do
	[[ -e /etc/$file ]] || skip "needs /etc/$file"
	mount --bind "$file" "/etc/$file"
done
[[ ! -d /run/nscd ]] || mount -t tmpfs none /run/nscd

python3 "$SRC/tests/faults/slow_dns.py" log answer &
dns=$!
cleanup kill "$dns"
wait_until 20 test -s log || fail "the name server does not start"

# has_queries N: the name server got more than N lines of log.
has_queries() {
	(($(wc -l <log) > $1))
}

# job COMMAND...: runs it in the background, and returns when it waits for the name
# server; sets $PID. Background jobs of a script ignore SIGINT by default.
job() {
	local lines
	lines=$(wc -l <log)
	env --default-signal=INT "$@" >job.out 2>job.err &
	PID=$!
	cleanup end_quietly "$PID"
	wait_until 20 has_queries "$lines" || fail "$* asks no name server"
}

end_quietly() {
	gone_or_zombie "$1" || kill -KILL "$1"
}

# ends_by SIGNAL STATUS WHAT: the signal ends the job.
ends_by() {
	local status=0
	kill "-$1" "$PID"
	wait_until 20 gone_or_zombie "$PID" || fail "$3 waits after SIG$1"
	wait "$PID" || status=$?
	assert_eq "$status" "$2" "status of $3"
}

# interrupted SIGNAL STATUS WORD...: the signal ends this blksparse.
interrupted() {
	say "SIG$1: ${*:3}"
	job "$TOOL" "${@:3}"
	ends_by "$1" "$2" "${*:3}"
	assert_contains "$(<job.err)" "interrupted" "message of ${*:3}"
}

python3 "$LIB/devices.py" make mixed 4M image
uri=nbd://slow.example/disk
interrupted INT 1 map "$uri"
interrupted TERM 1 copy "$uri" copy
interrupted INT 1 copy image "$uri"
interrupted TERM 1 send "$uri"
interrupted INT 1 digest "$uri"
interrupted TERM 2 diff image "$uri"

say "no answer in time"
run_status timeout 60 "$TOOL" map "$uri"
assert_eq "$STATUS" 1 "status"
assert_contains "$ERR" "connect to $uri: its host name is not resolved in time" \
	"message"

# lose_server: the server goes away, and its name has to be resolved anew.
lose_server() {
	nbd_kill n
	: >hosts
}

# return_server: both are there again.
return_server() {
	nbd_restart n
	echo '127.0.0.1 disk.example' >hosts
}

# waits PID: the process waits for a reply of the mount.
waits() {
	grep -qsE 'request_wait_answer|folio_wait|fuse_' "/proc/$1/stack"
}

# reader: starts a program that opens and reads; sets $PID.
reader() {
	dd if="$MNT/x" of=/dev/null bs=4096 count=1 iflag=direct 2>job.err &
	PID=$!
	cleanup end_quietly "$PID"
	wait_until 5 waits "$PID"
}

# ends_first: a reader that is killed ends while an earlier one still connects.
ends_first() {
	local first
	reader || return 1
	first=$PID
	reader || return 1
	kill -KILL "$PID"
	wait_until 20 gone_or_zombie "$PID" || fail "a reader waits after SIGKILL"
	! gone_or_zombie "$first"
}

say "a mount"
nbd_start n tcp nbdkit file "$PWD/image"
uri=${NBD/127.0.0.1/disk.example}
for options in ro rw,unshared; do
	mount_fs -o "$options" "x=$uri"
	lose_server
	job dd if="$MNT/x" of=/dev/null bs=4096 count=1 iflag=direct
	ends_by KILL 137 "a reader ($options)"
	wait_until 60 ends_first || fail "a killed reader waits for another one"
	# A reader that begins now waits for the same answer.
	cat "$MNT/x" >job.out 2>&1 &
	PID=$!
	cleanup end_quietly "$PID"
	kill -TERM "$FS_PID"
	end_fs || cat "$FS_LOG" # a writable mount may tell that writes were lost
	wait_until 20 gone_or_zombie "$PID" || fail "a reader outlives the mount"
	return_server
done

say "a late answer"
mount_fs "x=$uri"
lose_server
job cat "$MNT/x"
wait_until 20 gone_or_zombie "$PID" || fail "cat waits"
nbd_restart n
touch answer
same() {
	cmp -s "$MNT/x" image 2>same.err
}
wait_until 20 same || fail "the mount does not connect anew"
umount_fs
