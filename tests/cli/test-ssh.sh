#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Streams through ssh, to a server that the test starts: complete ones, and
# broken ones that are resumed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
# shellcheck source=../lib/ssh.sh
. "$LIB/ssh.sh"

requires_loop
requires jq

cd "$TEST_TMP"

start_sshd

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
