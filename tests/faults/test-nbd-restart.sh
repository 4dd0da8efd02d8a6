#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A server of NBD is stopped, killed, or replaced by another while a command
# works on it. An interrupt ends a command that waits for a stopped server. A
# server that is gone is an error, at once; another one at its address is not
# taken for it. Each command starts only when the server's log shows it at work,
# and a delay of each request keeps it there.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/../lib/nbd.sh"
requires nbdkit nbdinfo

cd "$TEST_TMP"
python3 "$LIB/devices.py" make data 96M image
python3 "$LIB/devices.py" make --seed 7 data 96M other
"$TOOL" send --quiet image >stream
stale() {
	head -c 96M /dev/zero | tr '\0' '\252'
}
stale >target

# serve unix|tcp IMAGE: starts the server "it", slow, with all in its log.
serve() {
	nbd_start it "$1" nbdkit -v --filter=delay file "$2" rdelay=500ms \
		wdelay=500ms
}

requests() {
	grep -cE ' delay: (pread|pwrite) ' "${NBD_LOG[it]}" || true # none yet
}

works() {
	(($(requests) >= BEFORE + 4)) || gone_or_zombie "$PID"
}

# begins COMMAND: starts a command, and returns when the server works for it. A
# job of a script ignores SIGINT unless env tells otherwise.
begins() {
	say "$*, ${NBD%%:*}"
	BEFORE=$(requests)
	"command_$1" >out 2>err &
	PID=$!
	cleanup end_command "$PID"
	wait_until 30 works || fail "$1 sends no request"
	! gone_or_zombie "$PID" || {
		cat err
		fail "$1 has ended"
	}
}

end_command() {
	gone_or_zombie "$1" || kill -KILL "$1"
}

run_tool() {
	exec env --default-signal=INT "$TOOL" "$@"
}
command_map() { run_tool map --known=off "$NBD"; }
command_verify() { run_tool map --verify --known=off "$NBD"; }
command_copy_from() { run_tool copy --quiet "$NBD" copied; }
command_copy_to() { run_tool copy --quiet image "$NBD"; }
command_send() { run_tool send --quiet "$NBD" >sent; }
command_digest() { run_tool digest "$NBD" >digested; }
command_recv() { run_tool recv --quiet "$NBD" <stream; }
reading=(map copy_from send digest)
writing=(copy_to recv)

# fails_soon WHAT MESSAGE: the command ends with status 1 and this message.
fails_soon() {
	local status=0
	wait_until 20 gone_or_zombie "$PID" || fail "$1: the command hangs"
	wait "$PID" || status=$?
	ERR=$(<err)
	assert_eq "$status" 1 "$1: status [$ERR]"
	assert_contains "$ERR" "$2" "$1: message"
}

# stopped COMMAND unix|tcp IMAGE: the server is stopped, then SIGINT ends the
# command. The server is killed while it is stopped: some versions of nbdkit abort
# if their client leaves during a delay.
stopped() {
	serve "$2" "$3"
	begins "$1"
	nbd_stop it
	kill -INT "$PID"
	fails_soon "$1, stopped" "interrupted"
	nbd_forget it
}

for kind in unix tcp; do
	for command in "${reading[@]}"; do
		stopped "$command" "$kind" image
	done
	for command in "${writing[@]}"; do
		stopped "$command" "$kind" target
	done
done

# again COMMAND: it succeeds, with a server that is there, and its target is right.
again() {
	"command_$1" >out 2>err || {
		cat err
		fail "$1 fails again"
	}
}

# killed COMMAND unix|tcp IMAGE: the server is killed, and another one with other
# content takes its place. The command fails all the same.
killed() {
	serve "$2" "$3"
	begins "$1"
	nbd_kill it
	nbd_restart it nbdkit file other
	fails_soon "$1, killed" "${NBD%%:*}"
	nbd_forget it
}

for command in "${reading[@]}"; do
	killed "$command" unix image
	killed "$command" tcp image
done

for command in "${writing[@]}"; do
	stale >target
	cp other before
	killed "$command" unix target
	assert_same_bytes other before
	say "$command, again"
	nbd_start it unix nbdkit file target
	(again "$command")
	assert_same_bytes target image
	nbd_forget it
done

catches_signals() {
	[[ /proc/$PID/exe -ef $TOOL ]] &&
		grep -q '^SigCgt:.*[2367abef]$' "/proc/$PID/status"
}

say "a server that is stopped before the command connects"
serve unix image
nbd_stop it
for command in "${reading[@]}"; do
	"command_$command" >out 2>err &
	PID=$!
	cleanup end_command "$PID"
	# It catches signals before it connects.
	wait_until 20 catches_signals || fail "$command catches no SIGINT"
	kill -INT "$PID"
	fails_soon "$command, connecting" "interrupted"
done
nbd_cont it
nbd_forget it
