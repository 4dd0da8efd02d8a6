#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Streams through ssh, to a server that the test starts: complete ones, and
# broken ones that are resumed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requires_loop
requires ssh ssh-keygen sshd python3 jq

cd "$TEST_TMP"

# --- The server ------------------------------------------------------------

start_server() {
	# sshd insists on this directory.
	if [[ ! -d /run/sshd ]]; then
		mkdir -m 755 /run/sshd
		cleanup rmdir /run/sshd
	fi
	ssh-keygen -q -t ed25519 -N '' -f host-key
	ssh-keygen -q -t ed25519 -N '' -f user-key
	PORT=$(python3 -c 'import socket
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    print(s.getsockname()[1])')
	cat >sshd_config <<-END
		ListenAddress 127.0.0.1:$PORT
		HostKey $TEST_TMP/host-key
		AuthorizedKeysFile $TEST_TMP/user-key.pub
		AuthenticationMethods publickey
		PermitRootLogin prohibit-password
		PidFile none
		# The directory is below one that is writable for all.
		StrictModes no
		UsePAM no
	END
	cat >ssh_config <<-END
		Host host
			HostName 127.0.0.1
			Port $PORT
			User root
			IdentityFile $TEST_TMP/user-key
			IdentitiesOnly yes
			UserKnownHostsFile $TEST_TMP/known-hosts
			GlobalKnownHostsFile /dev/null
			StrictHostKeyChecking yes
			BatchMode yes
	END
	echo "[127.0.0.1]:$PORT $(cut -d ' ' -f 1,2 host-key.pub)" >known-hosts
	"$(command -v sshd)" -D -e -f sshd_config 2>sshd.log &
	SERVER=$!
	cleanup end_server
}

end_server() {
	kill "$SERVER"
	wait "$SERVER" || true
}

to_host() {
	ssh -F ssh_config host "$@"
}

server_answers_or_gone() {
	gone "$SERVER" || to_host true 2>ssh.log
}

start_server
if ! wait_until 10 server_answers_or_gone || gone "$SERVER"; then
	cat sshd.log ssh.log
	skip "sshd refuses the login: $(tail -n 1 sshd.log)"
fi

# --- Streams ---------------------------------------------------------------

# old_device SIZE: makes a loop device $OLD, filled with 0xAA.
old_device() {
	head -c "$1" /dev/zero | tr '\0' '\252' >old
	loop_new "$TEST_TMP/old"
	OLD=$LOOP
}

# offset_in FILE: prints the offset in recv's message there.
offset_in() {
	sed -n 's/.* good and durable up to \([0-9]*\).*/\1/p' "$1"
}

make_device tenth 64M device
source=$LOOP

say "a complete stream"
old_device 64M
"$TOOL" send "$source" 2>sent | to_host "$TOOL" recv "$OLD" 2>received
cat sent received
assert_same_bytes device "$OLD"
assert_contains "$(<received)" "blksparse recv: $OLD: 64.0 MiB, " "summary"
loop_free "$OLD"

say "a stream from the server"
to_host "$TOOL" send --quiet "$source" | "$TOOL" recv --quiet copy
assert_same_bytes device copy
assert_le "$(allocated copy)" \
	$(($(python3 "$LIB/devices.py" data device) + 65536)) "allocated"

say "a truncated stream, resumed as the message says"
old_device 64M
run_status bash -c "set -o pipefail
	'$TOOL' send --quiet '$source' | head -c 3000000 |
	ssh -F ssh_config host '$TOOL' recv '$OLD'"
assert_eq "$STATUS" 1 "status"
command=${ERR##*resume it with: }
assert_contains "$command" "SRC | blksparse recv --resume $OLD" "message"
command=${command/blksparse send/$TOOL send}
command=${command/SRC/$source}
bash -c "set -o pipefail
	${command/blksparse recv/ssh -F ssh_config host $TOOL recv}"
assert_same_bytes device "$OLD"
loop_free "$OLD"

say "a broken connection: the target keeps the part that it received"
old_device 64M
mkfifo slow
{ to_host "$TOOL recv $OLD 2>$TEST_TMP/there" <slow || true; } &
client=$!
"$TOOL" send --quiet "$source" >stream
exec 5>slow
head -c 3000000 stream >&5
# Waits until part of the target is good.
bytes_written() {
	! cmp -s -n 1048576 old <(head -c 1048576 /dev/zero | tr '\0' '\252')
}
wait_until 10 bytes_written || fail "no data arrives"
session=$(pgrep -P "$SERVER" -f 'sshd.*: root') || fail "no session"
# shellcheck disable=SC2046,SC2086 # processes
kill -KILL $(pgrep -P $session sshd || true) $session
exec 5>&-
wait "$client"
recv_reported_offset() {
	[[ -n $(offset_in there) ]]
}
wait_until 10 recv_reported_offset ||
	fail "recv does not say how far the target is good"
cat there
good=$(offset_in there)
cmp -n "$good" device "$OLD" || fail "not good up to $good"
"$TOOL" send --from="$good" "$source" |
	to_host "$TOOL recv --resume $OLD"
assert_same_bytes device "$OLD"
loop_free "$OLD"
loop_free "$source"
