#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The messages of the commands about URIs of NBD that cannot be used; TLS, by a
# key and by certificates. No message has a password of a URI.
set -euo pipefail
# shellcheck source=../lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=../lib/nbd.sh
. "$(dirname "$0")/../lib/nbd.sh"
requires nbdkit qemu-nbd openssl

cd "$TEST_TMP"
python3 "$LIB/devices.py" make mixed 4M image
"$TOOL" send --quiet image >stream
copied() {
	rm -f copy
	"$TOOL" copy --quiet "$1" copy
	assert_same_bytes copy image
}

# refused MESSAGE URI: no command takes this URI; all give the message.
refused() {
	local command
	for command in map send copy_from copy_to recv; do
		run_status "command_$command" "$2"
		assert_eq "$STATUS" 1 "$command $2: status"
		assert_contains "$ERR" "$1" "$command $2: message"
		assert_lacks "$OUT$ERR" secret "$command $2: the password"
	done
}
command_map() { "$TOOL" map "$1"; }
command_send() { "$TOOL" send --quiet "$1" >sent; }
command_copy_from() { "$TOOL" copy --quiet "$1" copy; }
command_copy_to() { "$TOOL" copy --quiet image "$1"; }
command_recv() { "$TOOL" recv --quiet "$1" <stream; }

say "no server"
refused "No such file" "nbd+unix:///?socket=$TEST_TMP/none"
nbd_start a tcp nbdkit file image
nbd_end a
refused "refused" "$NBD"
refused "refused" "${NBD/:\/\//://user:secret@}"
refused "***" "${NBD/:\/\//://user:secret@}"

say "no such export"
nbd_start b unix qemu-nbd -f raw --shared=0 -x disk image
refused "no export named 'other'" "${NBD/:\/\/\/\?/:///other?}"
copied "${NBD/:\/\/\/\?/:///disk?}"
nbd_forget b

say "not a URI of NBD"
for uri in nbd:unix:$TEST_TMP/none nbd:127.0.0.1:10809 http://127.0.0.1/disk; do
	run_status "$TOOL" map "$uri"
	assert_eq "$STATUS" 1 "$uri: status"
	assert_contains "$ERR" "$uri" "$uri: message"
done

say "targets"
head -c 4M /dev/zero >target
nbd_start c unix nbdkit -r file target
for command in copy_to recv; do
	run_status "command_$command" "$NBD"
	assert_eq "$STATUS" 1 "$command: status for a read-only export"
	assert_contains "$ERR" "read-only" "$command: message"
done
nbd_forget c
head -c 3M /dev/zero >target
nbd_start d unix nbdkit file target
for command in copy_to recv; do
	run_status "command_$command" "$NBD"
	assert_eq "$STATUS" 1 "$command: status for a small target"
	assert_contains "$ERR" "too small" "$command: message"
done
cmp target <(head -c 3M /dev/zero) || fail "a target that was refused has changed"
run_status "$TOOL" copy "$NBD" "$NBD"
assert_eq "$STATUS" 2 "status for one export as both"
assert_contains "$ERR" "is the source and the target" "message for one export as both"
nbd_forget d

# --- A server that ends ----------------------------------------------------------

head -c 100M /dev/urandom >large
"$TOOL" send --quiet large >stream
command_digest() { "$TOOL" digest --quiet "$1" >digested; }
command_copy_large() { "$TOOL" copy --quiet large "$1"; }
for command in map send digest copy_from copy_large recv; do
	say "$command, and the server is killed"
	plugin=pattern
	[[ $command != copy_large && $command != recv ]] || plugin=memory
	nbd_start "k-$command" tcp nbdkit --filter=delay $plugin 200M \
		delay-read=100ms delay-write=100ms
	uri=${NBD/:\/\//://user:secret@}
	{ sleep 0.5 && nbd_kill "k-$command"; } &
	run_status "command_$command" "$uri"
	wait $!
	assert_eq "$STATUS" 1 "status"
	assert_contains "$ERR" "connection to its server was lost; check the server" \
		"message"
	assert_contains "$ERR" "${NBD/:\/\//://user:***@}" "message"
done

say "the server is killed when all was read"
nbd_start late tcp nbdkit pattern 3M
mkfifo slow
BLKSPARSE_TRACE=1 "$TOOL" send --quiet --format=raw "$NBD" >slow 2>trace &
child=$!
exec 5<slow
all_is_read() {
	awk '/device.read/ { split($4, len, "="); sum += len[2] }
		END { exit sum < 3 * 1048576 }' trace
}
# The pipe takes all but a part of the last piece, which is read by then.
head -c 1 <&5 >sent
room=$(python3 -c 'import fcntl; print(fcntl.fcntl(5, fcntl.F_GETPIPE_SZ))')
head -c $((3 * 1048576 - room - 128 * 1024)) <&5 >>sent
wait_until 30 all_is_read || fail "not all is read"
nbd_kill late
cat <&5 >>sent
exec 5<&-
wait "$child" || fail "status $?"
assert_contains "$(<trace)" "the connection to $NBD was lost for a while" "warning"
assert_lacks "$(<trace)" "the disk of" "warning"
nbd_forget late

say "the list of processes"
nbd_start list tcp nbdkit memory 100M
uri=${NBD/:\/\//://user:secret@}
mkfifo pipe
"$TOOL" send --quiet --format=raw "$uri" >pipe &
child=$!
exec 5<pipe
head -c 1 <&5 >first # it is at work
assert_eq "$(tr '\0' ' ' <"/proc/$child/cmdline")" \
	"$TOOL send --quiet --format=raw ${NBD/:\/\//://user:******@} " "arguments"
exec 5<&-
wait "$child" && fail "it wrote into a pipe without a reader"
nbd_forget list

# --- TLS ------------------------------------------------------------------------

key() {
	echo "user:$(head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n')"
}
key >keys
key >other-keys

say "a shared key"
for kind in unix tcp; do
	NBD_SCHEME=nbds nbd_start "psk-$kind" "$kind" nbdkit --tls=require \
		--tls-psk=keys file image
	mark='?'
	[[ $NBD != *'?'* ]] || mark='&'
	uri=${NBD/:\/\//://user@}
	copied "$uri${mark}tls-psk-file=$TEST_TMP/keys"
	"$TOOL" map "$uri${mark}tls-psk-file=$TEST_TMP/keys" >/dev/null
	refused "connect to" "$uri${mark}tls-psk-file=$TEST_TMP/other-keys"
	refused "connect to" "$uri${mark}tls-psk-file=$TEST_TMP/no-such-keys"
	refused "connect to" "${NBD/nbds/nbd}"
	nbd_forget "psk-$kind"
done

say "TLS of a server that has none"
nbd_start plain unix nbdkit file image
refused "TLS" "${NBD/nbd/nbds}&tls-psk-file=$TEST_TMP/keys"
nbd_forget plain

say "certificates"
mkdir pki other-pki
for folder in pki other-pki; do
	openssl req -x509 -newkey rsa:2048 -nodes -keyout $folder/ca-key.pem \
		-out $folder/ca-cert.pem -days 2 -subj "/CN=Test CA" \
		-addext basicConstraints=critical,CA:TRUE 2>log
done
openssl req -newkey rsa:2048 -nodes -keyout pki/server-key.pem -out request.pem \
	-subj /CN=localhost 2>log
printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' >extensions
openssl x509 -req -in request.pem -CA pki/ca-cert.pem -CAkey pki/ca-key.pem \
	-CAcreateserial -days 2 -extfile extensions -out pki/server-cert.pem 2>log
NBD_SCHEME=nbds nbd_start cert tcp nbdkit --tls=require \
	--tls-certificates=pki file image
uri=${NBD/127.0.0.1/localhost}
copied "$uri?tls-certificates=$TEST_TMP/pki"
refused "connect to" "$uri?tls-certificates=$TEST_TMP/other-pki"
refused "connect to" "${uri/:\/\//://user:secret@}?tls-certificates=$TEST_TMP/other-pki"
NBD="${uri/:\/\//://user:secret@}?tls-certificates=$TEST_TMP/pki"
copied "$NBD"
for command in map send copy_from copy_to recv; do
	run_status "command_$command" "$NBD"
	assert_lacks "$OUT$ERR" secret "$command: the password"
done
for options in "" --json; do
	# shellcheck disable=SC2086 # none, or one
	run_status "$TOOL" send $options --format=raw "$NBD"
	assert_lacks "$ERR" secret "summary of send"
done
run_status "$TOOL" map --format=json "$NBD"
assert_eq "$STATUS" 0 "status of map"
assert_lacks "$OUT" secret "report of map"
